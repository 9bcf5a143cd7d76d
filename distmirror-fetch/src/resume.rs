//! Going on with an interrupted transfer: only under a strong entity tag, and only from exactly where it stopped.
//!
//! A spliced file is impossible as long as upstream keeps RFC 9110: it must confirm the entity tag, the first byte and
//! the total that the interrupted transfer had. Anything else starts again at byte 0.

use distmirror_core::Spool;
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

    /// The total, if this answer of status 206 is exactly the rest. `length` is what its body announces.
    pub(crate) fn continued_by(&self, headers: &HeaderMap, length: Option<u64>) -> Option<u64> {
        let range = ContentRange::of(headers)?;
        let exactly_the_rest = range.first == self.from
            && range.last + 1 == range.total
            && length.is_none_or(|length| length == range.length())
            && self.validator.total.is_none_or(|total| total == range.total)
            && headers::strong_entity_tag(headers).as_ref() == Some(&self.validator.entity_tag);
        exactly_the_rest.then_some(range.total)
    }
}

/// What the spool keeps beside the bytes: upstream's strong entity tag, and the total that was announced with it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Validator {
    entity_tag: String,
    total: Option<u64>,
}

/// The validator for an answer of status 200, `None` if its transfer cannot be resumed.
pub(crate) fn validator(headers: &HeaderMap, total: Option<u64>) -> Option<String> {
    let entity_tag = headers::strong_entity_tag(headers)?;
    Some(match total {
        Some(total) => format!("{entity_tag} {total}"),
        None => entity_tag,
    })
}

impl Validator {
    fn parse(text: &str) -> Option<Self> {
        let (entity_tag, total) = text.split_at(text.rfind('"')? + 1);
        let total = match total.trim() {
            "" => None,
            digits => Some(digits.parse().ok()?),
        };
        Some(Self { entity_tag: entity_tag.to_owned(), total })
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
        let resume = Resume { from: 5, validator: Validator::parse("\"v1\" 10").unwrap() };
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
            let total = resume.continued_by(&headers(content_range, tag), length);
            assert_eq!(total, expected, "{content_range} {tag} {length:?}");
        }
        assert_eq!(resume.continued_by(&HeaderMap::new(), Some(5)), None);
    }

    #[test]
    fn validators_are_read_as_written() {
        for (tag, total) in [("\"v1\"", Some(10)), ("\"\"", None), ("\"a-b\"", Some(0))] {
            let text = validator(&headers("", tag), total).unwrap();
            assert_eq!(Validator::parse(&text), Some(Validator { entity_tag: tag.to_owned(), total }));
        }
        assert_eq!(validator(&headers("", "W/\"v1\""), Some(1)), None);
        assert_eq!(Validator::parse("no tag"), None);
        assert_eq!(Validator::parse("\"v1\" x"), None);
    }
}
