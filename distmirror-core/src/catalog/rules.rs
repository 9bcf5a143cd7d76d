//! What a catalog decides, as pure functions over an artifact as it stands: every implementation asks here, so that all of
//! them say the same. Where rows are kept, and what is done in one step, is theirs.

use crate::{Artifact, Checksums, Content, Error, NewDeclaration, Result, State};

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

/// Whether what was fetched may become the content of an artifact with these checksums.
///
/// # Errors
/// [`Error::ChecksumMismatch`] when it may not.
pub fn check_content(expected: &Checksums, content: &Content) -> Result<()> {
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
/// [`Error::WrongState`] unless it is pending or failed.
pub fn check_retry(artifact: &Artifact) -> Result<()> {
    match artifact.state {
        State::Pending | State::Failed => Ok(()),
        State::Fetching => Err(wrong_state(artifact, "wait for the fetch that is running")),
        State::Present => Err(wrong_state(artifact, "it is here, and is never fetched again")),
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
    if artifact.last_error.is_some() { State::Failed } else { State::Pending }
}

/// Whether `text` stands in `name`, literally and with ASCII letters in either case.
pub fn contains_text(name: &str, text: &str) -> bool {
    name.to_ascii_lowercase().contains(&text.to_ascii_lowercase())
}

/// What the audit says of a fetch that succeeded.
pub fn fetched_detail(content: &Content) -> String {
    format!("{} ({} bytes)", content.blob(), content.size)
}

/// What the audit says of a pattern that is ignored from now on.
pub fn ignored_detail(pattern: &str, reason: &str) -> String {
    format!("{pattern}: {reason}")
}

fn wrong_state(artifact: &Artifact, remedy: &'static str) -> Error {
    Error::WrongState { artifact: artifact.id, state: artifact.state, remedy }
}
