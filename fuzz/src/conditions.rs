//! Conditional requests beside a naive model of RFC 9110 section 13.2.2.

use std::time::SystemTime;

use distmirror_proxy::condition::{self, Outcome, Validators};
use http::{HeaderMap, HeaderName, HeaderValue, header};

/// The first line is what is stored as `Last-Modified`; each further one is a field, `NAME: VALUE`.
pub fn check(input: &[u8]) {
    let mut lines = input.split(|byte| *byte == b'\n');
    let last_modified = lines.next().and_then(date);
    let fields: HeaderMap = lines.filter_map(field).collect();
    let stored = Validators { etag: ETAG, last_modified };
    let answered = condition::evaluate(&fields, &stored);
    match model(&fields, last_modified) {
        Some(expected) => assert_eq!(answered, expected, "{fields:?} of {last_modified:?}"),
        // What a malformed list means is not said; only a tag that stands in it can be one that matches.
        None if answered == Outcome::NotModified => {
            assert!(text(&fields, header::IF_NONE_MATCH).iter().any(|byte| b"a*".contains(byte)), "{fields:?}");
        }
        None => {}
    }
    assert_eq!(condition::range_applies(&fields, &stored), range_applies(&fields, last_modified), "{fields:?}");
}

fn field(line: &[u8]) -> Option<(HeaderName, HeaderValue)> {
    let colon = line.iter().position(|byte| *byte == b':')?;
    let name = HeaderName::from_bytes(&line[..colon]).ok()?;
    // Those around a value are not part of it; hyper takes them off.
    let value = HeaderValue::from_bytes(line[colon + 1..].trim_ascii()).ok()?;
    Some((name, value))
}

/// `None` where the standard leaves it open.
fn model(fields: &HeaderMap, last_modified: Option<SystemTime>) -> Option<Outcome> {
    if fields.contains_key(header::IF_MATCH) {
        if !list(&text(fields, header::IF_MATCH))?.matches(|tag| tag == ETAG.as_bytes()) {
            return Some(Outcome::Failed);
        }
    } else if let (Some(limit), Some(modified)) = (single_date(fields, header::IF_UNMODIFIED_SINCE), last_modified)
        && modified > limit
    {
        return Some(Outcome::Failed);
    }
    let is_same = if fields.contains_key(header::IF_NONE_MATCH) {
        list(&text(fields, header::IF_NONE_MATCH))?
            .matches(|tag| tag == ETAG.as_bytes() || tag == [b"W/", ETAG.as_bytes()].concat())
    } else {
        let limit = single_date(fields, header::IF_MODIFIED_SINCE);
        limit.zip(last_modified).is_some_and(|(limit, modified)| modified <= limit)
    };
    Some(if is_same { Outcome::NotModified } else { Outcome::Proceed })
}

fn range_applies(fields: &HeaderMap, last_modified: Option<SystemTime>) -> bool {
    let values: Vec<_> = fields.get_all(header::IF_RANGE).iter().collect();
    match values[..] {
        [] => true,
        [one] => {
            one.as_bytes() == ETAG.as_bytes()
                || last_modified.is_some_and(|date| Some(date) == self::date(one.as_bytes()))
        }
        _ => false,
    }
}

enum List {
    Any,
    Tags(Vec<Vec<u8>>),
}

impl List {
    fn matches(&self, is_same: impl Fn(&[u8]) -> bool) -> bool {
        match self {
            Self::Any => true,
            Self::Tags(tags) => tags.iter().any(|tag| is_same(tag)),
        }
    }
}

/// All values of a field as one (section 5.3).
fn text(fields: &HeaderMap, name: HeaderName) -> Vec<u8> {
    let values: Vec<_> = fields.get_all(name).iter().map(HeaderValue::as_bytes).collect();
    values.join(&b", "[..])
}

/// `"*" / #entity-tag`, character by character; `None` if it is neither.
fn list(text: &[u8]) -> Option<List> {
    if text == b"*" {
        return Some(List::Any);
    }
    let (mut tags, mut rest, mut is_separated) = (Vec::new(), text, true);
    while let Some(first) = rest.first() {
        match first {
            b' ' | b'\t' => rest = &rest[1..],
            b',' => (rest, is_separated) = (&rest[1..], true),
            _ if is_separated => {
                let quote = if rest.starts_with(b"W/") { 2 } else { 0 };
                let opaque = rest[quote..].strip_prefix(b"\"")?;
                let length = opaque.iter().position(|byte| *byte == b'"')?;
                if !opaque[..length].iter().all(|byte| *byte == 0x21 || (0x23..=0x7e).contains(byte) || *byte >= 0x80) {
                    return None;
                }
                let end = quote + 1 + length + 1;
                tags.push(rest[..end].to_vec());
                (rest, is_separated) = (&rest[end..], false);
            }
            _ => return None,
        }
    }
    Some(List::Tags(tags))
}

/// Sections 13.1.3 and 13.1.4: what is no date, or more than one, is ignored.
fn single_date(fields: &HeaderMap, name: HeaderName) -> Option<SystemTime> {
    let values: Vec<_> = fields.get_all(name).iter().collect();
    let [one] = values[..] else { return None };
    date(one.as_bytes())
}

fn date(text: &[u8]) -> Option<SystemTime> {
    httpdate::parse_http_date(std::str::from_utf8(text).ok()?).ok()
}

/// The entity tag of what is stored.
const ETAG: &str = "\"a\"";
