//! What keeps workers from being there although their pool asks for them: streams that are turned away, processes that do not run,
//! a pool beyond `--max-workers`. Pure: it puts into words what the registry and the supervisor say.
use std::collections::{BTreeMap, BTreeSet};

use tidegate_api::nodes::{NodeRefusal, NodeStatus};
use tidegate_policy::{
    kinds::Kind,
    ports::{NodeIdentity, NodeRole, ObjectKey},
    snapshot::ObjectRef,
    status::{ConditionStatus, MAX_REASONS, ObjectStatus, READY, Workers},
};

use super::needs::Needs;
use crate::fleet_driver::{Process, Processes};

/// Causes that one message names.
const MAX_CAUSES: usize = 3;

/// One cause.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Trouble {
    pub reason: &'static str,
    pub text: String,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Troubles {
    /// By "<namespace>/<pool>".
    by_pool: BTreeMap<String, Vec<Trouble>>,
    /// Why gateways are turned away.
    pub gateways: Vec<String>,
    /// The supervisor does not do as it is told.
    supervisor: Option<String>,
}

impl Troubles {
    /// From who is turned away, who is here, and what runs.
    pub fn new(refusals: Vec<(NodeIdentity, NodeRefusal)>, here: &[NodeStatus], processes: &Processes) -> Self {
        let mut troubles = Self { supervisor: processes.error.clone(), ..Self::default() };
        for (pool, count) in &processes.beyond {
            let text = format!(
                "{count} of its workers {} not started: the pools ask for more than --max-workers, which is {}",
                if *count == 1 { "is" } else { "are" },
                processes.max_workers
            );
            troubles.add(pool, "MaxWorkers", text);
        }
        for (identity, refusal) in refusals {
            let text = format!("{} is refused: {}", identity.node_id, refusal.text());
            match identity.role {
                NodeRole::Gateway => troubles.gateways.push(text),
                NodeRole::Worker { pool } => troubles.add(&pool, "Refused", text),
            }
        }
        let reports = |node: &&NodeStatus| node.worker.as_ref().is_some_and(|worker| worker.connected);
        let reporting: BTreeSet<&str> = here.iter().filter(reports).map(|node| node.node_id.as_str()).collect();
        for process in &processes.workers {
            if let Some((reason, text)) = off(process, reporting.contains(process.node_id.as_str())) {
                troubles.add(&process.pool, reason, text);
            }
        }
        troubles
    }

    fn add(&mut self, pool: &str, reason: &'static str, text: String) {
        self.by_pool.entry(pool.to_owned()).or_default().push(Trouble { reason, text });
    }

    /// Of a pool.
    fn of_pool(&self, pool: &ObjectRef) -> Vec<Trouble> {
        let supervisor = self.supervisor.iter().map(|error| Trouble {
            reason: "NotStarted",
            text: format!("the supervisor does not run what it should: {error}"),
        });
        self.by_pool.get(&pool.to_string()).into_iter().flatten().cloned().chain(supervisor).collect()
    }

    /// Adds to what compile made what it cannot know: why an object that is not ready is not.
    pub fn add_to(&self, made: &mut ObjectStatus, key: &ObjectKey, needs: &Needs<'_>) {
        let pools: Vec<ObjectRef> = match key.kind {
            Kind::WorkerPool => vec![key.object.clone()],
            Kind::Model | Kind::ReleasePolicy => needs.pools_behind(key),
            Kind::RateLimitPolicy => return,
        };
        let troubles: Vec<Trouble> = pools.iter().flat_map(|pool| self.of_pool(pool)).collect();
        let [first, ..] = troubles.as_slice() else { return };
        if let Some(Workers { reasons, .. }) = &mut made.workers {
            reasons.extend(troubles.iter().map(|trouble| trouble.text.clone()));
            reasons.truncate(MAX_REASONS);
        }
        let Some(ready) = made.conditions.iter_mut().find(|c| c.condition_type == READY) else { return };
        if ready.status != ConditionStatus::False {
            return;
        }
        if key.kind == Kind::WorkerPool && ready.reason == "WorkersMissing" {
            first.reason.clone_into(&mut ready.reason);
        }
        let texts: Vec<&str> = troubles.iter().take(MAX_CAUSES).map(|trouble| trouble.text.as_str()).collect();
        ready.message = format!("{}; {}", ready.message, texts.join("; "));
    }
}

/// Why a process is of no use to its pool.
fn off(process: &Process, reports: bool) -> Option<(&'static str, String)> {
    let Process { name, node_id, .. } = process;
    let status = process.last_exit.map_or_else(String::new, |code| format!(" with status {code}"));
    let log = format!("see logs/{name}.log");
    let not_started = |text: String| Some(("NotStarted", text));
    match process.state.as_str() {
        "NoProgram" => not_started(format!("{node_id}: tidegate-worker or libonnxruntime.so was not found")),
        "BackingOff" => not_started(format!("{node_id} ended{status} and is started again soon; {log}")),
        "Running" if process.failures > 1 && !reports => {
            not_started(format!("{node_id} ended{status} {} times in a row; {log}", process.failures))
        }
        // As each worker does until its first report.
        "Running" if !reports => Some(("WorkersMissing", format!("{node_id} runs and reports nothing; {log}"))),
        _ => None,
    }
}
