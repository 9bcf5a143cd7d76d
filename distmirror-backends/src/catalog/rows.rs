//! The rows of the tables, and what they mean in the words of the domain.
//!
//! Values that a database keeps otherwise than the domain has them are changed here and nowhere else.
#![expect(unreachable_pub, reason = "what sea-orm derives is public, and so must be what it is derived from")]

pub(super) mod artifact;
pub(super) mod artifact_blob;
pub(super) mod audit;
pub(super) mod daily_usage;
pub(super) mod declaration;
pub(super) mod ignored_miss;
pub(super) mod miss;
pub(super) mod scrub;
pub(super) mod total_usage;
pub(super) mod usage_batch;

use std::{fmt, str::FromStr};

use distmirror_core::{ArtifactName, Cursor, Usage};
use jiff::Timestamp;
use sea_orm::{
    ColumnTrait, Condition,
    sea_query::{Expr, ExprTrait, Func, LikeExpr, SimpleExpr},
};

use crate::catalog::attempt::{Attempt, Trouble};

/// Stands before what is literal in a pattern. Not the backslash: databases disagree on what it means in a string.
const ESCAPE: char = '!';

/// A time as it is stored.
pub(super) fn micros(time: Timestamp) -> i64 {
    time.as_microsecond()
}

/// A stored time.
pub(super) fn time(micros: i64) -> Attempt<Timestamp> {
    Timestamp::from_microsecond(micros).map_err(malformed)
}

/// A number as it is stored.
pub(super) fn number(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// A stored number.
pub(super) fn count(value: i64) -> Attempt<u64> {
    u64::try_from(value).map_err(malformed)
}

/// A stored sum: requests, bytes, first and last time.
pub(super) fn usage([requests, bytes, first_used_at, last_used_at]: [i64; 4]) -> Attempt<Usage> {
    Ok(Usage {
        requests: count(requests)?,
        bytes: count(bytes)?,
        first_used_at: time(first_used_at)?,
        last_used_at: time(last_used_at)?,
    })
}

/// Text as it is stored: PostgreSQL knows no NUL in a text, so that there is none anywhere.
pub(super) fn text(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

/// A stored word or digest.
pub(super) fn parsed<T: FromStr<Err: fmt::Display>>(text: &str) -> Attempt<T> {
    text.parse().map_err(malformed)
}

/// A stored name.
pub(super) fn name(kind: &str, name: &str) -> Attempt<ArtifactName> {
    ArtifactName::parse(parsed(kind)?, name).map_err(malformed)
}

/// A stored value of a fixed number of bytes.
pub(super) fn bytes<const N: usize>(stored: &[u8]) -> Attempt<[u8; N]> {
    stored.try_into().map_err(malformed)
}

pub(super) fn malformed(problem: impl fmt::Display) -> Trouble {
    Trouble::Malformed(problem.to_string())
}

/// Rows with this text in the column: literally, and with ASCII letters in either case.
pub(super) fn contains(column: impl ColumnTrait, wanted: &str) -> SimpleExpr {
    let pattern = format!("%{}%", literal(&text(wanted).to_ascii_lowercase()));
    Expr::expr(Func::lower(Expr::col(column.as_column_ref()))).like(LikeExpr::new(pattern).escape(ESCAPE))
}

/// Rows that may match the pattern, in which `*` stands for any characters: SQLite takes letters in either case for equal.
pub(super) fn may_match(column: impl ColumnTrait, pattern: &str) -> SimpleExpr {
    let parts: Vec<_> = text(pattern).split('*').map(literal).collect();
    Expr::col(column.as_column_ref()).like(LikeExpr::new(parts.join("%")).escape(ESCAPE))
}

/// Rows that come after this place when the greatest key and then the greatest id comes first. Written so that a database
/// finds the beginning in an index.
pub(super) fn after(key: impl ColumnTrait, id: impl ColumnTrait, cursor: Cursor) -> Condition {
    let within = Condition::any().add(key.lt(cursor.key)).add(id.lt(cursor.id));
    Condition::all().add(key.lte(cursor.key)).add(within)
}

fn literal(text: &str) -> String {
    let mut pattern = String::with_capacity(text.len());
    for character in text.chars() {
        if matches!(character, '%' | '_' | ESCAPE) {
            pattern.push(ESCAPE);
        }
        pattern.push(character);
    }
    pattern
}
