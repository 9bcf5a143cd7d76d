//! What a catalog decides, as pure functions over an artifact as it stands: every implementation asks here, so that all of
//! them say the same. Where rows are kept, and what is done in one step, is theirs.

use std::collections::HashSet;

use jiff::civil::Date;
use uuid::{Builder, Uuid};

use crate::{
    Artifact, ArtifactId, Checksums, Content, Error, Failure, Fetched, NewDeclaration, PlatformChoice, Result, Role,
    Scheme, Selection, Sha256, State, StoredBlob, UsedBy,
};

/// The checksums on record once `wanted` is declared for an artifact that exists.
///
/// # Errors
/// [`Error::ChecksumConflict`] when it contradicts the checksums on record or the bytes that are here.
pub fn checksums_after(artifact: &Artifact, wanted: &NewDeclaration) -> Result<Checksums> {
    let conflict = |declared: String, recorded: String| Error::ChecksumConflict {
        artifact: artifact.id,
        name: artifact.name.to_string(),
        declared,
        recorded,
    };
    if let Some((declared, recorded)) = wanted.expected.conflict_with(&artifact.expected) {
        return Err(conflict(declared.to_string(), recorded.to_string()));
    }
    if let Some(content) = &artifact.content
        && let Some(declared) = wanted.expected.contradicted_by(&content.digests)
    {
        return Err(conflict(declared.to_string(), content.digests.get(declared.algorithm()).to_string()));
    }
    Ok(artifact.expected.merged_with(&wanted.expected))
}

/// What is wanted of an artifact that is declared for the first time, if it is an image.
pub fn selection_of_new(wanted: &NewDeclaration) -> Option<Selection> {
    let image = wanted.image.as_ref()?;
    Some(Selection {
        wanted: image.platforms.clone().unwrap_or_else(PlatformChoice::usual),
        held: None,
        lacking: PlatformChoice::default(),
        scheme: image.scheme.unwrap_or(Scheme::Https),
    })
}

/// What is wanted of an image once it is declared again: what was wanted, and more.
pub fn selection_after(artifact: &Artifact, wanted: &NewDeclaration) -> Option<Selection> {
    let (before, image) = (artifact.selection.as_ref()?, wanted.image.as_ref()?);
    Some(Selection {
        wanted: image.platforms.as_ref().map_or_else(|| before.wanted.clone(), |more| before.wanted.and(more)),
        held: before.held.clone(),
        lacking: before.lacking.clone(),
        scheme: image.scheme.unwrap_or(before.scheme),
    })
}

/// Whether declaring an artifact again makes it due, `selection` being what is wanted of it then. Only what is present
/// can be: everything else is due already, or waits for a decision.
pub fn is_due_after_declaring(artifact: &Artifact, selection: Option<&Selection>) -> bool {
    artifact.state == State::Present && selection.is_some_and(|selection| !selection.is_complete())
}

/// What is wanted and here of an image once this was fetched.
pub fn selection_after_fetching(artifact: &Artifact, fetched: &Fetched) -> Option<Selection> {
    let before = artifact.selection.clone()?;
    let held = match (&before.held, &fetched.platforms) {
        (Some(held), Some(more)) => Some(held.and(more)),
        (held, more) => held.clone().or_else(|| more.clone()),
    };
    Some(Selection { held, ..before })
}

/// What is wanted and here of an image once an attempt failed: it may have turned out what the image does not have.
pub fn selection_after_failing(artifact: &Artifact, failure: &Failure) -> Option<Selection> {
    let before = artifact.selection.clone()?;
    Some(Selection { lacking: before.lacking.and(&failure.lacking), ..before })
}

/// What is to be added to the blobs of an artifact, which are `before`, now that these were fetched: each once. Of `before`
/// nothing goes away but what was [`Unfetched`](Role::Unfetched), which `fetched` tells anew.
pub fn new_blobs<'a>(before: &[StoredBlob], fetched: &'a [StoredBlob]) -> Vec<&'a StoredBlob> {
    let kept = before.iter().filter(|blob| blob.role != Role::Unfetched);
    let mut known: HashSet<_> = kept.map(|blob| (blob.role, blob.digest)).collect();
    fetched.iter().filter(|blob| known.insert((blob.role, blob.digest))).collect()
}

/// The state of an artifact that a worker takes up.
pub fn state_while_fetching(artifact: &Artifact) -> State {
    if artifact.state == State::Present { State::Present } else { State::Fetching }
}

/// The state of an artifact of which an attempt failed.
pub fn state_after_failing(artifact: &Artifact) -> State {
    if artifact.state == State::Present { State::Present } else { State::Failed }
}

/// The state of an artifact that is made due because a person said so.
pub fn state_after_retrying(artifact: &Artifact) -> State {
    if artifact.state == State::Present { State::Present } else { State::Pending }
}

/// Whether what was fetched may become the content of this artifact, or is what it has already.
///
/// # Errors
/// [`Error::ChecksumMismatch`] when it may not.
pub fn check_content(artifact: &Artifact, content: &Content) -> Result<()> {
    let expected = artifact.must_have();
    let Some(contradicted) = expected.contradicted_by(&content.digests) else { return Ok(()) };
    let received = content.digests.get(contradicted.algorithm());
    Err(Error::ChecksumMismatch {
        expected: contradicted.to_string(),
        received: received.to_string(),
        size: content.size,
    })
}

/// Whether a person may make the artifact due now.
///
/// # Errors
/// [`Error::WrongState`] unless it is pending or failed, or lacks something that is wanted.
pub fn check_retry(artifact: &Artifact) -> Result<()> {
    match artifact.state {
        State::Pending | State::Failed => Ok(()),
        State::Fetching => Err(wrong_state(artifact, "wait for the fetch that is running")),
        State::Present if artifact.lacks_something() => Ok(()),
        State::Present => Err(wrong_state(artifact, "it is here, and is never fetched again")),
        State::Quarantined => Err(wrong_state(artifact, "release it to put its bytes back into service")),
    }
}

/// Whether a person may supply the bytes of the artifact.
///
/// # Errors
/// [`Error::WrongState`] if it has bytes that are as they should be.
pub fn check_fulfil(artifact: &Artifact) -> Result<()> {
    match artifact.state {
        State::Pending | State::Fetching | State::Failed => Ok(()),
        State::Present if artifact.damage.is_some() => Ok(()),
        State::Present => Err(wrong_state(artifact, "it is here, and never changes")),
        State::Quarantined => Err(wrong_state(artifact, "release it to put its bytes back into service")),
    }
}

/// Whether the artifact may be taken out of service.
///
/// # Errors
/// [`Error::WrongState`] unless it is present.
pub fn check_quarantine(artifact: &Artifact) -> Result<()> {
    match artifact.state {
        State::Present => Ok(()),
        State::Quarantined => Err(wrong_state(artifact, "it is out of service already")),
        _ => Err(wrong_state(artifact, "only what is present can be quarantined")),
    }
}

/// Whether the artifact may be put back into service.
///
/// # Errors
/// [`Error::WrongState`] unless it is quarantined.
pub fn check_release(artifact: &Artifact) -> Result<()> {
    match artifact.state {
        State::Quarantined => Ok(()),
        _ => Err(wrong_state(artifact, "only what is quarantined can be released")),
    }
}

/// The state of an artifact whose job was given back: what it was before it was taken up.
pub fn state_after_giving_back(artifact: &Artifact) -> State {
    match artifact.state {
        State::Present => State::Present,
        _ if artifact.last_error.is_some() => State::Failed,
        _ => State::Pending,
    }
}

/// Whether `text` stands in `name`, literally and with ASCII letters in either case.
pub fn contains_text(name: &str, text: &str) -> bool {
    name.to_ascii_lowercase().contains(&text.to_ascii_lowercase())
}

/// What the audit says of a fetch that succeeded.
pub fn fetched_detail(fetched: &Fetched) -> String {
    let content = &fetched.content;
    match &fetched.platforms {
        None => format!("{} ({} bytes)", content.blob(), content.size),
        Some(platforms) => {
            let bytes: u64 =
                fetched.blobs.iter().filter(|blob| blob.role != Role::Unfetched).map(|blob| blob.size).sum();
            format!("{} ({platforms}; {} parts, {bytes} bytes)", content.blob(), fetched.blobs.len())
        }
    }
}

/// What the audit says of bytes that a person supplied.
pub fn supplied_detail(fetched: &Fetched) -> String {
    format!("by hand: {}", fetched_detail(fetched))
}

/// What the audit says of a pattern that is ignored from now on.
pub fn ignored_detail(pattern: &str, reason: &str) -> String {
    format!("{pattern}: {reason}")
}

/// The id of the record of what one user used of one artifact on one day: always the same, so that all who add to it find it.
pub fn daily_usage_id(artifact: ArtifactId, day: Date, by: &UsedBy) -> Uuid {
    let kind = match by {
        UsedBy::Project(_) => "project",
        UsedBy::Client(_) => "client",
    };
    let hash = Sha256::of(format!("{artifact} {day} {kind} {by}").as_bytes());
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hash.as_bytes()[..16]);
    Builder::from_custom_bytes(bytes).into_uuid()
}

/// The oldest batch of usage that needs to be known still when this one comes. Ids of batches sort by time.
pub fn oldest_batch_kept(coming: Uuid) -> Uuid {
    const KEPT_FOR_SECONDS: u64 = 24 * 60 * 60;
    let Some(at) = coming.get_timestamp() else { return Uuid::nil() };
    let since = at.to_unix().0.saturating_sub(KEPT_FOR_SECONDS);
    Builder::from_unix_timestamp_millis(since * 1000, &[0; 10]).into_uuid()
}

fn wrong_state(artifact: &Artifact, remedy: &'static str) -> Error {
    Error::WrongState { artifact: artifact.id, state: artifact.state, remedy }
}
