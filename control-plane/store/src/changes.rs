//! The wake-up: LISTEN for speed, poll for certainty. Level-triggered: what is handed on is a number that changed, never a
//! payload. It must never end while the store lives, whatever the database does.
use std::time::Duration;

use sqlx::{PgPool, postgres::PgListener};
use tokio::{
    sync::watch,
    task::AbortHandle,
    time::{Instant, sleep, timeout},
};

use crate::{Options, store::Metrics};

/// Channel of NOTIFY.
pub(crate) const CHANNEL: &str = "tidegate_changes";

const FIRST_BACKOFF: Duration = Duration::from_millis(100);
const LAST_BACKOFF: Duration = Duration::from_secs(5);

struct Watch {
    pool: PgPool,
    poll: Duration,
    listen: bool,
    metrics: Metrics,
    sender: watch::Sender<i64>,
    listener: Option<PgListener>,
    backoff: Duration,
    not_before: Instant,
}

pub(crate) fn watch(pool: PgPool, options: &Options, metrics: Metrics) -> (AbortHandle, watch::Receiver<i64>) {
    let (sender, receiver) = watch::channel(-1);
    let watch = Watch {
        pool,
        poll: options.poll_interval,
        listen: options.listen,
        metrics,
        sender,
        listener: None,
        backoff: FIRST_BACKOFF,
        not_before: Instant::now(),
    };
    (tokio::spawn(watch.run()).abort_handle(), receiver)
}

impl Watch {
    async fn run(mut self) {
        loop {
            self.keep_listening().await;
            // After LISTEN and before waiting: a change between the two is seen here.
            self.read().await;
            self.wait().await;
        }
    }

    async fn keep_listening(&mut self) {
        if !self.listen || self.listener.is_some() || Instant::now() < self.not_before {
            return;
        }
        let opened = timeout(Duration::from_secs(5), async {
            let mut listener = PgListener::connect_with(&self.pool).await?;
            listener.eager_reconnect(false);
            listener.listen(CHANNEL).await?;
            Ok::<_, sqlx::Error>(listener)
        })
        .await;
        if let Ok(Ok(listener)) = opened {
            self.listener = Some(listener);
            self.backoff = FIRST_BACKOFF;
        } else {
            self.back_off();
        }
    }

    fn back_off(&mut self) {
        self.not_before = Instant::now() + self.backoff;
        self.backoff = (self.backoff * 2).min(LAST_BACKOFF);
    }

    async fn read(&mut self) {
        let read = sqlx::query_scalar::<_, i64>("SELECT seq FROM store_changes").fetch_one(&self.pool);
        match timeout(Duration::from_secs(5), read).await {
            Ok(Ok(seq)) => {
                self.sender.send_if_modified(|old| std::mem::replace(old, seq) != seq);
            }
            Ok(Err(error)) => tracing::debug!(%error, "changes cannot be read; trying again"),
            Err(_) => tracing::debug!("changes cannot be read in time; trying again"),
        }
    }

    async fn wait(&mut self) {
        let Some(listener) = &mut self.listener else {
            let until_retry = self.not_before.saturating_duration_since(Instant::now());
            let pause = if self.listen { self.poll.min(until_retry.max(FIRST_BACKOFF)) } else { self.poll };
            sleep(pause).await;
            return;
        };
        let lost = tokio::select! {
            received = listener.try_recv() => !matches!(received, Ok(Some(_))),
            () = sleep(self.poll) => false,
        };
        if lost {
            self.metrics.reconnects.add(1, &[]);
            self.listener = None;
            self.not_before = Instant::now();
        } else {
            while listener.next_buffered().is_some() {}
        }
    }
}
