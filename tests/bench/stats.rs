//! Times in, quantiles out; and what a process has used of the processors.
use std::{fs, time::Instant};

use anyhow::{Context, Result};

/// Prints median and 99th percentile of `times`, milliseconds.
pub fn print(name: &str, mut times: Vec<f64>) {
    times.sort_by(f64::total_cmp);
    println!(
        "{name:<44} p50 {:>7.1} ms   p99 {:>7.1} ms   n {}",
        quantile(&times, 0.5),
        quantile(&times, 0.99),
        times.len()
    );
}

/// The nearest-rank quantile of sorted numbers; 0 of none.
pub fn quantile(sorted: &[f64], q: f64) -> f64 {
    sorted.get(((sorted.len().max(1) - 1) as f64 * q).round() as usize).copied().unwrap_or_default()
}

/// The median of numbers in any order.
pub fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    quantile(&numbers, 0.5)
}

/// Milliseconds since.
pub fn ms(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1_000.0
}

/// Processor time of a process so far, all threads, user and system, microseconds (`/proc/PID/stat` counts hundredths of a
/// second: measure over seconds).
pub fn cpu_us(pid: u32) -> Result<f64> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).with_context(|| format!("process {pid}"))?;
    let fields: Vec<&str> = text.rsplit_once(')').context("stat")?.1.split_whitespace().collect();
    let ticks = |at: usize| -> Result<f64> { Ok(fields.get(at).context("stat")?.parse::<u64>()? as f64) };
    Ok((ticks(11)? + ticks(12)?) * 1e6 / rustix::param::clock_ticks_per_second() as f64)
}
