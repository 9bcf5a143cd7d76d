//! Reading what a list was asked for: filters and the place in it. The API and the pages ask in the same words.

use distmirror_core::{Filter, PageRequest};
use serde::Deserialize;

use crate::problem::{FieldError, Problem};

/// The fields of a query for artifacts, as they were sent; an empty one counts as left out.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct ArtifactQuery {
    pub(crate) kind: Option<String>,
    pub(crate) state: Option<String>,
    pub(crate) host: Option<String>,
    pub(crate) repository: Option<String>,
    pub(crate) watch: Option<String>,
    pub(crate) project: Option<String>,
    pub(crate) q: Option<String>,
    pub(crate) cursor: Option<String>,
}

impl ArtifactQuery {
    /// Reads every field.
    ///
    /// # Errors
    /// 400 naming every bad field.
    pub(crate) fn parse(self, limit: Option<u64>) -> Result<(Filter, PageRequest), Problem> {
        let mut errors = Vec::new();
        let filter = Filter {
            kind: parse_field("kind", self.kind.as_deref(), &mut errors),
            state: parse_field("state", self.state.as_deref(), &mut errors),
            host: given(self.host).map(|host| host.to_lowercase()),
            repository: given(self.repository),
            watch: parse_field("watch", self.watch.as_deref(), &mut errors),
            project: given(self.project),
            text: given(self.q),
        };
        match page_request(limit, self.cursor.as_deref()) {
            Ok(page) if errors.is_empty() => Ok((filter, page)),
            Ok(_) => Err(Problem::bad_query(errors)),
            Err(problem) => {
                errors.extend(problem.errors);
                Err(Problem::bad_query(errors))
            }
        }
    }
}

/// Reads the place in a list. More than the largest page gives the largest page.
///
/// # Errors
/// 400 naming `limit` or `cursor`.
pub(crate) fn page_request(limit: Option<u64>, cursor: Option<&str>) -> Result<PageRequest, Problem> {
    if limit == Some(0) {
        return Err(Problem::bad_query(vec![FieldError::new("limit", "is 0: ask for at least one item")]));
    }
    let limit = limit.map(|limit| usize::try_from(limit).unwrap_or(usize::MAX));
    PageRequest::parse(limit, cursor).map_err(Problem::of_query)
}

/// The text, unless it is blank.
pub(crate) fn given(text: Option<String>) -> Option<String> {
    text.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty())
}

fn parse_field<T: std::str::FromStr<Err = String>>(
    name: &str,
    text: Option<&str>,
    errors: &mut Vec<FieldError>,
) -> Option<T> {
    let text = text.filter(|text| !text.is_empty())?;
    text.parse().map_err(|message| errors.push(FieldError::new(name, message))).ok()
}
