//! Requests of many rows that share an engine's calls: every call takes rows in turn, from tenant to tenant and in a tenant from
//! request to request, so that a large request never makes a small one wait for its end. Also says, by the measured pace, whether
//! a request can end in time. Pure: time is an argument, nothing waits, and a row is only its length here.
use std::collections::{BTreeMap, VecDeque};

use crate::Ticket;
use crate::pace::{Estimate, Pace};

/// How much longer than allowed an estimate must be before a request is refused, or ended while it runs: a pace is noisy.
pub(crate) const REFUSE: f64 = 1.15;
/// The part of the allowed time that the size in a refusal may take: who sends that much shall not be refused again.
pub(crate) const ADVISE: f64 = 0.7;

/// A request: who sent it, and what its rows cost.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Request<K> {
    pub tenant: K,
    /// Tokens of each row, in the order in which they run.
    pub rows: Vec<u32>,
    /// The whole time that it was given, milliseconds.
    pub allowed_ms: u64,
    /// When that time is over, on the clock of the other calls.
    pub deadline_ms: u64,
}

/// Why a request cannot end in time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Late {
    /// Others come first; alone it would have had the time. Worth another try after so long.
    Busy { retry_after_ms: u64 },
    /// Not even alone. So many of its rows (of a chat: tokens) would end in time.
    TooLarge { fits: usize },
}

struct Entry<K> {
    request: Request<K>,
    done: usize,
}

/// How far a request is; one that is asked about has no ticket yet.
#[derive(Clone, Copy, Default)]
struct Progress {
    ticket: Option<Ticket>,
    done: usize,
}

/// All requests of one engine.
pub struct Fair<K> {
    limit: usize,
    pace: Pace,
    entries: BTreeMap<Ticket, Entry<K>>,
    /// Whose turn it is; each tenant once, with its requests in turn.
    turns: VecDeque<(K, VecDeque<Ticket>)>,
    next: u64,
}

/// Rows of a request in the next call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Share {
    pub ticket: Ticket,
    pub rows: usize,
}

impl<K: Clone + Ord> Fair<K> {
    /// Nothing waits. A call has at most `limit` rows, at least 1.
    pub fn new(limit: usize) -> Self {
        Self { limit: limit.max(1), pace: Pace::default(), entries: BTreeMap::new(), turns: VecDeque::new(), next: 0 }
    }

    /// Rows of a call from now on.
    pub fn set_limit(&mut self, limit: usize) {
        self.limit = limit.max(1);
    }

    /// Takes a request, unless it cannot end in time by what was measured.
    pub fn push(&mut self, request: Request<K>, now: u64) -> Result<Ticket, Late> {
        if let Some(late) = self.late(&request, Progress::default(), now) {
            return Err(late);
        }
        let ticket = Ticket(self.next);
        self.next += 1;
        match self.turns.iter_mut().find(|(tenant, _)| *tenant == request.tenant) {
            // Behind the others of its tenant, which were here before.
            Some((_, tickets)) => tickets.push_back(ticket),
            None => self.turns.push_back((request.tenant.clone(), VecDeque::from([ticket]))),
        }
        self.entries.insert(ticket, Entry { request, done: 0 });
        Ok(ticket)
    }

    /// Rows for the next call: one after the other from the requests that are `here`, round about. What was taken counts as done
    /// when [`Fair::done`] says so.
    pub fn next(&mut self, here: impl Fn(Ticket) -> bool) -> Vec<Share> {
        let mut shares: Vec<Share> = Vec::new();
        let mut idle: VecDeque<(K, VecDeque<Ticket>)> = VecDeque::new();
        let mut rows = 0;
        while rows < self.limit {
            let Some((tenant, mut tickets)) = self.turns.pop_front() else { break };
            let open = |ticket: &Ticket| {
                let taken = shares.iter().find(|share| share.ticket == *ticket).map_or(0, |share| share.rows);
                let left = self.entries.get(ticket).map_or(0, |entry| entry.request.rows.len() - entry.done);
                here(*ticket) && taken < left
            };
            let Some(at) = tickets.iter().position(open) else {
                idle.push_back((tenant, tickets));
                continue;
            };
            tickets.rotate_left(at);
            if let Some(ticket) = tickets.pop_front() {
                match shares.iter_mut().find(|share| share.ticket == ticket) {
                    Some(share) => share.rows += 1,
                    None => shares.push(Share { ticket, rows: 1 }),
                }
                tickets.push_back(ticket);
                rows += 1;
            }
            self.turns.push_back((tenant, tickets));
        }
        // Who had nothing to give is not behind those who were served.
        while let Some(tenant) = idle.pop_back() {
            self.turns.push_front(tenant);
        }
        shares
    }

    /// So many rows of a request have run.
    pub fn done(&mut self, ticket: Ticket, rows: usize) {
        if let Some(entry) = self.entries.get_mut(&ticket) {
            entry.done = (entry.done + rows).min(entry.request.rows.len());
        }
    }

    /// A request is gone, whatever its end was.
    pub fn remove(&mut self, ticket: Ticket) {
        let Some(entry) = self.entries.remove(&ticket) else { return };
        if let Some(at) = self.turns.iter().position(|(tenant, _)| *tenant == entry.request.tenant)
            && let Some((_, tickets)) = self.turns.get_mut(at)
        {
            tickets.retain(|other| *other != ticket);
            if tickets.is_empty() {
                self.turns.remove(at);
            }
        }
    }

    /// A call of so many tokens, padding included, ended at `now` after `ms`.
    pub fn measured(&mut self, tokens: usize, ms: f64, now: u64) {
        self.pace.record(tokens as u64, ms, now);
    }

    /// Such a call was ended after `ms`, before it was through.
    pub fn ended(&mut self, tokens: usize, ms: f64, now: u64) {
        self.pace.record_ended(tokens as u64, ms, now);
    }

    /// Requests that were taken and cannot end in time any more, by what was measured since. Only those of more than one call:
    /// for the others their deadline comes as soon.
    pub fn hopeless(&self, now: u64) -> Vec<(Ticket, Late)> {
        let late = |(ticket, entry): (&Ticket, &Entry<K>)| {
            self.late(&entry.request, Progress { done: entry.done, ticket: Some(*ticket) }, now)
                .map(|late| (*ticket, late))
        };
        self.entries.iter().filter(|(_, entry)| entry.request.rows.len() > self.limit).filter_map(late).collect()
    }

    /// Padded tokens in a second, as measured lately.
    pub fn tokens_per_second(&self, now: u64) -> Option<f64> {
        self.pace.units_per_ms(now).map(|units| units * 1_000.0)
    }

    /// Requests that are here.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    fn late(&self, request: &Request<K>, progress: Progress, now: u64) -> Option<Late> {
        let rows = request.rows.get(progress.done..)?;
        let own = self.alone(rows, now).filter(|own| own.firm)?;
        let left = request.deadline_ms.saturating_sub(now) as f64;
        let needed = own.ms + self.others(request, progress, now);
        if needed <= left * REFUSE {
            return None;
        }
        let allowed = request.allowed_ms as f64;
        match self.alone(&request.rows, now).filter(|whole| whole.ms > allowed * REFUSE) {
            Some(_) => Some(Late::TooLarge { fits: self.fitting(&request.rows, allowed * ADVISE, now) }),
            None => Some(Late::Busy { retry_after_ms: (needed - left).max(1.0) as u64 }),
        }
    }

    /// What rows take when nothing else is here; None when nothing is known.
    fn alone(&self, rows: &[u32], now: u64) -> Option<Estimate> {
        let mut whole = Estimate { ms: 0.0, firm: true };
        for call in rows.chunks(self.limit) {
            let columns = u64::from(call.iter().copied().max().unwrap_or(1));
            let one = self.pace.call(call.len() as u64 * columns, now)?;
            whole = Estimate { ms: whole.ms + one.ms, firm: whole.firm && one.firm };
        }
        Some(whole)
    }

    /// What others' rows take that run before the rest of this request is through; they share full calls.
    #[allow(clippy::cast_precision_loss)]
    fn others(&self, request: &Request<K>, progress: Progress, now: u64) -> f64 {
        let rows = request.rows.len().saturating_sub(progress.done);
        let (mut count, mut tokens) = (0usize, 0u64);
        let mut take = |ticket: &Ticket, most: usize| {
            let entry = self.entries.get(ticket);
            let left = entry.and_then(|entry| entry.request.rows.get(entry.done..)).unwrap_or_default();
            let taken = left.get(..most.min(left.len())).unwrap_or_default();
            count += taken.len();
            tokens += taken.iter().map(|row| u64::from(*row)).sum::<u64>();
            taken.len()
        };
        // Rows that its own tenant runs meanwhile: as many as every other tenant may run.
        let mut turn = rows;
        let own = |(tenant, _): &&(K, VecDeque<Ticket>)| *tenant == request.tenant;
        for (_, tickets) in self.turns.iter().filter(own) {
            turn += tickets
                .iter()
                .filter(|ticket| Some(**ticket) != progress.ticket)
                .map(|ticket| take(ticket, rows))
                .sum::<usize>();
        }
        for (_, tickets) in self.turns.iter().filter(|other| !own(other)) {
            let mut left = turn;
            for ticket in tickets {
                left -= take(ticket, left);
            }
        }
        if count == 0 {
            return 0.0;
        }
        let full = tokens * self.limit as u64 / count as u64;
        self.pace.call(full, now).map_or(0.0, |call| call.ms * count as f64 / self.limit as f64)
    }

    /// How many of the first rows end within `ms`.
    fn fitting(&self, rows: &[u32], ms: f64, now: u64) -> usize {
        let fits = |count: usize| {
            rows.get(..count).and_then(|rows| self.alone(rows, now)).is_some_and(|estimate| estimate.ms <= ms)
        };
        let (mut good, mut bad) = (0, rows.len());
        while bad - good > 1 {
            let middle = good.midpoint(bad);
            if fits(middle) { good = middle } else { bad = middle }
        }
        good
    }
}

#[cfg(test)]
mod tests;
