//! What an artifact is called: its kind and its canonical name, and the key under which catalogs file it.

use std::fmt;

use crate::{Kind, Uri, digest, digest::Sha256};

/// The name of an artifact, canonical by construction.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ArtifactName {
    /// A file, named by its URI.
    File(Uri),
}

impl ArtifactName {
    /// Reads a canonical name as a catalog stored it.
    ///
    /// # Errors
    /// When the text is not a name of that kind.
    pub fn parse(kind: Kind, text: &str) -> Result<Self, String> {
        match kind {
            Kind::File => Uri::parse(text).map(Self::File).map_err(|error| error.to_string()),
        }
    }

    /// The kind of artifact that has such names.
    pub fn kind(&self) -> Kind {
        match self {
            Self::File(_) => Kind::File,
        }
    }

    /// The canonical text.
    pub fn as_str(&self) -> &str {
        match self {
            Self::File(uri) => uri.as_str(),
        }
    }

    /// The text for logs, without secrets.
    pub fn redacted(&self) -> String {
        match self {
            Self::File(uri) => uri.redacted(),
        }
    }

    /// The upstream host with its port where that is not the default; what limits per host count by and lists filter by.
    pub fn host(&self) -> String {
        match self {
            Self::File(uri) => uri.authority().for_scheme(uri.scheme()),
        }
    }

    /// The key of this name: SHA-256 over kind and canonical text, so that neither the collation nor the index limits of a
    /// database decide what is the same.
    pub fn key(&self) -> NameKey {
        let mut text = String::with_capacity(self.as_str().len() + 8);
        text.push_str(self.kind().as_str());
        text.push('\n');
        text.push_str(self.as_str());
        NameKey(*Sha256::of(text.as_bytes()).as_bytes())
    }
}

impl fmt::Display for ArtifactName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
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
