//! What people see: tables, refusals, explanations; and that every command parses and shows examples.
use clap::CommandFactory as _;
use serde_json::json;
use tidegate_policy::kinds::Kind;

use super::{
    connect::{Origin, Place},
    *,
};
use crate::problem::Problem;

#[test]
fn the_command_line_is_consistent_and_every_command_shows_an_example() {
    Cli::command().debug_assert();
    let mut stack: Vec<clap::Command> = Cli::command().get_subcommands().cloned().collect();
    while let Some(command) = stack.pop() {
        stack.extend(command.get_subcommands().cloned());
        let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        let leaf = command.get_subcommands().next().is_none();
        assert!(!leaf || command.is_hide_set() || help.contains("tidegate "), "{} has no example", command.get_name());
    }
}

#[test]
fn no_secret_can_be_given_on_the_command_line() {
    let flags: Vec<String> = Cli::command()
        .get_subcommands()
        .flat_map(|c| c.get_arguments().filter_map(|a| a.get_long().map(str::to_owned)).collect::<Vec<_>>())
        .collect();
    for secret in ["token", "database-url", "password"] {
        assert!(!flags.iter().any(|f| f == secret), "--{secret}");
    }
}

#[test]
fn a_refusal_names_file_path_and_remedy_of_every_mistake() {
    let problem: Problem = serde_json::from_value(json!({
        "type": "/errors/TG-1301", "title": "invalid", "status": 422, "code": "TG-1301",
        "detail": "3 mistakes; nothing was stored", "future": 1,
        "errors": [
            {"path": "$.spec.steps[0].weight", "message": "101 is more than 100", "code": "TG-1012", "document": 1},
            {"path": "$.spec.stable", "message": "is missing", "code": "TG-1301", "document": 0},
            {"path": "$", "message": "no such document", "code": "", "document": 9},
        ],
    }))
    .unwrap();
    let origins = ["a.yaml".to_owned(), "b.yaml (document 2)".to_owned()];
    assert_eq!(
        problem.with_origins(&origins).to_string(),
        "TG-1301 3 mistakes; nothing was stored\n  \
         b.yaml (document 2): $.spec.steps[0].weight: 101 is more than 100 (TG-1012)\n  \
         a.yaml: $.spec.stable: is missing\n  \
         $: no such document"
    );
}

#[test]
fn an_error_ends_with_the_command_that_says_what_to_do_and_the_command_has_the_page() {
    let problem: Problem = serde_json::from_value(json!({
        "type": "/errors/TG-1301", "title": "invalid", "status": 422, "code": "TG-1301", "detail": "1 mistake",
        "errors": [{"path": "$.spec.x", "message": "unknown field", "code": "TG-1005"}],
    }))
    .unwrap();
    let errors = [
        (Error::Refused(Box::new(problem)), "tidegate errors TG-1301 TG-1005"),
        (Error::Usage("no such thing".to_owned()), "tidegate errors TG-1515"),
        (Error::NoToken { reason: "there is none".to_owned() }, "tidegate errors TG-1511"),
        (Error::Input { what: "a.yaml".to_owned(), reason: "not there".to_owned() }, "tidegate errors TG-1512"),
        (Error::Serve(anyhow::anyhow!("TG-1533 cannot listen")), "tidegate errors TG-1532 TG-1533"),
    ];
    for (error, command) in errors {
        let report = error.report();
        assert!(report.ends_with(&format!("\nwhat to do: {command}")), "{report}");
        let Command::Errors(args) = Cli::try_parse_from(command.split(' ')).unwrap().command else {
            panic!("{command}")
        };
        let text = errors::text(&args);
        for code in command.split(' ').skip(2) {
            assert!(text.contains(&format!("{code}: ")), "{text}");
        }
    }
    let unknown = Cli::try_parse_from(["tidegate", "errors", "TG-9999"]).unwrap_err();
    assert!(unknown.use_stderr() && unknown.to_string().contains("`tidegate errors` lists all of them"), "{unknown}");
    let Command::Errors(none) = Cli::try_parse_from(["tidegate", "errors"]).unwrap().command else { panic!() };
    assert!(errors::text(&none).contains("  TG-1301  The documents are not valid\n"));
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        assert!(completion(shell).contains("TG-1301"), "{shell:?}");
    }
}

#[test]
fn the_fields_of_a_kind_are_shown_at_the_terminal() {
    let ask = |line: &str| {
        let Command::Fields(args) = Cli::try_parse_from(line.split(' ')).unwrap().command else { panic!("{line}") };
        fields::text(&args)
    };
    assert!(ask("tidegate fields").unwrap().contains("RateLimitPolicy  rlp"));
    let rules = ask("tidegate fields rel.spec.rules").unwrap();
    for part in [
        "KIND:     ReleasePolicy (rel)",
        "FIELD:    spec.rules <[]Object>",
        "At most 64 items.",
        "match <[]Object> -required-",
        "One of Stable, Candidate.",
    ] {
        assert!(rules.contains(part), "{part} is not in\n{rules}");
    }
    let all = ask("tidegate fields wp -r").unwrap();
    assert!(
        all.contains("      maxBatch <integer>\n") && all.contains("devices <Object> (not supported yet)"),
        "{all}"
    );
    let wrong = ask("tidegate fields rel.spec.rulez").unwrap_err();
    assert!(wrong.to_string().contains("did you mean \"rules\"?"), "{wrong}");
    assert_eq!(wrong.exit_code(), 64);
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        assert!(completion(shell).contains("rel.spec.rules"), "{shell:?}");
    }
}

#[test]
fn results_read_like_kubectl() {
    let answer = json!({"revision": 4, "results": [
        {"kind": "Model", "namespace": "default", "name": "tide-chat", "outcome": "Created", "warnings": []},
        {"kind": "ReleasePolicy", "namespace": "prod", "name": "chat", "outcome": "Unchanged", "warnings": ["rule 1 can never match"]},
    ]});
    assert_eq!(
        apply::results(&answer, false),
        "model.tidegate.dev/tide-chat created\nreleasepolicy.tidegate.dev/prod/chat unchanged\n  warning: rule 1 can never match\n"
    );
    assert!(apply::results(&answer, true).starts_with("model.tidegate.dev/tide-chat created (dry run)\n"));
}

#[test]
fn a_listing_shows_what_is_wanted_and_what_is() {
    let now = "2026-01-01T00:10:00Z".parse().unwrap();
    let items = [json!({
        "metadata": {"name": "chat", "namespace": "default", "creationTimestamp": "2026-01-01T00:00:00Z", "generation": 2,
                     "resourceVersion": "9", "managedBy": "Rest"},
        "spec": {"targetRef": {"kind": "Model", "name": "tide-chat"}, "stable": "v1", "candidate": "v2", "steps": [{"weight": 10}]},
        "status": {"arms": {"stable": "v1", "candidate": "v1"}, "conditions": [
            {"type": "Accepted", "status": "True", "reason": "Valid"},
            {"type": "Programmed", "status": "False", "reason": "Pending", "message": "1 of 2 nodes"},
            {"type": "Ready", "status": "False", "reason": "Waiting", "message": "v2 loads"}]},
    })];
    let wide = columns::Columns { wide: true, namespace: true, kind: false, now };
    let expected = "\
NAMESPACE   NAME   MODEL       STABLE   CANDIDATE     WEIGHT   READY   ACCEPTED   RESOLVEDREFS   PROGRAMMED   GENERATION   REVISION   SOURCE   AGE   REASON    MESSAGE
default     chat   tide-chat   v1       v2 (now v1)   10%      False   True       -              False        2            9          Rest     10m   Waiting   v2 loads
";
    assert_eq!(columns::object_table(Kind::ReleasePolicy, &items, &wide), expected);
    let narrow = columns::Columns { wide: false, namespace: false, kind: true, now };
    let expected = "\
NAME                 MODEL       STABLE   CANDIDATE     WEIGHT   READY   AGE   REASON    MESSAGE
releasepolicy/chat   tide-chat   v1       v2 (now v1)   10%      False   10m   Waiting   v2 loads
";
    assert_eq!(columns::object_table(Kind::ReleasePolicy, &items, &narrow), expected);
    for kind in Kind::ALL {
        let columns = columns::Columns { wide: false, namespace: false, kind: false, now };
        assert!(
            columns::object_table(kind, &[json!({"metadata": {"name": "x"}})], &columns).contains("\nx "),
            "an empty object has a row"
        );
    }
}

#[test]
fn a_listing_says_what_is_worst_about_each_object() {
    let condition = |name: &str, status: &str, reason: &str, message: &str| json!({"type": name, "status": status, "reason": reason, "message": message});
    let ready = |status: &str, reason: &str| condition("Ready", status, reason, "why not ready");
    let lost = || condition("ResolvedRefs", "False", "RefNotFound", "nothing is there");
    let long = "x".repeat(300);
    let cases = [
        (json!([ready("True", "Ready")]), json!([]), ["True", "-", "-"]),
        (json!([ready("True", "Ready")]), json!(["rule 1 never matches"]), ["True", "Warning", "rule 1 never matches"]),
        (json!([lost(), ready("False", "NotServed")]), json!([]), ["False", "NotServed", "why not ready"]),
        (json!([lost(), ready("True", "Ready")]), json!(["w"]), ["True", "RefNotFound", "nothing is there"]),
        (json!([condition("Ready", "False", "Long", &long)]), json!([]), ["False", "Long", &"x".repeat(100)]),
        (json!([]), json!([]), ["-", "-", "-"]),
    ];
    for (conditions, warnings, expected) in cases {
        let item = json!({"metadata": {"name": "n"}, "status": {"conditions": conditions, "warnings": warnings}});
        let columns = columns::Columns {
            wide: false,
            namespace: false,
            kind: false,
            now: "2026-01-01T00:00:00Z".parse().unwrap(),
        };
        let table = columns::object_table(Kind::Model, std::slice::from_ref(&item), &columns);
        let row = table.lines().nth(1).unwrap();
        let cells: Vec<&str> = row.split("   ").map(str::trim).filter(|cell| !cell.is_empty()).collect();
        assert_eq!(cells[3], expected[0], "{table}");
        assert_eq!(cells[5], expected[1], "{table}");
        assert!(cells[6].starts_with(expected[2]) && cells[6].len() < 140, "{table}");
    }
}

#[test]
fn an_explanation_is_read_from_top_to_bottom() {
    let answer = json!({
        "outcome": "Routed", "model": "tide-chat", "arm": "candidate", "version": "v2", "endpoints": 1,
        "decidedBy": {"id": "default/chat/rule-0", "kind": "Rule", "owner": "default/chat", "generation": 3},
        "rules": [{"id": "default/chat/rule-0", "arm": "candidate", "matched": true,
                   "conditions": [{"condition": "x-gray-tag matches v2.*", "saw": "\"v2.1\"", "holds": true}]}],
        "random": false, "revision": 5, "notes": [],
        "limits": [{"id": "default/chat-limits/all", "requests": "50 per 1s", "concurrency": 8, "counters": ["tenant \"acme\""], "shadow": false}],
    });
    assert_eq!(
        explain::text(&answer),
        "tide-chat -> candidate, version v2 (1 worker)\n\
         decided by rule default/chat/rule-0 of default/chat, generation 3\n\
         rules, in the order in which they are tried:\n  \
           default/chat/rule-0 -> candidate: matches\n    \
             holds: x-gray-tag matches v2.*, saw \"v2.1\"\n\
         limit default/chat-limits/all: 50 per 1s and 8 at a time, for tenant \"acme\"\n"
    );
    let split = json!({"outcome": "Routed", "model": "m", "random": true, "keyHeader": "x-user-id", "shares": [
        {"arm": "candidate", "version": "v2", "weight": 1000}, {"arm": "stable", "version": "v1", "weight": 9000}]});
    assert_eq!(
        explain::text(&split),
        "m -> by chance: the request has no x-user-id header\nsplit by x-user-id\n  0..1000 candidate (version v2)\n  1000..10000 stable (version v1)\n"
    );
}

#[test]
fn an_explanation_of_a_refusal_says_who_answers_what_and_who_answers_instead() {
    let answer = json!({
        "outcome": "Routed", "model": "m", "arm": "stable", "version": "v1", "endpoints": 2, "random": false,
        "verdict": {"status": 401, "code": "invalid_api_key", "from": "Gateway", "why": "the request has no API key"},
        "rules": [{"id": "d/r/rules/0", "arm": "stable", "named": "candidate v2", "matched": true, "conditions": []}],
        "notes": ["d/r gives 1 rule to candidate v2: nobody"],
    });
    assert_eq!(
        explain::text(&answer),
        "m -> stable, version v1 (2 workers)\n\
         refused: the gateway answers 401 invalid_api_key: the request has no API key\n\
         rules, in the order in which they are tried:\n  \
           d/r/rules/0 -> stable instead of candidate v2: matches\n\
         note: d/r gives 1 rule to candidate v2: nobody\n"
    );
    let unknown = json!({"outcome": "UnknownModel", "model": "m", "notes": ["the nearest: n"],
        "verdict": {"status": 404, "code": "model_not_found", "from": "Gateway", "why": "there is no such model"}});
    assert_eq!(
        explain::text(&unknown),
        "m: no such model; the gateway answers 404 model_not_found\nnote: the nearest: n\n"
    );
}

#[test]
fn a_model_is_looked_for_in_the_namespace_unless_it_names_one() {
    for (model, namespace, id) in
        [("chat", "default", "chat"), ("chat", "team-a", "team-a/chat"), ("b/chat", "team-a", "b/chat")]
    {
        assert_eq!(explain::model_id(model, namespace), id);
    }
}

#[test]
fn kinds_are_found_by_every_name_and_refused_with_the_list() {
    for text in ["rel", "ReleasePolicy", "releasepolicies", "rel/chat"] {
        let (kind, name) = objects::kind_and_name(text, None).unwrap();
        assert_eq!((kind, name.is_some()), (Kind::ReleasePolicy, text.contains('/')));
    }
    assert!(objects::kind_and_name("pods", None).unwrap_err().to_string().contains("workerpools (wp)"));
    assert!(objects::kind_and_name("rel/a", Some("b")).is_err());
    assert!(history::named("rel", None).unwrap_err().to_string().contains("ReleasePolicy"));
    assert_eq!(history::named("rel/chat", None).unwrap(), (Kind::ReleasePolicy, "chat".to_owned()));
}

#[test]
fn a_header_is_split_at_its_first_colon() {
    assert_eq!(explain::header("X-A: b:c").unwrap(), ("X-A".to_owned(), "b:c".to_owned()));
    assert_eq!(explain::header("X-A:").unwrap(), ("X-A".to_owned(), String::new()));
    assert!(explain::header("nothing").is_err());
    assert!(explain::header(": x").is_err());
}

#[test]
fn a_header_that_is_no_text_is_given_in_base64() {
    let both = explain::headers(&["a: b".to_owned()], &["X-Raw: /w==".to_owned()]).unwrap();
    assert_eq!(both, [json!({"name": "a", "value": "b"}), json!({"name": "X-Raw", "valueBase64": "/w=="})]);
    for bad in ["X-Raw: \u{ff}", "X-Raw", "X-Raw: /w"] {
        assert!(explain::headers(&[], &[bad.to_owned()]).is_err(), "{bad}");
    }
}

#[test]
fn a_key_that_has_ended_is_not_shown_as_active() {
    let now = "2026-01-01T00:00:00Z".parse().unwrap();
    let key = |id: &str, expires: Option<&str>, revoked: Option<&str>| json!({"id": id, "expiresAt": expires, "revokedAt": revoked});
    let (past, future) = (Some("2025-12-31T00:00:00Z"), Some("2026-01-02T00:00:00Z"));
    let items = [key("a", None, None), key("b", future, None), key("c", past, None), key("d", past, past)];
    let table = keys::key_table(&items, now);
    let states: Vec<&str> = table.lines().skip(1).map(|l| l.split_whitespace().nth(2).unwrap()).collect();
    assert_eq!(states, ["active", "active", "expired", "revoked"], "{table}");
}

#[test]
fn a_bootstrap_names_the_token_and_never_holds_it() {
    let dir = tempfile::tempdir().unwrap();
    let token_file = dir.path().join("gateway-1.token");
    std::fs::write(&token_file, "tgn_verysecret").unwrap();
    let mut args = bootstrap::BootstrapArgs {
        node_id: "gateway-1".to_owned(),
        token_file: token_file.clone(),
        grpc: "127.0.0.1:18001".parse().unwrap(),
        admin_socket: None,
    };
    let text = bootstrap::print(&args).unwrap();
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(value["node"]["id"], "gateway-1");
    assert!(text.contains("18001") && text.contains(token_file.to_str().unwrap()), "{text}");
    assert!(!text.contains("tgn_"), "{text}");
    let socket = value["admin"]["address"]["pipe"]["path"].as_str().unwrap();
    assert!(socket.starts_with('/') && socket.ends_with("/gateway-1-admin.sock"), "{socket}");
    args.grpc = "10.0.0.1:18000".parse().unwrap();
    assert!(bootstrap::print(&args).unwrap_err().to_string().contains("clear text"));
}

#[test]
fn each_shell_gets_a_completion_of_the_commands() {
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        let script = completion(shell);
        assert!(script.contains("proxy-status") && script.contains("model-roots"), "{shell:?}");
        assert!(!script.contains("exec-child"), "{shell:?} offers what is hidden");
    }
}

/// Where a token goes and what it is come from one folder.
#[test]
fn the_url_and_the_token_are_those_of_one_data_directory() {
    let root = tempfile::tempdir().unwrap();
    let dirs = ["first", "second"].map(|name| root.path().join(name));
    for dir in &dirs {
        std::fs::create_dir(dir).unwrap();
    }
    let args = ConnectArgs::default();
    let none = args.place(&dirs).unwrap_err().to_string();
    assert!(none.contains("TG-1511") && none.contains("first/admin-token and no "), "{none}");

    std::fs::write(dirs[0].join("admin-token"), "tga_first").unwrap();
    std::fs::write(dirs[1].join("server.json"), r#"{"adminUrl": "http://127.0.0.1:1"}"#).unwrap();
    std::fs::write(dirs[1].join("admin-token"), "tga_second").unwrap();
    let place =
        |server: &str, token_file, origin| Place { server: server.to_owned(), token_file, origin, certificate: None };
    let (first, second) = (dirs[0].join("admin-token"), dirs[1].join("admin-token"));
    let default = place("http://127.0.0.1:9080", first.clone(), Origin::Default);
    assert_eq!(args.place(&dirs).unwrap(), default, "not the URL of the second");
    let from = Origin::DataDir(dirs[1].clone());
    assert_eq!(args.place(&dirs[1..]).unwrap(), place("http://127.0.0.1:1", second, from.clone()));

    let named = ConnectArgs { token_file: Some("t".into()), server: Some(String::new()), ..ConnectArgs::default() };
    assert_eq!(named.place(&dirs).unwrap(), place("http://127.0.0.1:1", "t".into(), from));
    let named = ConnectArgs { server: Some("http://127.0.0.1:2".into()), ..ConnectArgs::default() };
    assert_eq!(named.place(&dirs).unwrap(), place("http://127.0.0.1:2", first, Origin::Given));
}

#[test]
fn only_what_is_ones_own_or_of_root_is_trusted() {
    assert_eq!([(7, 7), (0, 7), (0, 0)].map(|(owner, me)| connect::trusted(owner, me)), [true; 3]);
    assert_eq!([(7, 0), (7, 8)].map(|(owner, me)| connect::trusted(owner, me)), [false; 2]);
}

#[test]
fn differences_are_shown_and_counted() {
    let answer = json!({"changes": [
        {"kind": "Model", "namespace": "default", "name": "a", "outcome": "Unchanged", "diff": ""},
        {"kind": "Model", "namespace": "default", "name": "b", "outcome": "Configured", "diff": "-x\n+y"},
    ], "warnings": []});
    let (text, differs) = apply::differences(&answer);
    assert_eq!((text.as_str(), differs), ("# model.tidegate.dev/b would be configured\n-x\n+y\n", true));
    assert_eq!(apply::differences(&json!({"changes": []})), ("No differences.\n".to_owned(), false));
}

#[test]
fn a_document_survives_being_printed_as_yaml() {
    let value = json!({"a": {"b": [1, "no", "1.0", "x: y", ""], "c": null, "d": true}, "e": "line\nline"});
    let text = output::yaml(&value);
    assert_eq!(tidegate_text::one(&text).unwrap().unwrap(), value, "{text}");
}

#[test]
fn proxy_status_shows_who_has_what_and_what_was_refused() {
    let refused = json!({"door": "Fleet", "code": "TG-1413", "message": "address x is not y", "count": 7});
    let items = [
        json!({"nodeId": "gateway-0", "group": "gateway", "connected": true, "state": "Connected", "types": [
            {"typeUrl": "type.googleapis.com/envoy.config.cluster.v3.Cluster", "state": "SYNCED"},
            {"typeUrl": "type.googleapis.com/envoy.config.route.v3.RouteConfiguration", "state": "NACKED",
             "refused": [{"name": "tidegate", "error": "bad regex"}]}]}),
        json!({"nodeId": "default.chat.0", "group": "worker/default/chat", "connected": false, "state": "Disconnected",
               "types": [{"typeUrl": "type.googleapis.com/tidegate.worker.v1.ModelSet", "state": "DISCONNECTED", "error": "no such file"}],
               "worker": {"versions": [{"name": "v1", "state": "Serving"}, {"name": "v2", "state": "Failed", "error": "TG-2017: digest"},
                                       {"name": "v3", "state": "Serving", "outdated": true}]}}),
        json!({"nodeId": "w", "group": "worker/a/b", "connected": true, "state": "Connected", "refused": [refused],
               "notes": ["WorkerPool a/b does not exist"], "worker": {"connected": false, "versions": [{"name": "v1", "state": "Serving"}]}}),
        json!({"nodeId": "unused", "group": "gateway", "connected": false, "state": "NeverConnected"}),
    ];
    assert_eq!(
        nodes::nodes(&items, false),
        "NODE             GROUP                 STATE             RDS      CDS      MODELS         VERSIONS\n\
         gateway-0        gateway               CONNECTED         NACKED   SYNCED   -              -\n\
         default.chat.0   worker/default/chat   DISCONNECTED      -        -        DISCONNECTED   v1,v2 FAILED,v3 (old files)\n\
         w                worker/a/b            REFUSED           -        -        -              -\n\
         unused           gateway               NEVER_CONNECTED   -        -        -              -\n\
         gateway-0 refused RouteConfiguration tidegate: bad regex\n\
         default.chat.0 refused ModelSet: no such file\n\
         default.chat.0 v2: TG-2017: digest\n\
         w is refused (Fleet): TG-1413 address x is not y (7 times)\n\
         w: WorkerPool a/b does not exist\n"
    );
}

#[test]
fn a_time_to_live_is_seconds_or_a_duration() {
    for (text, seconds) in [("3600", 3600), ("1d", 86_400), ("1h30m", 5_400), ("2w", 1_209_600), ("30s", 30)] {
        assert_eq!(keys::seconds(text), Ok(seconds), "{text}");
    }
    for bad in ["", "0", "0s", "500ms", "1y", "-1", "1.5h", "tomorrow"] {
        let said = keys::seconds(bad).unwrap_err();
        assert!(said.contains("1h30m") && !said.contains("digit"), "{bad}: {said}");
    }
}

#[test]
fn a_rollback_is_summed_up_before_the_question() {
    let change = |namespace: &str, name: &str, outcome: &str| json!({"kind": "Model", "namespace": namespace, "name": name, "outcome": outcome});
    let all =
        [change("default", "a", "Configured"), change("default", "b", "Configured"), change("team-a", "c", "Deleted")];
    let text = rollback::summary(&all.iter().collect::<Vec<_>>(), 12, 2);
    assert_eq!(
        text,
        "Going back to revision 12 changes 3 objects:\n  namespace default: 2 Model configured\n  namespace team-a: 1 Model deleted\n\
         model.tidegate.dev/a would be configured\nmodel.tidegate.dev/b would be configured\nand 1 more; --dry-run shows all, with their differences\n"
    );
}
