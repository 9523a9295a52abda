//! The worker's HTTP path with the fake engine, against a Python server that answers the same (`peers/openai_server.py`), in turn,
//! in one run. Generator and server share the processors: read the processor time per request first.
use std::{
    fs,
    net::SocketAddr,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use system_tests::{
    client::{Client, chat_body},
    documents::{PATIENCE, pool},
    ports,
    tidegate::Tidegate,
    tools, wait,
};

use crate::stats::{cpu_us, median, ms, quantile};

/// Rounds of each server and kind of request, after one that is not counted.
const ROUNDS: usize = 7;
const ROUND: Duration = Duration::from_secs(3);
/// Requests in flight.
const CLIENTS: usize = 16;
const TOKENS: usize = 24;
const QUESTION: &str = "What is an assert statement?";

/// A server under measurement; killed when dropped.
struct Server {
    name: &'static str,
    child: Child,
    client: Client,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What one round showed.
#[derive(Clone, Copy)]
struct Round {
    per_second: f64,
    cpu_us: f64,
    p50_ms: f64,
    p99_ms: f64,
}

/// Measures both servers with plain and streamed answers and prints medians and ratios.
pub async fn worker_and_peer(tidegate: &Tidegate) -> Result<()> {
    let servers = [worker(tidegate).await?, peer(tidegate).await?];
    for stream in [false, true] {
        let kind = if stream { "streamed" } else { "plain" };
        let mut rounds = [Vec::new(), Vec::new()];
        for number in 0..=ROUNDS {
            // Who is first changes from round to round.
            for at in [number % 2, 1 - number % 2] {
                let round = measure(&servers[at], stream).await?;
                if number > 0 {
                    rounds[at].push(round);
                }
            }
        }
        let [ours, theirs] = rounds.map(|all| {
            let of = |get: fn(&Round) -> f64| median(all.iter().map(get).collect());
            Round {
                per_second: of(|r| r.per_second),
                cpu_us: of(|r| r.cpu_us),
                p50_ms: of(|r| r.p50_ms),
                p99_ms: of(|r| r.p99_ms),
            }
        });
        for (server, round) in servers.iter().zip([ours, theirs]) {
            println!(
                "{kind:<9} {:<28} {:>7.0} requests/s  {:>6.0} CPU-us/request  p50 {:>5.1} ms  p99 {:>5.1} ms",
                server.name, round.per_second, round.cpu_us, round.p50_ms, round.p99_ms
            );
        }
        println!(
            "{kind:<9} ratio: {:.1} times the requests/s, 1/{:.1} of the processor time ({ROUNDS} rounds of {} s, {CLIENTS} clients, {TOKENS} tokens)",
            ours.per_second / theirs.per_second,
            theirs.cpu_us / ours.cpu_us,
            ROUND.as_secs()
        );
    }
    Ok(())
}

async fn measure(server: &Server, stream: bool) -> Result<Round> {
    let (pid, began) = (server.child.id(), Instant::now());
    let before = cpu_us(pid)?;
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..CLIENTS {
        let client = server.client.clone();
        clients.spawn(async move {
            let body = chat_body(QUESTION, TOKENS, stream);
            let mut times = Vec::new();
            while began.elapsed() < ROUND {
                let asked = Instant::now();
                let answer = client.send("/v1/chat/completions", &body, &[]).await?.expect(200)?;
                ensure!(!stream || answer.body.ends_with("data: [DONE]\n\n"), "cut: {}", answer.body);
                times.push(ms(asked));
            }
            anyhow::Ok(times)
        });
    }
    let mut times = Vec::new();
    while let Some(done) = clients.join_next().await {
        times.extend(done??);
    }
    let (took, used) = (began.elapsed().as_secs_f64(), cpu_us(pid)? - before);
    times.sort_by(f64::total_cmp);
    let count = times.len() as f64;
    Ok(Round {
        per_second: count / took,
        cpu_us: used / count,
        p50_ms: quantile(&times, 0.5),
        p99_ms: quantile(&times, 0.99),
    })
}

/// A worker with the fake engine, fed by the real control plane and asked without the gateway.
async fn worker(tidegate: &Tidegate) -> Result<Server> {
    tidegate.apply(&pool("bench", "v1", 0)).await?;
    let made = ["node-token", "create", "--node-id", "bench", "--role", "worker", "--pool", "default/bench"];
    let token = tidegate.scratch("bench.token");
    fs::write(&token, tidegate.ok(&made).await?)?;
    let address = ports::free()?;
    let mut command = Command::new(tools::program("tidegate-worker")?);
    command.args(["--engine", "fake", "--node-id", "bench", "--pool", "default/bench", "--log", "warn"]);
    command.args(["--listen", &address.to_string(), "--node-token-file", &token.to_string_lossy()]);
    command.args(["--control-plane", &format!("http://{}", tidegate.place().grpc)]);
    serve(command, "tidegate-worker", address).await
}

async fn peer(tidegate: &Tidegate) -> Result<Server> {
    let address = ports::free()?;
    let mut command = Command::new("python3");
    command.env("PYTHONPATH", tools::bench_peer()?).env("PYTHONDONTWRITEBYTECODE", "1");
    command.arg(tools::repository().join("tests/bench/peers/openai_server.py")).arg(address.port().to_string());
    command.current_dir(&tidegate.place().scratch);
    serve(command, "FastAPI on uvicorn (Python)", address).await
}

async fn serve(mut command: Command, name: &'static str, address: SocketAddr) -> Result<Server> {
    let child = command.stdin(Stdio::null()).spawn().with_context(|| format!("start {name}"))?;
    let server = Server { name, child, client: Client::new(format!("http://{address}"), None)? };
    wait::until(name, PATIENCE, async || {
        server.client.chat(QUESTION, &[]).await?.expect(200)?;
        Ok(())
    })
    .await?;
    Ok(server)
}
