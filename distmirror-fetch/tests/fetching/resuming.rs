//! Properties of going on with an interrupted transfer, against a model of what may lie in the spool: whatever upstream does from
//! one attempt to the next and whenever the process is killed, what is stored is one version as upstream has it, and never a splice.

mod upstream;

use std::{cell::Cell, fs::File, time::Duration};

use distmirror_core::{Digests, Job, Sha256};
use proptest::{collection::vec, option, prelude::*, sample::select, test_runner::TestCaseResult};
use tokio::runtime::Runtime;

use self::upstream::{Attempt, Changing, Framing, Sent, Tag, ToRange, strong_tag, tag_of};
use crate::support::{Place, job, job_for, noise};

/// Upstream and a place to fetch into; cases come one after the other, each with an artifact and bytes of its own.
struct World {
    place: Place,
    upstream: Changing,
    cases: Cell<usize>,
}

/// What an attempt came to.
#[derive(Debug)]
enum End {
    Stored(Digests),
    Failed(String),
    Killed,
}

/// What the spool has, as the model sees it: so many bytes of a version that has a strong tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Kept {
    version: usize,
    bytes: usize,
    /// How many bytes were announced in all.
    total: Option<usize>,
}

impl Kept {
    /// What the first line beside so many bytes says of them.
    fn read(beside: &str, bytes: usize) -> Option<Self> {
        let validator = beside.lines().next()?;
        let version = (0..VERSIONS).find(|version| validator.starts_with(&strong_tag(*version)))?;
        let total = validator.split(' ').nth(2).map(|total| total.parse().unwrap());
        Some(Self { version, bytes, total })
    }
}

impl World {
    async fn new() -> Self {
        Self { place: Place::new(), upstream: Changing::start().await, cases: Cell::new(0) }
    }

    /// Versions that no other case has, of about this size.
    fn versions(&self, size: usize) -> Vec<Vec<u8>> {
        self.cases.set(self.cases.get() + 1);
        let version = |number: usize| {
            let mut bytes = format!("{number} {} ", self.cases.get()).into_bytes();
            bytes.extend(noise(size).iter().map(|byte| byte.wrapping_add(number as u8)));
            bytes.truncate(size + number % 2);
            bytes
        };
        (0..VERSIONS).map(version).collect()
    }

    async fn attempt(&self, job: &Job, attempt: &Attempt) -> End {
        self.upstream.behave(attempt);
        let end = tokio::select! {
            fetched = self.place.fetch(job) => match fetched {
                Ok(fetched) => End::Stored(fetched.content.digests),
                Err(failure) => End::Failed(failure.message),
            },
            () = self.killed() => End::Killed,
        };
        self.until_left_alone(job).await;
        end
    }

    /// The process ends at some moment after the last byte came.
    async fn killed(&self) {
        self.upstream.stalled().await;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }

    /// A write that was under way when the process was killed ends by itself.
    async fn until_left_alone(&self, job: &Job) {
        let path = self.place.spool_file(job).with_extension("part");
        while File::open(&path).is_ok_and(|file| file.try_lock().is_err()) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// What really lies in the spool: the validator and the bytes.
    fn spooled(&self, job: &Job) -> Option<(String, Vec<u8>)> {
        let file = self.place.spool_file(job);
        let validator = std::fs::read_to_string(file.with_extension("validator")).ok()?;
        let bytes = std::fs::read(file.with_extension("part")).ok()?;
        (!bytes.is_empty()).then_some((validator, bytes))
    }
}

/// What the spool has after an attempt that failed and kept all that came.
fn kept_after(before: Option<Kept>, attempt: &Attempt, sent: &[Sent]) -> Option<Kept> {
    let last = sent.last()?;
    match last.status {
        200 => {
            let is_strong = attempt.tag == Tag::Strong && attempt.framing != Framing::Closing;
            let kept = Kept { version: attempt.version, bytes: last.count, total: last.announced };
            (is_strong && last.count > 0).then_some(kept)
        }
        206 => before.map(|kept| Kept { bytes: last.from + last.count, ..kept }),
        _ => before,
    }
}

/// What is asked is the rest of what is kept, under its tag; and where upstream gives that, it is asked once and sends no more.
fn check_asked(kept: Option<Kept>, attempt: &Attempt, size: usize, sent: &[Sent]) -> TestCaseResult {
    let first = &sent[0];
    prop_assert_eq!(first.asked_from, kept.map(|kept| kept.bytes));
    prop_assert_eq!(&first.if_range, &kept.map(|kept| strong_tag(kept.version)));
    prop_assert!(sent.iter().skip(1).all(|again| again.asked_from.is_none()), "{:?}", sent);
    if let Some(kept) = kept
        && kept.bytes < size
        // Who announced something else before contradicts himself, and is asked for all of it again.
        && kept.total.is_none_or(|total| total == size)
        && attempt.to_range == ToRange::Honours
        && matches!(attempt.framing, Framing::Length | Framing::Chunked | Framing::ChunkedWithLength)
        && tag_of(attempt) == Some(strong_tag(kept.version))
    {
        prop_assert!(sent.len() == 1 && first.status == 206 && first.from == kept.bytes, "{:?}", sent);
    }
    Ok(())
}

async fn check_honest(world: &World, size: usize, attempts: Vec<Attempt>) -> TestCaseResult {
    let versions = world.versions(size);
    world.upstream.publish(&versions);
    let job = job(&world.upstream.url());
    let mut kept = None;
    let last = attempts.last().map_or(0, |attempt| attempt.version);
    for attempt in attempts.into_iter().chain([Attempt::clean(last)]) {
        let file = &versions[attempt.version];
        let end = world.attempt(&job, &attempt).await;
        let sent = world.upstream.sent();
        check_asked(kept, &attempt, file.len(), &sent)?;
        if let End::Stored(digests) = end {
            prop_assert_eq!(digests, Digests::of(file), "a splice, or a piece: {:?} {:?}", attempt, sent);
            prop_assert_eq!(world.place.spooled_bytes(), 0);
            return Ok(());
        }
        let spooled = world.spooled(&job);
        let most = kept_after(kept, &attempt, &sent);
        kept = spooled
            .as_ref()
            .map(|(validator, bytes)| Kept::read(validator, bytes.len()).expect("only what has a strong tag is kept"));
        if let (Some(kept), Some((_, bytes))) = (kept, spooled) {
            prop_assert!(versions[kept.version].starts_with(&bytes), "{:?}: {:?}", attempt, sent);
        }
        // How far it was when it was killed, nobody knows.
        if let End::Failed(why) = end {
            prop_assert_eq!(kept, most, "{}: {:?}, {:?}", why, attempt, sent);
        }
    }
    prop_assert!(false, "a clean attempt does not succeed");
    Ok(())
}

async fn check_lying(world: &World, size: usize, attempts: Vec<Attempt>) -> TestCaseResult {
    let versions = world.versions(size);
    world.upstream.publish(&versions);
    let wanted = Digests::of(&versions[0]);
    let job = job_for(&world.upstream.url(), &versions[0]);
    let others: Vec<_> = versions[1..].iter().map(|other| (Sha256::of(other).into(), other.len() as u64)).collect();
    // What the last lie left is noticed in the first clean attempt, and thrown away.
    let clean = [Attempt::clean(0), Attempt::clean(0)];
    for attempt in attempts.into_iter().chain(clean) {
        let end = world.attempt(&job, &attempt).await;
        for (other, size) in &others {
            let held = world.place.intake.held(other, *size).await.unwrap();
            prop_assert!(held.is_none(), "another version is stored: {:?}", attempt);
        }
        if let End::Stored(digests) = end {
            prop_assert_eq!(digests, wanted, "{:?}", attempt);
            let stored = world.place.intake.read(&wanted.sha256, versions[0].len() as u64).await.unwrap();
            prop_assert_eq!(stored, &versions[0]);
            prop_assert_eq!(world.place.spooled_bytes(), 0);
            return Ok(());
        }
    }
    prop_assert!(false, "a clean attempt does not succeed");
    Ok(())
}

/// An attempt in which upstream keeps RFC 9110, or else may lie.
fn attempt(may_lie: bool) -> impl Strategy<Value = Attempt> {
    let honest = |count: usize, lies: usize| count + if may_lie { lies } else { 0 };
    let tags = [Tag::Strong, Tag::Strong, Tag::Weak, Tag::None, Tag::Shared];
    let framings = [
        Framing::Length,
        Framing::Length,
        Framing::Chunked,
        Framing::ChunkedWithLength,
        Framing::Closing,
        Framing::TooLong,
        Framing::TooShort,
    ];
    let to_ranges = [
        ToRange::Honours,
        ToRange::Honours,
        ToRange::Honours,
        ToRange::Ignores,
        ToRange::OtherStart,
        ToRange::UnknownTotal,
        ToRange::OtherTotal,
        ToRange::OtherTag,
        ToRange::WeakTag,
        ToRange::NoTag,
        ToRange::Unsatisfiable,
        ToRange::Refuses,
        ToRange::Splices,
        ToRange::Shifted,
    ];
    let tag = select(tags[..honest(4, 1)].to_vec());
    let framing = select(framings[..honest(6, 1)].to_vec());
    let to_range = select(to_ranges[..honest(12, 2)].to_vec());
    let version = prop_oneof![3 => Just(0), 1 => 1..VERSIONS];
    let cut = option::weighted(0.8, 0..=1000_usize);
    (version, tag, framing, to_range, cut, any::<bool>()).prop_map(|(version, tag, framing, to_range, cut, killed)| {
        Attempt { version, tag, framing, to_range, cut, killed }
    })
}

/// Mostly what never leaves memory while it comes, and sometimes what is written piece by piece.
fn size() -> impl Strategy<Value = usize> {
    prop_oneof![15 => 1..3000_usize, 1 => 530_000..560_000_usize]
}

#[test]
fn what_is_stored_is_one_version_as_upstream_has_it() {
    check(false, |world, runtime, size, attempts| runtime.block_on(check_honest(world, size, attempts)));
}

#[test]
fn with_a_checksum_no_lie_of_upstream_gets_in() {
    check(true, |world, runtime, size, attempts| runtime.block_on(check_lying(world, size, attempts)));
}

fn check(may_lie: bool, case: impl Fn(&World, &Runtime, usize, Vec<Attempt>) -> TestCaseResult) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let world = runtime.block_on(World::new());
    let config = ProptestConfig { cases: CASES, ..ProptestConfig::default() };
    proptest!(config, |(size in size(), attempts in vec(attempt(may_lie), 1..6))| {
        case(&world, &runtime, size, attempts)?;
    });
}

const VERSIONS: usize = 3;

/// As many as take a few seconds.
const CASES: u32 = 80;
