//! `explain` and real Envoy give the same answer for the same request, byte for byte; and both give the answer of the documented
//! order of precedence, which is written here a second time. Seeded: a failure names the request and comes again.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod policies;
mod precedence;
mod refusals;
mod requests;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use policies::World;
use requests::Request;
use system_tests::{
    envoy_files::{EchoOrigin, EnvoyFiles, RawClient, Response, write},
    ports,
};
use tidegate_policy::{
    explain::{ExplainHeader, ExplainRequest, Explanation, GatewayFacts, explain},
    snapshot::Snapshot,
};
use tidegate_translate::{GatewaySettings, files, gateway};

/// Policy sets per Envoy; there is one Envoy with bucket conditions (a matcher tree) and one without (a list of routes).
const SETS: usize = 160;
/// Requests per Envoy.
const REQUESTS: usize = 6_000;
const THREADS: usize = 4;
/// Each kind of condition must have held, and failed, at least this often.
const LEAST: usize = 100;

/// A gateway that takes requests without a key.
const OPEN: GatewayFacts = GatewayFacts { require_api_key: false };

type Counts = BTreeMap<String, usize>;

#[test]
fn explain_and_envoy_agree_on_random_requests_over_random_policies() {
    let mut counts = Counts::new();
    for (seed, buckets) in [(1, false), (2, true)] {
        let origins = [EchoOrigin::start().unwrap(), EchoOrigin::start().unwrap()];
        let world = Arc::new(World::random(seed, SETS, buckets, [origins[0].address, origins[1].address]));
        assert_eq!(world.snapshot.targets.len(), SETS);
        let gateway = Gateway::start(&world.snapshot);
        let seen = Arc::new(Mutex::new(Counts::new()));
        let threads: Vec<_> = (0..THREADS)
            .map(|thread| {
                let (world, seen, to) = (world.clone(), seen.clone(), gateway.listen);
                std::thread::spawn(move || {
                    let mut client = RawClient::new(to);
                    let mut counts = Counts::new();
                    for request in Request::random(&world, seed * 100 + thread as u64, REQUESTS / THREADS) {
                        let answer = client.send(&request.bytes(&world)).unwrap();
                        if let Err(why) = agree(&world, &world.snapshot, &request, &answer) {
                            panic!("{why}\nrequest: {request:?}\n{}", world.describe(&request.model));
                        }
                        request.count(&world, &answer, &mut counts);
                    }
                    let mut all = seen.lock().unwrap();
                    counts.into_iter().for_each(|(what, n)| *all.entry(what).or_default() += n);
                })
            })
            .collect();
        threads.into_iter().for_each(|t| t.join().unwrap());
        gateway.envoy.assert_nothing_rejected().unwrap();
        seen.lock().unwrap().iter().for_each(|(what, n)| *counts.entry(what.clone()).or_default() += n);
    }
    for what in requests::MUST_HAPPEN {
        let n = counts.get(*what).copied().unwrap_or(0);
        assert!(n >= LEAST, "`{what}` happened only {n} times: {counts:#?}");
    }
}

#[test]
fn two_rules_in_the_wrong_order_are_noticed() {
    let origins = [EchoOrigin::start().unwrap(), EchoOrigin::start().unwrap()];
    let world = World::random(3, 20, false, [origins[0].address, origins[1].address]);
    let all = Request::random(&world, 300, 2_000);
    let (request, first, second) = all.iter().find_map(|r| two_matching_rules(&world, r)).unwrap();
    let mut wrong = world.snapshot.clone();
    let target = wrong.targets.iter_mut().find(|t| t.model_id == request.model).unwrap();
    target.rules.swap(first, second);
    let right = Gateway::start(&world.snapshot);
    let swapped = Gateway::start(&wrong);
    let ask = |g: &Gateway| RawClient::new(g.listen).send(&request.bytes(&world)).unwrap();
    agree(&world, &world.snapshot, request, &ask(&right)).unwrap();
    // Envoy with the wrong order against explain with the right one, and both wrong against the documented order.
    assert!(agree(&world, &world.snapshot, request, &ask(&swapped)).is_err());
    assert!(agree(&world, &wrong, request, &ask(&swapped)).is_err());
}

fn two_matching_rules<'a>(world: &World, request: &'a Request) -> Option<(&'a Request, usize, usize)> {
    let target = world.target(&request.model);
    let headers = request.lower_case();
    let holds =
        |rule: &tidegate_policy::snapshot::Rule| rule.conditions.iter().all(|c| c.holds(&request.view(&headers)));
    let mut matching = target.rules.iter().enumerate().filter(|(_, r)| holds(r)).map(|(i, _)| i);
    Some((request, matching.next()?, matching.next()?))
}

struct Gateway {
    envoy: EnvoyFiles,
    listen: std::net::SocketAddr,
}

impl Gateway {
    fn start(snapshot: &Snapshot) -> Self {
        Self::start_with(snapshot, OPEN)
    }

    fn start_with(snapshot: &Snapshot, facts: GatewayFacts) -> Self {
        let listen = ports::free().unwrap();
        let settings = GatewaySettings { listen, require_api_key: facts.require_api_key, ..GatewaySettings::default() };
        let dir = EnvoyFiles::prepare().unwrap();
        write(dir.path(), &files::files(&gateway(snapshot, &settings), dir.path()).unwrap()).unwrap();
        let bootstrap = files::file_bootstrap(dir.path(), &dir.path().join("admin.sock"));
        let envoy = EnvoyFiles::start(dir, &bootstrap).unwrap();
        envoy.assert_nothing_rejected().unwrap();
        Self { envoy, listen }
    }
}

/// What Envoy answered, what explain says of `snapshot`, and what the documented order says.
fn agree(world: &World, snapshot: &Snapshot, request: &Request, answer: &Response) -> Result<(), String> {
    let explained = explain(snapshot, OPEN, &question(request));
    if answer.status != 200 {
        return Err(format!("Envoy answered {}: {}", answer.status, answer.text()));
    }
    same("status", "200", &explained.verdict.status.to_string())?;
    let decider = explained.decided_by.as_ref().ok_or("explain found no decider")?;
    same("rule", answer.header("x-tidegate-rule"), &decider.id)?;
    same("generation", answer.header("x-tidegate-generation"), &decider.generation.to_string())?;
    let expected = precedence::winner(world, request).unwrap_or_else(|| world.target(&request.model).split.id.clone());
    same("rule by the documented order", &decider.id, &expected)?;
    arm(world, &explained, answer)
}

fn arm(world: &World, explained: &Explanation, answer: &Response) -> Result<(), String> {
    let port: u16 = answer.header("x-echo-port").parse().map_err(|_| "the origin was not reached")?;
    let version = world.version_at(port);
    let echoed = answer.text();
    if !echoed.contains(&format!("x-tidegate-model-version: {version}\r\n")) {
        return Err(format!("the origin of {version} was told another version: {echoed}"));
    }
    if explained.random {
        let possible = explained
            .shares
            .iter()
            .any(|s| s.weight > 0 && s.version == version && s.arm == answer.header("x-tidegate-arm"));
        return if possible { Ok(()) } else { Err(format!("{version} is none of the shares {:?}", explained.shares)) };
    }
    same("arm", answer.header("x-tidegate-arm"), explained.arm.as_deref().unwrap_or("none"))?;
    same("version", version, explained.version.as_deref().unwrap_or("none"))
}

fn same(what: &str, envoy: &str, explained: &str) -> Result<(), String> {
    if envoy == explained { Ok(()) } else { Err(format!("{what}: Envoy says {envoy}, explain says {explained}")) }
}

fn question(request: &Request) -> ExplainRequest {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    let headers = request.headers.iter().map(|(name, value)| ExplainHeader {
        name: name.clone(),
        value: None,
        value_base64: Some(STANDARD.encode(value)),
    });
    ExplainRequest {
        model: request.model.clone(),
        path: None,
        headers: headers.collect(),
        tenant: request.tenant.map(str::to_owned),
    }
}
