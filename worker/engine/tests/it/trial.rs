//! A version counts as loaded only after one real request went through it: what would fail for every client is refused at load,
//! with the file and the cause.
use tidegate_engine::engine::ChatMessage;
use tidegate_engine::{EngineError, Task};

use crate::harness::{Place, refusal};

fn refused(task: Task, damage: impl FnOnce(&Place)) -> EngineError {
    let place = Place::of(if task == Task::Chat { "chat" } else { "encoder" });
    damage(&place);
    refusal(place.load(&place.spec(task)))
}

fn with_template(text: &str) -> impl FnOnce(&Place) {
    let text = text.to_owned();
    move |place| std::fs::write(place.file("chat_template.jinja"), text).expect("written")
}

/// Changes the tokenizer's JSON.
fn with_tokenizer(change: impl FnOnce(&mut serde_json::Value)) -> impl FnOnce(&Place) {
    move |place| {
        let file = place.file("tokenizer.json");
        let mut json = serde_json::from_slice(&std::fs::read(&file).expect("readable")).expect("JSON");
        change(&mut json);
        std::fs::write(file, json.to_string()).expect("written");
    }
}

/// Fills the end of the weights.
fn with_last_weights(floats: usize, value: f32) -> impl FnOnce(&Place) {
    move |place| {
        let file = place.file("model.onnx.data");
        let mut data = std::fs::read(&file).expect("readable");
        let begin = data.len() - floats * 4;
        data[begin..].chunks_exact_mut(4).for_each(|cell| cell.copy_from_slice(&value.to_le_bytes()));
        std::fs::write(file, data).expect("written");
    }
}

#[test]
fn a_template_that_fails_only_when_rendered_is_refused() {
    let content = "{{ messages[0].content }}";
    let later = |condition: &str| format!("{{% if {condition} %}}{{{{ nothing.at_all }}}}{{% endif %}}{content}");
    for (template, roles) in [
        ("{{ messages[0].content.shout() }}".to_owned(), "(user)"),
        ("{{ bos_token + '' }}".to_owned() + content, "(user)"),
        ("{{ no_such_function('%Y') }}".to_owned() + content, "(user)"),
        ("{{ raise_exception('never') }}".to_owned(), "(user)"),
        ("{{ messages[1].content.strip() }}".to_owned(), "(user)"),
        (content.to_owned() + &"x".repeat(100), "(user)"),
        ("{% for a in range(10000) %}{% for b in range(10000) %}{{ a }}{% endfor %}{% endfor %}".to_owned(), "(user)"),
        (later("messages[0].role == 'system'"), "(system, user)"),
        (later("messages | length > 2"), "(user, assistant, user)"),
    ] {
        let error = refused(Task::Chat, with_template(&template));
        assert_eq!(error.code(), "TG-2031", "{template}: {}", error.report());
        let report = error.report();
        assert!(
            report.contains("chat_template.jinja failed on a trial conversation") && report.contains(roles),
            "{report}"
        );
    }
}

#[test]
fn what_published_templates_use_loads() {
    for template in [
        "{{ messages[0].content.strip() }}",
        "{% if tools %}{{ tools }}{% endif %}{{ messages[0].content }}",
        "{% if documents is not none %}{{ documents }}{% endif %}{{ messages[0].content }}",
        "{{ strftime_now('%Y') }}{{ messages[0].content }}",
        "{{ eos_token + '' }}{{ messages[0].content }}",
        "{% generation %}{{ messages[0].content }}{% endgeneration %}",
        "{% for m in messages %}{% if m.role == 'x' %}{% break %}{% endif %}{{ m.content }}{% endfor %}",
    ] {
        let place = Place::of("chat");
        with_template(template)(&place);
        place.load(&place.spec(Task::Chat)).unwrap_or_else(|error| panic!("{template}: {}", error.report()));
    }
}

#[test]
fn a_template_may_refuse_a_system_message_or_two_turns_by_itself() {
    let place = Place::of("chat");
    with_template(
        "{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}\
         {% if messages | length > 1 %}{{ raise_exception('one turn') }}{% endif %}{{ messages[0].content }}",
    )(&place);
    let codec = place.load(&place.spec(Task::Chat)).expect("loads").tokenizer;
    let system = ChatMessage::new("system", "x");
    let error = codec.encode_chat(&[system]).expect_err("refused");
    assert!(error.request_fault() && error.report().ends_with("no system"), "{}", error.report());
}

#[test]
fn special_tokens_come_from_the_files_in_which_they_are_published() {
    let text = "{{ bos_token + messages[0].content }}";
    for (file, json) in [
        ("tokenizer_config.json", r#"{"bos_token": "<|im_start|>", "eos_token": {"content": "<|im_end|>"}}"#),
        ("special_tokens_map.json", r#"{"bos_token": {"content": "<|im_start|>"}, "pad_token": null}"#),
    ] {
        let place = Place::of("chat");
        with_template(text)(&place);
        std::fs::write(place.file(file), json).expect("written");
        let codec = place.load(&place.spec(Task::Chat)).unwrap_or_else(|error| panic!("{}", error.report())).tokenizer;
        let user = ChatMessage::new("user", "a");
        assert_eq!(codec.encode_chat(&[user]).expect("encodes"), [257, u32::from(b'a')]);
        let error = refused(Task::Chat, |place| std::fs::write(place.file(file), "[]").expect("written"));
        assert_eq!(error.code(), "TG-2036", "{}", error.report());
    }
}

#[test]
fn a_template_can_be_a_member_of_tokenizer_config() {
    let place = Place::of("chat");
    let json = r#"{"bos_token": "<|im_start|>", "chat_template": "{{ bos_token }}{{ messages[0].content }}"}"#;
    std::fs::write(place.file("tokenizer_config.json"), json).expect("written");
    let mut spec = place.spec(Task::Chat);
    spec.chat_template = Some("tokenizer_config.json".to_owned());
    let codec = place.load(&spec).unwrap_or_else(|error| panic!("{}", error.report())).tokenizer;
    let user = ChatMessage::new("user", "a");
    assert_eq!(codec.encode_chat(&[user]).expect("encodes"), [257, u32::from(b'a')]);
}

#[test]
fn a_tokenizer_of_another_model_is_refused() {
    let vocab = |json: &mut serde_json::Value, change: &dyn Fn(&mut serde_json::Map<String, serde_json::Value>)| {
        change(json["model"]["vocab"].as_object_mut().expect("a vocabulary"));
    };
    let larger = |task| {
        refused(task, with_tokenizer(|json| vocab(json, &|vocab| drop(vocab.insert("H".to_owned(), 10_047.into())))))
    };
    for task in [Task::Chat, Task::Embedding] {
        let error = larger(task);
        assert_eq!(error.code(), "TG-2030");
        let report = error.report();
        assert!(report.contains("tokenizer.json does not fit the model") && report.contains("10047"), "{report}");
    }
    let without_end = refused(
        Task::Chat,
        with_tokenizer(|json| {
            json["added_tokens"].as_array_mut().expect("a list").retain(|token| token["id"] != 258);
            vocab(json, &|vocab| vocab.retain(|_, id| *id != 258));
        }),
    );
    assert_eq!(without_end.code(), "TG-2030", "{}", without_end.report());
    assert!(without_end.report().contains("258"), "{}", without_end.report());
}

#[test]
fn a_tokenizer_that_does_not_give_text_back_is_refused() {
    // A byte-level vocabulary needs no decoder; what its normalizer changes is lost.
    let normalizer = serde_json::json!({"type": "Replace", "pattern": {"String": "l"}, "content": "x"});
    let error = refused(Task::Chat, with_tokenizer(|json| json["normalizer"] = normalizer));
    assert_eq!(error.code(), "TG-2033", "{}", error.report());
    assert!(error.report().contains("tokenizer.json does not give back"), "{}", error.report());
}

#[test]
fn weights_that_answer_no_numbers_are_refused() {
    let error = refused(Task::Chat, with_last_weights(48 * 260, f32::NAN));
    assert_eq!(error.code(), "TG-2032", "{}", error.report());
    assert!(error.report().contains("model.onnx failed on a trial request"), "{}", error.report());
    assert!(error.report().contains("not finite"), "{}", error.report());
    let zeros = refused(Task::Embedding, with_last_weights(16 * 16, 0.0));
    assert_eq!(zeros.code(), "TG-2032", "{}", zeros.report());
    assert!(zeros.report().contains("length 0"), "{}", zeros.report());
    let nan = refused(Task::Embedding, with_last_weights(16 * 16, f32::NAN));
    assert_eq!(nan.code(), "TG-2028", "{}", nan.report());
}
