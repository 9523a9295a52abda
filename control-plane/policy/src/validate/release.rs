//! `ReleasePolicy`: rules, one step, no gates yet.
use super::{bounds, matches};
use crate::{
    kinds::{
        ArmName, ReleasePolicySpec, TargetKind,
        bounds::{MATCHES, RULES, STEPS, WEIGHT},
    },
    reject::{Code, Sink},
};

pub(super) fn check(spec: &ReleasePolicySpec, sink: &mut Sink) {
    sink.at("targetRef", |s| {
        match spec.target_ref.kind {
            TargetKind::Model => {}
            TargetKind::WorkerPool => {
                s.at("kind", |s| {
                    s.reject(Code::OutOfRange, "a release is about a Model; the pools follow from its versions")
                });
            }
        }
        s.at("name", |s| bounds::name(&spec.target_ref.name, s));
    });
    sink.at("stable", |s| bounds::version(&spec.stable, s));
    sink.at("candidate", |s| match spec.candidate.as_deref() {
        Some(candidate) if candidate == spec.stable => {
            s.reject(Code::Contradiction, "the candidate is the stable version")
        }
        Some(candidate) => bounds::version(candidate, s),
        None => {}
    });
    rules(spec, sink);
    steps(spec, sink);
    sink.at("assignment", |s| {
        s.at("header", |s| matches::header_name(&spec.assignment.header, s));
        if let Some(salt) = &spec.assignment.salt {
            s.at("salt", |s| matches::salt(salt, s));
        }
    });
    if spec.gates.is_some() {
        sink.at("gates", |s| s.not_yet("`gates`"));
    }
    if spec.on_fail.is_some() {
        sink.at("onFail", |s| s.not_yet("`onFail`"));
    }
}

fn rules(spec: &ReleasePolicySpec, sink: &mut Sink) {
    sink.at("rules", |s| {
        bounds::length(spec.rules.len(), 0..=RULES, s);
        for (i, rule) in spec.rules.iter().enumerate() {
            s.index(i, |s| {
                s.at("match", |s| {
                    bounds::length(rule.matches.len(), 1..=MATCHES, s);
                    matches::check(&rule.matches, s);
                });
                if rule.to == ArmName::Candidate && spec.candidate.is_none() {
                    s.at("to", |s| s.reject(Code::Contradiction, "there is no `candidate`"));
                }
            });
        }
    });
}

fn steps(spec: &ReleasePolicySpec, sink: &mut Sink) {
    sink.at("steps", |s| {
        if spec.steps.len() > STEPS {
            s.not_yet("more than one step");
        }
        for (i, step) in spec.steps.iter().enumerate() {
            s.index(i, |s| {
                s.at("weight", |s| {
                    bounds::number(step.weight.into(), 0..=WEIGHT.into(), s);
                    if step.weight > 0 && spec.candidate.is_none() {
                        s.reject(Code::Contradiction, "there is no `candidate`");
                    }
                });
                if step.hold.is_some() {
                    s.at("hold", |s| s.not_yet("`hold`"));
                }
            });
        }
    });
}
