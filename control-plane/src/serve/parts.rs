//! The parts of the process, as tasks. Each runs until it is told to stop; the first that ends by itself ends them all, and the
//! process with an error, so that whoever supervises it starts it anew. It knows nothing of what a part does.
use std::{collections::HashMap, future::Future, time::Duration};

use anyhow::{Result, anyhow};
use tokio::{
    sync::watch,
    task::{Id, JoinError, JoinSet},
};
use tokio_util::sync::CancellationToken;

/// See the module.
pub(super) struct Parts {
    tasks: JoinSet<Result<()>>,
    names: HashMap<Id, &'static str>,
    stop: CancellationToken,
    drain: watch::Sender<bool>,
}

type Ended = Result<(Id, Result<()>), JoinError>;

impl Parts {
    /// `stop` and `drain` are what the parts listen to.
    pub fn new(stop: CancellationToken, drain: watch::Sender<bool>) -> Self {
        Self { tasks: JoinSet::new(), names: HashMap::new(), stop, drain }
    }

    /// Starts a part.
    pub fn add(&mut self, name: &'static str, part: impl Future<Output = Result<()>> + Send + 'static) {
        let task = self.tasks.spawn(part);
        self.names.insert(task.id(), name);
    }

    /// Runs until the signal, or until a part ends; then tells all to stop and waits for them, at most `limit`: open requests
    /// are answered and open streams are told why they end.
    ///
    /// # Errors
    /// When a part ended by itself, or the signal cannot be waited for.
    pub async fn run(mut self, signal: impl Future<Output = Result<()>>, limit: Duration) -> Result<()> {
        // A part that breaks may take others with it, quietly: the first that says why is the one to name.
        let mut only_quiet = false;
        let mut ended = tokio::select! {
            Some(ended) = self.tasks.join_next_with_id() => {
                only_quiet = quiet(&ended);
                Err(self.failure(ended))
            }
            signal = signal => signal,
        };
        self.stop.cancel();
        self.drain.send_replace(true);
        let all = async {
            while let Some(next) = self.tasks.join_next_with_id().await {
                if quiet(&next) {
                    continue;
                }
                let failure = self.failure(next);
                if std::mem::take(&mut only_quiet) {
                    ended = Err(failure);
                } else {
                    tracing::warn!("{failure:#}");
                }
            }
        };
        if tokio::time::timeout(limit, all).await.is_err() {
            tracing::warn!(left = self.tasks.len(), "not every part ended in time");
        }
        ended
    }

    fn failure(&self, ended: Ended) -> anyhow::Error {
        let id = match &ended {
            Ok((id, _)) => *id,
            Err(error) => error.id(),
        };
        let name = self.names.get(&id).copied().unwrap_or("a part");
        match ended {
            Ok((_, Ok(()))) => anyhow!("{name} ended by itself"),
            Ok((_, Err(error))) => error.context(format!("{name} ended")),
            Err(error) => anyhow::Error::new(error).context(format!("{name} ended")),
        }
    }
}

fn quiet(ended: &Ended) -> bool {
    matches!(ended, Ok((_, Ok(()))))
}

#[cfg(test)]
mod tests {
    //! Who is waited for, and what ends the process.
    use std::sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    };

    use super::*;

    struct Scene {
        parts: Parts,
        stop: CancellationToken,
        drain: watch::Receiver<bool>,
        finished: Arc<AtomicBool>,
    }

    /// With one part that answers what is open before it ends, once it is told to stop and to drain.
    fn scene() -> Scene {
        let (stop, finished) = (CancellationToken::new(), Arc::new(AtomicBool::new(false)));
        let (sender, drain) = watch::channel(false);
        let mut parts = Parts::new(stop.clone(), sender);
        let (told, mut draining, done) = (stop.clone(), drain.clone(), finished.clone());
        parts.add("the server", async move {
            told.cancelled().await;
            draining.wait_for(|drain| *drain).await?;
            tokio::task::yield_now().await;
            done.store(true, Ordering::SeqCst);
            Ok(())
        });
        Scene { parts, stop, drain, finished }
    }

    const LIMIT: Duration = Duration::from_secs(10);

    #[tokio::test]
    async fn after_the_signal_every_part_may_finish() {
        let scene = scene();
        scene.parts.run(async { Ok(()) }, LIMIT).await.unwrap();
        assert!(scene.finished.load(Ordering::SeqCst), "the server was dropped, not waited for");
        assert!(scene.stop.is_cancelled() && *scene.drain.borrow());
    }

    #[tokio::test]
    async fn a_part_that_ends_or_breaks_ends_all_with_an_error() {
        type Part = std::pin::Pin<Box<dyn Future<Output = Result<()>> + Send>>;
        let quiet: Part = Box::pin(async { Ok(()) });
        let broken: Part = Box::pin(async { Err(anyhow!("no more sockets")) });
        let panics: Part = Box::pin(async { panic!("a bug") });
        for (part, says) in
            [(quiet, "the loop ended by itself"), (broken, "the loop ended: no more sockets"), (panics, "a bug")]
        {
            let mut scene = scene();
            scene.parts.add("the loop", part);
            let error = scene.parts.run(std::future::pending(), LIMIT).await.unwrap_err();
            let text = format!("{error:#}");
            assert!(text.starts_with("the loop ended") && text.contains(says), "{text}");
            assert!(scene.finished.load(Ordering::SeqCst), "the others are stopped in order");
        }
    }

    #[tokio::test]
    async fn the_part_that_broke_is_named_and_not_one_that_it_took_along() {
        let mut scene = scene();
        let stop = scene.stop.clone();
        scene.parts.add("the follower", async { Ok(()) });
        scene.parts.add("the loop", async move {
            stop.cancelled().await;
            Err(anyhow!("the bug"))
        });
        let error = scene.parts.run(std::future::pending(), LIMIT).await.unwrap_err();
        assert_eq!(format!("{error:#}"), "the loop ended: the bug");
    }

    #[tokio::test]
    async fn a_part_that_does_not_stop_is_not_waited_for_longer_than_the_limit() {
        let mut scene = scene();
        scene.parts.add("the stubborn", std::future::pending());
        scene.parts.run(async { Ok(()) }, Duration::from_millis(50)).await.unwrap();
        assert!(scene.finished.load(Ordering::SeqCst));
    }
}
