//! Seeded simulations: a publisher, the server machine and an Envoy-like client, with messages that wait in queues for a
//! random while. The client checks what a real proxy would suffer from: a route to a cluster that is not there or not
//! warm, a cluster taken away under a route. At the end it must hold exactly what is published.
mod client;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use client::{Outgoing, Proxy};
use envoy_types::pb::envoy::service::discovery::v3::DeltaDiscoveryResponse;
use prost::Message;
use tidegate_xds::{Action, Bounds, Entry, Hub, ResourceSet, Response, Stream, SyncState, Variant, types};

/// xorshift64*: a schedule is its seed.
struct Rng(u64);

impl Rng {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % n
    }
}

#[derive(Clone, Copy)]
struct Plan {
    variant: Variant,
    /// Some resources are refused by the client.
    poison: bool,
    /// Time goes by, so phases may end without an answer.
    silence: bool,
}

struct World {
    plan: Plan,
    rng: Rng,
    hub: Hub,
    sets: u64,
    stream: Stream,
    proxy: Proxy,
    to_server: VecDeque<Outgoing>,
    to_client: VecDeque<Response>,
    now: u64,
    sent: usize,
    /// Names whose content was ever refused: the client may rightly lack these.
    poisoned: BTreeSet<String>,
}

impl World {
    fn new(plan: Plan, seed: u64) -> Self {
        let hub = Hub::default().publish(BTreeMap::from([("g".into(), ResourceSet::default())]), 0).unwrap();
        let stream = Stream::new(plan.variant, bounds(), hub.group("g"), 0);
        let mut rng = Rng(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
        let proxy = Proxy::new(plan.variant, rng.below(2) == 0, rng.below(2) == 0);
        let (to_server, to_client, poisoned) = Default::default();
        let mut world =
            Self { plan, rng, hub, sets: 0, stream, proxy, to_server, to_client, now: 0, sent: 0, poisoned };
        world.to_server.extend(world.proxy.connect());
        world.publish();
        world
    }

    /// A consistent set: every route names only clusters of the same set, every cluster has endpoints.
    fn publish(&mut self) {
        self.sets += 1;
        let mut set = ResourceSet::default();
        let clusters: Vec<String> = (0..8).filter(|_| self.rng.below(3) > 0).map(|n| format!("c{n}")).collect();
        for name in &clusters {
            let bad = self.plan.poison && self.rng.below(12) == 0;
            let content = if bad { format!("bad{}", self.sets) } else { format!("v{}", self.rng.below(3)) };
            if bad {
                self.poisoned.insert(name.clone());
            }
            set.insert(types::CLUSTER, name.clone(), content);
            set.insert(types::ENDPOINT, name.clone(), format!("e{}", self.rng.below(4)));
        }
        for n in 0..3 {
            let named: Vec<_> = clusters.iter().filter(|_| self.rng.below(2) == 0).cloned().collect();
            let bad =
                if self.plan.poison && self.rng.below(12) == 0 { format!("bad{};", self.sets) } else { String::new() };
            set.insert(types::ROUTE, format!("r{n}"), format!("{bad}{}", named.join(",")));
        }
        set.insert(types::LISTENER, "l", format!("v{}", self.rng.below(2)));
        if let Some(hub) = self.hub.publish(BTreeMap::from([("g".into(), set)]), self.now) {
            self.hub = hub;
        }
    }

    fn act(&mut self, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Send(response) => {
                    self.sent += 1;
                    let mut names: Vec<_> = response.resources.iter().map(|e| e.name()).collect();
                    names.dedup();
                    assert_eq!(names.len(), response.resources.len(), "a name came twice in one response");
                    self.to_client.push_back(response);
                }
                Action::Close { message, .. } => panic!("closed: {message}"),
                Action::Observe(_) => {}
            }
        }
    }

    fn reconnect(&mut self) {
        self.to_client.clear();
        self.to_server.clear();
        let unfinished = self.stream.unfinished();
        self.stream = Stream::new(self.plan.variant, bounds(), self.hub.group("g"), self.now);
        self.stream.resume((*unfinished).clone());
        self.to_server.extend(self.proxy.connect());
    }

    fn update(&mut self) {
        let state = self.hub.group("g");
        let actions = self.stream.on_update(&state, self.now);
        self.act(actions);
    }

    fn deliver_request(&mut self) -> bool {
        let Some(request) = self.to_server.pop_front() else { return false };
        let actions = match request {
            Outgoing::Delta(request) => self.stream.on_delta(&request, self.now),
            Outgoing::Sotw(request) => self.stream.on_sotw(&request, self.now),
        };
        self.act(actions);
        true
    }

    fn deliver_response(&mut self) -> bool {
        let Some(response) = self.to_client.pop_front() else { return false };
        let strict = (!self.plan.silence).then_some(&self.poisoned);
        let answers = self.proxy.receive(&response, strict);
        if !self.plan.silence {
            self.proxy.check_routes(&self.poisoned);
        }
        self.to_server.extend(answers);
        true
    }

    fn step(&mut self) {
        match self.rng.below(20) {
            0 => self.publish(),
            1..=3 => self.update(),
            4..=10 => {
                self.deliver_request();
            }
            11..=17 => {
                self.deliver_response();
            }
            18 if self.plan.silence => {
                self.now += 1 + self.rng.below(6000);
                let actions = self.stream.on_tick(self.now);
                self.act(actions);
            }
            // In state of the world a client that comes back and refuses part of its first answer may lose what it had of the
            // rest for a moment: nobody knows what it holds (docs/adr/0004).
            19 if self.rng.below(20) == 0 && !(self.plan.poison && self.plan.variant == Variant::Sotw) => {
                self.reconnect()
            }
            _ => {}
        }
    }

    /// Lets every message arrive; answers how many responses it took.
    fn settle(&mut self) -> usize {
        let before = self.sent;
        for _ in 0..10_000 {
            self.update();
            let busy = self.deliver_request() | self.deliver_response();
            if !busy {
                let Some(deadline) = self.stream.deadline_ms().filter(|_| self.plan.silence) else {
                    return self.sent - before;
                };
                self.now = self.now.max(deadline);
                let actions = self.stream.on_tick(self.now);
                self.act(actions);
            }
        }
        panic!("the conversation never ends");
    }

    fn check_converged(&mut self) {
        let state = self.hub.group("g");
        for url in [types::CLUSTER, types::ENDPOINT, types::LISTENER, types::ROUTE] {
            let published: BTreeMap<String, String> = state
                .of_type(url)
                .filter(|e| url != types::ENDPOINT || self.proxy.holds(types::CLUSTER, e.name()))
                .map(|e| (e.name().to_string(), content(e)))
                .collect();
            self.proxy.check_holds(url, &published, &self.poisoned);
        }
        self.proxy.check_warm(|name| state.get(types::CLUSTER, name).is_some());
        for row in self.stream.status(self.now) {
            let bad = state.of_type(&row.type_url).any(|e| content(e).starts_with("bad"));
            // A removal waits while a route is refused.
            let held = self.plan.poison && [types::CLUSTER, types::ENDPOINT].contains(&&*row.type_url);
            let expected: &[SyncState] = match (bad, held) {
                (true, _) => &[SyncState::Nacked],
                (false, true) => &[SyncState::Synced, SyncState::Stale],
                (false, false) => &[SyncState::Synced],
            };
            assert!(expected.contains(&row.state), "{row:?}");
            assert!(row.generation == state.seq() || bad, "{row:?} but published {}", state.seq());
        }
    }
}

/// What a client reads out of a resource.
fn content(entry: &Arc<Entry>) -> String {
    let (variant, resources, removed) = (Variant::Delta, vec![entry.clone()], Vec::new());
    let (type_url, version, nonce) = ("".into(), String::new(), String::new());
    let mut wire = Vec::new();
    Response { variant, type_url, version, nonce, resources, removed }.encode(&mut wire);
    let read = DeltaDiscoveryResponse::decode(wire.as_slice()).unwrap();
    String::from_utf8(read.resources[0].resource.as_ref().unwrap().value.clone()).unwrap()
}

fn bounds() -> Bounds {
    // Small enough that responses are cut into parts now and then.
    Bounds { max_response_bytes: 300, ..Bounds::default() }
}

/// Schedules per plan; `TIDEGATE_SIM_SEEDS` runs more (2,000 were run when this was written).
fn seeds() -> u64 {
    std::env::var("TIDEGATE_SIM_SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(40)
}

fn simulate(plan: Plan) {
    for seed in 1..=seeds() {
        let mut world = World::new(plan, seed);
        for _ in 0..600 {
            world.step();
        }
        world.update();
        let sent = world.settle();
        // 8 clusters, 8 endpoint sets, 3 routes, 1 listener: at most 2n - 1 parts of each, and a round of removals.
        assert!(sent <= 60, "seed {seed}: {sent} responses after the last publication");
        world.check_converged();
        assert_eq!(world.settle(), 0, "seed {seed}: something was sent without a reason");
        if !plan.poison && !plan.silence && plan.variant == Variant::Delta {
            world.reconnect();
            assert_eq!(world.settle(), 0, "seed {seed}: coming back with everything cost a response");
        }
    }
}

#[test]
fn a_delta_proxy_converges_and_never_lacks_a_cluster_that_a_route_names() {
    simulate(Plan { variant: Variant::Delta, poison: false, silence: false });
}

#[test]
fn a_sotw_proxy_converges_and_never_lacks_a_cluster_that_a_route_names() {
    simulate(Plan { variant: Variant::Sotw, poison: false, silence: false });
}

#[test]
fn a_delta_proxy_that_refuses_some_resources_gets_all_others_and_no_endless_loop() {
    simulate(Plan { variant: Variant::Delta, poison: true, silence: false });
}

#[test]
fn a_sotw_proxy_that_refuses_some_resources_gets_all_others_and_no_endless_loop() {
    simulate(Plan { variant: Variant::Sotw, poison: true, silence: false });
}

#[test]
fn silence_and_late_answers_do_not_keep_a_proxy_from_converging() {
    simulate(Plan { variant: Variant::Delta, poison: false, silence: true });
    simulate(Plan { variant: Variant::Sotw, poison: false, silence: true });
}

#[test]
fn refusals_that_come_late_cost_a_proxy_only_what_it_refuses() {
    simulate(Plan { variant: Variant::Delta, poison: true, silence: true });
    simulate(Plan { variant: Variant::Sotw, poison: true, silence: true });
}
