//! Who used what, and how much: requests for what is in service, counted by artifact, day and user.
//!
//! A use is an answer with bytes in it, whole or in part, or the answer to a HEAD request. An answer that only says that
//! there is nothing new is none.

use std::{fmt, net::IpAddr, sync::Arc};

use jiff::{Timestamp, civil::Date, tz::TimeZone};
use uuid::Uuid;

use crate::ArtifactId;

/// On whose behalf an artifact is used.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum UsedBy {
    /// A project, for which somebody signed in.
    Project(Arc<str>),
    /// Whoever is at this address.
    Client(IpAddr),
}

impl fmt::Display for UsedBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Project(project) => f.write_str(project),
            Self::Client(address) => address.fmt(f),
        }
    }
}

/// How much something was used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// How many requests were answered.
    pub requests: u64,
    /// How many bytes were sent for them, without the fields of the answers.
    pub bytes: u64,
    /// When the first of these answers ended.
    pub first_used_at: Timestamp,
    /// When the last one did.
    pub last_used_at: Timestamp,
}

impl Usage {
    /// One request, for which so many bytes were sent.
    pub fn once(bytes: u64, at: Timestamp) -> Self {
        Self { requests: 1, bytes, first_used_at: at, last_used_at: at }
    }

    /// Both together, whichever was earlier.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            requests: self.requests.saturating_add(other.requests),
            bytes: self.bytes.saturating_add(other.bytes),
            first_used_at: self.first_used_at.min(other.first_used_at),
            last_used_at: self.last_used_at.max(other.last_used_at),
        }
    }
}

/// How much one user used one artifact on one day, as far as it was not told before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsageReport {
    /// What was used.
    pub artifact: ArtifactId,
    /// The day, in UTC.
    pub day: Date,
    /// Who used it.
    pub by: UsedBy,
    /// How much.
    pub usage: Usage,
}

/// Reports that are put on record together, once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsageBatch {
    /// By this the catalog knows it again: the answer to the first attempt may have been lost. Version 7 of RFC 9562.
    pub id: Uuid,
    /// The reports.
    pub reports: Vec<UsageReport>,
}

impl UsageBatch {
    /// A batch of these reports that no catalog knows.
    pub fn new(reports: Vec<UsageReport>) -> Self {
        Self { id: Uuid::now_v7(), reports }
    }
}

/// How much one user used an artifact on one day, as it is on record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DailyUsage {
    /// Identifies it.
    pub id: Uuid,
    /// The day, in UTC.
    pub day: Date,
    /// Who used it.
    pub by: UsedBy,
    /// How much.
    pub usage: Usage,
}

/// The day of this moment, in UTC.
pub fn day_of(at: Timestamp) -> Date {
    TimeZone::UTC.to_datetime(at).date()
}

/// The moment at which this day begins, in UTC. The day that no moment belongs to begins at the last one before.
pub fn start_of(day: Date) -> Timestamp {
    TimeZone::UTC.to_timestamp(day.to_datetime(jiff::civil::Time::midnight())).unwrap_or(Timestamp::MIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_those_of_utc() {
        for (at, day) in [
            ("2026-03-01T00:00:00Z", "2026-03-01"),
            ("2026-03-01T00:30:00+02:00", "2026-02-28"),
            ("2026-03-01T23:59:59.999999Z", "2026-03-01"),
            ("1969-12-31T23:00:00Z", "1969-12-31"),
        ] {
            let at: Timestamp = at.parse().unwrap();
            assert_eq!(day_of(at).to_string(), day, "{at}");
            assert_eq!(start_of(day_of(at)).to_string(), format!("{day}T00:00:00Z"), "{at}");
        }
    }
}
