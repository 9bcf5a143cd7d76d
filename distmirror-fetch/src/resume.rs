//! Going on with an interrupted transfer: only under a strong entity tag, and only from exactly where it stopped.
//!
//! A spliced file is impossible as long as upstream keeps RFC 9110: it must confirm the entity tag, the first byte and
//! the total that the interrupted transfer had, and it must be the same resource at the end of all redirects, since a tag is
//! unique within one resource only (section 8.8.3). Anything else starts again at byte 0.

use std::fmt;

use distmirror_core::{Spool, Uri};
use http::{HeaderMap, HeaderValue, header};

use crate::headers::{self, ContentRange};

/// What an interrupted transfer left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Resume {
    from: u64,
    validator: Validator,
}

impl Resume {
    /// What this spool has, if it can be gone on from.
    pub(crate) fn of(spool: &Spool) -> Option<Self> {
        let validator = Validator::parse(spool.validator()?)?;
        (spool.received() > 0).then(|| Self { from: spool.received(), validator })
    }

    /// The headers that ask for the rest, or for everything if it has changed (RFC 9110 section 13.1.5).
    pub(crate) fn headers(&self) -> HeaderMap {
        let range = HeaderValue::try_from(format!("bytes={}-", self.from));
        let tag = HeaderValue::try_from(&self.validator.entity_tag);
        [(header::RANGE, range), (header::IF_RANGE, tag)]
            .into_iter()
            .filter_map(|(name, value)| Some((name, value.ok()?)))
            .collect()
    }

    /// The total, if this answer of status 206 from `place` is exactly the rest. `length` is what its body announces.
    pub(crate) fn continued_by(&self, place: &Uri, headers: &HeaderMap, length: Option<u64>) -> Option<u64> {
        let range = ContentRange::of(headers)?;
        let exactly_the_rest = range.first == self.from
            && range.last + 1 == range.total
            && length.is_none_or(|length| length == range.length())
            && self.validator.total.is_none_or(|total| total == range.total)
            && self.validator.resource == resource(place)
            && headers::strong_entity_tag(headers).as_ref() == Some(&self.validator.entity_tag);
        exactly_the_rest.then_some(range.total)
    }
}

/// What the spool keeps beside the bytes: upstream's strong entity tag, of which resource it is, and the total that was
/// announced with it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Validator {
    entity_tag: String,
    resource: String,
    total: Option<u64>,
}

/// The validator for an answer of status 200 from `place`, `None` if its transfer cannot be resumed.
pub(crate) fn validator(place: &Uri, headers: &HeaderMap, total: Option<u64>) -> Option<String> {
    let validator = Validator { entity_tag: headers::strong_entity_tag(headers)?, resource: resource(place), total };
    Some(validator.to_string())
}

/// What identifies a resource here: its URI without the query, which holds a signature of the moment where redirects lead to a
/// store.
fn resource(uri: &Uri) -> String {
    let text = uri.as_str();
    text.split('?').next().unwrap_or(text).to_owned()
}

impl fmt::Display for Validator {
    /// The tag, the resource and the total, if there is one; [`Validator::parse`] reads it back.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.entity_tag, self.resource)?;
        self.total.map_or(Ok(()), |total| write!(f, " {total}"))
    }
}

impl Validator {
    fn parse(text: &str) -> Option<Self> {
        // Neither a URI nor a number has a quotation mark.
        let (entity_tag, rest) = text.split_at(text.rfind('"')? + 1);
        let mut words = rest.split_ascii_whitespace();
        let resource = words.next()?.to_owned();
        let total = words.next().map(str::parse).transpose().ok()?;
        Some(Self { entity_tag: entity_tag.to_owned(), resource, total })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(content_range: &str, tag: &str) -> HeaderMap {
        [(header::CONTENT_RANGE, content_range), (header::ETAG, tag)]
            .into_iter()
            .map(|(name, value)| (name, value.parse().unwrap()))
            .collect()
    }

    #[test]
    fn only_exactly_the_rest_is_taken() {
        let place = |text: &str| text.parse::<Uri>().unwrap();
        let resume = Resume { from: 5, validator: Validator::parse("\"v1\" https://h.test/a 10").unwrap() };
        for (content_range, tag, length, expected) in [
            ("bytes 5-9/10", "\"v1\"", Some(5), Some(10)),
            ("bytes 5-9/10", "\"v1\"", None, Some(10)),
            ("bytes 5-9/10", "\"v1\"", Some(4), None),
            ("bytes 5-9/10", "\"v2\"", Some(5), None),
            ("bytes 5-9/10", "W/\"v1\"", Some(5), None),
            ("bytes 4-9/10", "\"v1\"", Some(6), None),
            ("bytes 6-9/10", "\"v1\"", Some(4), None),
            ("bytes 5-8/10", "\"v1\"", Some(4), None),
            ("bytes 5-10/11", "\"v1\"", Some(6), None),
            ("bytes 5-9/*", "\"v1\"", Some(5), None),
        ] {
            let total = resume.continued_by(&place("https://h.test/a?signed=2"), &headers(content_range, tag), length);
            assert_eq!(total, expected, "{content_range} {tag} {length:?}");
        }
        assert_eq!(resume.continued_by(&place("https://h.test/a"), &HeaderMap::new(), Some(5)), None);
        for elsewhere in ["https://h.test/b", "https://g.test/a", "http://h.test/a", "https://h.test/a/"] {
            let total = resume.continued_by(&place(elsewhere), &headers("bytes 5-9/10", "\"v1\""), Some(5));
            assert_eq!(total, None, "{elsewhere} is another resource");
        }
    }

    #[test]
    fn validators_are_read_as_written() {
        for (tag, total) in [("\"v1\"", Some(10)), ("\"\"", None), ("\"a-b\"", Some(0))] {
            let place = "https://h.test/a?b".parse().unwrap();
            let text = validator(&place, &headers("", tag), total).unwrap();
            let resource = "https://h.test/a".to_owned();
            assert_eq!(Validator::parse(&text), Some(Validator { entity_tag: tag.to_owned(), resource, total }));
        }
        assert_eq!(validator(&"http://h.test/".parse().unwrap(), &headers("", "W/\"v1\""), Some(1)), None);
        for bad in ["no tag", "\"v1\"", "\"v1\" http://h.test/a x"] {
            assert_eq!(Validator::parse(bad), None, "{bad}");
        }
    }
}
