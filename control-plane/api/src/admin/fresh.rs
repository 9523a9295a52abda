//! What the policies mean together, as of a moment after the question: one read of the store and one compile of a namespace for all who
//! ask at the same time. Without it every write of many at once would read and compile everything for itself.
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use tidegate_policy::{
    compile::{CompileInput, Compiled, compile},
    ports::{Everything, ObjectStore, StoredObject},
};
use tokio::sync::{OnceCell, Semaphore};

use super::{ApiError, documents::overlay};

/// Compiles of what is not stored (dry runs), at a time.
const TRIED_AT_ONCE: usize = 2;

/// What was, or would be, done to objects.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Change {
    Written,
    Gone,
}

/// Objects, and what compile makes of them.
pub struct Made {
    pub all: Everything,
    pub compiled: Compiled,
}

/// One read of everything, compiled by namespace when somebody asks.
struct Seen {
    all: Everything,
    made: Mutex<BTreeMap<String, Arc<OnceCell<Arc<Made>>>>>,
}

/// See the module.
pub struct Fresh {
    /// Counts questions and reads: a read with a higher number began after the question.
    clock: AtomicU64,
    waiting: AtomicUsize,
    turn: tokio::sync::Mutex<()>,
    newest: Mutex<Option<(u64, Arc<Seen>)>>,
    tried: Semaphore,
}

impl Default for Fresh {
    fn default() -> Self {
        Self {
            clock: AtomicU64::new(0),
            waiting: AtomicUsize::new(0),
            turn: tokio::sync::Mutex::default(),
            newest: Mutex::default(),
            tried: Semaphore::new(TRIED_AT_ONCE),
        }
    }
}

impl Fresh {
    /// The namespaces of `changed` as they are with the change, whether that is stored or only tried. References stay within a
    /// namespace.
    pub async fn with(
        &self,
        store: &Arc<dyn ObjectStore>,
        changed: &[StoredObject],
        change: Change,
    ) -> Result<Arc<Made>, ApiError> {
        let _waiting = Waiting::new(self);
        let seen = self.seen(store).await?;
        let namespaces: BTreeSet<String> = changed.iter().map(|o| o.key.object.namespace.clone()).collect();
        if let [only] = namespaces.iter().collect::<Vec<_>>()[..]
            && changed.iter().all(|object| seen.shows(object, change))
        {
            return seen.made(only).await;
        }
        let _place = self.tried.acquire().await.map_err(|_| ApiError::Internal)?;
        let changed = changed.to_vec();
        make(move || {
            let mut all = within(&seen.all, &namespaces);
            match change {
                Change::Written => overlay(&mut all, &changed),
                Change::Gone => all.objects.retain(|o| changed.iter().all(|gone| gone.key != o.key)),
            }
            all
        })
        .await
    }

    /// Some of the stored objects, as they are now.
    pub async fn objects(
        &self,
        store: &Arc<dyn ObjectStore>,
        which: impl Fn(&StoredObject) -> bool + Send,
    ) -> Result<Vec<StoredObject>, ApiError> {
        let _waiting = Waiting::new(self);
        let seen = self.seen(store).await?;
        Ok(seen.all.objects.iter().filter(|object| which(object)).cloned().collect())
    }

    async fn seen(&self, store: &Arc<dyn ObjectStore>) -> Result<Arc<Seen>, ApiError> {
        let asked = self.clock.fetch_add(1, Ordering::SeqCst);
        let _turn = self.turn.lock().await;
        if let Some((_, seen)) = self.newest().as_ref().filter(|(began, _)| *began > asked) {
            return Ok(Arc::clone(seen));
        }
        let began = self.clock.fetch_add(1, Ordering::SeqCst);
        let seen = Arc::new(Seen { all: store.read_all().await?, made: Mutex::default() });
        *self.newest() = Some((began, Arc::clone(&seen)));
        Ok(seen)
    }

    fn newest(&self) -> std::sync::MutexGuard<'_, Option<(u64, Arc<Seen>)>> {
        self.newest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seen {
    /// Whether the change is in what was read. A dry run names the revision that is stored, and a spec that is not.
    fn shows(&self, object: &StoredObject, change: Change) -> bool {
        let stored = self.all.objects.iter().find(|stored| stored.key == object.key);
        match change {
            Change::Written => stored.is_some_and(|s| s.revision == object.revision && s.spec == object.spec),
            Change::Gone => stored.is_none(),
        }
    }

    async fn made(self: &Arc<Self>, namespace: &str) -> Result<Arc<Made>, ApiError> {
        let cell = {
            let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(made.entry(namespace.to_owned()).or_default())
        };
        let (seen, namespaces) = (Arc::clone(self), BTreeSet::from([namespace.to_owned()]));
        cell.get_or_try_init(|| make(move || within(&seen.all, &namespaces))).await.cloned()
    }
}

/// A copy of some namespaces.
fn within(all: &Everything, namespaces: &BTreeSet<String>) -> Everything {
    let objects = all.objects.iter().filter(|o| namespaces.contains(&o.key.object.namespace));
    let fleet = all.fleet.iter().filter(|worker| namespaces.contains(&worker.pool.namespace));
    Everything {
        revision: all.revision,
        objects: objects.cloned().collect(),
        fleet: fleet.cloned().collect(),
        api_keys: all.api_keys.clone(),
        node_tokens: all.node_tokens.clone(),
        admin_tokens: Vec::new(),
    }
}

/// On a thread that answers nobody: this takes as long as there are objects.
async fn make(all: impl FnOnce() -> Everything + Send + 'static) -> Result<Arc<Made>, ApiError> {
    let made = tokio::task::spawn_blocking(move || {
        let all = all();
        let compiled = compile(&CompileInput { everything: &all, now: chrono::Utc::now() });
        Arc::new(Made { all, compiled })
    });
    made.await.map_err(|_| ApiError::Internal)
}

/// Somebody who asks; with the last one what was read is forgotten, which may be large.
struct Waiting<'a>(&'a Fresh);

impl<'a> Waiting<'a> {
    fn new(fresh: &'a Fresh) -> Self {
        fresh.waiting.fetch_add(1, Ordering::SeqCst);
        Self(fresh)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if self.0.waiting.fetch_sub(1, Ordering::SeqCst) == 1 {
            *self.0.newest() = None;
        }
    }
}
