//! Which version answers for an arm now: a function of the documents and the fleet. What was used before (`status.arms`) counts
//! only while a worker is on the way to what is wanted, and only if workers still serve it. A version that nobody wants to serve
//! gets nothing once something wanted can answer; and no arm points at nobody while any version of the model is served.
use std::collections::BTreeSet;

use super::{
    fleet::Fleet,
    objects::Read,
    release::{ArmNow, CANDIDATE, STABLE},
};
use crate::{kinds::ModelSpec, snapshot::Standing};

/// One model, and what its workers serve.
pub(super) struct Choice<'a> {
    model: &'a Read<'a, ModelSpec>,
    fleet: &'a Fleet<'a>,
    served: BTreeSet<&'a str>,
}

impl<'a> Choice<'a> {
    pub fn new(model: &'a Read<'a, ModelSpec>, fleet: &'a Fleet<'a>) -> Self {
        Self { model, fleet, served: fleet.served(model.name()) }
    }

    /// The version that the model's requests get when no policy names one: the first in the Model's order that a pool with
    /// replicas asks for.
    pub fn default_version(&self) -> Option<&'a str> {
        let mut versions = self.versions();
        versions.find(|v| self.is_wanted(v)).or_else(|| self.versions().next())
    }

    /// The stable arm of a document that names `named`, and `candidate` beside it. `used` is what was routed before, the best
    /// first.
    pub fn stable<'v>(&self, named: &str, candidate: Option<&str>, used: impl Iterator<Item = &'v String>) -> ArmNow {
        let version = self.stable_version(named, candidate, used);
        let label = if candidate == Some(version.as_str()) { CANDIDATE } else { STABLE };
        self.arm(named, (version, label))
    }

    fn stable_version<'v>(
        &self,
        named: &str,
        candidate: Option<&str>,
        mut used: impl Iterator<Item = &'v String>,
    ) -> String {
        if self.is_available(named) {
            return named.to_owned();
        }
        let others = || self.versions().any(|v| Some(v) != candidate && self.is_coming(v));
        let grace = self.is_coming(named) || !self.is_wanted(named) && others();
        let kept = if grace { used.find(|v| self.served.contains(v.as_str())) } else { None };
        kept.map(String::as_str).or_else(|| self.stand_in(named, candidate)).unwrap_or(named).to_owned()
    }

    /// The candidate's arm. While it cannot answer, its share is the stable arm's.
    pub fn candidate(&self, named: &str, stable: &ArmNow, used: Option<&String>) -> ArmNow {
        let grace = self.is_coming(named);
        let kept = used.filter(|v| grace && self.served.contains(v.as_str()) && **v != stable.version);
        match kept {
            // As it is written where nobody answers anyway.
            _ if self.is_available(named) || self.served.is_empty() => self.arm(named, (named.to_owned(), CANDIDATE)),
            Some(version) => self.arm(named, (version.clone(), CANDIDATE)),
            None => self.arm(named, (stable.version.clone(), stable.label)),
        }
    }

    fn arm(&self, named: &str, (version, label): (String, &'static str)) -> ArmNow {
        ArmNow { named: named.to_owned(), standing: self.standing(named, &version), version, label }
    }

    fn standing(&self, named: &str, answers: &str) -> Standing {
        if !self.versions().any(|v| v == named) {
            Standing::NotInModel
        } else if !self.is_wanted(named) {
            Standing::NotWanted
        } else if self.is_available(named) || self.served.contains(named) && named == answers {
            Standing::Serving
        } else if self.is_coming(named) {
            Standing::Loading
        } else {
            Standing::NotServed
        }
    }

    /// What workers serve instead of a version that cannot answer, or not yet with all of its workers: the best of all.
    fn stand_in(&self, named: &str, candidate: Option<&str>) -> Option<&'a str> {
        let wanted = self.is_wanted(named);
        let missing = |v: &str| Some(v) != candidate && self.is_wanted(v) && !self.is_available(v);
        let pending = !wanted && self.versions().any(missing);
        let place = |v: &str| {
            let is_candidate = Some(v) == candidate;
            if wanted {
                // Whoever waits keeps to what is nearest; the candidate is for those who are told to try it.
                return (u8::from(v == named) + 2 * u8::from(is_candidate), self.distance(named, v));
            }
            let tier = match (self.is_available(v), is_candidate) {
                (true, false) => 0,
                (_, false) if pending => 1,
                (true, true) => 2,
                (false, false) => 3,
                (false, true) => 4,
            };
            (tier, if v == named { (0, 0) } else { (1, self.place(v)) })
        };
        self.served.iter().copied().min_by_key(|v| (place(v), *v))
    }

    /// Earlier versions first, the nearest before all.
    fn distance(&self, named: &str, version: &str) -> (u8, usize) {
        let (from, to) = (self.place(named), self.place(version));
        if to <= from { (0, from - to) } else { (1, to - from) }
    }

    /// In the Model's order; what it does not have comes last.
    fn place(&self, version: &str) -> usize {
        self.versions().position(|v| v == version).unwrap_or(self.model.spec.versions.len())
    }

    fn versions(&self) -> impl Iterator<Item = &'a str> {
        self.model.spec.versions.iter().map(|v| v.name.as_str())
    }

    /// A pool with replicas asks for it, and the Model has it.
    fn is_wanted(&self, version: &str) -> bool {
        self.fleet.is_declared(self.model.name(), version) && self.versions().any(|v| v == version)
    }

    /// Wanted, and a live worker that should have it is still on the way to it.
    fn is_coming(&self, version: &str) -> bool {
        self.is_wanted(version) && self.fleet.is_coming(self.model.name(), version)
    }

    /// Wanted, served, and no worker that should have it is still on the way to it.
    fn is_available(&self, version: &str) -> bool {
        self.is_wanted(version) && self.served.contains(version) && !self.is_coming(version)
    }
}
