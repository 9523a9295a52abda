//! A client that behaves like Envoy: wildcard clusters and listeners, endpoints of the clusters that it has, routes by name.
//! It takes the good resources of a response that it refuses, or none of them.
use std::collections::{BTreeMap, BTreeSet};

use super::content;
use tidegate_xds::{DeltaRequest, Resource, Response, SotwRequest, Variant, types};

pub enum Outgoing {
    Delta(DeltaRequest),
    Sotw(SotwRequest),
}

#[derive(Default)]
struct Held {
    /// Name to content.
    resources: BTreeMap<String, String>,
    /// Version of the last accepted response (state of the world).
    version: String,
    nonce: String,
    asked: bool,
}

pub struct Proxy {
    variant: Variant,
    /// Refuses a response as a whole.
    all_or_nothing: bool,
    /// Asks for endpoints before it ACKs the clusters, as Envoy does; else after.
    subscribes_first: bool,
    held: BTreeMap<String, Held>,
    endpoints_asked: BTreeSet<String>,
    /// Clusters whose endpoints came after the cluster.
    warm: BTreeSet<String>,
}

const ROUTES: [&str; 3] = ["r0", "r1", "r2"];

impl Proxy {
    pub fn new(variant: Variant, all_or_nothing: bool, subscribes_first: bool) -> Self {
        let (held, endpoints_asked, warm) = Default::default();
        Self { variant, all_or_nothing, subscribes_first, held, endpoints_asked, warm }
    }

    fn of(&mut self, url: &str) -> &mut Held {
        self.held.entry(url.to_owned()).or_default()
    }

    pub fn holds(&self, url: &str, name: &str) -> bool {
        self.held.get(url).is_some_and(|held| held.resources.contains_key(name))
    }

    fn names(&self, url: &str) -> Vec<String> {
        match url {
            types::ROUTE => ROUTES.iter().map(|name| (*name).to_owned()).collect(),
            types::ENDPOINT => self.endpoints_asked.iter().cloned().collect(),
            _ => Vec::new(),
        }
    }

    /// The first requests of a stream.
    pub fn connect(&mut self) -> Vec<Outgoing> {
        let mut out = Vec::new();
        for url in [types::CLUSTER, types::ENDPOINT, types::LISTENER, types::ROUTE] {
            self.of(url).nonce.clear();
            self.of(url).asked = false;
            let names = self.names(url);
            if url == types::ENDPOINT && names.is_empty() {
                continue;
            }
            self.of(url).asked = true;
            let held = &self.held[url];
            out.push(match self.variant {
                Variant::Delta => Outgoing::Delta(DeltaRequest {
                    type_url: url.into(),
                    subscribe: names,
                    initial_versions: held.resources.iter().map(|(n, c)| (n.clone(), version(c))).collect(),
                    ..Default::default()
                }),
                Variant::Sotw => Outgoing::Sotw(SotwRequest {
                    type_url: url.into(),
                    version: held.version.clone(),
                    names,
                    ..Default::default()
                }),
            });
        }
        out
    }

    /// `strict`: a cluster must not be taken away under a route, except one that was refused at times.
    pub fn receive(&mut self, response: &Response, strict: Option<&BTreeSet<String>>) -> Vec<Outgoing> {
        let url = response.type_url.to_string();
        let came: Vec<_> = response.resources.iter().map(|e| (e.name().to_string(), content(e))).collect();
        let bad: Vec<_> =
            came.iter().filter(|(_, content)| content.starts_with("bad")).map(|(n, _)| n.clone()).collect();
        let taken: Vec<_> = match (bad.is_empty(), self.all_or_nothing) {
            (false, true) => Vec::new(),
            (_, _) => came.iter().filter(|(name, _)| !bad.contains(name)).cloned().collect(),
        };
        let mut gone: Vec<String> = response.removed.iter().map(|name| name.to_string()).collect();
        let full = self.variant == Variant::Sotw && matches!(&*url, types::CLUSTER | types::LISTENER);
        if full && (bad.is_empty() || !self.all_or_nothing) {
            let stays = |name: &&String| !came.iter().any(|(came, _)| came == *name);
            gone = self.of(&url).resources.keys().filter(stays).cloned().collect();
        }
        self.of(&url).nonce = response.nonce.clone();
        if bad.is_empty() {
            self.of(&url).version = response.version.clone();
        }
        for (name, content) in taken {
            self.take(&url, name, content);
        }
        for name in gone {
            if url == types::CLUSTER && strict.is_some_and(|poisoned| !poisoned.contains(&name)) {
                self.check_unused(&name);
            }
            self.lose(&url, &name);
        }
        let answer = self.answer(&url, &bad);
        let subscribe = if url == types::CLUSTER { self.follow_clusters() } else { None };
        match self.subscribes_first {
            true => subscribe.into_iter().chain([answer]).collect(),
            false => [answer].into_iter().chain(subscribe).collect(),
        }
    }

    fn take(&mut self, url: &str, name: String, content: String) {
        if url == types::ENDPOINT {
            if !self.endpoints_asked.contains(&name) {
                return;
            }
            self.warm.insert(name.clone());
        }
        let old = self.of(url).resources.insert(name.clone(), content.clone());
        // A cluster that changed is warmed anew; until then the old one serves.
        if url == types::CLUSTER && old.as_ref() != Some(&content) {
            self.warm.remove(&name);
        }
    }

    fn lose(&mut self, url: &str, name: &str) {
        if url == types::CLUSTER {
            self.warm.remove(name);
        }
        self.of(url).resources.remove(name);
    }

    fn check_unused(&self, cluster: &str) {
        for (route, content) in self.held.get(types::ROUTE).into_iter().flat_map(|held| &held.resources) {
            assert!(!clusters_of(content).contains(&cluster), "{cluster} was taken away under {route} = {content}");
        }
    }

    fn answer(&mut self, url: &str, bad: &[String]) -> Outgoing {
        let error = (!bad.is_empty()).then(|| "refused".to_owned());
        let names = self.names(url);
        let held = self.of(url);
        let (version, nonce) = (held.version.clone(), held.nonce.clone());
        match self.variant {
            Variant::Delta => {
                Outgoing::Delta(DeltaRequest { type_url: url.into(), nonce, error, ..Default::default() })
            }
            Variant::Sotw => Outgoing::Sotw(SotwRequest { type_url: url.into(), version, nonce, names, error }),
        }
    }

    /// Asks for the endpoints of the clusters that are held now.
    fn follow_clusters(&mut self) -> Option<Outgoing> {
        let clusters: BTreeSet<_> = self.of(types::CLUSTER).resources.keys().cloned().collect();
        let old = std::mem::replace(&mut self.endpoints_asked, clusters.clone());
        if old == clusters {
            return None;
        }
        let gone: Vec<_> = old.difference(&clusters).cloned().collect();
        let variant = self.variant;
        let held = self.of(types::ENDPOINT);
        gone.iter().for_each(|name| {
            held.resources.remove(name);
        });
        if !held.asked && clusters.is_empty() {
            return None;
        }
        let first = !std::mem::replace(&mut held.asked, true);
        let (version, nonce) = (held.version.clone(), held.nonce.clone());
        let type_url = types::ENDPOINT.to_owned();
        Some(match variant {
            Variant::Delta => {
                let initial = held.resources.iter().map(|(name, content)| (name.clone(), self::version(content)));
                let initial_versions = if first { initial.collect() } else { BTreeMap::new() };
                let subscribe =
                    if first { clusters.into_iter().collect() } else { clusters.difference(&old).cloned().collect() };
                let unsubscribe = if first { Vec::new() } else { gone };
                Outgoing::Delta(DeltaRequest {
                    type_url,
                    subscribe,
                    unsubscribe,
                    initial_versions,
                    ..Default::default()
                })
            }
            Variant::Sotw => {
                let names = clusters.into_iter().collect();
                Outgoing::Sotw(SotwRequest { type_url, version, nonce, names, ..Default::default() })
            }
        })
    }

    /// No route leads to a cluster that is not there.
    pub fn check_routes(&self, poisoned: &BTreeSet<String>) {
        let Some(routes) = self.held.get(types::ROUTE) else { return };
        for (route, content) in &routes.resources {
            for cluster in clusters_of(content).into_iter().filter(|name| !poisoned.contains(*name)) {
                assert!(self.holds(types::CLUSTER, cluster), "{route} = {content} names {cluster}, which is not there");
                assert!(self.holds(types::ENDPOINT, cluster), "{route} = {content} names {cluster}, which is not warm");
            }
        }
    }

    /// Exactly what is published, except where something was refused.
    pub fn check_holds(&self, url: &str, published: &BTreeMap<String, String>, poisoned: &BTreeSet<String>) {
        let empty = BTreeMap::new();
        let held = self.held.get(url).map_or(&empty, |held| &held.resources);
        for (name, content) in published.iter().filter(|(_, content)| !content.starts_with("bad")) {
            assert_eq!(held.get(name), Some(content), "{url} {name}");
        }
        // Clusters stay while a refused route may still lead to them.
        let kept = !poisoned.is_empty() && matches!(url, types::CLUSTER | types::ENDPOINT);
        for name in held.keys() {
            assert!(published.contains_key(name) || kept, "{url} {name} is still there");
        }
    }

    /// Every cluster got its endpoints after it came or changed.
    pub fn check_warm(&self, published: impl Fn(&str) -> bool) {
        let empty = BTreeMap::new();
        let clusters = self.held.get(types::CLUSTER).map_or(&empty, |held| &held.resources);
        let cold: Vec<_> = clusters.keys().filter(|name| published(name) && !self.warm.contains(*name)).collect();
        let cold: Vec<_> = cold.into_iter().filter(|name| self.holds(types::ENDPOINT, name)).collect();
        assert!(cold.is_empty(), "never warmed: {cold:?}");
    }
}

fn clusters_of(route: &str) -> Vec<&str> {
    let list = route.rsplit(';').next().unwrap_or(route);
    list.split(',').filter(|name| !name.is_empty()).collect()
}

fn version(content: &str) -> String {
    Resource::new(content.to_owned()).version
}
