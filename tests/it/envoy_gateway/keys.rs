//! API keys at Envoy: who gets in, as whom, and how fast a revoked key is out.
use super::*;

fn status(bench: &Bench, header: Header) -> u16 {
    bench.ask(&[header]).status
}

#[test]
fn a_key_gives_its_tenant_and_no_client_can_claim_one() {
    let (bench, key) = with_key();
    let answer = bench.ask(&[
        key,
        header("X-Tidegate-Tenant", "globex"),
        header("x-tidegate-model", "other"),
        header("x-TIDEGATE-anything", "1"),
        header("x-envoy-max-retries", "9"),
        header("x-tidegate-model-version", "v9"),
    ]);
    assert_eq!(answer.status, 200, "{}", answer.text());
    let seen = answer.text();
    let ours: Vec<_> = seen
        .lines()
        .filter(|l| l.contains("tidegate") || l.contains("max-retries") || l.contains("uthorization"))
        .collect();
    assert_eq!(ours.len(), 2, "{ours:?}");
    assert_eq!(ours[0], "x-tidegate-tenant: acme");
    assert!(["x-tidegate-model-version: v1", "x-tidegate-model-version: v2"].contains(&ours[1]));
}

#[test]
fn forged_expired_and_foreign_keys_are_refused_alike() {
    let (good, other) = (Key::new("k1", "acme"), Key::new("k2", "globex"));
    let stranger = Key::new("k1", "acme");
    let bench = Bench::start(|s| {
        good.add_to(s);
        other.add_to(s);
    });
    let head = |alg: &str, kid: &str| json!({"alg": alg, "kid": kid});
    let claims = json!({"iss": "tidegate", "sub": "globex"});
    assert_eq!(status(&bench, good.header()), 200);
    assert_eq!(status(&bench, other.header()), 200);
    let unsigned = {
        let (name, value) = good.signed(&head("none", "k1"), &claims);
        let text = String::from_utf8(value).unwrap();
        (name, format!("{}.", text.rsplit_once('.').unwrap().0).into_bytes())
    };
    for (what, bad) in [
        ("none", unsigned),
        ("a stranger's signature", stranger.header()),
        ("another tenant's kid", good.signed(&head("EdDSA", "k2"), &claims)),
        ("an unknown kid", good.signed(&head("EdDSA", "k9"), &claims)),
        ("alg none", good.signed(&head("none", "k1"), &claims)),
        ("alg HS256", good.signed(&head("HS256", "k1"), &claims)),
        ("another issuer", good.signed(&head("EdDSA", "k1"), &json!({"iss": "x", "sub": "acme"}))),
        (
            "expired",
            good.signed(&head("EdDSA", "k1"), &json!({"iss": "tidegate", "sub": "acme", "exp": 1_700_000_000})),
        ),
        ("another vendor's key", header("Authorization", "Bearer sk-123")),
        ("no Bearer", header("Authorization", good.header().1.split_off("Bearer ".len()))),
    ] {
        let answer = bench.ask(&[bad]);
        assert_eq!((answer.status, error_code(&answer).as_str()), (401, "invalid_api_key"), "{what}");
    }
    assert_eq!(bench.ask(&[]).status, 401);
    assert_eq!(bench.client().send(&get("/v1/models", &[])).unwrap().status, 401);
}

#[test]
fn without_any_key_nobody_gets_in_and_the_configuration_is_accepted() {
    let bench = Bench::start(|_| ());
    assert_eq!(status(&bench, Key::new("nobody", "acme").header()), 401);
    assert_eq!(bench.ask(&[]).status, 401);
}

#[test]
fn a_key_works_and_is_revoked_within_a_second_and_drains_no_listener() {
    let (mut bench, first) = with_key();
    let second = Key::new("k2", "globex");
    bench.change(|s| second.add_to(s));
    let until = Instant::now() + Duration::from_secs(1);
    while status(&bench, second.header()) != 200 {
        assert!(Instant::now() < until, "the new key does not work after a second");
    }
    bench.change(|s| s.api_keys.retain(|id, _| id != "k2"));
    let until = Instant::now() + Duration::from_secs(1);
    while status(&bench, second.header()) != 401 {
        assert!(Instant::now() < until, "the revoked key still works after a second");
    }
    assert_eq!(status(&bench, first), 200);
    assert_eq!(bench.envoy.stat("listener_manager.listener_modified").unwrap(), 0);
}

#[test]
fn the_configuration_dump_holds_no_usable_key() {
    let (bench, key) = with_key();
    assert_eq!(status(&bench, key.clone()), 200);
    let sent = String::from_utf8(key.1).unwrap();
    let signature = sent.rsplit('.').next().unwrap();
    let dump = bench.envoy.admin("/config_dump?include_eds").unwrap();
    assert!(dump.contains("tidegate.api-keys"), "the dump is not the whole");
    assert!(!dump.contains(signature) && !dump.contains("tg_ey"));
}
