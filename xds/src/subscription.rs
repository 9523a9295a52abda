//! What a client asked for, of one type. Only the rules of names and wildcards; nothing about versions.
use std::{collections::BTreeSet, sync::Arc};

use crate::types;

/// The name that means "everything".
pub(crate) const WILDCARD: &str = "*";

/// How the whole type is subscribed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Wildcard {
    /// Not subscribed.
    Off,
    /// Because no name was ever given: the historical meaning of an empty list.
    Legacy,
    /// Because `*` was named.
    Explicit,
}

/// The subscription of one type on one stream.
#[derive(Debug)]
pub(crate) struct Subscription {
    wildcard: Wildcard,
    names: BTreeSet<Arc<str>>,
    /// A name (or `*`) was subscribed at least once on this stream: the legacy wildcard is over for good.
    ever_named: bool,
}

/// What a change of subscription means for delivery.
#[derive(Default, Debug)]
pub(crate) struct Change {
    /// Names that were added now, known before or not, and may have been given up again.
    pub added: Vec<Arc<str>>,
    /// Names that were given up, and may have been asked for again.
    pub dropped: Vec<Arc<str>>,
    /// The wildcard began now: look at everything.
    pub wildcard_began: bool,
    /// The wildcard ended now: forget what no name holds.
    pub wildcard_ended: bool,
    /// Names that were given up while the wildcard held them.
    pub still_held: Vec<Arc<str>>,
}

impl Subscription {
    pub fn new() -> Self {
        Self { wildcard: Wildcard::Off, names: BTreeSet::new(), ever_named: false }
    }

    pub fn wants(&self, name: &str) -> bool {
        self.wildcard != Wildcard::Off || self.names.contains(name)
    }

    pub fn is_wildcard(&self) -> bool {
        self.wildcard != Wildcard::Off
    }

    pub fn names(&self) -> &BTreeSet<Arc<str>> {
        &self.names
    }

    /// Delta: names are added and taken away. `first` = first request of this type on this stream.
    pub fn delta(&mut self, type_url: &str, (subscribe, unsubscribe): (&[String], &[String]), first: bool) -> Change {
        let mut change = Change::default();
        // An empty first request is the legacy wildcard, for types that have one.
        if first && subscribe.is_empty() && !types::is_by_name(type_url) {
            self.set_wildcard(Wildcard::Legacy, &mut change);
        }
        for name in subscribe {
            self.ever_named = true;
            if name == WILDCARD {
                self.set_wildcard(Wildcard::Explicit, &mut change);
            } else {
                let name: Arc<str> = name.as_str().into();
                self.names.insert(name.clone());
                change.added.push(name);
            }
        }
        // A legacy wildcard goes on when names are added to it, until `*` is unsubscribed (xds_protocol.rst).
        for name in unsubscribe {
            if name == WILDCARD {
                self.set_wildcard(Wildcard::Off, &mut change);
            } else if self.is_wildcard() {
                // The name stays subscribed through `*`: the client must be told what it is now, or that it is gone.
                self.names.remove(name.as_str());
                change.still_held.push(name.as_str().into());
            } else if let Some(name) = self.names.take(name.as_str()) {
                change.dropped.push(name);
            }
        }
        change
    }

    /// State of the world: the list is the whole subscription.
    pub fn sotw(&mut self, type_url: &str, list: &[String], first: bool) -> Change {
        let mut change = Change::default();
        if !list.is_empty() {
            self.ever_named = true;
        }
        // An empty list is the legacy wildcard only while no name was ever subscribed; afterwards it unsubscribes from all.
        let legacy = list.is_empty() && !self.ever_named && !types::is_by_name(type_url);
        let wildcard = if list.iter().any(|name| name == WILDCARD) {
            Wildcard::Explicit
        } else if legacy && (first || self.wildcard == Wildcard::Legacy) {
            Wildcard::Legacy
        } else {
            Wildcard::Off
        };
        self.set_wildcard(wildcard, &mut change);
        let names: BTreeSet<Arc<str>> =
            list.iter().filter(|name| *name != WILDCARD).map(|name| name.as_str().into()).collect();
        change.added = names.difference(&self.names).cloned().collect();
        change.dropped = self.names.difference(&names).filter(|_| !self.is_wildcard()).cloned().collect();
        self.names = names;
        change
    }

    /// One request may set it more than once: what began or ended stays noted.
    fn set_wildcard(&mut self, to: Wildcard, change: &mut Change) {
        change.wildcard_began |= self.wildcard == Wildcard::Off && to != Wildcard::Off;
        change.wildcard_ended |= self.wildcard != Wildcard::Off && to == Wildcard::Off;
        self.wildcard = to;
    }
}
