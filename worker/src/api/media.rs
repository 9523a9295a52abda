//! What a body says that it is. Pure: headers in, refusal or nothing out. Only JSON in UTF-8 without a content coding is read; a
//! browser cannot send that to another origin without asking first, which a body of no declared type would get around.
use http::{HeaderMap, HeaderName, header};

use crate::error::{RequestError, shortened};

/// Refuses a body that is declared to be something other than plain JSON.
pub fn check(headers: &HeaderMap) -> Result<(), RequestError> {
    let refused = |reason: String| Err(RequestError::UnsupportedMedia { reason });
    match one(headers, header::CONTENT_TYPE)? {
        None => return refused("there is no Content-Type".to_owned()),
        Some(kind) => {
            if let Some(reason) = not_json(&kind) {
                return refused(reason);
            }
        }
    }
    match one(headers, header::CONTENT_ENCODING)? {
        Some(coding) if !coding.eq_ignore_ascii_case("identity") => {
            refused(format!("Content-Encoding is {:?}, and no content coding is read here", shortened(&coding)))
        }
        Some(_) | None => Ok(()),
    }
}

/// The value of a header that may stand once.
fn one(headers: &HeaderMap, name: HeaderName) -> Result<Option<String>, RequestError> {
    let mut values = headers.get_all(&name).iter();
    let first = values.next().map(|value| String::from_utf8_lossy(value.as_bytes()).trim().to_owned());
    if values.next().is_some() {
        return Err(RequestError::UnsupportedMedia { reason: format!("{name} stands several times") });
    }
    Ok(first.filter(|value| !value.is_empty()))
}

/// Why this media type is not JSON in UTF-8. Parameters other than `charset` say nothing about JSON.
fn not_json(kind: &str) -> Option<String> {
    let mut parts = kind.split(';');
    let essence = parts.next().unwrap_or_default().trim();
    if !essence.eq_ignore_ascii_case("application/json") {
        return Some(format!("Content-Type is {:?}", shortened(kind)));
    }
    let charset =
        parts.filter_map(|part| part.split_once('=')).find(|(name, _)| name.trim().eq_ignore_ascii_case("charset"));
    let charset = charset?.1.trim().trim_matches('"');
    let utf8 = ["utf-8", "utf8"].iter().any(|name| charset.eq_ignore_ascii_case(name));
    (!utf8).then(|| format!("its charset is {:?}, and JSON is UTF-8", shortened(charset)))
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue};

    fn refused(headers: &[(&'static str, &str)]) -> Option<String> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, HeaderValue::from_str(value).unwrap());
        }
        super::check(&map).err().map(|error| {
            assert_eq!(error.code(), "TG-2213");
            error.to_string()
        })
    }

    #[test]
    fn only_json_in_utf_8_is_read() {
        for good in [
            "application/json",
            "Application/JSON",
            " application/json ",
            "application/json;charset=utf-8",
            "application/json; charset=UTF-8",
            "application/json ; charset=\"utf-8\"",
            "application/json; charset=utf8",
            "application/json;",
            "application/json; profile=x; q",
        ] {
            assert_eq!(refused(&[("content-type", good)]), None, "{good:?}");
        }
        for bad in [
            "text/plain",
            "text/json",
            "application/x-www-form-urlencoded",
            "multipart/form-data; boundary=x",
            "application/jsonl",
            "application/vnd.api+json",
            "application/json, application/json",
            "application/json; charset=utf-16",
            "application/json; charset=latin1",
            "json",
            "*/*",
            "",
            ";",
        ] {
            let said = refused(&[("content-type", bad)]).unwrap_or_else(|| panic!("{bad:?} is read"));
            assert!(said.contains("application/json"), "{said}");
        }
        assert!(refused(&[]).unwrap().contains("no Content-Type"));
        assert!(refused(&[("content-type", "application/json"); 2]).unwrap().contains("several times"));
    }

    #[test]
    fn no_content_coding_is_read() {
        let with = |coding: &str| refused(&[("content-type", "application/json"), ("content-encoding", coding)]);
        assert_eq!(with("identity"), None);
        assert_eq!(with(""), None);
        for coding in ["gzip", "br", "zstd", "deflate", "compress", "x-gzip", "identity, gzip", "aes128gcm"] {
            assert!(with(coding).unwrap().contains(coding), "{coding}");
        }
    }
}
