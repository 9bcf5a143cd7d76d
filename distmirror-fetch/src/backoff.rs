//! When a fetch that failed is tried again. Pure: chance is an argument.

use std::time::Duration;

/// How long to wait after this attempt (the first is 1), `None` when only a person can have it tried again.
///
/// `chance` lies between 0 and 1 and spreads what failed together. `asked` is what upstream asked for.
pub(crate) fn wait_after(attempt: u32, retries: u32, asked: Option<Duration>, chance: f64) -> Option<Duration> {
    if attempt > retries {
        return None;
    }
    let wait = FIRST_WAIT.saturating_mul(4_u32.saturating_pow(attempt.saturating_sub(1))).min(LONGEST_WAIT);
    let wait = wait.max(asked.unwrap_or_default());
    Some(wait + wait.mul_f64(SPREAD * chance.clamp(0.0, 1.0)))
}

const FIRST_WAIT: Duration = Duration::from_secs(30);

const LONGEST_WAIT: Duration = Duration::from_secs(6 * 3600);

/// By how much of itself a wait can grow by chance.
const SPREAD: f64 = 0.25;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_up_to_a_limit() {
        for (attempt, retries, asked, chance, expected) in [
            (1, 5, None, 0.0, Some(30)),
            (2, 5, None, 0.0, Some(120)),
            (3, 5, None, 0.0, Some(480)),
            (5, 5, None, 0.0, Some(7680)),
            (6, 5, None, 0.0, None),
            (1, 0, None, 0.0, None),
            (1, 0, Some(5), 0.0, None),
            (6, 99, None, 0.0, Some(21600)),
            (99, 99, None, 0.0, Some(21600)),
            (1, 5, Some(2), 0.0, Some(30)),
            (1, 5, Some(3600), 0.0, Some(3600)),
            (2, 5, None, 1.0, Some(150)),
        ] {
            let wait = wait_after(attempt, retries, asked.map(Duration::from_secs), chance);
            assert_eq!(wait.map(|wait| wait.as_secs()), expected, "attempt {attempt} of {retries}, asked {asked:?}");
        }
    }
}
