//! Checks a report against the caller's token and address, and turns it into facts. Nothing unchecked leaves this file.
use std::net::{IpAddr, SocketAddr};

use chrono::Utc;
use tidegate_policy::{
    ports::{LeasedVersion, NodeRole, VersionState},
    snapshot::ObjectRef,
};
use tidegate_proto::fleet::{self, State, WorkerReport};

use crate::{
    ads::{Authenticated, Refusal},
    nodes::{WorkerLoad, WorkerVersion, WorkerView},
};

const MAX_VERSIONS: usize = 64;
const MAX_NAME: usize = 253;
const MAX_LABELS: usize = 64;
const MAX_ERROR: usize = 1024;

/// What a worker said, checked.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Facts {
    pub incarnation: String,
    pub pool: ObjectRef,
    pub address: SocketAddr,
    pub state: WorkerState,
    pub versions: Vec<LeasedVersion>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum WorkerState {
    Starting,
    Ready,
    Draining,
}

/// Checks a report. `allowed`: addresses that any worker may register, besides its own.
pub(crate) fn check(
    report: &WorkerReport,
    caller: &Authenticated,
    allowed: &[IpAddr],
) -> Result<(Facts, WorkerView), Refusal> {
    let NodeRole::Worker { pool } = &caller.identity.role else { return Err(Refusal::NotAWorker) };
    let other = |field, said: &str, token: &str| {
        let said = said.chars().take(MAX_NAME).collect();
        Err(Refusal::OtherWorker { field, said, token: token.to_owned() })
    };
    if report.node_id != caller.identity.node_id {
        return other("node id", &report.node_id, &caller.identity.node_id);
    }
    if report.pool != *pool {
        return other("pool", &report.pool, pool);
    }
    let bad = |what: &str| Refusal::BadReport { what: what.to_owned() };
    let (namespace, name) = pool.split_once('/').ok_or_else(|| bad("the token's pool is not <namespace>/<name>"))?;
    if report.incarnation.is_empty() || report.incarnation.len() > MAX_NAME {
        return Err(bad("incarnation is empty or too long"));
    }
    if report.versions.len() > MAX_VERSIONS || report.labels.len() > MAX_LABELS {
        return Err(bad("too many versions or labels"));
    }
    let address = address(&report.address, caller, allowed)?;
    let state = match State::try_from(report.state) {
        Ok(State::Starting) => WorkerState::Starting,
        Ok(State::Ready) => WorkerState::Ready,
        Ok(State::Draining) => WorkerState::Draining,
        Ok(State::Unspecified) | Err(_) => return Err(bad("state is not set")),
    };
    let versions = report.versions.iter().map(version).collect::<Result<Vec<_>, _>>()?;
    let view = view(report, &versions, state);
    let pool = ObjectRef { namespace: namespace.to_owned(), name: name.to_owned() };
    Ok((Facts { incarnation: report.incarnation.clone(), pool, address, state, versions }, view))
}

/// A worker may register only the address that it calls from; the port is its own choice.
fn address(said: &str, caller: &Authenticated, allowed: &[IpAddr]) -> Result<SocketAddr, Refusal> {
    let peer = caller.peer.map(|peer| peer.ip().to_canonical());
    let foreign = || Refusal::ForeignAddress {
        said: said.chars().take(MAX_NAME).collect(),
        peer: peer.map_or_else(|| "unknown".to_owned(), |peer| peer.to_string()),
    };
    let address: SocketAddr =
        said.parse().map_err(|_| Refusal::BadReport { what: "address is not ip:port".to_owned() })?;
    let ip = address.ip().to_canonical();
    if address.port() == 0 || ip.is_unspecified() || ip.is_multicast() {
        return Err(foreign());
    }
    if peer == Some(ip) || allowed.contains(&ip) { Ok(SocketAddr::new(ip, address.port())) } else { Err(foreign()) }
}

fn version(report: &fleet::VersionReport) -> Result<LeasedVersion, Refusal> {
    if report.name.is_empty() || report.name.len() > MAX_NAME || report.digest.len() > MAX_NAME {
        return Err(Refusal::BadReport { what: "a version's name or digest is empty or too long".to_owned() });
    }
    let state = match fleet::VersionState::try_from(report.state) {
        Ok(fleet::VersionState::Loading) => VersionState::Loading,
        Ok(fleet::VersionState::Serving) => VersionState::Serving,
        Ok(fleet::VersionState::Retiring) => VersionState::Retiring,
        Ok(fleet::VersionState::Draining) => VersionState::Draining,
        Ok(fleet::VersionState::Failed) => VersionState::Failed,
        Ok(fleet::VersionState::Unspecified) | Err(_) => {
            return Err(Refusal::BadReport { what: format!("the state of version `{}` is not set", report.name) });
        }
    };
    let error = report.error.chars().filter(|c| !c.is_control()).take(MAX_ERROR).collect();
    Ok(LeasedVersion { name: report.name.clone(), state, error, outdated: report.outdated })
}

fn view(report: &WorkerReport, versions: &[LeasedVersion], state: WorkerState) -> WorkerView {
    let load = report.load.unwrap_or_default();
    let version = |(leased, said): (&LeasedVersion, &fleet::VersionReport)| WorkerVersion {
        name: leased.name.clone(),
        state: format!("{:?}", leased.state),
        digest: said.digest.clone(),
        error: leased.error.clone(),
        outdated: leased.outdated,
    };
    let short = |text: &String| text.chars().take(MAX_NAME).collect::<String>();
    WorkerView {
        connected: true,
        incarnation: report.incarnation.clone(),
        address: report.address.clone(),
        state: format!("{state:?}"),
        versions: versions.iter().zip(&report.versions).map(version).collect(),
        load: WorkerLoad {
            running: load.running,
            waiting: load.waiting,
            requests_total: load.requests_total,
            rejected_total: load.rejected_total,
        },
        labels: report.labels.iter().map(|(key, value)| (short(key), short(value))).collect(),
        build: short(&report.build),
        reported_at: Utc::now(),
    }
}
