//! What is inside of an image: its configuration and its layers.

use distmirror_core::{
    StoredBlob,
    image::{
        config::ImageConfig,
        manifest::{Descriptor, Manifest, Parts},
    },
};
use futures::{StreamExt, stream};
use serde::Serialize;

use super::{
    MOST_ROWS, READ_AT_ONCE,
    document::Documents,
    facts::{Fact, Facts, cut},
};

#[derive(Debug, Default, Serialize)]
pub(super) struct Inside {
    /// What it runs on, if it says so.
    platform: Option<String>,
    digest: String,
    /// Size in bytes of everything that it consists of.
    size: u64,
    /// Why something is not shown.
    problems: Vec<String>,
    /// What sort of artifact it is, if it is no image.
    artifact_type: Option<String>,
    /// How it was made and how it runs.
    config: Vec<Fact>,
    labels: Facts,
    annotations: Facts,
    /// The lowest first.
    layers: Vec<Layer>,
    more_layers: usize,
}

#[derive(Debug, Serialize)]
struct Layer {
    digest: String,
    media_type: String,
    size: u64,
}

/// Reads these manifests and their configurations.
pub(super) async fn read(documents: &Documents<'_>, manifests: &[&StoredBlob]) -> Vec<Inside> {
    let all: Vec<_> = manifests.iter().map(|blob| one(documents, blob)).collect();
    stream::iter(all).buffered(READ_AT_ONCE).collect().await
}

async fn one(documents: &Documents<'_>, blob: &StoredBlob) -> Inside {
    let mut inside = Inside {
        platform: blob.platform.as_ref().map(ToString::to_string),
        digest: blob.digest.to_string(),
        size: blob.size,
        ..Inside::default()
    };
    match documents.manifest(blob).await {
        Ok(manifest) => inside.add(documents, manifest).await,
        Err(problem) => inside.problems.push(problem),
    }
    inside
}

impl Inside {
    async fn add(&mut self, documents: &Documents<'_>, manifest: Manifest) {
        self.annotations = Facts::of(&manifest.annotations);
        self.artifact_type = manifest.artifact_type.as_deref().map(cut);
        let Parts::Image { config, layers } = manifest.parts else { return };
        let sizes = layers.iter().map(|layer| layer.size).chain([config.size]);
        self.size = sizes.fold(self.size, u64::saturating_add);
        self.layers = layers.iter().take(MOST_ROWS).map(Layer::of).collect();
        self.more_layers = layers.len().saturating_sub(MOST_ROWS);
        match configuration(documents, &config).await {
            Ok(Some(config)) => self.configure(config),
            Ok(None) => self.artifact_type = self.artifact_type.take().or_else(|| Some(cut(&config.media_type))),
            Err(problem) => self.problems.push(problem),
        }
    }

    fn configure(&mut self, config: ImageConfig) {
        let execution = config.execution.unwrap_or_default();
        let known = [
            ("Created", config.created),
            ("Author", config.author),
            ("Entrypoint", execution.entrypoint.map(|words| in_exec_form(&words))),
            ("Command", execution.cmd.map(|words| in_exec_form(&words))),
            ("User", execution.user),
            ("Working directory", execution.working_dir),
        ];
        let given = known.iter().filter_map(|(name, value)| Some((name, value.as_deref().filter(|v| !v.is_empty())?)));
        self.config = given.map(|(name, value)| Fact::new(name, value)).collect();
        self.labels = Facts::of(&execution.labels.unwrap_or_default());
    }
}

impl Layer {
    fn of(layer: &Descriptor) -> Self {
        Self { digest: layer.digest.to_string(), media_type: cut(&layer.media_type), size: layer.size }
    }
}

/// The configuration, unless it is one of something else than an image.
async fn configuration(documents: &Documents<'_>, config: &Descriptor) -> Result<Option<ImageConfig>, String> {
    if !CONFIGURATIONS.contains(&config.media_type.as_str()) {
        return Ok(None);
    }
    let stored = documents.config(&config.digest);
    let stored = stored.ok_or_else(|| format!("its configuration `{}` is not on record", config.digest))?;
    Ok(Some(ImageConfig::parse(&documents.bytes(stored).await?)))
}

/// As Dockerfiles write it, so that nobody has to guess where words end.
fn in_exec_form(words: &[String]) -> String {
    serde_json::to_string(words).unwrap_or_default()
}

const CONFIGURATIONS: [&str; 2] =
    ["application/vnd.oci.image.config.v1+json", "application/vnd.docker.container.image.v1+json"];
