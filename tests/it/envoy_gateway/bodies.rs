//! What the gateway itself says about bodies: each that cannot be read is told so with its place, whatever workers there are.
use super::*;

fn send(bench: &Bench, key: &Header, body: &[u8], headers: &[Header]) -> Response {
    let mut request =
        format!("POST {CHAT} HTTP/1.1\r\nhost: gateway\r\ncontent-length: {}\r\n", body.len()).into_bytes();
    for (name, value) in [key].into_iter().chain(headers) {
        request.extend_from_slice(&[name.as_bytes(), b": ", value, b"\r\n"].concat());
    }
    request.extend_from_slice(b"\r\n");
    request.extend_from_slice(body);
    bench.client().send(&request).unwrap()
}

fn said(answer: &Response) -> (u16, String, Value, String) {
    let code = error_code(answer);
    let body: Value = serde_json::from_slice(&answer.body).unwrap();
    let error = &body["error"];
    (answer.status, code, error["param"].clone(), error["message"].as_str().unwrap().to_owned())
}

#[test]
fn a_body_that_cannot_be_read_is_told_so_with_its_place_also_when_there_is_no_worker() {
    let (mut bench, key) = with_key();
    let json = header("content-type", "application/json");
    for workers in [true, false] {
        if !workers {
            bench.endpoints(&[]);
        }
        for (body, place) in [
            (&b"hello"[..], "line 1 column 1"),
            (b"", "it is empty"),
            (b"[]", "it is an array"),
            (b" 7", "it is a number"),
            (br#"{"model":"chat","messages":[],}"#, "line 1 column 31"),
            (b"{\n\"model\":\"chat\",\n\"x\": NaN}", "line 3 column 6"),
            (br#"{"x":"\ud83d","model":"chat"}"#, "surrogate pair at line 1 column 7"),
            (br#"{"model":"chat","x":1e400}"#, "out of range at line 1 column 21"),
            (b"{\"model\":\"chat\",\"x\":\"\xff\"}", "not UTF-8 at line 1 column 22"),
            (b"\xef\xbb\xbf{\"model\":\"chat\"}", "byte order mark at line 1 column 1"),
            (br#"{"model":"chat","model":"chat"}"#, "stands twice at line 1 column 17"),
            (br#"{'model':'chat'}"#, "line 1 column 2"),
            (br#"{"model":"chat""#, "ends too early at line 1 column 16"),
            (br#"{"model":"chat"}}"#, "line 1 column 17"),
        ] {
            let (status, code, param, message) = said(&send(&bench, &key, body, &[json.clone()]));
            assert_eq!((status, code.as_str(), param), (400, "TG-2200", Value::Null), "{message}");
            assert!(message.contains(place), "{}: {message}", String::from_utf8_lossy(body));
        }
        for (body, code) in [
            (r#"{"messages":[]}"#, "TG-2204"),
            (r#"{"model":7}"#, "TG-2203"),
            (r#"{"model":["chat"]}"#, "TG-2203"),
            (r#"{"model":null}"#, "TG-2203"),
        ] {
            let (status, found, param, message) = said(&send(&bench, &key, body.as_bytes(), &[json.clone()]));
            assert_eq!((status, found.as_str(), param), (400, code, json!("model")), "{body}: {message}");
        }
    }
}

#[test]
fn a_body_that_is_not_declared_as_json_is_415_and_a_key_is_wanted_first() {
    let (bench, key) = with_key();
    for kind in ["application/json", "APPLICATION/JSON", "application/json; charset=\"UTF-8\"", "application/json;a=b"]
    {
        assert_eq!(send(&bench, &key, BODY.as_bytes(), &[header("Content-Type", kind)]).status, 200, "{kind}");
    }
    for kind in [
        "text/plain",
        "application/x-www-form-urlencoded",
        "application/json5",
        "application/json; charset=latin1",
        "te\"x\\t",
    ] {
        let answer = send(&bench, &key, BODY.as_bytes(), &[header("content-type", kind)]);
        let (status, code, param, message) = said(&answer);
        assert_eq!((status, code.as_str(), param), (415, "TG-2213", Value::Null), "{message}");
        assert_eq!((answer.header("accept"), answer.header("accept-encoding")), ("application/json", "identity"));
    }
    assert!(said(&send(&bench, &key, BODY.as_bytes(), &[])).3.contains("no Content-Type"));
    let twice = [header("content-type", "application/json"), header("content-type", "application/json")];
    assert_eq!(send(&bench, &key, BODY.as_bytes(), &twice).status, 415);
    for coding in ["gzip", "br", "zstd"] {
        let headers = [header("content-type", "application/json"), header("content-encoding", coding)];
        let (status, _, _, message) = said(&send(&bench, &key, BODY.as_bytes(), &headers));
        assert!(status == 415 && message.contains(coding), "{status} {message}");
    }
    let stranger = Key::new("k1", "acme").header();
    assert_eq!(send(&bench, &stranger, b"hello", &[header("content-type", "text/plain")]).status, 401);
}

#[test]
fn what_is_not_the_gateways_affair_passes_on() {
    let (bench, key) = with_key();
    let deep = format!(r#"{{"model":"chat","x":{}{}}}"#, "[".repeat(126), "]".repeat(126));
    for body in [
        r#"{"model":"chat","seed":18446744073709551615,"max_tokens":9223372036854775808,"x":123456789012345678901234567890}"#,
        r#"{"x":{"model":"nope"},"y":["model"],"\u006dodel":"\u0063hat"}"#,
        r#" { "messages" : [ { "content" : "\\\"}{][\u0000\ud83d\ude00é漢😀" } , -0.5e-7 , 0 , true , null ] , "model" : "chat" } "#,
        r#"{"a":0e999999,"b":1e-999999,"c":-0,"model":"chat"}"#,
        &deep,
    ] {
        let answer = bench.client().send(&post(CHAT, body, &[key.clone()])).unwrap();
        assert_eq!(answer.status, 200, "{body}: {}", answer.text());
    }
}
