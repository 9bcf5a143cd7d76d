//! A running admin site over the memory catalog, and a client that can also be rude.

use std::{collections::HashMap, net::SocketAddr, sync::Arc};

use distmirror_admin::{Admin, Options};
use distmirror_core::{
    ArtifactName, BlobStore, Content, Digests, Fetched, Job, LeaseRequest, Mirror, MissReport, Payload, Sha256, Source,
    memory::{MemoryBlobStore, MemoryCatalog},
};
use jiff::Timestamp;
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

/// A running site.
pub(crate) struct Site {
    pub(crate) mirror: Arc<Mirror>,
    address: SocketAddr,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HashMap<String, String>,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    /// The names of the fields that a problem complains about.
    pub(crate) fn bad_fields(&self) -> Vec<String> {
        assert_eq!(self.header("content-type"), "application/problem+json", "{self:?}");
        let problem = self.json();
        let errors = problem["errors"].as_array().expect("a list of errors");
        errors.iter().map(|error| error["field"].as_str().expect("a name").to_owned()).collect()
    }
}

impl Site {
    pub(crate) async fn start() -> Self {
        Self::start_with(Options::default()).await
    }

    pub(crate) async fn start_with(options: Options) -> Self {
        Self::start_over(Arc::new(MemoryBlobStore::new()), options, std::future::pending()).await.0
    }

    /// Starts a site over this blob store, until the future resolves; also gives the task that serves.
    pub(crate) async fn start_over(
        blobs: Arc<dyn BlobStore>,
        options: Options,
        shutdown: impl Future<Output = ()> + Send + 'static,
    ) -> (Self, JoinHandle<distmirror_admin::Result<()>>) {
        let catalog = Arc::new(MemoryCatalog::new());
        let mirror = Arc::new(Mirror::new(catalog, blobs, distmirror_core::Options::default()));
        let options = Options { proxy_address: "127.0.0.1:3128".to_owned(), ..options };
        let metrics = Arc::new(|| "distmirror_test 1\n".to_owned());
        let admin = Admin::new(Arc::clone(&mirror), options, metrics).expect("good options");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let serving = tokio::spawn(async move { admin.serve(listener, shutdown).await });
        (Self { mirror, address }, serving)
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &[], b"").await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        self.send("POST", path, &[("Content-Type", "application/json")], body.to_string().as_bytes()).await
    }

    /// Posts a form as a browser does from a page of this site.
    pub(crate) async fn submit(&self, path: &str, fields: &[(&str, &str)]) -> Answer {
        let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        let form = ("Content-Type", "application/x-www-form-urlencoded");
        self.send("POST", path, &[form, ("Sec-Fetch-Site", "same-origin")], body.as_bytes()).await
    }

    /// Sends these fields and nothing else but `Host` and what frames the message.
    pub(crate) async fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let host = self.address.to_string();
        let mut head = format!("{method} {path} HTTP/1.1\r\nConnection: close\r\n");
        let named = headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host"));
        let host = (!named).then_some(("Host", host.as_str()));
        for (name, value) in host.iter().chain(headers) {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if !body.is_empty() || method == "POST" {
            head.push_str(&format!("Content-Length: {}\r\n", body.len()));
        }
        self.raw(&[head.as_bytes(), b"\r\n", body].concat()).await
    }

    /// Sends bytes as they are.
    pub(crate) async fn raw(&self, bytes: &[u8]) -> Answer {
        let mut stream = TcpStream::connect(self.address).await.expect("the site listens");
        stream.write_all(bytes).await.expect("the site reads");
        let mut received = Vec::new();
        stream.read_to_end(&mut received).await.expect("the site answers");
        parse(&String::from_utf8(received).expect("answers are UTF-8"))
    }

    /// Declares a file and gives its JSON.
    pub(crate) async fn declared(&self, uri: &str) -> Value {
        let answer = self.post("/api/v1/artifacts", &serde_json::json!({"uri": uri, "reason": "tests"})).await;
        assert!(matches!(answer.status, 200 | 201), "{answer:?}");
        answer.json()
    }

    /// Declares a file and plays the worker that brings these bytes.
    pub(crate) async fn present(&self, uri: &str, bytes: &[u8]) -> Value {
        self.present_with(uri, content(bytes, uri)).await
    }

    /// Declares a file and plays the worker that brings this.
    pub(crate) async fn present_with(&self, uri: &str, content: Content) -> Value {
        let declared = self.declared(uri).await;
        let job = self.lease().await;
        let fetched = Fetched::file(content);
        self.mirror.catalog().complete(&job.lease, &fetched, Timestamp::now()).await.expect("the lease is held");
        self.shown(&declared).await
    }

    /// Declares a file, brings these bytes and stores them.
    pub(crate) async fn stored(&self, uri: &str, bytes: &[u8]) -> Value {
        self.put(&Sha256::of(bytes), bytes).await;
        self.present(uri, bytes).await
    }

    /// Puts bytes into the store under this name, whether it is theirs or not.
    pub(crate) async fn put(&self, blob: &Sha256, bytes: &[u8]) {
        self.mirror.blobs().put(blob, Payload::Bytes(bytes.to_vec().into())).await.expect("a store in memory");
    }

    /// An artifact as the API shows it now.
    pub(crate) async fn shown(&self, artifact: &Value) -> Value {
        self.get(&format!("/api/v1/artifacts/{}", artifact["id"].as_str().expect("an id"))).await.json()
    }

    /// Takes up the job that is longest due.
    pub(crate) async fn lease(&self) -> Job {
        let request = LeaseRequest {
            worker: "test".to_owned(),
            limit: 1,
            lease_for: std::time::Duration::from_secs(60),
            busy_hosts: Vec::new(),
        };
        let mut jobs = self.mirror.catalog().lease(&request, Timestamp::now()).await.expect("a catalog in memory");
        jobs.pop().expect("a job is due")
    }

    /// Records a request for a file that is undeclared.
    pub(crate) async fn missed(&self, uri: &str) {
        self.missed_name(distmirror_core::Uri::parse(uri).expect("a good URI").into()).await;
    }

    /// Records a request for something undeclared.
    pub(crate) async fn missed_name(&self, name: ArtifactName) {
        let now = Timestamp::now();
        let report = MissReport {
            name,
            count: 1,
            first_seen: now,
            last_seen: now,
            method: "GET".to_owned(),
            client: "192.0.2.7".to_owned(),
            user_agent: Some("curl/8.5 <b>bold</b>".to_owned()),
            project: None,
        };
        self.mirror.catalog().record_misses(&[report]).await.expect("a catalog in memory");
    }
}

/// What a worker brings.
pub(crate) fn content(bytes: &[u8], uri: &str) -> Content {
    Content {
        digests: Digests::of(bytes),
        size: bytes.len() as u64,
        content_type: Some("application/x-test".to_owned()),
        content_disposition: None,
        content_encoding: None,
        last_modified: None,
        source: Source { final_url: uri.to_owned(), redirects: Vec::new(), peer_certificate_sha256: None, note: None },
    }
}

/// Reads an answer that ended with its connection.
pub(crate) fn parse(text: &str) -> Answer {
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {text:?}"));
    let mut lines = head.lines();
    let status = lines.next().and_then(|line| line.split(' ').nth(1)).and_then(|status| status.parse().ok());
    let headers = lines.filter_map(|line| line.split_once(": "));
    let headers = headers.map(|(name, value)| (name.to_lowercase(), value.to_owned())).collect();
    Answer { status: status.expect("a status line"), headers, body: body.to_owned() }
}
