//! What one limit admits at most, in words: per process, and in the fleet as it is now. The form is that of
//! docs/reference/kinds.md, so that a program can read the numbers. Only formatting and multiplication.
use super::limits::{gateway_holds_concurrency, gateway_holds_requests};
use crate::snapshot::{Limit, RequestRate};

/// Who may hold a limit.
#[derive(Clone, Copy, Debug)]
pub(super) struct Holders {
    /// Gateways that may connect; zero when the limit is at no gateway.
    pub gateways: usize,
    /// Live workers of the pools that it is about.
    pub workers: usize,
    /// Whether every request that it is about passes a gateway that counts it.
    pub all_through_gateways: bool,
}

impl Holders {
    /// `<limit>[ (for each value of the counters)][ (shadow: ...)]: requests: ...; concurrency: ...`.
    pub fn bound(&self, limit: &Limit) -> String {
        let mut parts = Vec::new();
        if let Some(rate) = limit.requests {
            parts.push(self.requests(rate, gateway_holds_requests(limit)));
        }
        if let Some(most) = limit.concurrency {
            parts.push(self.concurrency(most, gateway_holds_concurrency(limit)));
        }
        let per = if limit.counters.is_empty() { "" } else { " (for each value of the counters)" };
        let shadow = if limit.shadow { " (shadow: counted, never refused)" } else { "" };
        format!("{}{per}{shadow}: {}", limit.id, parts.join("; "))
    }

    fn requests(&self, rate: RequestRate, at_gateways: bool) -> String {
        let gateways = if at_gateways { self.gateways } else { 0 };
        let at_workers = times(rate, self.workers);
        let mut held = format!("held by {} now", count(self.workers, "worker"));
        if gateways > 0 {
            held.push_str(&format!(" and by {} that may connect", count(gateways, "gateway")));
        }
        let fleet = if gateways == 0 || gateways >= self.workers || !self.all_through_gateways {
            format!("{at_workers} in the fleet")
        } else {
            let again = rate.burst.saturating_mul(wide(gateways));
            format!(
                "{} in the fleet, {again} more after each change of any limit (a gateway's balances begin full then), never over {at_workers} at the workers",
                times(rate, gateways)
            )
        };
        format!("requests: each process admits at most {} in any t; {held}: at most {fleet}", times(rate, 1))
    }

    fn concurrency(&self, most: u64, at_gateways: bool) -> String {
        let each =
            if at_gateways && self.gateways > 0 { "each gateway per version and each worker" } else { "each worker" };
        let fleet = most.saturating_mul(wide(self.workers));
        let workers = count(self.workers, "worker");
        format!("concurrency: {each} admits at most {most} at a time; {workers} now: at most {fleet} in the fleet")
    }
}

/// `<burst> + <rate>*t/<window>ms` of `n` processes together.
fn times(rate: RequestRate, n: usize) -> String {
    let n = wide(n);
    format!("{} + {}*t/{}ms", rate.burst.saturating_mul(n), rate.rate.saturating_mul(n), rate.window_ms)
}

fn count(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

fn wide(n: usize) -> u64 {
    u64::try_from(n).unwrap_or(u64::MAX)
}
