//! The faults, and what must be said of each.
use Fault::*;

/// What is done.
#[derive(Clone, Copy, Debug)]
pub enum Fault {
    CanaryScaledToZero,
    CanaryDeleted,
    CanaryGetsABadVersion,
    CandidateLeavesTheModel,
    CandidateIsAnotherName,
    StableIsAnotherName,
    ModelDeleted,
    LimitMovesToATypo,
    PoolBeyondMaxWorkers,
    WorkerKilled,
    WorkerHangs,
    WorkerCannotStart,
    FilesGoneAndWorkerKilled,
    FilesChangedAndWorkerKilled,
    WorkerTokenRevoked,
    GatewayKilled,
    GatewayHangs,
    GatewayTokenRevoked,
    ServeKilled,
    PostgresHangs,
    PostgresReadOnly,
}

/// What must be said: by an object that is not Ready, by a node, or by the answer to a write.
#[derive(Clone, Copy)]
pub enum Named {
    /// `<plural>/<name>` is not Ready, and one of the words is said.
    Object(&'static str, &'static [&'static str]),
    /// The node is shown as not connected.
    Node(&'static str),
    /// A write is refused with this code.
    Write(&'static str),
    /// Nothing: all is as before within the grace.
    Nothing,
}

/// In the order in which they are done.
pub const FAULTS: [(Fault, Named); 21] = [
    (CanaryScaledToZero, Named::Object("releasepolicies/r", &["v2"])),
    (CanaryDeleted, Named::Object("releasepolicies/r", &["v2"])),
    (CanaryGetsABadVersion, Named::Object("workerpools/q", &["TG-2017"])),
    (CandidateLeavesTheModel, Named::Object("releasepolicies/r", &["no version v2"])),
    (CandidateIsAnotherName, Named::Object("releasepolicies/r", &["v9"])),
    (StableIsAnotherName, Named::Object("releasepolicies/r", &["v9"])),
    (ModelDeleted, Named::Object("workerpools/p", &["does not exist"])),
    (LimitMovesToATypo, Named::Object("ratelimitpolicies/l", &["does not exist"])),
    (PoolBeyondMaxWorkers, Named::Object("workerpools/q", &["max-workers"])),
    (WorkerKilled, Named::Nothing),
    (WorkerHangs, Named::Object("workerpools/q", &["0 of 1"])),
    (FilesGoneAndWorkerKilled, Named::Object("workerpools/q", &["TG-2014", "TG-2013"])),
    (FilesChangedAndWorkerKilled, Named::Object("workerpools/q", &["TG-2017", "TG-2016"])),
    (WorkerTokenRevoked, Named::Nothing),
    (GatewayKilled, Named::Nothing),
    (GatewayHangs, Named::Node("gateway-0")),
    (GatewayTokenRevoked, Named::Nothing),
    (ServeKilled, Named::Nothing),
    (PostgresHangs, Named::Write("TG-12")),
    (PostgresReadOnly, Named::Write("TG-12")),
    // Last of all: its worker is started ever more slowly, and the next fault would wait for it.
    (WorkerCannotStart, Named::Object("workerpools/q", &["0 of 1", "times in a row"])),
];
