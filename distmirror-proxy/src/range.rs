//! Byte ranges: RFC 9110 section 14, as pure functions over the field values.

use std::ops::Range;

/// What a `Range` field asks of a representation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// All of it: no field, one that does not parse, a unit other than bytes, or several ranges (section 14.2 allows to ignore them).
    Whole,
    /// This part, never empty and never past the end.
    Part(Range<u64>),
    /// Nothing that exists: 416.
    Unsatisfiable,
}

/// Reads a `Range` field against a representation of so many bytes.
pub fn wanted(field: Option<&str>, size: u64) -> Wanted {
    let Some(set) = field.and_then(byte_range_set) else { return Wanted::Whole };
    let mut specs = set.split(',').map(str::trim).filter(|spec| !spec.is_empty());
    let (Some(spec), None) = (specs.next(), specs.next()) else { return Wanted::Whole };
    let Some((first, last)) = spec.split_once('-') else { return Wanted::Whole };
    match (position(first), position(last)) {
        (Position::Absent, Position::At(0)) => Wanted::Unsatisfiable,
        (Position::Absent, Position::At(_)) if size == 0 => Wanted::Unsatisfiable,
        (Position::Absent, Position::At(suffix)) => Wanted::Part(size.saturating_sub(suffix)..size),
        (Position::At(first), Position::At(last)) if last < first => Wanted::Whole,
        (Position::At(first), Position::Absent | Position::At(_)) if first >= size => Wanted::Unsatisfiable,
        (Position::At(first), Position::Absent) => Wanted::Part(first..size),
        (Position::At(first), Position::At(last)) => Wanted::Part(first..size.min(last.saturating_add(1))),
        _ => Wanted::Whole,
    }
}

fn byte_range_set(field: &str) -> Option<&str> {
    let (unit, set) = field.split_once('=')?;
    unit.eq_ignore_ascii_case("bytes").then_some(set)
}

enum Position {
    Absent,
    At(u64),
    Malformed,
}

/// A position too large for 64 bits lies past every end.
fn position(text: &str) -> Position {
    match text {
        "" => Position::Absent,
        digits if digits.bytes().all(|b| b.is_ascii_digit()) => Position::At(digits.parse().unwrap_or(u64::MAX)),
        _ => Position::Malformed,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn fields() {
        for (field, size, expected) in [
            ("bytes=0-0", 10, Wanted::Part(0..1)),
            ("bytes=2-4", 10, Wanted::Part(2..5)),
            ("bytes=5-", 10, Wanted::Part(5..10)),
            ("bytes=-3", 10, Wanted::Part(7..10)),
            ("bytes=-30", 10, Wanted::Part(0..10)),
            ("bytes=0-99", 10, Wanted::Part(0..10)),
            ("Bytes=1-1", 10, Wanted::Part(1..2)),
            ("bytes=9-18446744073709551616", 10, Wanted::Part(9..10)),
            ("bytes=10-", 10, Wanted::Unsatisfiable),
            ("bytes=-0", 10, Wanted::Unsatisfiable),
            ("bytes=0-", 0, Wanted::Unsatisfiable),
            ("bytes=-1", 0, Wanted::Unsatisfiable),
            ("bytes=5-2", 10, Wanted::Whole),
            ("bytes=a-b", 10, Wanted::Whole),
            ("bytes=", 10, Wanted::Whole),
            ("bytes=-", 10, Wanted::Whole),
            ("bytes=1", 10, Wanted::Whole),
            ("bytes=+1-2", 10, Wanted::Whole),
            ("items=0-1", 10, Wanted::Whole),
            ("bytes =0-1", 10, Wanted::Whole),
            ("bytes=0-1,3-4", 10, Wanted::Whole),
            ("bytes=0-1,", 10, Wanted::Part(0..2)),
        ] {
            assert_eq!(wanted(Some(field), size), expected, "{field} of {size}");
        }
        assert_eq!(wanted(None, 10), Wanted::Whole);
    }

    proptest! {
        #[test]
        fn a_part_is_never_empty_and_never_past_the_end(field in "bytes=[0-9]{0,4}-[0-9]{0,4}", size in 0_u64..5000) {
            if let Wanted::Part(part) = wanted(Some(&field), size) {
                prop_assert!(part.start < part.end && part.end <= size, "{field} of {size}: {part:?}");
            }
        }
    }
}
