//! Who wants an artifact, why, and for which project.

use jiff::Timestamp;
use uuid::Uuid;

use crate::{
    Algorithm, Artifact, ArtifactName, Checksums, Digest, Kind, Uri,
    error::{Error, Problem, Result},
};

/// A declaration as it was written: unchecked text from a form, a request or a command line.
#[derive(Debug, Clone, Default)]
pub struct Declare {
    /// The kind; empty means `file`.
    pub kind: String,
    /// The URI of a file.
    pub uri: Option<String>,
    /// Declared SHA-256 in hexadecimal.
    pub sha256: Option<String>,
    /// Declared SHA-512 in hexadecimal.
    pub sha512: Option<String>,
    /// Declared Subresource Integrity metadata.
    pub integrity: Option<String>,
    /// Why it is needed.
    pub reason: Option<String>,
    /// The project that needs it.
    pub project: Option<String>,
    /// Its licence, as an SPDX expression.
    pub license: Option<String>,
    /// Where the request was discussed.
    pub ticket: Option<String>,
}

impl Declare {
    /// Checks every field.
    ///
    /// # Errors
    /// [`Error::Invalid`] with one problem for each bad field, all at once.
    pub fn check(&self, who: &str) -> Result<NewDeclaration> {
        let mut problems = Vec::new();
        let name = keep(self.name(), &mut problems);
        let expected = keep(self.checksums(), &mut problems);
        let reason = keep(required_text("reason", self.reason.as_deref()), &mut problems);
        let project = keep(optional_text("project", self.project.as_deref()), &mut problems);
        let license = keep(optional_text("license", self.license.as_deref()), &mut problems);
        let ticket = keep(optional_text("ticket", self.ticket.as_deref()), &mut problems);
        match (name, expected, reason, project, license, ticket) {
            (Some(name), Some(expected), Some(reason), Some(project), Some(license), Some(ticket)) => {
                Ok(NewDeclaration { name, expected, who: who.to_owned(), reason, project, license, ticket })
            }
            _ => Err(Error::Invalid(problems)),
        }
    }

    fn name(&self) -> Result<ArtifactName, Vec<Problem>> {
        let kind = if self.kind.is_empty() {
            Kind::File
        } else {
            self.kind.parse().map_err(|message| vec![Problem::new("kind", message)])?
        };
        match kind {
            Kind::File => {
                let text = self.uri.as_deref().unwrap_or_default().trim();
                Uri::parse(text).map(ArtifactName::File).map_err(|error| vec![Problem::new("uri", error.to_string())])
            }
        }
    }

    fn checksums(&self) -> Result<Checksums, Vec<Problem>> {
        let (mut digests, mut problems) = (Vec::new(), Vec::new());
        for (field, algorithm, text) in
            [("sha256", Algorithm::Sha256, &self.sha256), ("sha512", Algorithm::Sha512, &self.sha512)]
        {
            let Some(text) = present(text.as_deref()) else { continue };
            match Digest::from_hex(algorithm, text) {
                Ok(digest) => digests.push(digest),
                Err(message) => problems.push(Problem::new(field, message)),
            }
        }
        if let Some(text) = present(self.integrity.as_deref()) {
            match Checksums::parse_integrity(text) {
                Ok(parsed) => digests.extend(parsed),
                Err(message) => problems.push(Problem::new("integrity", message)),
            }
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        let field = if self.integrity.is_some() { "integrity" } else { "sha256" };
        Checksums::new(digests).map_err(|message| vec![Problem::new(field, message)])
    }
}

/// A declaration that has been checked.
#[derive(Debug, Clone, PartialEq)]
pub struct NewDeclaration {
    /// What is wanted.
    pub name: ArtifactName,
    /// The checksums that it must have.
    pub expected: Checksums,
    /// Who wants it.
    pub who: String,
    /// Why.
    pub reason: String,
    /// For which project.
    pub project: Option<String>,
    /// Its licence.
    pub license: Option<String>,
    /// Where the request was discussed.
    pub ticket: Option<String>,
}

/// A declaration on record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Declaration {
    /// Identifies it.
    pub id: Uuid,
    /// Who wants the artifact.
    pub who: String,
    /// Why.
    pub reason: String,
    /// For which project.
    pub project: Option<String>,
    /// Its licence.
    pub license: Option<String>,
    /// Where the request was discussed.
    pub ticket: Option<String>,
    /// When it was declared.
    pub at: Timestamp,
}

/// What declaring led to.
#[derive(Debug, Clone, PartialEq)]
pub struct Declared {
    /// The artifact.
    pub artifact: Artifact,
    /// Whether this declaration was the first one for it.
    pub is_new: bool,
}

/// The most characters in a field of text that people write.
pub const MAX_TEXT_CHARACTERS: usize = 2000;

/// Checks a text that must be there: not blank, not too long, no control characters.
///
/// # Errors
/// The problem with this field.
pub fn required_text(field: &'static str, text: Option<&str>) -> Result<String, Vec<Problem>> {
    match optional_text(field, text)? {
        Some(text) => Ok(text),
        None => Err(vec![Problem::new(field, "is missing: say it in a few words")]),
    }
}

fn optional_text(field: &'static str, text: Option<&str>) -> Result<Option<String>, Vec<Problem>> {
    let Some(text) = present(text) else { return Ok(None) };
    let limit = if field == "reason" { MAX_TEXT_CHARACTERS } else { 200 };
    if text.chars().count() > limit {
        return Err(vec![Problem::new(field, format!("is longer than {limit} characters"))]);
    }
    if text.chars().any(|c| c.is_control() && c != '\n' && c != '\t') {
        return Err(vec![Problem::new(field, "has control characters")]);
    }
    Ok(Some(text.to_owned()))
}

fn present(text: Option<&str>) -> Option<&str> {
    text.map(str::trim).filter(|text| !text.is_empty())
}

fn keep<T>(checked: Result<T, Vec<Problem>>, problems: &mut Vec<Problem>) -> Option<T> {
    checked.map_err(|found| problems.extend(found)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(declare: &Declare) -> Vec<&'static str> {
        match declare.check("alice") {
            Err(Error::Invalid(problems)) => problems.iter().map(|p| p.field).collect(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn every_bad_field_is_named_at_once() {
        let declare = Declare {
            uri: Some("ftp://x/y".into()),
            sha256: Some("abc".into()),
            sha512: Some("x".into()),
            ..Declare::default()
        };
        assert_eq!(problems(&declare), ["uri", "sha256", "sha512", "reason"]);
        assert_eq!(
            problems(&Declare { kind: "gem".into(), reason: Some("\u{7}".into()), ..Declare::default() }),
            ["kind", "reason"]
        );
    }

    #[test]
    fn sha1_alone_is_refused() {
        let declare = Declare {
            uri: Some("http://h/x".into()),
            reason: Some("r".into()),
            integrity: Some("sha1-eHh4eHh4eHh4eHh4eHh4eHh4eHg=".into()),
            ..Declare::default()
        };
        assert_eq!(problems(&declare), ["integrity"]);
    }

    #[test]
    fn blank_optional_fields_are_absent() {
        let declare = Declare {
            uri: Some(" http://h/x ".into()),
            reason: Some("r".into()),
            project: Some(" ".into()),
            sha256: Some(String::new()),
            ..Declare::default()
        };
        let checked = declare.check("alice").unwrap();
        assert_eq!((checked.project, checked.expected.is_empty(), checked.name.as_str()), (None, true, "http://h/x"));
    }
}
