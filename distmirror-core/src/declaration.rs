//! Who wants an artifact, why, and for which project.

use jiff::Timestamp;
use uuid::Uuid;

use crate::{
    Algorithm, Artifact, ArtifactName, Checksums, Digest, ImageName, ImageReference, Kind, PlatformChoice, Scheme, Uri,
    error::{Error, Problem, Result},
};

/// A declaration as it was written: unchecked text from a form, a request or a command line.
#[derive(Debug, Clone, Default)]
pub struct Declare {
    /// The kind; empty means `file`, or `image` if there is a reference.
    pub kind: String,
    /// The URI of a file.
    pub uri: Option<String>,
    /// The reference of an image, with its digest.
    pub reference: Option<String>,
    /// The platforms that are wanted of an image, or the word `all`; none means what is usual.
    pub platforms: Vec<String>,
    /// Declared digests of a file, in hexadecimal.
    pub digests: Vec<(Algorithm, String)>,
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
    /// A declaration of what has this name, still without a reason.
    pub fn of(name: &ArtifactName) -> Self {
        let kind = name.kind().to_string();
        let text = Some(name.as_str().to_owned());
        match name {
            ArtifactName::File(_) => Self { kind, uri: text, ..Self::default() },
            ArtifactName::Image(_) => Self { kind, reference: text, ..Self::default() },
        }
    }

    /// Whether it says anything of which bytes the file must have.
    pub fn has_checksum(&self) -> bool {
        !self.digests.is_empty() || self.integrity.is_some()
    }

    /// Checks every field.
    ///
    /// # Errors
    /// [`Error::Invalid`] with one problem for each bad field, all at once.
    pub fn check(&self, who: &str) -> Result<NewDeclaration> {
        let mut problems = Vec::new();
        let subject = keep(self.subject(), &mut problems);
        let reason = keep(required_text("reason", self.reason.as_deref()), &mut problems);
        let project = keep(optional_text("project", self.project.as_deref()), &mut problems);
        let license = keep(optional_text("license", self.license.as_deref()), &mut problems);
        let ticket = keep(optional_text("ticket", self.ticket.as_deref()), &mut problems);
        match (subject, reason, project, license, ticket) {
            (Some(subject), Some(reason), Some(project), Some(license), Some(ticket)) => {
                let Subject { name, expected, image } = subject;
                Ok(NewDeclaration { name, expected, image, who: who.to_owned(), reason, project, license, ticket })
            }
            _ => Err(Error::Invalid(problems)),
        }
    }

    /// What is wanted, and the fields that belong to its kind.
    fn subject(&self) -> Result<Subject, Vec<Problem>> {
        let kind = match self.kind.as_str() {
            "" if present(self.reference.as_deref()).is_some() => Kind::Image,
            "" => Kind::File,
            word => word.parse().map_err(|message| vec![Problem::new("kind", message)])?,
        };
        match kind {
            Kind::File => self.file(),
            Kind::Image => self.image(),
        }
    }

    fn file(&self) -> Result<Subject, Vec<Problem>> {
        let mut problems = Vec::new();
        let text = self.uri.as_deref().unwrap_or_default().trim();
        let uri = keep(Uri::parse(text).map_err(|error| vec![Problem::new("uri", error.to_string())]), &mut problems);
        if present(self.reference.as_deref()).is_some() {
            problems.push(Problem::new("reference", "belongs to the kind `image`: a file has a `uri`"));
        }
        if !self.platforms.is_empty() {
            problems.push(Problem::new("platforms", "belongs to the kind `image`"));
        }
        let expected = keep(self.checksums(), &mut problems);
        match (uri, expected) {
            (Some(uri), Some(expected)) if problems.is_empty() => {
                Ok(Subject { name: uri.into(), expected, image: None })
            }
            _ => Err(problems),
        }
    }

    fn image(&self) -> Result<Subject, Vec<Problem>> {
        let mut problems = Vec::new();
        let text = self.reference.as_deref().unwrap_or_default().trim();
        let reference = keep(pinned(text).map_err(|message| vec![Problem::new("reference", message)]), &mut problems);
        if present(self.uri.as_deref()).is_some() {
            problems.push(Problem::new("uri", "belongs to the kind `file`: an image has a `reference`"));
        }
        let integrity = present(self.integrity.as_deref()).map(|_| "integrity");
        for field in self.given_digests().map(|(algorithm, _)| algorithm.name()).chain(integrity) {
            problems.push(Problem::new(field, "belongs to the kind `file`: the reference of an image has its digest"));
        }
        let platforms = keep(
            PlatformChoice::parse(&self.platforms).map_err(|message| vec![Problem::new("platforms", message)]),
            &mut problems,
        );
        match (reference, platforms) {
            (Some((name, scheme, tag)), Some(platforms)) if problems.is_empty() => {
                let expected =
                    Checksums::new([*name.digest()]).map_err(|message| vec![Problem::new("reference", message)])?;
                let platforms = Some(platforms).filter(|_| !self.platforms.is_empty());
                Ok(Subject { name: name.into(), expected, image: Some(WantedImage { platforms, scheme, tag }) })
            }
            _ => Err(problems),
        }
    }

    fn checksums(&self) -> Result<Checksums, Vec<Problem>> {
        let (mut digests, mut problems) = (Vec::new(), Vec::new());
        for (algorithm, text) in self.given_digests() {
            match Digest::from_hex(algorithm, text) {
                Ok(digest) => digests.push(digest),
                Err(message) => problems.push(Problem::new(algorithm.name(), message)),
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
        let given = self.given_digests().next().map(|(algorithm, _)| algorithm.name());
        let field = given.unwrap_or("integrity");
        Checksums::new(digests).map_err(|message| vec![Problem::new(field, message)])
    }

    /// The declared digests that are not blank.
    fn given_digests(&self) -> impl Iterator<Item = (Algorithm, &str)> {
        self.digests.iter().filter_map(|(algorithm, text)| Some((*algorithm, present(Some(text))?)))
    }
}

/// What a declaration is about.
struct Subject {
    name: ArtifactName,
    expected: Checksums,
    image: Option<WantedImage>,
}

/// The name of the image that this reference pins, and what else it says.
fn pinned(text: &str) -> Result<(ImageName, Option<Scheme>, Option<String>), String> {
    let ImageReference { scheme, repository, tag, digest } = ImageReference::parse(text)?;
    let Some(digest) = digest else {
        return Err(format!(
            "names no digest, and what a tag names changes: pin it as `{repository}@sha256:HEX`, or have the tag resolved now"
        ));
    };
    Ok((ImageName::new(repository, digest), scheme, tag))
}

/// What a declaration says of an image besides its name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WantedImage {
    /// The platforms that are wanted; `None`: what is usual, or what was chosen before.
    pub platforms: Option<PlatformChoice>,
    /// How its registry is reached, where the reference says so.
    pub scheme: Option<Scheme>,
    /// The tag by which the person knew it.
    pub tag: Option<String>,
}

/// A declaration that has been checked.
#[derive(Debug, Clone, PartialEq)]
pub struct NewDeclaration {
    /// What is wanted.
    pub name: ArtifactName,
    /// The checksums that it must have.
    pub expected: Checksums,
    /// What is wanted of an image; `None` for other kinds.
    pub image: Option<WantedImage>,
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
    /// The tag by which the person knew the image: a note, since it names whatever it names today.
    pub tag: Option<String>,
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
            digests: vec![(Algorithm::Sha256, "abc".into()), (Algorithm::Md5, "x".into())],
            ..Declare::default()
        };
        assert_eq!(problems(&declare), ["uri", "sha256", "md5", "reason"]);
        let image = Declare {
            kind: "image".into(),
            uri: Some("https://h/x".into()),
            reference: Some("debian:12".into()),
            digests: vec![(Algorithm::Sha256, "0".repeat(64))],
            platforms: vec!["linux".into()],
            ..Declare::default()
        };
        assert_eq!(problems(&image), ["reference", "uri", "sha256", "platforms", "reason"]);
        let file =
            Declare { kind: "file".into(), platforms: vec!["all".into()], reference: Some("x".into()), ..declare };
        assert_eq!(problems(&file), ["uri", "reference", "platforms", "sha256", "md5", "reason"]);
        assert_eq!(
            problems(&Declare { kind: "gem".into(), reason: Some("\u{7}".into()), ..Declare::default() }),
            ["kind", "reason"]
        );
    }

    #[test]
    fn an_image_is_named_by_its_digest() {
        let reference = format!("https://debian.test/a:12@sha256:{}", "0".repeat(64));
        let declare = Declare { reference: Some(reference), reason: Some("r".into()), ..Declare::default() };
        let checked = declare.check("alice").unwrap();
        assert_eq!(checked.name.as_str(), format!("debian.test/a@sha256:{}", "0".repeat(64)));
        assert_eq!(checked.expected.to_string(), format!("sha256:{}", "0".repeat(64)));
        let image = checked.image.unwrap();
        assert_eq!((image.platforms, image.scheme, image.tag.as_deref()), (None, Some(Scheme::Https), Some("12")));
    }

    #[test]
    fn weak_digests_count_only_beside_a_strong_one() {
        let declare = |digests: &[Algorithm], integrity: Option<&str>| Declare {
            uri: Some("http://h/x".into()),
            reason: Some("r".into()),
            digests: digests.iter().map(|a| (*a, "0".repeat(2 * a.digest_bytes()))).collect(),
            integrity: integrity.map(str::to_owned),
            ..Declare::default()
        };
        assert_eq!(problems(&declare(&[], Some("sha1-eHh4eHh4eHh4eHh4eHh4eHh4eHg="))), ["integrity"]);
        assert_eq!(problems(&declare(&[Algorithm::Sha1, Algorithm::Md5], None)), ["sha1"]);
        let together = declare(&Algorithm::ALL, None).check("alice").unwrap();
        assert_eq!(together.expected.iter().count(), 5);
        let mixed = declare(&[Algorithm::Md5], Some("sha256-ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0="));
        assert_eq!(mixed.check("alice").unwrap().expected.iter().count(), 2);
    }

    #[test]
    fn blank_optional_fields_are_absent() {
        let declare = Declare {
            uri: Some(" http://h/x ".into()),
            reason: Some("r".into()),
            project: Some(" ".into()),
            digests: vec![(Algorithm::Sha256, String::new())],
            ..Declare::default()
        };
        let checked = declare.check("alice").unwrap();
        assert_eq!((checked.project, checked.expected.is_empty(), checked.name.as_str()), (None, true, "http://h/x"));
    }
}
