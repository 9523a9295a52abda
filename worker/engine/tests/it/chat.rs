//! A row's answer does not depend on the cache, on the batch, on who joins and who leaves.
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use tidegate_engine::engine::{ChatEngine, SequenceId};
use tidegate_engine::{RuntimeConfig, Task};

use crate::harness::{Place, answers, chat_engine, dylib, greedy, load_under, refusal};

fn tiny() -> Box<dyn ChatEngine> {
    let place = Place::of("chat");
    chat_engine(place.load(&place.spec(Task::Chat)).expect("loads"))
}

fn prompt(text: &str) -> Vec<u32> {
    text.bytes().map(u32::from).collect()
}

/// The answer without a cache: the whole sequence at each step.
fn recomputed(engine: &mut dyn ChatEngine, prompt: &[u32], limit: usize) -> Vec<u32> {
    let eos = engine.info().eos_token_ids.clone();
    let mut all = prompt.to_vec();
    while all.len() < prompt.len() + limit {
        let (id, logits) = engine.prefill(&[all.clone()]).expect("prefill").remove(0);
        engine.release(id);
        let token = greedy().pick(&logits).expect("finite");
        all.push(token);
        if eos.contains(&token) {
            break;
        }
    }
    all.split_off(prompt.len())
}

#[test]
fn the_cache_gives_what_a_full_recomputation_gives() {
    let mut engine = tiny();
    for text in ["hello", "Tide gates", "x", "the quick brown fox jumps"] {
        let expected = recomputed(&mut *engine, &prompt(text), 20);
        assert_eq!(answers(&mut *engine, &[prompt(text)], 20), [expected], "{text}");
    }
}

#[test]
fn a_batch_gives_what_each_prompt_gives_alone() {
    let mut engine = tiny();
    let prompts: Vec<Vec<u32>> =
        ["a", "hello", "Tide gates", "the quick brown fox jumps", "z", "Q", "12345678", "123456789"].map(prompt).into();
    let alone: Vec<Vec<u32>> =
        prompts.iter().map(|p| answers(&mut *engine, std::slice::from_ref(p), 24).remove(0)).collect();
    assert_eq!(answers(&mut *engine, &prompts, 24), alone);
    assert_eq!(answers(&mut *engine, &prompts[2..5], 24), alone[2..5]);
}

/// Rows start at any step, in any order, and are stepped in any order; some stand still meanwhile.
#[test]
fn rows_that_join_and_leave_at_random_do_not_disturb_each_other() {
    let mut engine = tiny();
    let prompts: Vec<Vec<u32>> =
        (1..=12).map(|n| prompt(&"tidegate holds".chars().cycle().take(n * 2).collect::<String>())).collect();
    let alone: Vec<Vec<u32>> =
        prompts.iter().map(|p| answers(&mut *engine, std::slice::from_ref(p), 16).remove(0)).collect();
    let engine = std::cell::RefCell::new(engine);
    let mut runner =
        TestRunner::new(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() });
    let plan = prop::collection::vec((0usize..12, any::<u64>()), 6..12);
    runner
        .run(&plan, |plan| {
            let mut engine = engine.borrow_mut();
            let mut waiting: Vec<usize> = plan.iter().map(|(prompt, _)| *prompt).collect();
            let mut open: Vec<(usize, SequenceId, Vec<u32>)> = Vec::new();
            for (_, seed) in plan.iter().cycle().take(200) {
                if let Some(index) = waiting.pop().filter(|_| open.len() < 8) {
                    let (id, logits) = engine.prefill(&[prompts[index].clone()]).expect("prefill").remove(0);
                    open.push((index, id, vec![greedy().pick(&logits).expect("finite")]));
                }
                if !open.is_empty() {
                    let by = usize::try_from(seed % open.len() as u64).expect("small");
                    open.rotate_left(by);
                }
                open.retain(|(index, id, answer)| {
                    let done = answer.len() >= alone[*index].len();
                    if done {
                        assert_eq!(answer, &alone[*index]);
                        engine.release(*id);
                    }
                    !done
                });
                if open.is_empty() {
                    continue;
                }
                let some = (seed >> 8) & 0xff;
                let mut row = 0;
                let (mut stepped, still): (Vec<_>, Vec<_>) = open.into_iter().partition(|_| {
                    row += 1;
                    some == 0 || (some >> (row - 1)) & 1 == 1
                });
                open = still;
                if stepped.is_empty() {
                    std::mem::swap(&mut open, &mut stepped);
                }
                let step: Vec<(SequenceId, u32)> = stepped.iter().map(|(_, id, a)| (*id, a[a.len() - 1])).collect();
                for ((_, _, answer), logits) in stepped.iter_mut().zip(engine.step(&step).expect("step")) {
                    answer.push(greedy().pick(&logits).expect("finite"));
                }
                open.append(&mut stepped);
            }
            prop_assert!(open.is_empty(), "200 turns are enough for all");
            Ok(())
        })
        .expect("holds");
}

#[test]
fn a_refused_call_changes_no_sequence() {
    let mut engine = tiny();
    let expected = answers(&mut *engine, &[prompt("hello")], 6).remove(0);
    let (id, logits) = engine.prefill(&[prompt("hello")]).expect("prefill").remove(0);
    let mut got = vec![greedy().pick(&logits).expect("finite")];
    for _ in 0..5 {
        let token = got[got.len() - 1];
        for (call, code) in [
            (vec![(id, token), (SequenceId(999), 1)], "TG-2044"),
            (vec![(id, token), (id, token)], "TG-2043"),
            (vec![(id, 260)], "TG-2043"),
            (vec![], "TG-2043"),
        ] {
            assert_eq!(engine.step(&call).expect_err("refused").code(), code);
        }
        got.push(greedy().pick(&engine.step(&[(id, token)]).expect("step")[0]).expect("finite"));
    }
    assert_eq!(got, expected);
    engine.release(id);
    engine.release(id);
    let error = engine.step(&[(id, 1)]).expect_err("released");
    assert_eq!(error.to_string(), "model test-model, version v1, infer");
}

#[test]
fn prompts_and_sequences_end_at_their_bounds() {
    let mut engine = tiny();
    assert_eq!(engine.info().max_sequence, 64);
    for bad in [vec![], vec![vec![]], vec![vec![1; 65]], vec![vec![260]], vec![vec![1]; 9]] {
        assert_eq!(engine.prefill(&bad).expect_err("refused").code(), "TG-2043");
    }
    let (id, _) = engine.prefill(&[vec![1; 63]]).expect("fits").remove(0);
    engine.step(&[(id, 1)]).expect("the last place");
    assert_eq!(engine.step(&[(id, 1)]).expect_err("full").code(), "TG-2043");
    engine.release(id);
    let open: Vec<SequenceId> =
        (0..2).flat_map(|_| engine.prefill(&vec![vec![1]; 8]).expect("room")).map(|(id, _)| id).collect();
    assert_eq!(engine.prefill(&[vec![1]]).expect_err("too many open").code(), "TG-2043");
    open.into_iter().for_each(|id| engine.release(id));
    engine.prefill(&[vec![1]]).expect("room again");
}

#[test]
fn a_sequence_can_use_its_whole_length() {
    let mut engine = tiny();
    let (id, mut logits) = engine.prefill(&[vec![7]]).expect("prefill").remove(0);
    let mut all = vec![7];
    while all.len() < 64 {
        let token = greedy().pick(&logits).expect("finite");
        all.push(token);
        logits = engine.step(&[(id, token)]).expect("step").remove(0);
    }
    engine.release(id);
    let (_, full) = engine.prefill(&[all]).expect("prefill").remove(0);
    let worst = full.iter().zip(&logits).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(worst < 1.0e-4, "the logits differ by {worst}");
}

#[test]
fn a_memory_limit_is_kept_and_given_back() {
    let place = Place::of("chat");
    let config = RuntimeConfig { memory_limit: Some(24 << 20), ..RuntimeConfig::cpu(dylib()) };
    let runtime = tidegate_engine::Runtime::start(config).expect("starts");
    let roots = tidegate_engine::ModelRoots::new([place.root()]).expect("roots");
    let load =
        || tidegate_engine::load(&runtime, &place.spec(Task::Chat), &roots, &tidegate_engine::LoadCancel::default());
    let first = load().expect("fits once");
    let error = refusal(load());
    assert_eq!(error.code(), "TG-2024");
    drop(first);
    load().expect("fits again");
}

#[test]
fn a_session_works_after_its_files_are_gone() {
    let place = Place::of("chat");
    let mut engine = chat_engine(load_under(&place.root(), &place.spec(Task::Chat)).expect("loads"));
    let before = answers(&mut *engine, &[prompt("hello")], 8);
    drop(place);
    assert_eq!(answers(&mut *engine, &[prompt("hello")], 8), before);
}
