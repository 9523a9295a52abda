//! How the slots of a plan look from outside: one line per version name. Never invents a state.
use super::plan::{Slot, State, VersionKey};

/// What a version is doing, as the fleet report says it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Phase {
    Draining,
    Failed,
    Loading,
    /// No longer wanted, still answering.
    Retiring,
    Serving,
}

/// One line of the report.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct VersionStatus {
    pub model_id: String,
    pub name: String,
    pub digest: String,
    pub phase: Phase,
    /// Why the last load failed; begins with its code. Beside Serving: why the files that are wanted under this name do not
    /// replace those that serve.
    pub error: String,
    /// Another copy is wanted under this name, and does not answer yet.
    pub outdated: bool,
}

/// One line per name: the best of its copies (Serving, then Retiring, Loading, Failed, Draining). A version that failed and is tried
/// again stays Failed until it serves, so that nobody waits for it. When the copy that answers is not the one that is wanted, the
/// line says so, and carries the wanted one's error and digest as well.
pub(super) fn statuses(slots: &[Slot], wanted: &[VersionKey]) -> Vec<VersionStatus> {
    let mut out: Vec<VersionStatus> = Vec::new();
    for slot in slots {
        let phase = match (&slot.state, &slot.error) {
            (State::Serving, _) => Phase::Serving,
            (State::Waiting { .. } | State::Loading, None) => Phase::Loading,
            (State::Waiting { .. } | State::Loading, Some(_)) => Phase::Failed,
            (State::Lingering { .. }, _) => Phase::Retiring,
            (State::Draining, _) => Phase::Draining,
        };
        let status = VersionStatus {
            model_id: slot.key.model_id.clone(),
            name: slot.key.name.clone(),
            digest: slot.key.digest.clone(),
            phase,
            error: slot.error.clone().unwrap_or_default(),
            outdated: false,
        };
        match out.iter_mut().find(|known| known.name == status.name) {
            Some(known) if known.phase < status.phase => *known = status,
            Some(_) => {}
            None => out.push(status),
        }
    }
    for key in wanted {
        let Some(line) = out.iter_mut().find(|line| line.name == key.name) else { continue };
        let mut copies = slots.iter().filter(|slot| slot.key == *key);
        line.outdated = matches!(line.phase, Phase::Serving | Phase::Retiring)
            && copies.clone().all(|slot| slot.state != State::Serving);
        if let Some(error) = copies.find_map(|slot| slot.error.as_ref()).filter(|_| line.phase != Phase::Failed) {
            line.error = format!("{error} (the files wanted under this name have the digest {})", key.digest);
        }
    }
    out
}
