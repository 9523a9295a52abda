//! What is routed is a function of the documents and the fleet: random sequences of writes, deletions, loads, failures, crashes and
//! compiles with their status fed back. At every step no share points at nobody while anything is served, and nothing that is
//! remembered counts once nobody is on the way to anything; at the end the routes are those of a world that never had a past.
use std::collections::{BTreeMap, BTreeSet};

use proptest::{prelude::*, test_runner::RngSeed};
use serde_json::json;
use tidegate_policy::{
    compile::{CompileInput, compile},
    ports::{Everything, ObjectKey, StoredObject, VersionState},
    snapshot::Snapshot,
    validate,
};

use crate::scenario::{Worker, lease, now, stored};

const VERSIONS: [&str; 4] = ["v1", "v2", "v3", "v4"];
const POOLS: [&str; 3] = ["p0", "p1", "p2"];
const HEAD: &str = "apiVersion: tidegate.dev/v1alpha1\n";

/// One thing that happens.
#[derive(Clone, Debug)]
enum Step {
    Model(BTreeSet<usize>),
    Pool {
        pool: usize,
        versions: BTreeSet<usize>,
        replicas: u32,
    },
    NoPool(usize),
    Release {
        policy: usize,
        stable: usize,
        candidate: Option<usize>,
        weight: u32,
        rules: [bool; 2],
    },
    NoRelease(usize),
    /// The fleet driver starts and stops workers as the pools want.
    Drive,
    /// A worker takes what it was told, and begins to load and to let go.
    Hear(usize),
    /// A worker ends one load, or lets go of one version.
    Done(usize),
    Fails(usize),
    Crash(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let some = || prop::collection::btree_set(0..VERSIONS.len(), 1..=3);
    let release = (0..2_usize, 0..4_usize, prop::option::weighted(0.8, 0..4_usize), 0..3_u32, any::<[bool; 2]>());
    prop_oneof![
        1 => some().prop_map(Step::Model),
        4 => (0..3_usize, some(), 0..=2_u32).prop_map(|(pool, versions, replicas)| Step::Pool { pool, versions, replicas }),
        1 => (0..3_usize).prop_map(Step::NoPool),
        3 => release.prop_map(|(policy, stable, candidate, weight, rules)| Step::Release {
            policy, stable, candidate: candidate.filter(|c| *c != stable), weight: weight * 50, rules
        }),
        1 => (0..2_usize).prop_map(Step::NoRelease),
        4 => Just(Step::Drive),
        6 => (0..6_usize).prop_map(Step::Hear),
        8 => (0..6_usize).prop_map(Step::Done),
        1 => (0..6_usize).prop_map(Step::Fails),
        1 => (0..6_usize).prop_map(Step::Crash),
    ]
}

fn names(versions: &BTreeSet<usize>) -> Vec<&'static str> {
    versions.iter().map(|v| VERSIONS[*v]).collect()
}

fn model(versions: &BTreeSet<usize>) -> String {
    let file = format!("{{path: tokenizer.json, sha256: {}, size: 1}}", "a".repeat(64));
    let version = |v| format!("{{name: {v}, uri: 'file:chat/{v}', task: Embedding, files: [{file}]}}");
    let all: Vec<String> = names(versions).into_iter().map(version).collect();
    format!("{HEAD}kind: Model\nmetadata: {{name: chat}}\nspec: {{versions: [{}]}}\n", all.join(", "))
}

fn pool(name: &str, versions: &BTreeSet<usize>, replicas: u32) -> String {
    format!(
        "{HEAD}kind: WorkerPool\nmetadata: {{name: {name}}}\nspec: {{modelRef: {{name: chat}}, versions: [{}], replicas: {replicas}}}\n",
        names(versions).join(", ")
    )
}

fn release(policy: usize, stable: usize, candidate: Option<usize>, (weight, rules): (u32, [bool; 2])) -> String {
    let rule = |to: &str| format!("{{match: [{{type: Header, header: {{name: {to}, type: Present}}}}], to: {to}}}");
    let mut all = Vec::new();
    all.extend(rules[0].then(|| rule("Stable")));
    all.extend((rules[1] && candidate.is_some()).then(|| rule("Candidate")));
    let tail =
        candidate.map_or(String::new(), |c| format!(", candidate: {}, steps: [{{weight: {weight}}}]", VERSIONS[c]));
    format!(
        "{HEAD}kind: ReleasePolicy\nmetadata: {{name: r{policy}}}\nspec: {{targetRef: {{kind: Model, name: chat}}, stable: {}, rules: [{}]{tail}}}\n",
        VERSIONS[stable],
        all.join(", ")
    )
}

/// Documents, workers, and what was told to them last.
struct World {
    everything: Everything,
    workers: Vec<Worker>,
    told: Option<Snapshot>,
    ports: u16,
}

type Routes = Vec<(String, String, String, u32)>;

fn routes(snapshot: &Snapshot) -> Routes {
    let target = &snapshot.targets[0];
    let rules = target.rules.iter().map(|r| (r.id.clone(), r.arm.clone(), r.arm_label.clone(), 0));
    let split = target.split.intervals.iter().filter(|i| i.weight > 0);
    rules.chain(split.map(|i| (target.split.id.clone(), i.arm.clone(), i.arm_label.clone(), i.weight))).collect()
}

impl World {
    fn new() -> Self {
        let mut world = Self { everything: Everything::default(), workers: Vec::new(), told: None, ports: 1 };
        world.put(&model(&(0..4).collect()));
        world.put(&pool("p0", &[0].into(), 1));
        world
    }

    /// The same documents, of the same age, without a past.
    fn fresh(&self) -> Self {
        let mut everything = self.everything.clone();
        everything.fleet.clear();
        everything.objects.iter_mut().for_each(|o| o.status = json!(null));
        Self { everything, workers: Vec::new(), told: None, ports: 1 }
    }

    fn put(&mut self, text: &str) {
        let valid = validate::parse(text.as_bytes()).unwrap().remove(0);
        self.everything.revision += 1;
        let new = stored(&valid, self.everything.revision);
        match self.everything.objects.iter_mut().find(|o| o.key == new.key) {
            Some(old) => old.spec = new.spec,
            None => self.everything.objects.push(new),
        }
    }

    fn delete(&mut self, name: &str) {
        self.everything.objects.retain(|o| o.key.object.name != name);
    }

    fn replicas(&self, pool: &str) -> usize {
        let pool = self.everything.objects.iter().find(|o| o.key.object.name == pool);
        pool.map_or(0, |o| usize::try_from(o.spec["replicas"].as_u64().unwrap()).unwrap())
    }

    fn drive(&mut self) {
        for pool in POOLS {
            let path = format!("default/{pool}");
            let wanted = self.replicas(pool);
            let mut kept = 0;
            self.workers.retain(|w| {
                w.pool != path || {
                    kept += 1;
                    kept <= wanted
                }
            });
            for n in kept..wanted {
                self.ports += 1;
                let versions = BTreeMap::new();
                let node = format!("{pool}-{n}-{}", self.ports);
                self.workers.push(Worker {
                    node,
                    pool: path.clone(),
                    port: self.ports,
                    ready: false,
                    versions,
                    error: String::new(),
                    outdated: BTreeSet::new(),
                });
            }
        }
    }

    fn hear(&mut self, n: usize) {
        let (Some(worker), Some(told)) = (self.workers.get_mut(n), &self.told) else { return };
        let Some(plan) = told.pools.values().find(|p| p.pool.to_string() == worker.pool) else { return };
        if plan.versions.is_empty() {
            return;
        }
        let keep = |v: &str| plan.versions.iter().any(|p| p.version.name == v);
        for (name, state) in &mut worker.versions {
            match (keep(name), *state) {
                (true, VersionState::Failed) => *state = VersionState::Loading,
                (true, VersionState::Retiring) => *state = VersionState::Serving,
                (false, VersionState::Serving) => *state = VersionState::Retiring,
                (false, VersionState::Loading | VersionState::Failed) => *state = VersionState::Draining,
                (
                    _,
                    VersionState::Serving | VersionState::Loading | VersionState::Retiring | VersionState::Draining,
                ) => {}
            }
        }
        worker.versions.retain(|_, state| *state != VersionState::Draining);
        for planned in &plan.versions {
            worker.versions.entry(planned.version.name.clone()).or_insert(VersionState::Loading);
        }
    }

    /// False when there was nothing to end.
    fn ends(&mut self, n: usize, as_what: VersionState) -> bool {
        let Some(worker) = self.workers.get_mut(n) else { return false };
        let open = |s: &VersionState| matches!(s, VersionState::Loading | VersionState::Retiring);
        let Some((name, state)) = worker.versions.iter_mut().find(|(_, s)| open(s)) else { return false };
        match *state {
            VersionState::Retiring => {
                let name = name.clone();
                worker.versions.remove(&name);
            }
            _ => *state = as_what,
        }
        worker.ready = worker.versions.values().any(|s| *s == VersionState::Serving);
        true
    }

    fn happens(&mut self, step: &Step) {
        match step {
            Step::Model(versions) => self.put(&model(versions)),
            Step::Pool { pool: p, versions, replicas } => self.put(&pool(POOLS[*p], versions, *replicas)),
            Step::NoPool(p) => self.delete(POOLS[*p]),
            Step::Release { policy, stable, candidate, weight, rules } => {
                self.put(&release(*policy, *stable, *candidate, (*weight, *rules)));
            }
            Step::NoRelease(policy) => self.delete(&format!("r{policy}")),
            Step::Drive => self.drive(),
            Step::Hear(n) => self.hear(*n),
            Step::Done(n) => drop(self.ends(*n, VersionState::Serving)),
            Step::Fails(n) => drop(self.ends(*n, VersionState::Failed)),
            Step::Crash(n) => {
                if let Some(worker) = self.workers.get_mut(*n) {
                    worker.versions.clear();
                    worker.ready = false;
                }
            }
        }
    }

    /// Compiles, keeps the statuses, and tells the workers.
    fn compile(&mut self) -> &Snapshot {
        self.everything.fleet = self.workers.iter().map(lease).collect();
        let compiled = compile(&CompileInput { everything: &self.everything, now: now() });
        let status = |o: &StoredObject| serde_json::to_value(&compiled.statuses[&o.key as &ObjectKey]).unwrap();
        let statuses: Vec<_> = self.everything.objects.iter().map(status).collect();
        self.everything.objects.iter_mut().zip(statuses).for_each(|(o, s)| o.status = s);
        self.told.insert(compiled.snapshot)
    }

    /// The routes of the same documents and workers when nothing is remembered.
    fn without_memory(&self) -> Routes {
        let mut everything = self.everything.clone();
        everything.objects.iter_mut().for_each(|o| o.status = json!(null));
        routes(&compile(&CompileInput { everything: &everything, now: now() }).snapshot)
    }

    fn spec(&self, name: &str) -> Option<&serde_json::Value> {
        self.everything.objects.iter().find(|o| o.key.object.name == name).map(|o| &o.spec)
    }

    fn asked(&self, pool: &str) -> BTreeSet<String> {
        let has = |v: &str| self.spec("chat").unwrap()["versions"].as_array().unwrap().iter().any(|m| m["name"] == v);
        let spec = self.spec(pool).filter(|s| s["replicas"].as_u64() > Some(0));
        let versions = spec.and_then(|s| s["versions"].as_array()).into_iter().flatten();
        versions.filter_map(|v| v.as_str()).filter(|v| has(v)).map(str::to_owned).collect()
    }

    fn wanted(&self) -> BTreeSet<String> {
        POOLS.iter().flat_map(|p| self.asked(p)).collect()
    }

    fn served(&self) -> BTreeSet<String> {
        let ready = self.workers.iter().filter(|w| w.ready && self.spec(&w.pool["default/".len()..]).is_some());
        let serving = ready.flat_map(|w| w.versions.iter().filter(|(_, s)| **s == VersionState::Serving));
        serving.map(|(v, _)| v.clone()).collect()
    }

    /// Nobody is on the way to anything.
    fn is_still(&self) -> bool {
        let still = |w: &Worker| {
            let there = |v: &String| matches!(w.versions.get(v), Some(VersionState::Serving | VersionState::Failed));
            self.asked(&w.pool["default/".len()..]).iter().all(there)
        };
        self.workers.iter().all(still)
    }

    fn check(&mut self) -> Result<(), TestCaseError> {
        let now = routes(self.compile());
        let served = self.served();
        for (id, arm, _, _) in &now {
            let version = arm.rsplit('.').next().unwrap();
            prop_assert!(
                served.is_empty() || served.contains(version),
                "{} points at {}, served are {:?}",
                id,
                version,
                served
            );
        }
        if self.is_still() {
            prop_assert_eq!(&now, &self.without_memory(), "what is remembered counts");
        }
        prop_assert_eq!(&now, &routes(self.compile()), "a second compile changes something");
        Ok(())
    }

    /// Everything that is wanted is started and loaded.
    fn settle(&mut self) -> Result<Routes, TestCaseError> {
        for _ in 0..20 {
            self.drive();
            self.check()?;
            for n in 0..self.workers.len() {
                self.hear(n);
                while self.ends(n, VersionState::Serving) {}
            }
        }
        Ok(routes(self.compile()))
    }
}

fn history(steps: &[(Step, bool)]) -> Result<(), TestCaseError> {
    let mut world = World::new();
    world.settle()?;
    for (step, compiled) in steps {
        world.happens(step);
        if *compiled {
            world.check()?;
        }
    }
    let settled = world.settle()?;
    let wanted = world.wanted();
    if !wanted.is_empty() {
        prop_assert_eq!(&settled, &world.fresh().settle()?, "the past counts");
        for (id, arm, _, _) in &settled {
            prop_assert!(
                wanted.contains(arm.rsplit('.').next().unwrap()),
                "{} leads to {}, which nobody wants",
                id,
                arm
            );
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_024, max_shrink_iters: 5_000, rng_seed: RngSeed::Fixed(7), ..ProptestConfig::default() })]

    #[test]
    fn what_is_routed_depends_on_documents_and_fleet(steps in prop::collection::vec((step(), prop::bool::weighted(0.8)), 1..40)) {
        history(&steps)?;
    }
}
