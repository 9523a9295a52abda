//! When the loop has to look again by itself, and what it says when the store is away.
use chrono::{DateTime, TimeDelta, Utc};
use tidegate_policy::ports::{ApiKey, Everything, StoreError};

use super::{causes, next_end};

#[test]
fn the_next_key_to_end_is_the_first_that_has_not_ended() {
    let now = Utc::now();
    let at = |seconds| Some(now + TimeDelta::seconds(seconds));
    let key = |expires_at: Option<DateTime<Utc>>, revoked_at| ApiKey {
        id: String::new(),
        tenant: String::new(),
        description: String::new(),
        jwk: serde_json::Value::Null,
        created_at: now,
        expires_at,
        revoked_at,
    };
    let next = |api_keys| next_end(&Everything { api_keys, ..Everything::default() }, now);
    assert_eq!(next(vec![]), None);
    assert_eq!(next(vec![key(None, None), key(at(-5), None), key(at(0), at(-9))]), None);
    assert_eq!(next(vec![key(at(9), None), key(at(-5), None), key(at(4), None)]), at(4));
}

#[test]
fn an_error_of_the_store_is_told_with_its_cause() {
    let cause = std::io::Error::other("connection refused by the database");
    let text = causes(&StoreError::Unavailable(Box::new(cause)));
    assert_eq!(text, "the policy store cannot be used: connection refused by the database");
}
