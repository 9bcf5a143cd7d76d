//! Conditional requests: RFC 9110 section 13, as pure functions over the fields and the validators of what is stored.

use std::time::SystemTime;

use http::{HeaderMap, HeaderValue, header};

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
        if !any_tag(fields, header::IF_MATCH, |tag| tag == "*" || tag == stored.etag) {
            return Outcome::Failed;
        }
    } else if let (Some(limit), Some(modified)) = (date(fields.get(header::IF_UNMODIFIED_SINCE)), stored.last_modified)
        && modified > limit
    {
        return Outcome::Failed;
    }
    if fields.contains_key(header::IF_NONE_MATCH) {
        let same = |tag: &str| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == stored.etag;
        return if any_tag(fields, header::IF_NONE_MATCH, same) { Outcome::NotModified } else { Outcome::Proceed };
    }
    match (date(fields.get(header::IF_MODIFIED_SINCE)), stored.last_modified) {
        (Some(limit), Some(modified)) if modified <= limit => Outcome::NotModified,
        _ => Outcome::Proceed,
    }
}

/// Whether a `Range` field counts: yes without `If-Range`, and with one that matches by the strong comparison (section 13.1.5).
pub fn range_applies(fields: &HeaderMap, stored: &Validators<'_>) -> bool {
    let Some(condition) = fields.get(header::IF_RANGE) else { return true };
    match condition.to_str() {
        Ok(tag) if tag.contains('"') => tag.trim() == stored.etag,
        _ => date(Some(condition)).is_some_and(|date| stored.last_modified == Some(date)),
    }
}

fn any_tag(fields: &HeaderMap, name: header::HeaderName, matches: impl Fn(&str) -> bool) -> bool {
    fields.get_all(name).iter().filter_map(|value| value.to_str().ok()).any(|list| tags(list).any(&matches))
}

/// The members of a list of entity tags. A comma inside quotes belongs to the tag.
fn tags(list: &str) -> impl Iterator<Item = &str> {
    let mut quoted = false;
    let outside = move |c: char| {
        quoted ^= c == '"';
        c == ',' && !quoted
    };
    list.split(outside).map(str::trim).filter(|tag| !tag.is_empty())
}

fn date(value: Option<&HeaderValue>) -> Option<SystemTime> {
    httpdate::parse_http_date(value?.to_str().ok()?).ok()
}

#[cfg(test)]
mod tests {
    use http::HeaderName;

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
            (vec![("if-match", "\"a\"")], Outcome::Proceed),
            (vec![("if-match", "W/\"a\"")], Outcome::Failed),
            (vec![("if-match", "*")], Outcome::Proceed),
            (vec![("if-match", "\"b\"")], Outcome::Failed),
            (vec![("if-match", "\"b\""), ("if-none-match", "\"a\"")], Outcome::Failed),
            (vec![("if-match", "\"a\""), ("if-unmodified-since", OLD)], Outcome::Proceed),
            (vec![("if-unmodified-since", OLD)], Outcome::Failed),
            (vec![("if-unmodified-since", SAME)], Outcome::Proceed),
        ] {
            assert_eq!(evaluate(&fields(&list), &stored()), expected, "{list:?}");
        }
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
    }
}
