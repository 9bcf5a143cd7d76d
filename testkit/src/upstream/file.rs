//! A stored file and the answers that RFC 9110 gives about it: whole, one range, not modified, not satisfiable.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    ops::Range,
};

use bytes::Bytes;
use hyper::{
    Method,
    header::{ETAG, HeaderName, IF_NONE_MATCH, IF_RANGE, LAST_MODIFIED, RANGE},
};

use super::{Answer, Seen};

/// Bytes under a path, with the headers that every answer about them carries.
pub(super) struct StoredFile {
    bytes: Bytes,
    headers: Vec<(String, String)>,
}

impl StoredFile {
    pub(super) fn new(bytes: Bytes, headers: &[(&str, &str)]) -> Self {
        let mut all = vec![("etag".to_owned(), entity_tag(&bytes)), ("accept-ranges".to_owned(), "bytes".to_owned())];
        for (name, value) in headers {
            let name = name.to_ascii_lowercase();
            all.retain(|(known, _)| *known != name);
            all.push((name, (*value).to_owned()));
        }
        Self { bytes, headers: all }
    }

    pub(super) fn answer(&self, request: &Seen) -> Answer {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            return Answer::new(405).header("allow", "GET, HEAD");
        }
        if self.is_known_to(request) {
            return self.with_headers(Answer::new(304));
        }
        match self.wanted_range(request) {
            Wanted::Whole => self.with_headers(Answer::ok(self.bytes.clone())),
            Wanted::Part(range) => self.part(range),
            Wanted::Nothing => Answer::new(416).header("content-range", &format!("bytes */{}", self.bytes.len())),
        }
    }

    fn part(&self, range: Range<usize>) -> Answer {
        let described = format!("bytes {}-{}/{}", range.start, range.end - 1, self.bytes.len());
        let part = Answer::new(206).body(self.bytes.slice(range)).header("content-range", &described);
        self.with_headers(part)
    }

    fn with_headers(&self, answer: Answer) -> Answer {
        self.headers.iter().fold(answer, |answer, (name, value)| answer.header(name, value))
    }

    fn is_known_to(&self, request: &Seen) -> bool {
        let Some(known) = header(request, &IF_NONE_MATCH) else { return false };
        self.header(&ETAG).is_some_and(|tag| known == "*" || known.contains(tag))
    }

    /// A range counts only for GET, and only when `If-Range` names the present state (RFC 9110, section 14.2).
    fn wanted_range(&self, request: &Seen) -> Wanted {
        let unchanged = header(request, &IF_RANGE)
            .is_none_or(|state| [ETAG, LAST_MODIFIED].iter().any(|name| self.header(name) == Some(state)));
        match header(request, &RANGE) {
            Some(range) if unchanged && request.method() == Method::GET => parse_range(range, self.bytes.len()),
            _ => Wanted::Whole,
        }
    }

    fn header(&self, name: &HeaderName) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name.as_str()).map(|(_, value)| value.as_str())
    }
}

#[derive(Debug, PartialEq)]
enum Wanted {
    Whole,
    Part(Range<usize>),
    Nothing,
}

/// One range; a list of ranges, or anything else, gets the whole file, which is always allowed.
fn parse_range(header: &str, length: usize) -> Wanted {
    let Some((first, last)) = header.strip_prefix("bytes=").and_then(|range| range.split_once('-')) else {
        return Wanted::Whole;
    };
    let range = match (first.trim().parse::<usize>(), last.trim().parse::<usize>()) {
        (Ok(first), Ok(last)) if first <= last => first..last.saturating_add(1).min(length),
        (Ok(first), Err(_)) if last.trim().is_empty() => first..length,
        (Err(_), Ok(suffix)) if first.trim().is_empty() => length.saturating_sub(suffix)..length,
        _ => return Wanted::Whole,
    };
    if range.is_empty() { Wanted::Nothing } else { Wanted::Part(range) }
}

fn header<'request>(request: &'request Seen, name: &HeaderName) -> Option<&'request str> {
    request.headers().get(name).and_then(|value| value.to_str().ok())
}

/// The same bytes get the same tag; nothing more is asked of it.
fn entity_tag(bytes: &[u8]) -> String {
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    format!("\"{:016x}\"", hasher.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges() {
        let cases = [
            ("bytes=0-3", Wanted::Part(0..4)),
            ("bytes=4-", Wanted::Part(4..10)),
            ("bytes=-2", Wanted::Part(8..10)),
            ("bytes=-99", Wanted::Part(0..10)),
            ("bytes=8-99", Wanted::Part(8..10)),
            ("bytes=10-", Wanted::Nothing),
            ("bytes=-0", Wanted::Nothing),
            ("bytes=5-4", Wanted::Whole),
            ("bytes=0-1,3-4", Wanted::Whole),
            ("lines=0-1", Wanted::Whole),
        ];
        for (header, expected) in cases {
            assert_eq!(parse_range(header, 10), expected, "{header}");
        }
    }
}
