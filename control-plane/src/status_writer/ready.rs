//! The condition `Ready`: what compile says of documents and leases, and then what the nodes say. True only when both are.
use chrono::{DateTime, Utc};
use tidegate_policy::status::{Condition, ConditionStatus, ObjectStatus, READY};

/// The condition with what compile `made`, and whether the nodes have it.
pub(super) fn ready(made: &ObjectStatus, programmed: &Condition, now: DateTime<Utc>) -> Condition {
    let no = |reason: &str, message: String| {
        let of = (programmed.observed_generation, now);
        Condition::new(READY, ConditionStatus::False, (reason, message), of)
    };
    let Some(ready) = made.condition(READY) else {
        return no("Unknown", "nothing is known of it yet".to_owned());
    };
    match (ready.holds(), programmed.holds()) {
        (true, true) => Condition { last_transition_time: now, ..ready.clone() },
        (true, false) => no(&programmed.reason, programmed.message.clone()),
        (false, _) => no(&ready.reason, ready.message.clone()),
    }
}
