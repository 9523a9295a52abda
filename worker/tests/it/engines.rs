//! Engines that panic, hang, refuse or are stopped: what their requests are told, and what becomes of the others.
use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    time::Duration,
};

use http::StatusCode;
use serde_json::json;
use tidegate_engine::{
    EngineError, LoadCancel, ModelRoots, VersionSpec,
    engine::{ChatEngine, ChatInfo, EmbeddingEngine, LoadedModel, ModelEngine, SequenceId, Terminate},
    fake::{self, FakeConfig, answer_to},
};
use tidegate_worker::{
    error::RequestError,
    hotswap::{loader::Loader, report::Phase},
    lane::{
        self,
        job::{ChatJob, Clock, EmbedJob, Event, OUTPUT_EVENTS},
        reply::{ChatOut, EmbedOut, Held},
    },
};

use crate::{
    faults::{job, shared},
    harness::{Http, ask, embedding_set, eventually, model_set, start_with, wait_for},
};

/// Decides before each call; an error is the call's outcome.
pub type Before = Box<dyn FnMut(Call<'_>) -> Result<(), EngineError> + Send>;

pub enum Call<'a> {
    Prefill(&'a [Vec<u32>]),
    Step,
    Embed(&'a [Vec<u32>]),
}

struct Deaf;

impl Terminate for Deaf {
    fn terminate(&self) {}
}

struct Chat(Box<dyn ChatEngine>, Before);

impl ChatEngine for Chat {
    fn info(&self) -> &ChatInfo {
        self.0.info()
    }
    fn prefill(&mut self, prompts: &[Vec<u32>]) -> Result<Vec<(SequenceId, Vec<f32>)>, EngineError> {
        (self.1)(Call::Prefill(prompts))?;
        self.0.prefill(prompts)
    }
    fn step(&mut self, rows: &[(SequenceId, u32)]) -> Result<Vec<Vec<f32>>, EngineError> {
        (self.1)(Call::Step)?;
        self.0.step(rows)
    }
    fn release(&mut self, sequence: SequenceId) {
        self.0.release(sequence);
    }
    fn terminator(&self) -> Arc<dyn Terminate> {
        Arc::new(Deaf)
    }
}

struct Embed(Box<dyn EmbeddingEngine>, Before);

impl EmbeddingEngine for Embed {
    fn dimensions(&self) -> usize {
        self.0.dimensions()
    }
    fn vocab_size(&self) -> usize {
        self.0.vocab_size()
    }
    fn max_sequence(&self) -> usize {
        self.0.max_sequence()
    }
    fn max_batch(&self) -> usize {
        self.0.max_batch()
    }
    fn embed(&mut self, rows: &[Vec<u32>]) -> Result<Vec<Vec<f32>>, EngineError> {
        (self.1)(Call::Embed(rows))?;
        self.0.embed(rows)
    }
    fn terminator(&self) -> Arc<dyn Terminate> {
        Arc::new(Deaf)
    }
}

fn scripted(model: LoadedModel, before: Before) -> LoadedModel {
    let engine = match model.engine {
        ModelEngine::Chat(engine) => ModelEngine::Chat(Box::new(Chat(engine, before))),
        ModelEngine::Embedding(engine) => ModelEngine::Embedding(Box::new(Embed(engine, before))),
    };
    LoadedModel { engine, ..model }
}

/// Every copy that it loads asks a script of its own.
pub struct Scripts<F>(pub F);

impl<F: Fn() -> Before + Send + Sync + 'static> Loader for Scripts<F> {
    fn load(&self, spec: &VersionSpec, _: &LoadCancel) -> Result<LoadedModel, EngineError> {
        let config = FakeConfig { max_batch: spec.max_batch, ..FakeConfig::new(&spec.name) };
        let model = match spec.task {
            tidegate_engine::Task::Chat => fake::chat(config),
            tidegate_engine::Task::Embedding => fake::embedding(config),
        };
        Ok(scripted(model, (self.0)()))
    }
    fn roots(&self) -> Option<&ModelRoots> {
        None
    }
}

pub fn holds(prompts: &[Vec<u32>], text: &str) -> bool {
    let needle: Vec<u32> = text.bytes().map(u32::from).collect();
    prompts.iter().any(|prompt| prompt.windows(needle.len()).any(|window| window == needle))
}

#[tokio::test]
async fn a_request_that_kills_its_lane_is_not_sent_to_another_worker() {
    let deadly = || -> Before {
        Box::new(|call| match call {
            Call::Prefill(rows) | Call::Embed(rows) if holds(rows, "deadly") => panic!("as the test wants"),
            Call::Prefill(_) | Call::Embed(_) | Call::Step => Ok(()),
        })
    };
    let worker = start_with(Scripts(deadly)).await;
    let http = Http::new(&worker);
    worker.inlets.push_models(&model_set(&["v1"])).unwrap();
    wait_for(&worker, "v1", Phase::Serving).await;
    let killed = http.chat(&ask("deadly")).await;
    let seen = (killed.status, killed.error("code"), killed.headers.contains_key("x-tidegate-retry"));
    assert_eq!(seen, (StatusCode::INTERNAL_SERVER_ERROR, "TG-2231".to_owned(), false));
    assert!(killed.error("message").contains("TG-2113"));
    wait_for(&worker, "v1", Phase::Failed).await;
    wait_for(&worker, "v1", Phase::Serving).await;
    assert_eq!(http.chat(&ask("fine")).await.content(), answer_to("v1", "fine"));
    assert_eq!(worker.app.queue.inside(), 0, "the place of the request came back");

    let worker = start_with(Scripts(deadly)).await;
    worker.inlets.push_models(&embedding_set()).unwrap();
    wait_for(&worker, "v1", Phase::Serving).await;
    let killed = Http::new(&worker).embed(&json!({"model": "embed", "input": "deadly"})).await;
    let seen = (killed.status, killed.error("code"), killed.headers.contains_key("x-tidegate-retry"));
    assert_eq!(seen, (StatusCode::INTERNAL_SERVER_ERROR, "TG-2231".to_owned(), false));
}

#[tokio::test]
async fn a_token_that_the_model_does_not_have_is_refused_by_its_place() {
    let worker = start_with(Scripts(|| -> Before { Box::new(|_| Ok(())) })).await;
    worker.inlets.push_models(&embedding_set()).unwrap();
    wait_for(&worker, "v1", Phase::Serving).await;
    let refused = Http::new(&worker).embed(&json!({"model": "embed", "input": [[1, 2], [3, 7_777]]})).await;
    let seen = (refused.status, refused.error("code"), refused.error("param"));
    assert_eq!(seen, (StatusCode::BAD_REQUEST, "TG-2203".to_owned(), "input[1][1]".to_owned()));
    assert!(refused.error("message").contains("7777"));
}

#[tokio::test]
async fn an_engine_that_refuses_tokens_is_no_mistake_of_the_client() {
    let strict = || -> Before {
        Box::new(|call| match call {
            Call::Embed(rows) | Call::Prefill(rows) if holds(rows, "odd") => {
                Err(EngineError::CallInvalid { reason: "a token is beyond the vocabulary".to_owned() })
            }
            Call::Embed(_) | Call::Prefill(_) | Call::Step => Ok(()),
        })
    };
    let worker = start_with(Scripts(strict)).await;
    worker.inlets.push_models(&embedding_set()).unwrap();
    wait_for(&worker, "v1", Phase::Serving).await;
    let failed = Http::new(&worker).embed(&json!({"model": "embed", "input": "odd"})).await;
    assert_eq!((failed.status, failed.error("code")), (StatusCode::INTERNAL_SERVER_ERROR, "TG-2231".to_owned()));
    let worker = start_with(Scripts(strict)).await;
    worker.inlets.push_models(&model_set(&["v1"])).unwrap();
    wait_for(&worker, "v1", Phase::Serving).await;
    let failed = Http::new(&worker).chat(&ask("odd")).await;
    assert_eq!((failed.status, failed.error("code")), (StatusCode::INTERNAL_SERVER_ERROR, "TG-2231".to_owned()));
}

/// The end of a lane's answer: tokens, or the error.
async fn end_of(events: &mut tokio::sync::mpsc::Receiver<Event>) -> Result<usize, String> {
    loop {
        match events.recv().await.expect("an end") {
            Event::Started(_) | Event::Text(_) => {}
            Event::Done { completion_tokens, .. } => return Ok(completion_tokens),
            Event::Failed(error) => return Err(error.to_string()),
        }
    }
}

#[tokio::test]
async fn a_row_is_prefilled_again_as_long_as_it_gains_tokens() {
    let mut calls = 0;
    let config = FakeConfig { answer_tokens: Some(100), ..FakeConfig::new("v1") };
    // Each step is stopped, as if for another row's sake; each prefill gains one token.
    let stopped: Before = Box::new(move |call| match call {
        Call::Step => Err(EngineError::Terminated),
        Call::Prefill(_) | Call::Embed(_) => {
            calls += 1;
            if calls % 3 == 0 { Ok(()) } else { Err(EngineError::Terminated) }
        }
    });
    let handle = lane::start(scripted(fake::chat(config), stopped), shared(Duration::from_secs(10)), |_| {}).unwrap();
    let (out, mut events) = tokio::sync::mpsc::channel(OUTPUT_EVENTS);
    handle.chat(job(out, 20)).unwrap();
    assert_eq!(end_of(&mut events).await, Ok(20));
}

#[tokio::test]
async fn clients_that_left_while_they_waited_take_no_place_in_a_batch() {
    struct Counted(Arc<AtomicUsize>);
    impl Drop for Counted {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }
    let log = Arc::new(Mutex::new(String::new()));
    let (release, wait) = mpsc::channel::<()>();
    let (seen, mut first) = (log.clone(), Some(wait));
    let script: Before = Box::new(move |call| {
        let sign = match call {
            Call::Prefill(rows) if rows.contains(&vec![90]) => 'L',
            Call::Prefill(_) | Call::Embed(_) => 'p',
            Call::Step => 's',
        };
        seen.lock().unwrap().push(sign);
        if let Some(wait) = first.take() {
            wait.recv().unwrap();
        }
        Ok(())
    });
    let config = FakeConfig { answer_tokens: Some(50), ..FakeConfig::new("v1") };
    let handle = lane::start(scripted(fake::chat(config), script), shared(Duration::from_secs(10)), |_| {}).unwrap();
    let (out, mut long) = tokio::sync::mpsc::channel(OUTPUT_EVENTS);
    handle.chat(job(out, 50)).unwrap();
    eventually("the first call has begun", || !log.lock().unwrap().is_empty()).await;
    let given_back = Arc::new(AtomicUsize::new(0));
    let (silent, _) = tokio::sync::mpsc::channel(OUTPUT_EVENTS);
    for _ in 0..10 {
        let (out, _) = tokio::sync::mpsc::channel(OUTPUT_EVENTS);
        let out = ChatOut::new(out, Held::new(Counted(given_back.clone())));
        handle.chat(ChatJob { out, ..job(silent.clone(), 50) }).unwrap();
    }
    let (out, mut live) = tokio::sync::mpsc::channel(OUTPUT_EVENTS);
    handle.chat(ChatJob { prompt: vec![90], ..job(out, 2) }).unwrap();
    release.send(()).unwrap();
    assert!(matches!(live.recv().await, Some(Event::Started(_))));
    assert_eq!(given_back.load(Ordering::SeqCst), 10, "what they held is free");
    assert!(log.lock().unwrap().starts_with("psL"), "{}", log.lock().unwrap());
    assert_eq!(end_of(&mut live).await, Ok(2));
    assert_eq!(end_of(&mut long).await, Ok(50));
}

/// Holds up the end of its engine until the test says so.
struct LastWords(mpsc::Receiver<()>);

impl Drop for LastWords {
    fn drop(&mut self) {
        // An error means that the test has ended.
        let _ = self.0.recv();
    }
}

/// A script whose first call waits, and which breaks its engine then: with a panic, or with errors only. The engine takes its time
/// to go. Returned beside it: told when the call has begun, lets it go on, lets the engine end.
fn breaking(panics: bool) -> (Before, tokio::sync::mpsc::UnboundedReceiver<()>, mpsc::Sender<()>, mpsc::Sender<()>) {
    let (begun, has_begun) = tokio::sync::mpsc::unbounded_channel();
    let ((go, wait), (end, last)) = (mpsc::channel::<()>(), mpsc::channel::<()>());
    let last = LastWords(last);
    let script: Before = Box::new(move |_| {
        let _ = &last;
        begun.send(()).unwrap();
        // An error means that it was let go already.
        let _ = wait.recv();
        assert!(!panics, "as the test wants");
        Err(EngineError::Injected)
    });
    (script, has_begun, go, end)
}

#[tokio::test]
async fn only_the_chats_that_had_begun_end_with_a_lane_that_breaks() {
    for panics in [true, false] {
        let (script, mut has_begun, go, end) = breaking(panics);
        let model = scripted(fake::chat(FakeConfig::new("v1")), script);
        let handle = lane::start(model, shared(Duration::from_secs(10)), |_| {}).unwrap();
        let ask = || {
            let (out, events) = tokio::sync::mpsc::channel(OUTPUT_EVENTS);
            handle.chat(job(out, 5)).unwrap();
            events
        };
        let mut begun = ask();
        has_begun.recv().await.unwrap();
        let waiting: Vec<_> = (0..4).map(|_| ask()).collect();
        drop(go);
        match begun.recv().await {
            None => assert!(panics),
            Some(Event::Failed(RequestError::Engine { .. })) => assert!(!panics),
            Some(other) => panic!("{other:?}"),
        }
        for mut events in waiting {
            let told =
                tokio::time::timeout(Duration::from_secs(10), events.recv()).await.expect("before the engine ends");
            assert!(matches!(told, Some(Event::Failed(RequestError::Draining))), "{told:?}");
        }
        drop(end);
    }
}

#[tokio::test]
async fn only_the_embeddings_that_had_begun_end_with_a_lane_that_breaks() {
    for panics in [true, false] {
        let (script, mut has_begun, go, end) = breaking(panics);
        let model = scripted(fake::embedding(FakeConfig::new("v1")), script);
        let handle = lane::start(model, shared(Duration::from_secs(10)), |_| {}).unwrap();
        let ask = || {
            let (out, reply) = tokio::sync::oneshot::channel();
            let (clock, span) = (Clock::start(Duration::from_secs(20)), tracing::Span::none());
            let out = EmbedOut::new(out, Held::default());
            handle
                .embed(EmbedJob { rows: vec![vec![65]], tenant: None, clock, out, queued: span.clone(), span })
                .unwrap();
            reply
        };
        let begun = ask();
        has_begun.recv().await.unwrap();
        let waiting: Vec<_> = (0..4).map(|_| ask()).collect();
        drop(go);
        match begun.await {
            Err(_) => assert!(panics),
            Ok(Err(RequestError::Engine { .. })) => assert!(!panics),
            Ok(other) => panic!("{other:?}"),
        }
        for reply in waiting {
            let told = tokio::time::timeout(Duration::from_secs(10), reply).await.expect("before the engine ends");
            assert!(matches!(told, Ok(Err(RequestError::Draining))), "{told:?}");
        }
        drop(end);
    }
}
