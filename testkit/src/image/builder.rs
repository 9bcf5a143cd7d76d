//! Putting an image together: configuration, layers, manifest.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde_json::{Value, json};

use super::{DOCKER_MANIFEST, Image, OCI_MANIFEST, descriptor, digest, layer::Layer};

const CREATED: &str = "2024-05-01T12:00:00Z";

/// What an image is to be; [`Image::oci`] and [`Image::docker`] begin one.
///
/// Without further words it is for `linux/amd64` and has two gzip'd layers with a few thousand bytes each.
#[derive(Debug, Clone)]
pub struct ImageBuilder {
    seed: String,
    docker: bool,
    layers: usize,
    layer_bytes: usize,
    compressed: bool,
    platform: String,
    labels: BTreeMap<String, String>,
}

impl ImageBuilder {
    pub(super) fn new(seed: &str, docker: bool) -> Self {
        let labels = BTreeMap::from([("org.opencontainers.image.title".to_owned(), seed.to_owned())]);
        let (seed, platform) = (seed.to_owned(), "linux/amd64".to_owned());
        Self { seed, docker, layers: 2, layer_bytes: 3000, compressed: true, platform, labels }
    }

    /// How many layers it has.
    #[must_use]
    pub fn layers(mut self, count: usize) -> Self {
        self.layers = count;
        self
    }

    /// How many bytes of noise each layer holds; the archive around them adds at most 2560.
    #[must_use]
    pub fn layer_bytes(mut self, bytes: usize) -> Self {
        self.layer_bytes = bytes;
        self
    }

    /// Leaves the layers plain tar archives: noise does not shrink, and compressing much of it takes long.
    #[must_use]
    pub fn uncompressed(mut self) -> Self {
        self.compressed = false;
        self
    }

    /// Operating system, architecture and perhaps a variant, such as `linux/arm64/v8`.
    #[must_use]
    pub fn platform(mut self, platform: &str) -> Self {
        platform.clone_into(&mut self.platform);
        self
    }

    /// Adds a label to the configuration.
    #[must_use]
    pub fn label(mut self, name: &str, value: &str) -> Self {
        self.labels.insert(name.to_owned(), value.to_owned());
        self
    }

    /// Builds it.
    pub fn build(&self) -> Image {
        let layers: Vec<Layer> = (0..self.layers).map(|number| self.layer(number)).collect();
        let config = Bytes::from(self.config(&layers).to_string());
        let media_type = if self.docker { DOCKER_MANIFEST } else { OCI_MANIFEST };
        let document = json!({
            "schemaVersion": 2,
            "mediaType": media_type,
            "config": descriptor(self.config_type(), &digest(&config), config.len()),
            "layers": layers.iter().map(|layer| self.describe(layer)).collect::<Vec<_>>(),
        });
        let blobs = layers.into_iter().map(|layer| (layer.digest, layer.bytes)).chain([(digest(&config), config)]);
        let image = Image::new(document, media_type, blobs.collect(), Vec::new());
        Image { platform: Some(self.parsed_platform()), ..image }
    }

    fn layer(&self, number: usize) -> Layer {
        Layer::new(&format!("data/{number}"), &format!("{}-{number}", self.seed), self.layer_bytes, self.compressed)
    }

    fn config(&self, layers: &[Layer]) -> Value {
        let steps =
            (0..layers.len()).map(|number| json!({ "created": CREATED, "created_by": format!("step {number}") }));
        let mut config = self.parsed_platform();
        config["created"] = CREATED.into();
        config["config"] = json!({ "Entrypoint": ["/data/0"], "Env": ["PATH=/data"], "Labels": self.labels });
        config["rootfs"] = json!({
            "type": "layers",
            "diff_ids": layers.iter().map(|layer| layer.diff_id.as_str()).collect::<Vec<_>>(),
        });
        config["history"] = steps.collect();
        config
    }

    fn parsed_platform(&self) -> Value {
        ["os", "architecture", "variant"].into_iter().zip(self.platform.split('/')).collect()
    }

    fn config_type(&self) -> &'static str {
        if self.docker {
            "application/vnd.docker.container.image.v1+json"
        } else {
            "application/vnd.oci.image.config.v1+json"
        }
    }

    fn describe(&self, layer: &Layer) -> Value {
        let media_type = match (self.docker, self.compressed) {
            (true, true) => "application/vnd.docker.image.rootfs.diff.tar.gzip",
            (true, false) => "application/vnd.docker.image.rootfs.diff.tar",
            (false, true) => "application/vnd.oci.image.layer.v1.tar+gzip",
            (false, false) => "application/vnd.oci.image.layer.v1.tar",
        };
        descriptor(media_type, &layer.digest, layer.bytes.len())
    }
}
