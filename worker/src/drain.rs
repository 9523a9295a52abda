//! The way out: readiness first, then no new requests, then the deadline. Says where the worker stands; ends nothing itself.
use tokio::sync::watch;

/// Where the worker stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Phase {
    Running,
    /// Readiness is 503 and the fleet knows; requests are still taken, because gateways need a moment to look away.
    Settling,
    /// New requests are sent elsewhere (503, `x-tidegate-retry`); those in flight finish.
    Draining,
}

/// The phase, for everybody to read.
#[derive(Debug)]
pub struct Phases(watch::Sender<Phase>);

impl Default for Phases {
    fn default() -> Self {
        Self(watch::Sender::new(Phase::Running))
    }
}

impl Phases {
    pub fn now(&self) -> Phase {
        *self.0.borrow()
    }

    pub fn enter(&self, phase: Phase) {
        self.0.send_replace(phase);
    }

    pub fn watch(&self) -> watch::Receiver<Phase> {
        self.0.subscribe()
    }
}
