//! A small image: an index of two platforms, an attestation of the first, and a signature of the index.

use distmirror_core::{Content, Digests, Fetched, Payload, Role, Sha256, Source, StoredBlob};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::support::Site;

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
pub(crate) const SIGNATURE: &str = "application/vnd.example.signature.v1";
pub(crate) const PREDICATE: &str = "https://slsa.dev/provenance/v0.2";

/// The image, with a word of its author in everything that authors can write.
pub(crate) struct Sample {
    index: Part,
    amd64: Vec<Part>,
    arm64: Vec<Part>,
    attestation: Vec<Part>,
    signature: Vec<Part>,
}

/// Bytes and what they are to the image.
#[derive(Clone)]
pub(crate) struct Part {
    pub(crate) bytes: Vec<u8>,
    pub(crate) stored: StoredBlob,
}

impl Part {
    fn new(role: Role, media_type: &str, bytes: Vec<u8>) -> Self {
        let blob = Sha256::of(&bytes);
        let stored = StoredBlob {
            blob,
            role,
            digest: blob.into(),
            size: bytes.len() as u64,
            media_type: Some(media_type.to_owned()),
            platform: None,
            subject: None,
        };
        Self { bytes, stored }
    }

    pub(crate) fn digest(&self) -> String {
        self.stored.digest.to_string()
    }

    fn descriptor(&self) -> Value {
        json!({"mediaType": self.stored.media_type, "digest": self.digest(), "size": self.stored.size})
    }
}

impl Sample {
    pub(crate) fn new(word: &str) -> Self {
        let amd64 = image("linux/amd64", word);
        let arm64 = image("linux/arm64", word);
        let attestation = attestation();
        let mut attested = attestation[0].descriptor();
        attested["platform"] = json!({"os": "unknown", "architecture": "unknown"});
        attested["annotations"] = json!({"vnd.docker.reference.digest": amd64[0].digest()});
        let entry = |part: &Part, architecture: &str| {
            let mut entry = part.descriptor();
            entry["platform"] = json!({"os": "linux", "architecture": architecture});
            entry
        };
        let manifests = [entry(&amd64[0], "amd64"), entry(&arm64[0], "arm64"), attested];
        let index =
            json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests, "annotations": {word: word}});
        let index = Part::new(Role::Index, INDEX, index.to_string().into_bytes());
        let signature = signature(&index, word);
        Self { index, amd64, arm64, attestation, signature }
    }

    /// The same with a signature of another image in place of its own.
    pub(crate) fn signing(self, other: &Self) -> Self {
        Self { signature: signature(&other.index, "of another"), ..self }
    }

    pub(crate) fn digest(&self) -> String {
        self.index.digest()
    }

    /// Its name in the repository `quay.io/team/tool`.
    pub(crate) fn reference(&self) -> String {
        format!("quay.io/team/tool@{}", self.digest())
    }

    /// The manifest, the configuration and the layer of the platform that is usual.
    pub(crate) fn usual(&self) -> &[Part] {
        &self.amd64
    }

    /// Declares it by the tag `1.0`.
    pub(crate) async fn declared(&self, site: &Site) -> Value {
        let reference = format!("quay.io/team/tool:1.0@{}", self.digest());
        let wanted = json!({"reference": reference, "reason": "tests", "project": "demo"});
        let answer = site.post("/api/v1/artifacts", &wanted).await;
        assert!(matches!(answer.status, 200 | 201), "{answer:?}");
        answer.json()
    }

    /// Declares it and plays the worker that brings the usual platform.
    pub(crate) async fn present(&self, site: &Site) -> Value {
        let declared = self.declared(site).await;
        self.bring(site, &|_| true).await;
        site.get(&format!("/api/v1/artifacts/{}", declared["id"].as_str().expect("an id"))).await.json()
    }

    /// Plays the worker that is longest due and brings what is wanted. Parts that do not pass get lost on the way to the store.
    pub(crate) async fn bring(&self, site: &Site, passes: &dyn Fn(&Part) -> bool) {
        let job = site.lease().await;
        let wanted = job.artifact.selection.clone().expect("an image").wanted;
        let mut parts: Vec<Part> = vec![self.index.clone()];
        parts.extend(self.amd64.iter().chain(&self.attestation).cloned());
        if wanted.is_all() || wanted.named().any(|platform| platform.to_string() == "linux/arm64") {
            parts.extend(self.arm64.iter().cloned());
        } else {
            let mut unfetched = self.arm64[0].clone();
            unfetched.stored.role = Role::Unfetched;
            parts.push(unfetched);
        }
        parts.extend(self.signature.iter().cloned());
        for part in parts.iter().filter(|part| part.stored.role != Role::Unfetched && passes(part)) {
            let bytes = Payload::Bytes(part.bytes.clone().into());
            site.mirror.blobs().put(&part.stored.blob, bytes).await.expect("a store in memory");
        }
        let blobs = parts.into_iter().map(|part| part.stored).collect();
        let fetched = Fetched { content: self.content(), blobs, platforms: Some(wanted) };
        site.mirror.catalog().complete(&job.lease, &fetched, Timestamp::now()).await.expect("the lease is held");
    }

    fn content(&self) -> Content {
        let final_url = format!("https://quay.io/v2/team/tool/manifests/{}", self.digest());
        Content {
            digests: Digests::of(&self.index.bytes),
            size: self.index.stored.size,
            content_type: Some(INDEX.to_owned()),
            content_disposition: None,
            content_encoding: None,
            last_modified: None,
            source: Source { final_url, ..Source::default() },
        }
    }
}

/// The manifest, the configuration and the layer.
fn image(platform: &str, word: &str) -> Vec<Part> {
    let (os, architecture) = platform.split_once('/').expect("a platform");
    let labels = json!({
        "org.opencontainers.image.source": "https://example.test/tool",
        "org.opencontainers.image.licenses": "Apache-2.0",
        "a.link": "javascript:alert(1)",
        word: word,
    });
    let config = json!({
        "created": "2026-03-14T09:26:53Z", "author": word, "os": os, "architecture": architecture,
        "config": {"Entrypoint": ["/bin/tool", word], "Cmd": ["serve"], "User": "1000:1000", "WorkingDir": "/srv", "Labels": labels},
    });
    let config = Part::new(Role::Config, CONFIG, config.to_string().into_bytes());
    let layer = Part::new(Role::Layer, LAYER, vec![0; 2048]);
    let manifest = json!({
        "schemaVersion": 2, "mediaType": MANIFEST, "config": config.descriptor(), "layers": [layer.descriptor()],
        "annotations": {"org.example.built-by": word},
    });
    let mut manifest = Part::new(Role::Manifest, MANIFEST, manifest.to_string().into_bytes());
    manifest.stored.platform = Some(platform.parse().expect("a platform"));
    vec![manifest, config, layer]
}

fn attestation() -> Vec<Part> {
    let config = Part::new(Role::Config, CONFIG, b"{}".to_vec());
    let statement = Part::new(Role::Layer, "application/vnd.in-toto+json", b"{\"statement\": 1}".to_vec());
    let mut layer = statement.descriptor();
    layer["annotations"] = json!({"in-toto.io/predicate-type": PREDICATE});
    let manifest = json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": config.descriptor(), "layers": [layer]});
    vec![Part::new(Role::Manifest, MANIFEST, manifest.to_string().into_bytes()), config, statement]
}

fn signature(subject: &Part, word: &str) -> Vec<Part> {
    let config = Part::new(Role::Config, "application/vnd.oci.empty.v1+json", b"{ }".to_vec());
    let layer = Part::new(Role::Layer, "application/octet-stream", b"signed".to_vec());
    let manifest = json!({
        "schemaVersion": 2, "mediaType": MANIFEST, "artifactType": format!("{SIGNATURE}{word}"),
        "config": config.descriptor(), "layers": [layer.descriptor()], "subject": subject.descriptor(),
        "annotations": {"org.example.signed-by": word},
    });
    let mut manifest = Part::new(Role::Manifest, MANIFEST, manifest.to_string().into_bytes());
    manifest.stored.subject = Some(subject.stored.digest);
    vec![manifest, config, layer]
}
