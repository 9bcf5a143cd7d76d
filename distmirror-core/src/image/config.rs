//! The configuration of an image, as far as people want to see it. It is read leniently: an artifact that is no image has
//! something else there.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::Platform;

/// What an image's configuration says (OCI image configuration specification).
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct ImageConfig {
    /// When the image was made, RFC 3339.
    pub created: Option<String>,
    /// Who made it.
    pub author: Option<String>,
    os: Option<String>,
    architecture: Option<String>,
    variant: Option<String>,
    /// How it runs.
    #[serde(rename = "config")]
    pub execution: Option<Execution>,
}

/// How an image runs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Execution {
    /// The program.
    pub entrypoint: Option<Vec<String>>,
    /// Its arguments.
    pub cmd: Option<Vec<String>>,
    /// As whom it runs.
    pub user: Option<String>,
    /// Where it starts.
    pub working_dir: Option<String>,
    /// What its author says of it.
    pub labels: Option<BTreeMap<String, String>>,
}

impl ImageConfig {
    /// Reads a configuration; what is none is empty.
    pub fn parse(bytes: &[u8]) -> Self {
        serde_json::from_slice(bytes).unwrap_or_default()
    }

    /// What the image runs on, if it says so.
    pub fn platform(&self) -> Option<Platform> {
        Platform::new(self.os.as_deref()?, self.architecture.as_deref()?, self.variant.as_deref()).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_configuration_is_empty() {
        let config = ImageConfig::parse(
            br#"{"os": "linux", "architecture": "arm", "variant": "v7", "config": {"Entrypoint": ["/x"], "Labels": null}}"#,
        );
        assert_eq!(config.platform().unwrap().to_string(), "linux/arm/v7");
        assert_eq!(config.execution.unwrap().entrypoint.unwrap(), ["/x"]);
        for other in [&b"{}"[..], b"not JSON", b"[]", br#"{"os": 7}"#, b""] {
            assert_eq!(ImageConfig::parse(other).platform(), None);
        }
    }
}
