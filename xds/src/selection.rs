//! What of one type goes into the next response, if any. Looks at one type only; whether its turn has come is `phases`.
use std::sync::Arc;

use crate::{
    delivery::{Delivery, Group},
    view::View,
};

/// What may be sent now.
pub(crate) struct Terms<'a> {
    pub view: &'a View,
    /// Bytes of resources in one response, where a response may be a part.
    pub max_bytes: usize,
    /// Names among `gone` that may be taken away now.
    pub may_remove: &'a dyn Fn(&str) -> bool,
}

/// What a response of this type can say in this variant.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Form {
    /// Delta: what changed and what is gone, by name.
    Delta,
    /// State of the world, CDS and LDS: everything each time; what is absent is gone.
    Full,
    /// State of the world, other types: what changed. It cannot say that something is gone: the client drops a name when
    /// nothing refers to it any more, so a name that does not exist (yet) is answered by silence.
    Changed,
}

/// The next response of a type.
pub(crate) struct Selected {
    pub group: Group,
    /// Published state that is delivered completely when this is ACKed; 0 when more has to follow.
    pub covers: u64,
    /// It carries a change that was published, not only an answer to a subscription.
    pub push: bool,
}

impl Delivery {
    /// Picks what to send and takes it off the lists; None when there is nothing to send or an answer is waited for: one
    /// response of a type is under way at a time, so whatever happens meanwhile merges into the next.
    pub fn select(&mut self, terms: &Terms<'_>) -> Option<Selected> {
        if self.is_waiting() {
            return None;
        }
        // A full state would carry along what is not answered yet, and its refusal would say nothing about the part that is
        // tried: the search for a culprit takes one response at a time, however long the answers take. What is new waits with
        // it, and so does whatever needs that.
        if self.form == Form::Full && !self.probes.is_empty() && !self.late.is_empty() {
            if self.dirty.is_empty() {
                self.settled = self.settled.max(self.cursor);
            }
            return None;
        }
        if let Some(group) = self.next_probe(terms.view) {
            return Some(Selected { group, covers: 0, push: false });
        }
        let mut group = Group::default();
        let push = self.take_adds(terms, &mut group);
        let all = self.dirty.is_empty();
        let removable: Vec<_> = self.gone.iter().filter(|name| (terms.may_remove)(name)).cloned().collect();
        for name in removable {
            self.gone.remove(&name);
            match self.form {
                Form::Delta | Form::Full => group.removes.push(name),
                Form::Changed => {
                    self.drop_known(&name);
                    self.late.iter_mut().for_each(|late| late.group.adds.retain(|entry| *entry.name() != name));
                }
            }
        }
        let due = std::mem::take(&mut self.answer_due);
        if group.is_empty() && !due {
            // Nothing to say: whatever was published up to the cursor is delivered.
            self.settled = self.settled.max(self.cursor);
            if self.refused.is_empty() && self.late.is_empty() {
                self.confirmed = self.confirmed.max(self.cursor);
            }
            return None;
        }
        group.removes.sort();
        let covers = if all { self.cursor } else { 0 };
        let push = self.cursor > self.joined && (push || !group.removes.is_empty());
        Some(Selected { push, group, covers })
    }

    /// Moves names from `dirty` to the response; true when one of them is a published change.
    fn take_adds(&mut self, terms: &Terms<'_>, group: &mut Group) -> bool {
        let (mut bytes, mut push) = (0, false);
        while let Some(name) = self.dirty.pop_first() {
            let forced = self.forced.contains(&name);
            let Some(entry) = terms.view.get(&self.type_url, &name) else {
                // Asked for and not there. The name stays subscribed and is sent when it comes to be.
                self.forced.remove(&name);
                match self.form {
                    Form::Delta if forced && !self.known.contains_key(&name) => group.removes.push(name),
                    Form::Full => self.answer_due |= forced,
                    Form::Delta | Form::Changed => {}
                }
                continue;
            };
            let held = self.known.get(&name).is_some_and(|known| known.certain && known.version == *entry.version());
            let refused = self.refused.get(&name).is_some_and(|refused| refused.version == *entry.version());
            if refused || ((held || self.is_on_the_way(entry)) && !forced) {
                self.forced.remove(&name);
                continue;
            }
            if self.form != Form::Full && bytes > 0 && bytes + entry.wire_len() > terms.max_bytes {
                self.dirty.insert(name);
                break;
            }
            bytes += entry.wire_len();
            push |= !forced;
            self.forced.remove(&name);
            group.adds.push(Arc::clone(entry));
        }
        push
    }

    /// The next part of a refused response that is still worth trying: what changed meanwhile goes the normal way.
    fn next_probe(&mut self, view: &View) -> Option<Group> {
        while let Some(mut probe) = self.probes.pop_front() {
            probe.adds.retain(|entry| {
                let same = view.get(&self.type_url, entry.name()).is_some_and(|now| now.version() == entry.version());
                same && self.sub.wants(entry.name())
            });
            probe.removes.retain(|name| view.get(&self.type_url, name).is_none());
            probe.adds.iter().for_each(|entry| {
                self.dirty.remove(entry.name());
            });
            if !probe.is_empty() {
                return Some(probe);
            }
            self.clear_error();
        }
        None
    }
}
