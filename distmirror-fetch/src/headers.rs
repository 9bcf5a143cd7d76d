//! What the headers of an answer mean. Pure functions over header values, each after one section of an RFC.

use std::time::{Duration, SystemTime};

use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};

/// A header's value as text, if it is one line of printable ASCII; what is not is of no use to anyone later.
pub(crate) fn printable(headers: &HeaderMap, name: HeaderName) -> Option<String> {
    let text = headers.get(name)?.to_str().ok()?.trim();
    (!text.is_empty() && text.bytes().all(|byte| matches!(byte, b' '..=b'~'))).then(|| text.to_owned())
}

/// The entity tag, if it is a strong one (RFC 9110 section 8.8.3).
pub(crate) fn strong_entity_tag(headers: &HeaderMap) -> Option<String> {
    let tag = printable(headers, header::ETAG)?;
    let inner = tag.strip_prefix('"')?.strip_suffix('"')?;
    (!inner.contains(['"', ' '])).then_some(tag)
}

/// Which part of the whole an answer has (RFC 9110 section 14.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ContentRange {
    pub(crate) first: u64,
    pub(crate) last: u64,
    pub(crate) total: u64,
}

impl ContentRange {
    /// Reads `bytes FIRST-LAST/TOTAL`. A range of an unknown total is none: nothing could be checked against it.
    pub(crate) fn of(headers: &HeaderMap) -> Option<Self> {
        let text = headers.get(header::CONTENT_RANGE)?.to_str().ok()?;
        let (range, total) = text.strip_prefix("bytes ")?.split_once('/')?;
        let (first, last) = range.split_once('-')?;
        let range = Self { first: number(first)?, last: number(last)?, total: number(total)? };
        (range.first <= range.last && range.last < range.total).then_some(range)
    }

    /// How many bytes it covers.
    pub(crate) fn length(&self) -> u64 {
        self.last - self.first + 1
    }
}

/// The headers that ask for the first byte only.
pub(crate) fn first_byte() -> HeaderMap {
    HeaderMap::from_iter([(header::RANGE, HeaderValue::from_static("bytes=0-0"))])
}

/// How many bytes the whole has, as far as an answer with it, with a part of it or to HEAD tells.
pub(crate) fn total<B>(response: &Response<B>) -> Option<u64> {
    match response.status() {
        StatusCode::PARTIAL_CONTENT => ContentRange::of(response.headers()).map(|range| range.total),
        _ => number(response.headers().get(header::CONTENT_LENGTH)?.to_str().ok()?),
    }
}

/// How long upstream asks to wait (RFC 9110 section 10.2.3): seconds or a date, at most an hour. Anything else is no
/// request.
pub(crate) fn retry_after(value: &HeaderValue, now: SystemTime) -> Option<Duration> {
    let text = value.to_str().ok()?.trim();
    let wait = if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        // More digits than fit mean: very long.
        Duration::from_secs(text.parse().unwrap_or(u64::MAX))
    } else {
        httpdate::parse_http_date(text).ok()?.duration_since(now).unwrap_or_default()
    };
    Some(wait.min(LONGEST_WAIT))
}

/// The longest that upstream can make us wait.
pub(crate) const LONGEST_WAIT: Duration = Duration::from_secs(3600);

fn number(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(name: HeaderName, value: &[u8]) -> HeaderMap {
        HeaderMap::from_iter([(name, HeaderValue::from_bytes(value).unwrap())])
    }

    #[test]
    fn only_printable_values_are_kept() {
        for (value, expected) in [
            (&b"text/plain; charset=utf-8"[..], Some("text/plain; charset=utf-8")),
            (b" x ", Some("x")),
            (b"", None),
            (b"a\tb", None),
            (b"caf\xe9", None),
        ] {
            let kept = printable(&map(header::CONTENT_TYPE, value), header::CONTENT_TYPE);
            assert_eq!(kept.as_deref(), expected, "{value:?}");
        }
    }

    #[test]
    fn only_strong_tags_are_validators() {
        for (value, strong) in
            [("\"v1\"", true), ("\"\"", true), ("W/\"v1\"", false), ("v1", false), ("\"", false), ("\"a\"b\"", false)]
        {
            assert_eq!(strong_entity_tag(&map(header::ETAG, value.as_bytes())).is_some(), strong, "{value}");
        }
    }

    #[test]
    fn content_ranges() {
        for (value, expected) in [
            ("bytes 5-9/10", Some((5, 9, 10))),
            ("bytes 0-0/1", Some((0, 0, 1))),
            ("bytes 5-9/*", None),
            ("bytes */10", None),
            ("bytes 9-5/10", None),
            ("bytes 5-10/10", None),
            ("bytes +5-9/10", None),
            ("bytes 5-99999999999999999999/10", None),
            ("items 5-9/10", None),
            ("5-9/10", None),
        ] {
            let range = ContentRange::of(&map(header::CONTENT_RANGE, value.as_bytes()));
            assert_eq!(range.map(|range| (range.first, range.last, range.total)), expected, "{value}");
        }
    }

    #[test]
    fn waits_are_capped_and_garbage_is_ignored() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        let date = httpdate::fmt_http_date(now + Duration::from_secs(90));
        for (value, expected) in [
            ("2", Some(2)),
            ("0", Some(0)),
            ("99999999", Some(3600)),
            ("99999999999999999999999", Some(3600)),
            (date.as_str(), Some(90)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(0)),
            ("-1", None),
            ("1.5", None),
            ("", None),
            ("soon, ok?", None),
        ] {
            let wait = retry_after(&HeaderValue::from_str(value).unwrap(), now);
            assert_eq!(wait.map(|wait| wait.as_secs()), expected, "{value}");
        }
    }
}
