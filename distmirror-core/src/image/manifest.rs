//! Manifests and indexes: the documents of the OCI image specification 1.1 and the Docker image manifest version 2, schema 2.
//!
//! A document is kept byte for byte and only read here. It is refused when it could be taken for another kind than it says:
//! an attacker who finds two readers that disagree has two images under one digest.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::Platform;
use crate::Digest;

/// The largest document that is read, in bytes: what the OCI distribution specification asks registries to accept.
pub const MAX_MANIFEST_BYTES: u64 = 4 * 1024 * 1024;

/// The media types of documents, for the `Accept` field of a request.
pub const MEDIA_TYPES: [&str; 4] = [OCI_INDEX, OCI_MANIFEST, DOCKER_LIST, DOCKER_MANIFEST];

/// An image index of the OCI.
pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";

/// A document, read.
#[derive(Debug, Clone, PartialEq)]
pub struct Manifest {
    /// Its media type: what it says of itself, or what it was sent as if it says nothing.
    pub media_type: String,
    /// What it consists of.
    pub parts: Parts,
    /// The manifest that it is about, if it is a referrer.
    pub subject: Option<Descriptor>,
    /// What sort of artifact it is, if it is no image (OCI image manifest specification, `artifactType`).
    pub artifact_type: Option<String>,
    /// What its author wrote to it.
    pub annotations: BTreeMap<String, String>,
}

/// What a document consists of.
#[derive(Debug, Clone, PartialEq)]
pub enum Parts {
    /// Manifests to choose from by platform.
    Index(Vec<Descriptor>),
    /// One image or other artifact.
    Image {
        /// Its configuration.
        config: Box<Descriptor>,
        /// Its layers, the lowest first.
        layers: Vec<Descriptor>,
    },
}

/// A reference from a document to content (OCI content descriptor). `urls` and `data` are never looked at.
#[derive(Debug, Clone, PartialEq)]
pub struct Descriptor {
    /// The media type of the content.
    pub media_type: String,
    /// Its digest.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// What it runs on, in an index.
    pub platform: Option<Platform>,
    /// What sort of artifact it is.
    pub artifact_type: Option<String>,
    /// What the author of the document wrote to it.
    pub annotations: BTreeMap<String, String>,
}

impl Descriptor {
    /// Whether it leads to another index.
    pub fn is_index(&self) -> bool {
        is_index(&self.media_type)
    }

    /// The manifest that this one attests, if it is an attestation as BuildKit puts them into indexes.
    pub fn attests(&self) -> Option<&str> {
        self.annotations.get("vnd.docker.reference.digest").map(String::as_str)
    }
}

impl Manifest {
    /// Reads a document that was sent with this media type.
    ///
    /// # Errors
    /// When it is too large or nested too deeply, is of another kind than it says, or leaves out what it must have.
    pub fn parse(bytes: &[u8], sent_as: Option<&str>) -> Result<Self, String> {
        if bytes.len() as u64 > MAX_MANIFEST_BYTES {
            return Err(format!("has {} bytes; at most {MAX_MANIFEST_BYTES} are read", bytes.len()));
        }
        // Fields that nobody reads here are read by clients.
        if nesting(bytes) > MAX_NESTING {
            return Err(format!("is nested more than {MAX_NESTING} deep"));
        }
        let document: Document = serde_json::from_slice(bytes).map_err(|error| format!("is no manifest: {error}"))?;
        if document.schema_version != 2 {
            return Err(format!("has the schema version {}; only 2 can be kept", document.schema_version));
        }
        let media_type = media_type(&document, sent_as)?.to_owned();
        let Document { manifests, config, layers, subject, artifact_type, annotations, .. } = document;
        let parts = match (manifests, config, layers) {
            (Some(manifests), None, None) if is_index(&media_type) => Parts::Index(descriptors(manifests)?),
            (None, Some(config), layers) if !is_index(&media_type) => {
                Parts::Image { config: Box::new(config.read()?), layers: descriptors(layers.unwrap_or_default())? }
            }
            _ => {
                return Err(format!(
                    "says that it is `{media_type}`, and has not the fields of one: an index has `manifests`, a manifest `config` \
                     and `layers`, and neither has both"
                ));
            }
        };
        let subject = subject.map(RawDescriptor::read).transpose()?;
        Ok(Self { media_type, parts, subject, artifact_type, annotations: annotations.unwrap_or_default() })
    }

    /// What sort of artifact it is when it is listed as a referrer: its own word, or else the media type of its config (OCI
    /// distribution specification, "Listing Referrers").
    pub fn listed_type(&self) -> Option<&str> {
        let of_config = match &self.parts {
            Parts::Image { config, .. } => Some(config.media_type.as_str()),
            Parts::Index(_) => None,
        };
        self.artifact_type.as_deref().or(of_config)
    }
}

/// Whether content of this media type is an index.
pub fn is_index(media_type: &str) -> bool {
    matches!(media_type, OCI_INDEX | DOCKER_LIST)
}

/// A media type without its parameters.
pub fn without_parameters(media_type: &str) -> &str {
    media_type.split(';').next().unwrap_or_default().trim()
}

/// What the document says of itself; else what it was sent as; else what its fields say.
fn media_type<'a>(document: &'a Document, sent_as: Option<&'a str>) -> Result<&'a str, String> {
    if let Some(own) = &document.media_type {
        let known = MEDIA_TYPES.contains(&own.as_str());
        return if known {
            Ok(own)
        } else {
            Err(format!("is of the type `{}`, which cannot be kept", own.escape_debug()))
        };
    }
    let by_fields = if document.manifests.is_some() { OCI_INDEX } else { OCI_MANIFEST };
    let sent_as = sent_as.map(without_parameters).filter(|sent_as| MEDIA_TYPES.contains(sent_as));
    Ok(sent_as.unwrap_or(by_fields))
}

fn descriptors(raw: Vec<RawDescriptor>) -> Result<Vec<Descriptor>, String> {
    if raw.len() > MAX_DESCRIPTORS {
        return Err(format!("lists {} parts; at most {MAX_DESCRIPTORS} are read", raw.len()));
    }
    raw.into_iter().map(RawDescriptor::read).collect()
}

/// A document as JSON has it. Fields that nobody knows are kept in the bytes and ignored here.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    #[serde(default)]
    schema_version: u64,
    media_type: Option<String>,
    artifact_type: Option<String>,
    manifests: Option<Vec<RawDescriptor>>,
    config: Option<RawDescriptor>,
    layers: Option<Vec<RawDescriptor>>,
    subject: Option<RawDescriptor>,
    annotations: Option<BTreeMap<String, String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawDescriptor {
    media_type: String,
    digest: String,
    size: u64,
    artifact_type: Option<String>,
    platform: Option<RawPlatform>,
    annotations: Option<BTreeMap<String, String>>,
}

#[derive(Deserialize)]
struct RawPlatform {
    architecture: String,
    os: String,
    variant: Option<String>,
}

impl RawDescriptor {
    fn read(self) -> Result<Descriptor, String> {
        let named = |problem: String| format!("refers to `{}`: {problem}", self.digest.escape_debug());
        let digest: Digest = self.digest.parse().map_err(named)?;
        if !digest.algorithm().names_content() || digest.to_string() != self.digest {
            return Err(named("content is named by sha256 or sha512, in lower case".to_owned()));
        }
        // An artifact may have a platform that is none; it is then like no platform.
        let platform = |raw: RawPlatform| Platform::new(&raw.os, &raw.architecture, raw.variant.as_deref()).ok();
        Ok(Descriptor {
            media_type: self.media_type,
            digest,
            size: self.size,
            platform: self.platform.and_then(platform),
            artifact_type: self.artifact_type,
            annotations: self.annotations.unwrap_or_default(),
        })
    }
}

/// How deep objects and lists stand in each other.
fn nesting(json: &[u8]) -> usize {
    let (mut depth, mut deepest, mut in_text, mut escaped) = (0_usize, 0, false, false);
    for byte in json {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_text => escaped = true,
            b'"' => in_text = !in_text,
            _ if in_text => {}
            b'{' | b'[' => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

/// How deep a document may be nested.
const MAX_NESTING: usize = 128;

/// The most descriptors that one document may have.
const MAX_DESCRIPTORS: usize = 10_000;

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn descriptor(media_type: &str) -> Value {
        json!({"mediaType": media_type, "digest": format!("sha256:{}", "a".repeat(64)), "size": 7})
    }

    fn parse(document: &Value, sent_as: Option<&str>) -> Result<Manifest, String> {
        Manifest::parse(document.to_string().as_bytes(), sent_as)
    }

    #[test]
    fn documents_are_what_they_say() {
        let config = descriptor("application/vnd.oci.image.config.v1+json");
        let image =
            json!({"schemaVersion": 2, "config": config, "layers": [descriptor("x/layer")], "more": {"a": [1, null]}});
        let index = json!({"schemaVersion": 2, "manifests": [descriptor(OCI_MANIFEST)]});
        for (document, own, sent_as, expected) in [
            (&image, Some(OCI_MANIFEST), None, Ok(OCI_MANIFEST)),
            (&image, Some(DOCKER_MANIFEST), Some(OCI_MANIFEST), Ok(DOCKER_MANIFEST)),
            (
                &image,
                None,
                Some("application/vnd.docker.distribution.manifest.v2+json; charset=utf-8"),
                Ok(DOCKER_MANIFEST),
            ),
            (&image, None, Some("application/json"), Ok(OCI_MANIFEST)),
            (&image, None, Some(OCI_INDEX), Err("has not the fields")),
            (&image, Some(OCI_INDEX), None, Err("has not the fields")),
            (&image, Some("application/vnd.docker.distribution.manifest.v1+prettyjws"), None, Err("cannot be kept")),
            (&index, Some(OCI_INDEX), None, Ok(OCI_INDEX)),
            (&index, Some(DOCKER_LIST), None, Ok(DOCKER_LIST)),
            (&index, None, None, Ok(OCI_INDEX)),
            (&index, Some(OCI_MANIFEST), None, Err("has not the fields")),
        ] {
            let mut document = document.clone();
            if let Some(own) = own {
                document["mediaType"] = own.into();
            }
            match (parse(&document, sent_as), expected) {
                (Ok(manifest), Ok(media_type)) => assert_eq!(manifest.media_type, media_type),
                (Err(problem), Err(says)) => assert!(problem.contains(says), "{problem}"),
                (other, expected) => panic!("{document} {sent_as:?}: {other:?}, not {expected:?}"),
            }
        }
        let mut both = image.clone();
        both["manifests"] = json!([]);
        assert!(parse(&both, None).is_err(), "an image and an index at once is neither");
    }

    #[test]
    fn what_cannot_be_trusted_is_refused() {
        let config = descriptor("x/config");
        let with = |field: &str, value: Value| {
            let mut document = json!({"schemaVersion": 2, "config": config, "layers": []});
            document[field] = value;
            document
        };
        for document in [
            with("schemaVersion", json!(1)),
            with("schemaVersion", json!("2")),
            with("layers", json!([{"mediaType": "x", "digest": "sha256:abc", "size": 1}])),
            with("layers", json!([{"mediaType": "x", "digest": format!("sha256:{}", "A".repeat(64)), "size": 1}])),
            with("layers", json!([{"mediaType": "x", "digest": format!("md5:{}", "a".repeat(32)), "size": 1}])),
            with("layers", json!([{"mediaType": "x", "digest": format!("sha256:{}", "a".repeat(64)), "size": -1}])),
            with("config", Value::Null),
            json!([]),
            json!({}),
        ] {
            assert!(parse(&document, None).is_err(), "{document}");
        }
        let deep = format!(r#"{{"schemaVersion":2,"x":{}{}}}"#, "[".repeat(100_000), "]".repeat(100_000));
        assert!(Manifest::parse(deep.as_bytes(), None).unwrap_err().contains("nested"));
        let twice = format!(r#"{{"schemaVersion":2,"config":{config},"config":{config}}}"#);
        assert!(Manifest::parse(twice.as_bytes(), None).unwrap_err().contains("duplicate field"));
        assert!(Manifest::parse(&vec![b' '; MAX_MANIFEST_BYTES as usize + 1], None).is_err());
        assert!(parse(&with("layers", vec![descriptor("x"); MAX_DESCRIPTORS + 1].into()), None).is_err());
    }

    #[test]
    fn nesting_is_counted_outside_of_texts() {
        for (json, depth) in [("", 0), ("{}", 1), (r#"{"a[[[": ["\"[[", {}]}"#, 3), ("[[]][]", 2), ("]]][", 1)] {
            assert_eq!(nesting(json.as_bytes()), depth, "{json}");
        }
    }

    #[test]
    fn referrers_are_listed_by_their_type() {
        let mut document = json!({"schemaVersion": 2, "config": descriptor("x/config"), "layers": [], "subject": descriptor(OCI_MANIFEST)});
        let manifest = parse(&document, None).unwrap();
        assert_eq!((manifest.listed_type(), manifest.subject.is_some()), (Some("x/config"), true));
        document["artifactType"] = "x/signature".into();
        assert_eq!(parse(&document, None).unwrap().listed_type(), Some("x/signature"));
    }
}
