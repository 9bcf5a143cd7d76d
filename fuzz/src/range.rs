//! `Range` fields: what is sent is what a naive reading of RFC 9110 section 14 sends, byte by byte.

use distmirror_proxy::range::{Wanted, wanted};
use http::HeaderValue;

/// The first line is the size of the representation, the rest is the field.
pub fn check(input: &[u8]) {
    let Some((size, field)) = split(input) else { return };
    let Ok(value) = HeaderValue::from_bytes(field) else { return };
    let Ok(field) = value.to_str() else { return };
    let answered = wanted(Some(field), size);
    if let Wanted::Part(part) = &answered {
        assert!(part.start < part.end && part.end <= size, "{field:?} of {size}: {part:?}");
    }
    if size <= MOST_BYTES {
        assert_eq!(sent(&answered, size), naive(field, size), "{field:?} of {size}: {answered:?}");
    }
}

fn split(input: &[u8]) -> Option<(u64, &[u8])> {
    let end = input.iter().position(|byte| *byte == b'\n')?;
    let size = std::str::from_utf8(&input[..end]).ok()?.parse().ok()?;
    Some((size, &input[end + 1..]))
}

/// The positions that an answer sends; `None` is 416.
fn sent(answered: &Wanted, size: u64) -> Option<Vec<u64>> {
    match answered {
        Wanted::Whole => Some((0..size).collect()),
        Wanted::Part(part) => Some(part.clone().collect()),
        Wanted::Unsatisfiable => None,
    }
}

/// The same, by asking of each position whether it is wanted.
fn naive(field: &str, size: u64) -> Option<Vec<u64>> {
    let Some((first, last)) = one_range(field) else { return Some((0..size).collect()) };
    let is_wanted = |at: &u64| match (first, last) {
        (Some(first), last) => first <= *at && last.is_none_or(|last| *at <= last),
        (None, Some(suffix)) => size - *at <= suffix,
        (None, None) => true,
    };
    let positions: Vec<u64> = (0..size).filter(is_wanted).collect();
    (!positions.is_empty()).then_some(positions)
}

/// The one range of a field that the grammar of section 14.1.1 allows.
fn one_range(field: &str) -> Option<(Option<u64>, Option<u64>)> {
    let mut specs = field
        .get(.."bytes=".len())
        .filter(|unit| unit.eq_ignore_ascii_case("bytes="))
        .map(|unit| field[unit.len()..].split(',').map(|spec| spec.trim_matches([' ', '\t'])))?
        .filter(|spec| !spec.is_empty());
    let (spec, None) = (specs.next()?, specs.next()) else { return None };
    let (first, last) = spec.split_once('-')?;
    let range = (position(first)?, position(last)?);
    match range {
        (None, None) => None,
        (Some(first), Some(last)) if last < first => None,
        range => Some(range),
    }
}

/// The inner `None` is an absent one. Past 64 bits everything lies at the same place, behind every end.
fn position(digits: &str) -> Option<Option<u64>> {
    if digits.is_empty() {
        return Some(None);
    }
    let digit = |value: u64, digit: char| {
        let digit = digit.to_digit(10)?;
        Some(value.saturating_mul(10).saturating_add(u64::from(digit)))
    };
    digits.chars().try_fold(0, digit).map(Some)
}

/// The largest representation whose positions are looked at one by one.
const MOST_BYTES: u64 = 512;
