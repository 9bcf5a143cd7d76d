//! What an artifact is called: its kind and its canonical name, and the key under which catalogs file it.

use std::fmt;

use crate::{ImageName, Kind, Repository, Uri, digest, digest::Sha256};

/// The name of an artifact, canonical by construction.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ArtifactName {
    /// A file, named by its URI.
    File(Uri),
    /// A container image, named by registry, repository and digest.
    Image(ImageName),
}

impl ArtifactName {
    /// Reads a canonical name as a catalog stored it.
    ///
    /// # Errors
    /// When the text is not a name of that kind.
    pub fn parse(kind: Kind, text: &str) -> Result<Self, String> {
        match kind {
            Kind::File => Uri::parse(text).map(Self::File).map_err(|error| error.to_string()),
            Kind::Image => ImageName::parse(text).map(Self::Image),
        }
    }

    /// The kind of artifact that has such names.
    pub fn kind(&self) -> Kind {
        match self {
            Self::File(_) => Kind::File,
            Self::Image(_) => Kind::Image,
        }
    }

    /// The canonical text.
    pub fn as_str(&self) -> &str {
        match self {
            Self::File(uri) => uri.as_str(),
            Self::Image(name) => name.as_str(),
        }
    }

    /// The text for logs, without secrets.
    pub fn redacted(&self) -> String {
        match self {
            Self::File(uri) => uri.redacted(),
            Self::Image(name) => name.to_string(),
        }
    }

    /// The upstream host with its port where that is not the default, or the registry; what limits per host count by and
    /// lists filter by.
    pub fn host(&self) -> String {
        match self {
            Self::File(uri) => uri.authority().for_scheme(uri.scheme()),
            Self::Image(name) => name.repository().registry().to_string(),
        }
    }

    /// The repository of an image.
    pub fn repository(&self) -> Option<&Repository> {
        match self {
            Self::File(_) => None,
            Self::Image(name) => Some(name.repository()),
        }
    }

    /// The key of this name: SHA-256 over kind and canonical text, so that neither the collation nor the index limits of a
    /// database decide what is the same.
    pub fn key(&self) -> NameKey {
        NameKey::of(self.kind().as_str(), self.as_str())
    }
}

impl fmt::Display for ArtifactName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl From<ImageName> for ArtifactName {
    fn from(name: ImageName) -> Self {
        Self::Image(name)
    }
}

impl From<Uri> for ArtifactName {
    fn from(uri: Uri) -> Self {
        Self::File(uri)
    }
}

/// The key under which a name is filed; see [`ArtifactName::key`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NameKey([u8; 32]);

impl NameKey {
    /// The key of a canonical text among those of its kind.
    pub(crate) fn of(kind: &str, text: &str) -> Self {
        Self(*Sha256::of(format!("{kind}\n{text}").as_bytes()).as_bytes())
    }

    /// The 32 bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for NameKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&digest::hex(&self.0))
    }
}
