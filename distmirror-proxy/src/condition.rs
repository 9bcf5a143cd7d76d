//! Conditional requests: RFC 9110 section 13, as pure functions over the fields and the validators of what is stored.

use std::time::SystemTime;

use http::{HeaderMap, HeaderName, HeaderValue, header};

/// What a stored representation is compared by.
#[derive(Debug, Clone, Copy)]
pub struct Validators<'a> {
    /// The strong entity tag, with its quotes.
    pub etag: &'a str,
    /// Upstream's `Last-Modified`, if it sent one that parses.
    pub last_modified: Option<SystemTime>,
}

/// What the conditions of a GET or HEAD request come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Go on; see [`range_applies`] for a range.
    Proceed,
    /// 304
    NotModified,
    /// 412
    Failed,
}

/// Evaluates the conditions in the order of section 13.2.2.
pub fn evaluate(fields: &HeaderMap, stored: &Validators<'_>) -> Outcome {
    if fields.contains_key(header::IF_MATCH) {
        if !any_tag(fields, header::IF_MATCH, |tag| tag == b"*" || tag == stored.etag.as_bytes()) {
            return Outcome::Failed;
        }
    } else if let (Some(limit), Some(modified)) = (date(fields, header::IF_UNMODIFIED_SINCE), stored.last_modified)
        && modified > limit
    {
        return Outcome::Failed;
    }
    if fields.contains_key(header::IF_NONE_MATCH) {
        let same = |tag: &[u8]| tag == b"*" || tag.strip_prefix(b"W/").unwrap_or(tag) == stored.etag.as_bytes();
        return if any_tag(fields, header::IF_NONE_MATCH, same) { Outcome::NotModified } else { Outcome::Proceed };
    }
    match (date(fields, header::IF_MODIFIED_SINCE), stored.last_modified) {
        (Some(limit), Some(modified)) if modified <= limit => Outcome::NotModified,
        _ => Outcome::Proceed,
    }
}

/// Whether a `Range` field counts: yes without `If-Range`, and with one that matches by the strong comparison (section 13.1.5).
pub fn range_applies(fields: &HeaderMap, stored: &Validators<'_>) -> bool {
    if !fields.contains_key(header::IF_RANGE) {
        return true;
    }
    single(fields, header::IF_RANGE).is_some_and(|value| value == stored.etag)
        || date(fields, header::IF_RANGE).is_some_and(|date| stored.last_modified == Some(date))
}

fn any_tag(fields: &HeaderMap, name: HeaderName, matches: impl Fn(&[u8]) -> bool) -> bool {
    fields.get_all(name).iter().any(|value| tags(value.as_bytes()).any(&matches))
}

/// The members of a list of entity tags. A comma inside quotes belongs to the tag, and so does what is not ASCII (section 8.8.3).
fn tags(list: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut quoted = false;
    let outside = move |byte: &u8| {
        quoted ^= *byte == b'"';
        *byte == b',' && !quoted
    };
    list.split(outside).map(<[u8]>::trim_ascii).filter(|tag| !tag.is_empty())
}

/// What is no date, or more than one, is ignored (sections 13.1.3 and 13.1.4).
fn date(fields: &HeaderMap, name: HeaderName) -> Option<SystemTime> {
    httpdate::parse_http_date(single(fields, name)?.to_str().ok()?).ok()
}

/// The value of a field that stands there once.
pub(crate) fn single(fields: &HeaderMap, name: HeaderName) -> Option<&HeaderValue> {
    let mut values = fields.get_all(name).iter();
    values.next().filter(|_| values.next().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &str = "Mon, 02 Mar 2020 10:00:00 GMT";
    const SAME: &str = "Tue, 03 Mar 2020 10:00:00 GMT";
    const LATER: &str = "Wed, 04 Mar 2020 10:00:00 GMT";

    fn stored() -> Validators<'static> {
        Validators { etag: "\"a\"", last_modified: httpdate::parse_http_date(SAME).ok() }
    }

    fn fields(list: &[(&'static str, &'static str)]) -> HeaderMap {
        list.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn conditions_and_their_precedence() {
        for (list, expected) in [
            (vec![], Outcome::Proceed),
            (vec![("if-none-match", "\"a\"")], Outcome::NotModified),
            (vec![("if-none-match", "W/\"a\"")], Outcome::NotModified),
            (vec![("if-none-match", "\"x\", \"a\"")], Outcome::NotModified),
            (vec![("if-none-match", "\"x\""), ("if-none-match", "\"a\"")], Outcome::NotModified),
            (vec![("if-none-match", "\"x,\"a\"")], Outcome::Proceed),
            (vec![("if-none-match", "*")], Outcome::NotModified),
            (vec![("if-none-match", "\"b\"")], Outcome::Proceed),
            (vec![("if-none-match", "\"b\""), ("if-modified-since", LATER)], Outcome::Proceed),
            (vec![("if-modified-since", SAME)], Outcome::NotModified),
            (vec![("if-modified-since", OLD)], Outcome::Proceed),
            (vec![("if-modified-since", "nonsense")], Outcome::Proceed),
            (vec![("if-modified-since", LATER), ("if-modified-since", OLD)], Outcome::Proceed),
            (vec![("if-match", "\"a\"")], Outcome::Proceed),
            (vec![("if-match", "W/\"a\"")], Outcome::Failed),
            (vec![("if-match", "*")], Outcome::Proceed),
            (vec![("if-match", "\"b\"")], Outcome::Failed),
            (vec![("if-match", "\"b\""), ("if-none-match", "\"a\"")], Outcome::Failed),
            (vec![("if-match", "\"a\""), ("if-unmodified-since", OLD)], Outcome::Proceed),
            (vec![("if-unmodified-since", OLD)], Outcome::Failed),
            (vec![("if-unmodified-since", SAME)], Outcome::Proceed),
            (vec![("if-unmodified-since", OLD), ("if-unmodified-since", SAME)], Outcome::Proceed),
        ] {
            assert_eq!(evaluate(&fields(&list), &stored()), expected, "{list:?}");
        }
    }

    #[test]
    fn a_tag_beyond_ascii_hides_no_other() {
        let list = HeaderValue::from_bytes(b"\"\xd9\", \"a\"").unwrap();
        let fields = HeaderMap::from_iter([(header::IF_NONE_MATCH, list)]);
        assert_eq!(evaluate(&fields, &stored()), Outcome::NotModified);
    }

    #[test]
    fn if_range_takes_the_strong_comparison() {
        for (value, expected) in [
            ("\"a\"", true),
            ("W/\"a\"", false),
            ("\"b\"", false),
            (SAME, true),
            (OLD, false),
            (LATER, false),
            ("x", false),
        ] {
            assert_eq!(range_applies(&fields(&[("if-range", value)]), &stored()), expected, "{value}");
        }
        assert!(range_applies(&fields(&[]), &stored()));
        assert!(!range_applies(&fields(&[("if-range", "\"a\""), ("if-range", "\"a\"")]), &stored()));
    }
}
