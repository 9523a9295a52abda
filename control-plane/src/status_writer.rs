//! Writes what the system says about each object into its `status`: compile's conditions, and `Programmed` from the nodes'
//! answers. Only differences are written; it never touches a spec and decides nothing.
use std::{collections::BTreeMap, sync::Arc, time::Duration};

use chrono::Utc;
use tidegate_api::nodes::{NodeRegistry, Progress};
use tidegate_policy::{
    kinds::Kind,
    ports::{ObjectKey, ObjectStore as _},
    snapshot::{ObjectRef, Snapshot},
    status::{ACCEPTED, Condition, ConditionStatus, ObjectStatus, PROGRAMMED},
};
use tidegate_store::PgStore;
use tidegate_xds::Hub;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::compile_loop::{CompileLoop, GATEWAY_GROUP, Published};

/// ACKs come in bursts: they are taken together.
const GATHER: Duration = Duration::from_millis(50);
/// After a failed write everything is compared again this much later.
const RETRY: Duration = Duration::from_secs(1);

/// See the module.
pub struct StatusWriter {
    store: PgStore,
    nodes: Arc<NodeRegistry>,
    hub: watch::Receiver<Arc<Hub>>,
    /// By object: the generation of its spec that was published last, and at which sequence number of each group.
    served_since: BTreeMap<ObjectKey, (i64, BTreeMap<String, u64>)>,
}

impl StatusWriter {
    pub fn new(store: PgStore, nodes: Arc<NodeRegistry>, hub: watch::Receiver<Arc<Hub>>) -> Self {
        Self { store, nodes, hub, served_since: BTreeMap::new() }
    }

    /// Runs until cancelled.
    pub async fn run(mut self, mut published: watch::Receiver<Option<Published>>, stop: CancellationToken) {
        let mut answers = self.nodes.subscribe();
        let mut retry = false;
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                changed = published.changed() => if changed.is_err() { return },
                changed = answers.changed() => if changed.is_err() { return },
                () = tokio::time::sleep(RETRY), if retry => {}
            }
            tokio::time::sleep(GATHER).await;
            let now = published.borrow_and_update().clone();
            answers.borrow_and_update();
            if let Some(now) = now {
                retry = !self.write(&now).await;
            }
        }
    }

    /// False when a write failed.
    async fn write(&mut self, published: &Published) -> bool {
        let mut complete = true;
        for object in published.objects.iter() {
            let Some(made) = published.compiled.statuses.get(&object.key) else { continue };
            let mut status = made.clone();
            let condition = self.programmed(&object.key, object.generation, (&published.compiled.snapshot, made));
            // The transition time is that of the stored condition, unless its status changes now.
            if let Some(old) = ObjectStatus::from_value(&object.status).condition(PROGRAMMED) {
                status.set(old.clone());
            }
            status.set(condition);
            let Ok(value) = serde_json::to_value(&status) else { continue };
            if value == object.status {
                continue;
            }
            if let Err(error) = self.store.put_status(&object.key, object.uid, value).await {
                tracing::debug!(%error, "a status could not be written");
                complete = false;
            }
        }
        self.served_since.retain(|key, _| published.compiled.statuses.contains_key(key));
        complete
    }

    fn programmed(
        &mut self,
        key: &ObjectKey,
        generation: i64,
        (snapshot, made): (&Snapshot, &ObjectStatus),
    ) -> Condition {
        let condition = |status, reason: &str, message: String| Condition {
            condition_type: PROGRAMMED.to_owned(),
            status,
            reason: reason.to_owned(),
            message,
            observed_generation: generation,
            last_transition_time: Utc::now(),
        };
        if made.condition(ACCEPTED).is_none_or(|c| c.status != ConditionStatus::True) {
            return condition(ConditionStatus::False, "NotAccepted", "nothing of it is served".to_owned());
        }
        let hub = self.hub.borrow().clone();
        let groups = groups(key, snapshot);
        let (known, since) = self.served_since.entry(key.clone()).or_insert_with(|| (generation, BTreeMap::new()));
        if *known != generation {
            (*known, *since) = (generation, BTreeMap::new());
        }
        let mut all = Progress::default();
        for group in groups {
            let from = *since.entry(group.clone()).or_insert_with(|| hub.group(&group).seq());
            let progress = self.nodes.progress(&group, from);
            all.acked.extend(progress.acked);
            all.pending.extend(progress.pending);
            all.refused.extend(progress.refused);
        }
        verdict(&all, condition)
    }
}

fn verdict(all: &Progress, condition: impl Fn(ConditionStatus, &str, String) -> Condition) -> Condition {
    if let Some((node, refused)) = all.refused.first() {
        let more = all.refused.len() - 1;
        let message = format!("{node} refuses {} {:?}: {}; {more} more", refused.type_url, refused.name, refused.error);
        return condition(ConditionStatus::False, "Refused", message);
    }
    if !all.pending.is_empty() {
        let message = format!("{} of {} nodes have it", all.acked.len(), all.acked.len() + all.pending.len());
        return condition(ConditionStatus::False, "Pending", message);
    }
    if all.acked.is_empty() {
        return condition(ConditionStatus::False, "NoNodes", "no node that needs it is connected".to_owned());
    }
    condition(ConditionStatus::True, "Programmed", format!("all {} nodes that need it have it", all.acked.len()))
}

/// The node groups that an object matters to.
fn groups(key: &ObjectKey, snapshot: &Snapshot) -> Vec<String> {
    let of_model = |model: &ObjectRef| -> Vec<String> {
        let pools = snapshot.pools.values().filter(|plan| plan.model == *model);
        pools.map(|plan| CompileLoop::worker_group(&plan.pool)).collect()
    };
    let gateway = || vec![GATEWAY_GROUP.to_owned()];
    match key.kind {
        Kind::Model => [gateway(), of_model(&key.object)].concat(),
        Kind::WorkerPool => vec![CompileLoop::worker_group(&key.object)],
        Kind::ReleasePolicy => gateway(),
        Kind::RateLimitPolicy => {
            let prefix = format!("{}/{}/", key.object.namespace, key.object.name);
            let concerned = snapshot.pools.values().filter(|p| p.limits.iter().any(|id| id.starts_with(&prefix)));
            [gateway(), concerned.map(|plan| CompileLoop::worker_group(&plan.pool)).collect()].concat()
        }
    }
}
