//! What the assertions are made over: repositories with every kind of document that the specifications know.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde_json::{Value, json};
use sha2::{Digest, Sha512};
use testkit::{Registry, Upstream, image::Image};

pub(super) const INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub(super) const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
pub(super) const SIGNATURE: &str = "application/vnd.example.signature.v1";
pub(super) const MATERIALS: &str = "application/vnd.example.materials.v1+json";

/// One repository: what is declared of it, and what is to be found in it then.
pub(super) struct Content {
    pub(super) repository: &'static str,
    /// The digest that is declared.
    pub(super) root: String,
    /// Manifests and indexes.
    pub(super) documents: Vec<Document>,
    /// Configs and layers by digest.
    pub(super) blobs: BTreeMap<String, Bytes>,
    /// How those that refer to the root are listed.
    pub(super) referrers: Vec<Value>,
    held_by: HeldBy,
}

/// A manifest or an index.
pub(super) struct Document {
    pub(super) digest: String,
    pub(super) media_type: String,
    pub(super) bytes: Bytes,
}

/// Where it is fetched from.
enum HeldBy {
    /// docker-registry, which has no referrers API and names content by SHA-256 only.
    DockerRegistry(Box<Image>),
    /// A registry that the test kit's upstream plays, with the referrers API.
    Played,
}

impl Content {
    /// An image in docker-registry.
    pub(super) fn new(repository: &'static str, image: &Image) -> Self {
        let parts = image.all_manifests();
        let documents: Vec<_> = parts.iter().map(|part| Document::of(part)).collect();
        let all = image.all_blobs();
        let named = parts.iter().flat_map(|part| names(part.document()));
        let blobs = named.map(|digest| (digest.clone(), all[&digest].clone())).collect();
        let held_by = HeldBy::DockerRegistry(Box::new(image.clone()));
        Self { repository, root: image.digest().to_owned(), documents, blobs, referrers: Vec::new(), held_by }
    }

    /// The same in a registry with the referrers API, together with these that refer to it.
    fn referred_to_by(mut self, referrers: &[Image]) -> Self {
        for referrer in referrers {
            let Self { documents, blobs, .. } = Self::new(self.repository, referrer);
            self.documents.extend(documents);
            self.blobs.extend(blobs);
            self.referrers.push(listed(referrer));
        }
        Self { held_by: HeldBy::Played, ..self }
    }

    /// The same with everything named by SHA-512; for one manifest without children.
    fn by_sha512(self) -> Self {
        let mut text = String::from_utf8(self.documents[0].bytes.to_vec()).expect("a manifest is text");
        let mut blobs = BTreeMap::new();
        for (digest, bytes) in &self.blobs {
            let long = sha512(bytes);
            text = text.replace(digest, &long);
            blobs.insert(long, bytes.clone());
        }
        let digest = sha512(text.as_bytes());
        let media_type = self.documents[0].media_type.clone();
        let documents = vec![Document { digest: digest.clone(), media_type, bytes: text.into() }];
        Self { root: digest, documents, blobs, held_by: HeldBy::Played, ..self }
    }

    /// Puts it where it is fetched from; the name of that registry.
    pub(super) async fn hold(&self, real: &Registry, played: &Upstream) -> String {
        match &self.held_by {
            HeldBy::DockerRegistry(image) => {
                real.push(self.repository, image, &[]).await;
                format!("localhost:{}", real.port())
            }
            HeldBy::Played => {
                self.play(played);
                format!("localhost:{}", played.https_port())
            }
        }
    }

    fn play(&self, upstream: &Upstream) {
        let path = |rest: String| format!("/v2/{}/{rest}", self.repository);
        for Document { digest, media_type, bytes } in &self.documents {
            // Some registries add parameters, which are no part of the type.
            let typed = [("Content-Type", format!("{media_type}; charset=utf-8"))];
            let typed = typed.each_ref().map(|(name, value)| (*name, value.as_str()));
            upstream.file_with(&path(format!("manifests/{digest}")), bytes.clone(), &typed);
            let referrers = if *digest == self.root { &self.referrers[..] } else { &[] };
            let list = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": referrers}).to_string();
            upstream.file_with(&path(format!("referrers/{digest}")), list, &[("Content-Type", INDEX)]);
        }
        for (digest, bytes) in &self.blobs {
            upstream.file(&path(format!("blobs/{digest}")), bytes.clone());
        }
    }
}

impl Document {
    fn of(image: &Image) -> Self {
        let (digest, media_type) = (image.digest().to_owned(), image.media_type().to_owned());
        Self { digest, media_type, bytes: image.manifest().clone() }
    }
}

/// A repository for each kind of content.
pub(super) fn one_of_each() -> Vec<Content> {
    let artifact = |content: &'static str| Image::artifact("application/vnd.example.thing.v1", content);
    let pair = |seed: &str| Image::index(&[Image::oci(seed).build(), arm64(Image::oci(seed))]);
    let elsewhere = Image::oci("elsewhere").build();
    let mut all = vec![
        Content::new("conf/image", &Image::oci("image").layers(3).build()),
        Content::new("conf/docker", &Image::docker("docker").build()),
        Content::new("conf/plain", &Image::oci("plain").uncompressed().build()),
        Content::new("conf/index", &pair("index")),
        Content::new("conf/list", &Image::manifest_list(&[Image::docker("l").build(), arm64(Image::docker("l"))])),
        Content::new("conf/nested", &Image::index(&[pair("a"), Image::index(&[pair("b")])])),
        Content::new("conf/artifact", &artifact("some bytes")),
        Content::new("conf/two-artifacts", &Image::index(&[artifact("one"), artifact("two")])),
        Content::new("conf/bare", &artifact("{}")),
        Content::new("conf/no-layers", &artifact("unused").edited(|manifest| manifest["layers"] = json!([]))),
        Content::new("conf/empty-blob", &artifact("")),
        Content::new("conf/orphan", &artifact("about nothing").with_subject(&elsewhere)),
        Content::new(
            "conf/more-fields",
            &artifact("x").edited(|manifest| manifest["org.example"] = json!([null, 1.0])),
        ),
        Content::new("a/b-c/d_e/f.g/h__i/0", &Image::oci("deep").layers(1).build()),
        Content::new("conf/sha512", &Image::oci("sha512").build()).by_sha512(),
    ];
    all.extend([image_with_largest_manifest(), image_with_referrers(), index_with_referrers()]);
    all
}

/// An image to which others refer, with and without a type of their own.
pub(super) fn image_with_referrers() -> Content {
    let subject = Image::oci("subject").build();
    let artifact = |artifact_type, text: &'static str| Image::artifact(artifact_type, text).with_subject(&subject);
    Content::new("conf/subject", &subject).referred_to_by(&[
        artifact(SIGNATURE, "a signature").with_annotation("org.example.by", "é \"somebody\""),
        artifact(SIGNATURE, "another signature"),
        artifact(MATERIALS, "what is in it").with_annotation("org.example.format", "json"),
        Image::oci("referrer").build().with_subject(&subject),
    ])
}

/// An index to which indexes refer; one of these has no type at all.
pub(super) fn index_with_referrers() -> Content {
    let subject = Image::index(&[Image::oci("s").build(), arm64(Image::oci("s"))]);
    let index = |text: &'static str| Image::index(&[Image::artifact(SIGNATURE, text)]).with_subject(&subject);
    let typed = index("typed").edited(|index| index["artifactType"] = MATERIALS.into());
    Content::new("conf/index-subject", &subject)
        .referred_to_by(&[typed.with_annotation("org.example.of", "an index"), index("untyped")])
}

/// 4 MiB, the size that the specification wants to be possible.
fn image_with_largest_manifest() -> Content {
    let padded = |bytes: usize| Image::oci("large").build().with_annotation("org.example.padding", &"x".repeat(bytes));
    let rest = padded(0).manifest().len();
    let image = padded(4 * 1024 * 1024 - rest);
    assert_eq!(image.manifest().len(), 4 * 1024 * 1024);
    Content::new("conf/large", &image)
}

fn arm64(image: testkit::image::ImageBuilder) -> Image {
    image.platform("linux/arm64").label("of", "arm64").build()
}

/// How a list of referrers has it (OCI distribution specification, "Listing Referrers").
fn listed(referrer: &Image) -> Value {
    let mut entry = referrer.descriptor();
    entry.as_object_mut().expect("a descriptor is an object").remove("platform");
    let of_config = &referrer.document()["config"]["mediaType"];
    if entry.get("artifactType").is_none() && of_config.is_string() {
        entry["artifactType"] = of_config.clone();
    }
    entry
}

/// The digests of config and layers.
fn names(document: &Value) -> Vec<String> {
    let layers = document["layers"].as_array().into_iter().flatten();
    layers.chain([&document["config"]]).filter_map(|part| part["digest"].as_str().map(str::to_owned)).collect()
}

fn sha512(bytes: &[u8]) -> String {
    Sha512::digest(bytes).iter().fold("sha512:".to_owned(), |text, byte| format!("{text}{byte:02x}"))
}
