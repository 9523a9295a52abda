//! Tells the control plane what this worker does: the whole state, at once after every change and at least every interval.
//! Comes back by itself; nothing on the data path waits for it.
use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use tidegate_proto::{
    contract::AUTHORIZATION,
    fleet::{Directive, Load, State, VersionReport, VersionState, WorkerReport, fleet_client::FleetClient},
};
use tidegate_xds_client::NodeToken;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Request, Status, transport::Endpoint};

use crate::{
    api::App,
    drain::Phase,
    hotswap::{
        plan::VersionKey,
        report::{Phase as VersionPhase, VersionStatus},
        table::Table,
    },
};

/// Until the control plane says otherwise.
const INTERVAL: Duration = Duration::from_secs(2);
const FIRST_WAIT: Duration = Duration::from_millis(200);
const LONGEST_WAIT: Duration = Duration::from_secs(5);
/// While the control plane is away: with what chance adds, a worker is back within a second of it.
const LONGEST_AWAY: Duration = Duration::from_millis(660);
/// A stream that stood this long was not refused: the next failure begins with a short wait, and is told.
const STANDS: Duration = LONGEST_WAIT;
const REPORTS: usize = 8;

/// Everything that a report is made of.
pub struct Reporter {
    pub control_plane: Endpoint,
    pub token: NodeToken,
    pub node_id: String,
    pub pool: String,
    pub address: String,
    pub incarnation: String,
    pub app: Arc<App>,
    pub versions: watch::Receiver<Vec<VersionStatus>>,
    /// Set when the control plane asks this worker to leave.
    pub leave: watch::Sender<bool>,
}

impl Reporter {
    /// Reports until the process ends.
    pub async fn run(mut self) {
        let mut comebacks = Comebacks::default();
        loop {
            let mut opened = None;
            let status =
                self.converse(&mut opened).await.err().unwrap_or_else(|| Status::unavailable("the stream ended"));
            if opened.is_some() {
                self.app.metrics.connected("fleet", false);
            }
            let (wait, news) = comebacks.after(opened.map(|at| at.elapsed()), &status);
            if news {
                tracing::warn!(code = ?status.code(), reason = status.message(), "the control plane refuses this worker's reports: it gets no requests until that is mended");
            } else {
                tracing::debug!(code = ?status.code(), reason = status.message(), "the fleet stream ended");
            }
            // Up to half more at random, so that a fleet does not come back as one.
            let spread = u64::from(uuid::Uuid::new_v4().as_bytes()[0]) * wait.as_micros() as u64 / 512;
            tokio::time::sleep(wait + Duration::from_micros(spread)).await;
        }
    }

    /// One stream. `opened`: when the control plane answered on it.
    async fn converse(&mut self, opened: &mut Option<Instant>) -> Result<(), Status> {
        let channel = self.control_plane.connect().await.map_err(|e| Status::unavailable(e.to_string()))?;
        let (reports, outbound) = mpsc::channel(REPORTS);
        let mut phase = self.app.phases.watch();
        let gone = |_| Status::unavailable("the stream was closed");
        reports.send(self.report()).await.map_err(gone)?;
        let mut request = Request::new(ReceiverStream::new(outbound));
        let bearer = self.token.authorization().map_err(|error| Status::unauthenticated(error.to_string()))?;
        request.metadata_mut().insert(AUTHORIZATION, bearer);
        let mut directives = FleetClient::new(channel).report(request).await?.into_inner();
        *opened = Some(Instant::now());
        self.app.metrics.connected("fleet", true);
        let mut interval = INTERVAL;
        loop {
            tokio::select! {
                directive = directives.message() => match directive? {
                    Some(directive) => interval = self.obey(&directive, interval),
                    None => return Ok(()),
                },
                changed = self.versions.changed() => {
                    changed.map_err(|_| Status::cancelled("the worker ends"))?;
                    reports.send(self.report()).await.map_err(gone)?;
                }
                changed = phase.changed() => {
                    changed.map_err(|_| Status::cancelled("the worker ends"))?;
                    reports.send(self.report()).await.map_err(gone)?;
                }
                () = self.app.stuck_changed.notified() => reports.send(self.report()).await.map_err(gone)?,
                () = tokio::time::sleep(interval) => reports.send(self.report()).await.map_err(gone)?,
            }
        }
    }

    fn obey(&self, directive: &Directive, old: Duration) -> Duration {
        if directive.drain {
            self.leave.send_replace(true);
        }
        match directive.report_interval_ms {
            0 => old,
            ms => Duration::from_millis(u64::from(ms).clamp(100, 60_000)),
        }
    }

    fn report(&mut self) -> WorkerReport {
        let versions = self.versions.borrow_and_update().clone();
        let table = self.app.table.load();
        let state = match self.app.phases.now() {
            Phase::Settling | Phase::Draining => State::Draining,
            Phase::Running if self.app.is_ready() => State::Ready,
            Phase::Running => State::Starting,
        };
        WorkerReport {
            node_id: self.node_id.clone(),
            incarnation: self.incarnation.clone(),
            pool: self.pool.clone(),
            address: self.address.clone(),
            state: state.into(),
            versions: versions.into_iter().map(|status| version(status, &table)).collect(),
            load: Some(self.load()),
            labels: Default::default(),
            build: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }

    fn load(&self) -> Load {
        let (running, waiting) = rows(&self.app);
        let totals = &self.app.totals;
        Load {
            running,
            waiting,
            requests_total: totals.requests.load(Ordering::Relaxed),
            rejected_total: totals.rejected.load(Ordering::Relaxed),
        }
    }
}

/// How long to wait before the next stream, and whether the end of the last one is worth a word: an answer alone is no success,
/// for a refusal is one too.
#[derive(Debug)]
struct Comebacks {
    wait: Duration,
    /// The refusal that was told.
    told: Option<String>,
}

impl Default for Comebacks {
    fn default() -> Self {
        Self { wait: FIRST_WAIT, told: None }
    }
}

impl Comebacks {
    /// The stream stood for so long (None: it did not open), and ended like this.
    fn after(&mut self, stood: Option<Duration>, status: &Status) -> (Duration, bool) {
        if stood.is_some_and(|stood| stood >= STANDS) {
            *self = Self::default();
        }
        // That the control plane is away is told where its configuration comes from.
        let refusal = !matches!(status.code(), Code::Unavailable | Code::Cancelled | Code::Unknown | Code::Ok);
        let wait = if refusal { self.wait } else { self.wait.min(LONGEST_AWAY) };
        self.wait = (self.wait * 2).min(LONGEST_WAIT);
        let news = refusal && self.told.as_deref() != Some(status.message());
        if news {
            self.told = Some(status.message().to_owned());
        }
        (wait, news)
    }
}

/// Requests running and waiting, over all versions that answer.
pub fn rows(app: &App) -> (u32, u32) {
    let table = app.table.load();
    let running: u32 = table.versions.iter().map(|v| v.lane.stats.running.load(Ordering::Relaxed)).sum();
    let inside = u32::try_from(app.queue.inside()).unwrap_or(u32::MAX);
    (running, inside.saturating_sub(running))
}

/// The error of a version whose engine call cannot be stopped.
const STUCK: &str =
    "TG-2222: an engine call runs on although it was told to stop; the version takes no requests until it ends";

/// A version whose lane is stuck counts as failed, so that requests go elsewhere; it serves again when the call has ended.
fn version(status: VersionStatus, table: &Table) -> VersionReport {
    if is_stuck(&status, table) {
        let (state, error) = (VersionState::Failed.into(), STUCK.to_owned());
        return VersionReport { name: status.name, state, digest: status.digest, error, outdated: false };
    }
    let state = match status.phase {
        VersionPhase::Loading => VersionState::Loading,
        VersionPhase::Serving => VersionState::Serving,
        VersionPhase::Retiring => VersionState::Retiring,
        VersionPhase::Draining => VersionState::Draining,
        VersionPhase::Failed => VersionState::Failed,
    };
    let VersionStatus { name, digest, error, outdated, .. } = status;
    VersionReport { name, state: state.into(), digest, error, outdated }
}

/// Whether the copy that should answer cannot.
fn is_stuck(status: &VersionStatus, table: &Table) -> bool {
    let copy =
        |key: &VersionKey| key.name == status.name && key.model_id == status.model_id && key.digest == status.digest;
    let mut copies = table.versions.iter().filter(|serving| copy(&serving.key)).peekable();
    matches!(status.phase, VersionPhase::Serving | VersionPhase::Retiring)
        && copies.peek().is_some()
        && copies.all(|serving| serving.lane.stats.is_stuck())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_worker_comes_back_ever_more_slowly_and_says_why_once() {
        let refused =
            Status::permission_denied("TG-1413: address `127.0.0.1:1` is not where the report comes from (::1)");
        let other = Status::unauthenticated("TG-1401: the node token is missing or not known");
        let away = Status::unavailable("the stream ended");
        let (mut comebacks, at_once) = (Comebacks::default(), Some(Duration::from_millis(1)));
        let mut waits = Vec::new();
        let mut told = 0;
        for _ in 0..50 {
            let (wait, news) = comebacks.after(at_once, &refused);
            waits.push(wait);
            told += usize::from(news);
        }
        assert_eq!(told, 1);
        assert!(waits.is_sorted() && waits[0] == FIRST_WAIT && waits[5..].iter().all(|wait| *wait == LONGEST_WAIT));
        assert!(comebacks.after(None, &other).1, "another reason is news");
        assert_eq!(comebacks.after(None, &away), (LONGEST_AWAY, false), "being away is told elsewhere, and ends soon");
        // A stream that stood was taken: from here on all begins anew.
        assert_eq!(comebacks.after(Some(STANDS), &away), (FIRST_WAIT, false));
        assert!(comebacks.after(at_once, &refused).1);
    }
}
