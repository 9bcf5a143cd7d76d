//! Servers of objects: Garage for S3, Azurite for Azure, moto in place of Google Cloud Storage.
//!
//! All three are asked for in the same way: a URL with a prefix that nobody has used yet, and the options that the
//! `object_store` crate wants beside it.

use std::{
    path::Path,
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
};

use tempfile::TempDir;

use crate::{
    place::{free_port, temporary_directory, tool},
    process::Process,
    shared_key,
};

/// The bucket (or container) that every server here has.
const BUCKET: &str = "test";

/// A running object server with one empty bucket.
#[derive(Debug)]
pub struct ObjectServer {
    process: Process,
    scheme: &'static str,
    endpoint: String,
    options: Vec<(String, String)>,
    prefixes: AtomicU32,
    _directory: TempDir,
}

impl ObjectServer {
    /// A URL below which nothing is stored yet, such as `s3://test/fresh-0`; each call gives another one.
    pub fn fresh_url(&self) -> String {
        let number = self.prefixes.fetch_add(1, Ordering::Relaxed);
        format!("{}://{BUCKET}/fresh-{number}", self.scheme)
    }

    /// What `object_store` needs to know beside the URL: endpoint and credentials, by its names for them.
    pub fn options(&self) -> Vec<(String, String)> {
        self.options.clone()
    }

    /// Where the server answers, such as `http://127.0.0.1:20001`.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// The server process, for tests that kill it.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }
}

/// Starts Garage, a real S3 server that checks signatures.
///
/// It has no conditional writes: a put that must not overwrite does overwrite.
///
/// # Panics
///
/// When Garage is not installed or does not start.
pub async fn garage() -> ObjectServer {
    /// Made up for the test; Garage insists on this shape.
    const ACCESS_KEY: &str = "GK0123456789abcdef01234567";
    const SECRET: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
    const REGION: &str = "garage";

    let directory = temporary_directory();
    let port = free_port();
    let config = directory.path().join("garage.toml");
    std::fs::write(&config, garage_config(directory.path(), port, free_port(), SECRET))
        .expect("a fresh directory can be written to");
    let mut serve = Command::new(tool("bin/garage"));
    serve.arg("-c").arg(&config).args(["server", "--single-node", "--default-bucket"]);
    serve.env("GARAGE_DEFAULT_ACCESS_KEY", ACCESS_KEY).env("GARAGE_DEFAULT_SECRET_KEY", SECRET);
    serve.env("GARAGE_DEFAULT_BUCKET", BUCKET);
    let mut process = Process::spawn("Garage", &mut serve);
    process.wait_for_port(port).await;
    let endpoint = endpoint_at(port);
    let options = [
        ("aws_endpoint", endpoint.as_str()),
        ("aws_access_key_id", ACCESS_KEY),
        ("aws_secret_access_key", SECRET),
        ("aws_region", REGION),
        ("aws_allow_http", "true"),
    ];
    server(process, "s3", &endpoint, &options, directory)
}

fn garage_config(directory: &Path, port: u16, internal_port: u16, secret: &str) -> String {
    let directory = directory.display();
    format!(
        r#"
metadata_dir = "{directory}/meta"
data_dir = "{directory}/data"
db_engine = "sqlite"
replication_factor = 1
rpc_bind_addr = "127.0.0.1:{internal_port}"
rpc_public_addr = "127.0.0.1:{internal_port}"
rpc_secret = "{secret}"

[s3_api]
s3_region = "garage"
api_bind_addr = "127.0.0.1:{port}"
root_domain = ".s3.test"
"#
    )
}

/// Starts Azurite, Microsoft's own emulator of Azure Blob Storage, with one container.
///
/// # Panics
///
/// When Azurite is not installed or does not start.
pub async fn azurite() -> ObjectServer {
    let directory = temporary_directory();
    let port = free_port();
    let mut serve = Command::new(tool("node/node_modules/.bin/azurite-blob"));
    serve.args(["--silent", "--disableTelemetry", "--skipApiVersionCheck", "--blobHost", "127.0.0.1"]);
    serve.args(["--blobPort", &port.to_string(), "--location"]).arg(directory.path());
    let mut process = Process::spawn("Azurite", &mut serve);
    process.wait_for_port(port).await;
    let endpoint = format!("{}/{}", endpoint_at(port), shared_key::ACCOUNT);
    shared_key::create_container(&endpoint, BUCKET).await;
    let options = [
        ("azure_storage_endpoint", endpoint.as_str()),
        ("azure_storage_account_name", shared_key::ACCOUNT),
        ("azure_storage_account_key", shared_key::KEY),
        ("allow_http", "true"),
    ];
    server(process, "az", &endpoint, &options, directory)
}

/// Starts moto, which stands in for Google Cloud Storage.
///
/// There is no Google Cloud Storage to run, and emulators speak another of its protocols than `object_store` does.
/// moto speaks S3, which is near enough for put, get, range, list, multipart upload and delete. Conditions on
/// generations are ignored and a copy is empty, so neither may be claimed to work on account of this server.
///
/// # Panics
///
/// When moto is not installed or does not start.
pub async fn fake_gcs() -> ObjectServer {
    let directory = temporary_directory();
    let port = free_port();
    let mut serve = Command::new(tool("venv/bin/moto_server"));
    serve.args(["-H", "127.0.0.1", "-p", &port.to_string()]).current_dir(directory.path());
    let mut process = Process::spawn("moto", &mut serve);
    process.wait_for_port(port).await;
    let endpoint = endpoint_at(port);
    let created = reqwest::Client::new().put(format!("{endpoint}/{BUCKET}")).send().await;
    let created = created.and_then(reqwest::Response::error_for_status);
    created.unwrap_or_else(|error| panic!("moto did not create the bucket: {error}"));
    let options =
        [("google_base_url", endpoint.as_str()), ("google_bearer_token", "unchecked"), ("allow_http", "true")];
    server(process, "gs", &endpoint, &options, directory)
}

fn endpoint_at(port: u16) -> String {
    format!("http://127.0.0.1:{port}")
}

fn server(
    process: Process,
    scheme: &'static str,
    endpoint: &str,
    options: &[(&str, &str)],
    directory: TempDir,
) -> ObjectServer {
    let options = options.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    let endpoint = endpoint.to_owned();
    ObjectServer { process, scheme, endpoint, options, prefixes: AtomicU32::new(0), _directory: directory }
}
