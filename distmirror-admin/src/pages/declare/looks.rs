//! What a person is told of the files in the form before declaring them.

use distmirror_core::Declare;
use futures::{StreamExt, stream};
use serde::Serialize;

use crate::{
    identity::Who,
    json, preflight,
    problem::{FieldError, Problem},
    site::Site,
};

/// What came of looking at the files of a form.
#[derive(Default, Serialize)]
pub(super) struct Looks {
    files: Vec<json::Preflight>,
    /// How many were not looked at.
    left: usize,
}

/// Looks at the first of these files; what is wrong with their URIs and checksums is not looked at, and said.
///
/// # Errors
/// 503 while the catalog is away.
pub(super) async fn look(site: &Site, wanted: &[Declare], who: &Who) -> Result<(Looks, Vec<FieldError>), Problem> {
    let (now, left) = wanted.split_at(wanted.len().min(MOST_LOOKED_AT));
    let looks: Vec<_> = now.iter().map(|declare| preflight::look(site, declare, &who.0)).collect();
    let outcomes: Vec<_> = stream::iter(looks).buffered(ASKED_AT_ONCE).collect().await;
    let (mut files, mut errors) = (Vec::new(), Vec::new());
    for outcome in outcomes {
        match outcome {
            Ok(file) => files.push(file),
            Err(problem) if problem.errors.is_empty() => return Err(problem),
            Err(problem) => errors.extend(problem.errors),
        }
    }
    Ok((Looks { files, left: left.len() }, errors))
}

const MOST_LOOKED_AT: usize = 20;
const ASKED_AT_ONCE: usize = 4;
