//! Requests that keep flowing while something is changed, each answer checked against the version that its header names.
use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use anyhow::{Result, ensure};
use system_tests::{
    answers::Answers,
    client::{CHAT_TOKENS, Client},
};
use tokio::task::JoinSet;

/// Requests in the background.
pub struct Traffic {
    stop: Arc<AtomicBool>,
    tally: Arc<Mutex<Tally>>,
    clients: JoinSet<()>,
}

/// What came back.
#[derive(Debug, Default, Clone)]
pub struct Tally {
    pub answered: usize,
    pub by_version: BTreeMap<String, usize>,
    /// At most ten, in words.
    pub failures: Vec<String>,
}

impl Traffic {
    /// Four clients that ask one question after another.
    pub fn start(client: &Client, answers: &Arc<Answers>) -> Self {
        let (stop, tally) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Tally::default())));
        let mut clients = JoinSet::new();
        for number in 0..4 {
            let (client, answers) = (client.clone(), answers.clone());
            let (stop, tally) = (stop.clone(), tally.clone());
            clients.spawn(async move {
                let questions = answers.questions();
                for question in questions.iter().cycle().skip(number * 7) {
                    if stop.load(Ordering::Relaxed) {
                        return;
                    }
                    let outcome = ask(&client, &answers, question, number).await;
                    tally.lock().unwrap_or_else(PoisonError::into_inner).count(outcome);
                }
            });
        }
        Self { stop, tally, clients }
    }

    /// So far.
    pub fn tally(&self) -> Tally {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Ends when the last request is answered.
    pub async fn stop(mut self) -> Tally {
        self.stop.store(true, Ordering::Relaxed);
        while self.clients.join_next().await.is_some() {}
        self.tally()
    }
}

async fn ask(client: &Client, answers: &Answers, question: &str, number: usize) -> Result<String> {
    let user = format!("traffic-{number}");
    let answer = client.chat(question, &[("x-user-id", &user)]).await?.expect(200)?;
    let words = answer.words();
    answers.check(question, CHAT_TOKENS, &words)?;
    Ok(words.version)
}

impl Tally {
    fn count(&mut self, outcome: Result<String>) {
        match outcome {
            Ok(version) => {
                self.answered += 1;
                *self.by_version.entry(version).or_default() += 1;
            }
            Err(error) if self.failures.len() < 10 => self.failures.push(format!("{error:#}")),
            Err(_) => {}
        }
    }

    /// Fails when any request failed or none was made.
    pub fn all_answered(&self) -> Result<()> {
        ensure!(self.failures.is_empty(), "{} answered, and failed: {:?}", self.answered, self.failures);
        ensure!(self.answered > 0, "no request was made");
        Ok(())
    }
}
