//! `RateLimitPolicy`: local request rates and concurrency; the rest of the language is refused by name.
use super::{bounds, matches};
use crate::{
    kinds::{
        CounterSpec, LimitSpec, Rate, RateLimitPolicySpec, Scope,
        bounds::{CONCURRENCY, COUNTERS, LIMITS, MATCHES, RATE, TARGETS, WINDOW},
    },
    reject::{Code, Sink},
};

pub(super) fn check(spec: &RateLimitPolicySpec, sink: &mut Sink) {
    sink.at("targetRefs", |s| {
        bounds::length(spec.target_refs.len(), 1..=TARGETS, s);
        bounds::unique(&spec.target_refs, |t| format!("{:?} {}", t.kind, t.name), s);
        for (i, target) in spec.target_refs.iter().enumerate() {
            s.index(i, |s| s.at("name", |s| bounds::name(&target.name, s)));
        }
    });
    sink.at("limits", |s| {
        bounds::length(spec.limits.len(), 1..=LIMITS, s);
        bounds::unique_field(spec.limits.iter().map(|l| l.name.as_str()), "name", s);
        for (i, limit) in spec.limits.iter().enumerate() {
            s.index(i, |s| self::limit(limit, s));
        }
    });
    if spec.hybrid.is_some() {
        sink.at("hybrid", |s| s.not_yet("`hybrid`"));
    }
    match spec.scope {
        Scope::Local => {}
        Scope::Global => sink.at("scope", |s| s.not_yet("the scope `Global`")),
    }
    if spec.failure_mode.is_some() {
        sink.at("failureMode", |s| s.not_yet("`failureMode` (it is about the scope `Global`)"));
    }
}

fn limit(limit: &LimitSpec, sink: &mut Sink) {
    sink.at("name", |s| bounds::name(&limit.name, s));
    sink.at("match", |s| {
        bounds::length(limit.matches.len(), 0..=MATCHES, s);
        matches::check(&limit.matches, s);
    });
    sink.at("counters", |s| counters(&limit.counters, s));
    if let Some(rate) = &limit.requests {
        sink.at("requests", |s| self::rate(rate, s));
    }
    if let Some(concurrency) = limit.concurrency {
        sink.at("concurrency", |s| bounds::number(concurrency, 1..=CONCURRENCY, s));
    }
    if limit.bandwidth.is_some() {
        sink.at("bandwidth", |s| s.not_yet("`bandwidth`"));
    }
    if limit.tokens.is_some() {
        sink.at("tokens", |s| s.not_yet("`tokens`"));
    }
    if limit.requests.is_none() && limit.concurrency.is_none() && limit.bandwidth.is_none() && limit.tokens.is_none() {
        sink.reject(Code::MissingField, "the limit limits nothing: give it `requests` or `concurrency`");
    }
}

fn counters(counters: &[CounterSpec], sink: &mut Sink) {
    bounds::length(counters.len(), 0..=COUNTERS, sink);
    let mut names = Vec::new();
    for (i, counter) in counters.iter().enumerate() {
        sink.index(i, |s| match counter {
            CounterSpec::Tenant => names.push("the tenant".to_owned()),
            CounterSpec::Header { header } => {
                s.at("header", |s| s.at("name", |s| matches::header_name(&header.name, s)));
                names.push(format!("the header {}", header.name.to_ascii_lowercase()));
            }
        });
    }
    bounds::unique(&names, Clone::clone, sink);
}

fn rate(rate: &Rate, sink: &mut Sink) {
    sink.at("rate", |s| bounds::number(rate.rate, 1..=RATE, s));
    sink.at("window", |s| bounds::duration(&rate.window, &WINDOW, s));
    if let Some(burst) = rate.burst {
        sink.at("burst", |s| bounds::number(burst, 1..=RATE, s));
    }
    if rate.strict {
        sink.at("strict", |s| s.not_yet("`strict`"));
    }
}
