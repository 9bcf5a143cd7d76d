//! The faces under which one registry is reached in the mirror, asked with a client of our own.

use bytes::Bytes;
use reqwest::{Certificate, Client, Method, Proxy, RequestBuilder, header::HeaderMap};
use serde_json::Value;

use crate::support::Server;

/// One way to ask the mirror for what a registry has.
#[derive(Debug)]
pub(super) struct Face {
    /// What a failed assertion calls it.
    pub(super) name: &'static str,
    client: Client,
    base: String,
    namespace: Option<String>,
}

/// An answer, read to its end.
#[derive(Debug)]
pub(super) struct Got {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Face {
    /// `/v2/REGISTRY/...` and `/v2/...?ns=REGISTRY` at the mirror's own site, and the registry's own name through the proxy:
    /// in absolute-form, and inside CONNECT with the mirror's CA, where HTTP/2 is agreed on.
    pub(super) async fn all(server: &Server, registry: &str) -> [Self; 4] {
        let registry = registry.to_lowercase();
        let site = server.proxy_url();
        let direct = client(Client::builder().no_proxy());
        let ca = std::fs::read(server.ca_pem_path().await).expect("the CA is a file");
        let ca = Certificate::from_pem(&ca).expect("the CA is a certificate");
        let proxy = Proxy::all(&site).expect("the proxy has a URL");
        let proxied = client(Client::builder().proxy(proxy).tls_certs_only([ca]));
        let face = |name, client: &Client, base: String| Self { name, client: client.clone(), base, namespace: None };
        [
            face("prefix", &direct, format!("{site}/v2/{registry}")),
            Self { namespace: Some(registry.clone()), ..face("namespace", &direct, format!("{site}/v2")) },
            face("absolute-form", &proxied, format!("http://{registry}/v2")),
            face("CONNECT", &proxied, format!("https://{registry}/v2")),
        ]
    }

    /// A request for what follows `/v2/` in the registry.
    pub(super) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let mut url = format!("{}/{path}", self.base);
        if let Some(registry) = &self.namespace {
            url += &format!("{}ns={registry}", if path.contains('?') { '&' } else { '?' });
        }
        self.client.request(method, url)
    }

    /// The answer to GET.
    pub(super) async fn get(&self, path: &str) -> Got {
        Got::of(self.request(Method::GET, path)).await
    }

    /// The answer to HEAD.
    pub(super) async fn head(&self, path: &str) -> Got {
        Got::of(self.request(Method::HEAD, path)).await
    }
}

impl Got {
    /// Sends the request; the mirror must answer it as a whole.
    pub(super) async fn of(request: RequestBuilder) -> Self {
        let response = request.send().await.unwrap_or_else(|error| panic!("no answer: {error:?}"));
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let body = response.bytes().await.unwrap_or_else(|error| panic!("{status}, and a broken body: {error:?}"));
        Self { status, headers, body }
    }

    /// The only field of this name; empty if there is none.
    ///
    /// # Panics
    ///
    /// When there are several.
    pub(super) fn field(&self, name: &str) -> &str {
        let mut values = self.headers.get_all(name).iter();
        let value = values.next().map(|value| value.to_str().expect("fields are text"));
        assert!(values.next().is_none(), "`{name}` twice: {:?}", self.headers);
        value.unwrap_or_default()
    }

    /// The body, which must be JSON.
    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    /// The body as text.
    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The code for programs, and the message for people, of a registry's error (OCI distribution specification, "Error
    /// Codes").
    pub(super) fn error(&self) -> (String, String) {
        let errors = self.json()["errors"].clone();
        let text = |field: &str| errors[0][field].as_str().unwrap_or_default().to_owned();
        (text("code"), text("message"))
    }
}

fn client(builder: reqwest::ClientBuilder) -> Client {
    builder.timeout(std::time::Duration::from_secs(60)).build().expect("a client without special wishes can be made")
}
