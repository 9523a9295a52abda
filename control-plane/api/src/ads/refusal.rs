//! Why a node is turned away, and the one table from that to a gRPC status.
use tonic::{Code, Status};

/// Every way in which the ADS and fleet servers say no.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Refusal {
    /// Deliberately says nothing more.
    #[error("the node token is missing or not known")]
    Unauthenticated,
    #[error("node.id is `{said}`, but the token was made for another node")]
    OtherNode { said: String },
    #[error("the control plane has not read its policies yet")]
    NotReady,
    #[error("{limit} streams are open already")]
    TooManyStreams { limit: usize },
    #[error("this node has {limit} streams open already")]
    TooManyOfNode { limit: usize },
    #[error("{what}")]
    OutOfBounds { what: String },
    #[error("{what}")]
    BadRequest { what: String },
    #[error("the first request did not come within {seconds} s")]
    Silent { seconds: u64 },
    #[error("the control plane is shutting down; come back to another replica or later")]
    Draining,
    #[error("its node token was revoked or replaced: give it a good one")]
    Revoked,
    #[error("only workers report to the fleet; the token is of a gateway")]
    NotAWorker,
    #[error("the report says {field} `{said}`, the token says `{token}`")]
    OtherWorker { field: &'static str, said: String, token: String },
    #[error(
        "address `{said}` is not where the report comes from ({peer}): start the worker with --listen or --advertise on an address of {peer}, or name its address in allowedWorkerIps"
    )]
    ForeignAddress { said: String, peer: String },
    #[error("address {address} is held by the live node `{by}`")]
    AddressTaken { address: String, by: String },
    #[error("the report cannot be used: {what}")]
    BadReport { what: String },
}

impl Refusal {
    /// Stable code, with a page in docs/errors.
    pub fn code(&self) -> &'static str {
        self.row().0
    }

    /// Whether it says something of the caller; else the server is on its way up or down.
    pub(crate) fn is_about_caller(&self) -> bool {
        !matches!(self, Refusal::NotReady | Refusal::Draining)
    }

    fn row(&self) -> (&'static str, Code) {
        match self {
            Refusal::Unauthenticated => ("TG-1401", Code::Unauthenticated),
            Refusal::OtherNode { .. } => ("TG-1402", Code::PermissionDenied),
            Refusal::NotReady => ("TG-1403", Code::Unavailable),
            Refusal::TooManyStreams { .. } | Refusal::TooManyOfNode { .. } => ("TG-1404", Code::ResourceExhausted),
            Refusal::OutOfBounds { .. } => ("TG-1405", Code::ResourceExhausted),
            Refusal::BadRequest { .. } => ("TG-1406", Code::InvalidArgument),
            Refusal::Silent { .. } => ("TG-1407", Code::DeadlineExceeded),
            Refusal::Draining => ("TG-1408", Code::Unavailable),
            Refusal::Revoked => ("TG-1409", Code::Unauthenticated),
            Refusal::NotAWorker => ("TG-1411", Code::PermissionDenied),
            Refusal::OtherWorker { .. } => ("TG-1412", Code::PermissionDenied),
            Refusal::ForeignAddress { .. } => ("TG-1413", Code::PermissionDenied),
            Refusal::AddressTaken { .. } => ("TG-1414", Code::PermissionDenied),
            Refusal::BadReport { .. } => ("TG-1415", Code::InvalidArgument),
        }
    }
}

/// What is wrong with the message after which a stream of requests ended; None when it was the connection that ended.
/// A status of the codec has no source, one of the connection has.
pub(crate) fn unreadable(status: &Status) -> Option<String> {
    let of_codec =
        matches!(status.code(), Code::InvalidArgument | Code::OutOfRange | Code::ResourceExhausted | Code::Internal);
    (of_codec && std::error::Error::source(status).is_none()).then(|| status.message().to_owned())
}

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Self {
        let (code, grpc) = refusal.row();
        Status::new(grpc, format!("{code}: {refusal}"))
    }
}
