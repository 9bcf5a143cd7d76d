//! The one request to Azure that `object_store` cannot make: creating a container, signed with the account's key.

use std::time::SystemTime;

use base64::{Engine, prelude::BASE64_STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// The account and key that Microsoft publishes for its emulator; they open nothing else.
pub(crate) const ACCOUNT: &str = "devstoreaccount1";
pub(crate) const KEY: &str = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

const API_VERSION: &str = "2021-08-06";

/// Creates a container at the emulator whose account answers at `endpoint`.
///
/// # Panics
///
/// When the emulator refuses.
pub(crate) async fn create_container(endpoint: &str, container: &str) {
    let date = httpdate::fmt_http_date(SystemTime::now());
    let signature = signature(container, &date);
    let response = reqwest::Client::new()
        .put(format!("{endpoint}/{container}?restype=container"))
        .header("x-ms-date", &date)
        .header("x-ms-version", API_VERSION)
        .header("content-length", "0")
        .header("authorization", format!("SharedKey {ACCOUNT}:{signature}"))
        .send()
        .await
        .unwrap_or_else(|error| panic!("Azurite did not answer: {error}"));
    let status = response.status();
    let answer = response.text().await.unwrap_or_default();
    assert!(status.is_success(), "Azurite did not create the container: {status} {answer}");
}

/// "Authorize with Shared Key" in the Azure Storage REST reference: the method, eleven standard headers (all
/// empty here), the `x-ms-` headers and the resource. An emulator names the account twice in the resource.
fn signature(container: &str, date: &str) -> String {
    let empty_headers = "\n".repeat(12);
    let signed = format!(
        "PUT{empty_headers}x-ms-date:{date}\nx-ms-version:{API_VERSION}\n\
         /{ACCOUNT}/{ACCOUNT}/{container}\nrestype:container"
    );
    let key = BASE64_STANDARD.decode(KEY).expect("the published key is base64");
    let mut code = Hmac::<Sha256>::new_from_slice(&key).expect("HMAC takes a key of any length");
    code.update(signed.as_bytes());
    BASE64_STANDARD.encode(code.finalize().into_bytes())
}
