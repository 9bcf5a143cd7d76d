//! How the `object_store` crate is set up: its options by its own names, its limits on purpose.

use std::{collections::BTreeMap, str::FromStr, time::Duration};

use object_store::{
    BackoffConfig, ClientOptions, ObjectStore, RetryConfig,
    aws::{AmazonS3Builder, AmazonS3ConfigKey},
    azure::{AzureConfigKey, MicrosoftAzureBuilder},
    gcp::{GoogleCloudStorageBuilder, GoogleConfigKey},
    path::Path,
    prefix::PrefixStore,
};
use url::Url;

/// Checks a URL whose scheme is `s3`, `gs` or `az`.
pub(in crate::blobs) fn check_url(url: &Url) -> Result<(), String> {
    if url.host_str().is_none_or(str::is_empty) {
        return Err(format!("names no bucket: write `{}://BUCKET/PREFIX`", url.scheme()));
    }
    prefix_of(url).map(drop)
}

/// Whether the store of this URL has an option of this name. `object_store` itself ignores one that it does not know.
pub(in crate::blobs) fn knows_option(url: &Url, key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    match url.scheme() {
        "s3" => AmazonS3ConfigKey::from_str(&key).is_ok(),
        "gs" => GoogleConfigKey::from_str(&key).is_ok(),
        "az" => AzureConfigKey::from_str(&key).is_ok(),
        _ => false,
    }
}

/// The store of this URL, rooted at its prefix. Sends nothing.
pub(super) fn connect(url: &Url, options: &BTreeMap<String, String>) -> Result<Box<dyn ObjectStore>, String> {
    let prefix = prefix_of(url)?;
    // The three builders have the same methods and no trait in common.
    macro_rules! build {
        ($builder:ty) => {{
            let builder = <$builder>::new().with_url(url.as_str()).with_client_options(client()).with_retry(retry());
            let builder = options.iter().try_fold(builder, |builder, (key, value)| {
                let key = key.to_ascii_lowercase().parse()?;
                Ok::<_, object_store::Error>(builder.with_config(key, value))
            });
            let store = builder.and_then(<$builder>::build).map_err(|error| error.to_string())?;
            Ok(Box::new(PrefixStore::new(store, prefix)))
        }};
    }
    match url.scheme() {
        "s3" => build!(AmazonS3Builder),
        "gs" => build!(GoogleCloudStorageBuilder),
        "az" => build!(MicrosoftAzureBuilder),
        other => Err(format!("`{other}` is not an object store")),
    }
}

fn prefix_of(url: &Url) -> Result<Path, String> {
    Path::from_url_path(url.path()).map_err(|error| format!("has a prefix that no object can have: {error}"))
}

/// The default of `object_store` ends every request after 30 s, whether bytes come or not; each wait here has its own limit.
/// An option of the configuration that says otherwise is applied after this.
fn client() -> ClientOptions {
    ClientOptions::new().with_timeout_disabled().with_connect_timeout(CONNECT_WITHIN)
}

/// The default of `object_store` goes on for three minutes; somebody is waiting for a download.
fn retry() -> RetryConfig {
    let backoff =
        BackoffConfig { init_backoff: Duration::from_millis(100), max_backoff: Duration::from_secs(2), base: 2.0 };
    RetryConfig { backoff, max_retries: 3, retry_timeout: Duration::from_secs(10) }
}

const CONNECT_WITHIN: Duration = Duration::from_secs(5);
