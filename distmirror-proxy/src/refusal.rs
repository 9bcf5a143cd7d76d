//! Every answer that is not a hit: one table of codes, one way to write them down.
//!
//! Trouble never looks like absence: each cause has a code, a status and a sentence of its own, for programs in
//! `Proxy-Status` (RFC 9209) and for people in the body (text, or RFC 9457 problem details on wish).

use std::{
    fmt::Write,
    net::IpAddr,
    sync::atomic::{AtomicI64, Ordering},
};

use distmirror_core::{Artifact, ArtifactId, ArtifactName, Error, State};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use jiff::Timestamp;

use crate::{body::Body, metrics::answered};

/// The field by which clients know the protocol of a registry.
pub(crate) const API_VERSION: (&str, &str) = ("docker-distribution-api-version", "registry/2.0");

/// Why a request was not answered with an artifact.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Code {
    Undeclared,
    /// A digest that no file has. Digests cannot be declared, so there is no link.
    UnknownDigest,
    Pending,
    FetchFailed,
    StorageUnavailable,
    CatalogUnavailable,
    BlobMissing,
    BlobCorrupt,
    Quarantined,
    MethodNotAllowed,
    Misdirected,
    BadRequest,
    UriTooLong,
    NoSuchPage,
    /// There is no slot for another connection.
    TooManyConnections,
    /// The proxy is for other machines.
    NotAdmitted,
    /// The proxy is for those who sign in.
    SignInAtProxy,
    /// The same where it is asked as a site.
    SignInAtSite,
    /// Nobody declared an image of this repository: clients of registries show the text of a 403, and not that of a 404.
    Denied,
    /// The repository is on record, and this manifest is not.
    ManifestUnknown,
    /// The repository is on record, and this blob is not.
    BlobUnknown,
    NameInvalid,
    DigestInvalid,
}

impl Code {
    /// Every code.
    pub(crate) const ALL: [Self; 22] = [
        Self::Undeclared,
        Self::UnknownDigest,
        Self::Pending,
        Self::FetchFailed,
        Self::StorageUnavailable,
        Self::CatalogUnavailable,
        Self::BlobMissing,
        Self::BlobCorrupt,
        Self::Quarantined,
        Self::MethodNotAllowed,
        Self::Misdirected,
        Self::BadRequest,
        Self::UriTooLong,
        Self::NoSuchPage,
        Self::NotAdmitted,
        Self::SignInAtProxy,
        Self::SignInAtSite,
        Self::Denied,
        Self::ManifestUnknown,
        Self::BlobUnknown,
        Self::NameInvalid,
        Self::DigestInvalid,
    ];

    /// The code for programs, the status, and the error type of RFC 9209 section 2.3.
    fn row(self) -> (&'static str, StatusCode, &'static str) {
        match self {
            Self::Undeclared => ("undeclared", StatusCode::NOT_FOUND, "http_request_denied"),
            Self::UnknownDigest => ("undeclared", StatusCode::NOT_FOUND, "http_request_denied"),
            Self::Pending => ("pending", StatusCode::SERVICE_UNAVAILABLE, "destination_unavailable"),
            Self::FetchFailed => ("fetch_failed", StatusCode::BAD_GATEWAY, "destination_unavailable"),
            Self::StorageUnavailable => {
                ("storage_unavailable", StatusCode::SERVICE_UNAVAILABLE, "proxy_internal_error")
            }
            Self::CatalogUnavailable => {
                ("catalog_unavailable", StatusCode::SERVICE_UNAVAILABLE, "proxy_internal_error")
            }
            Self::BlobMissing => ("blob_missing", StatusCode::SERVICE_UNAVAILABLE, "proxy_internal_error"),
            Self::BlobCorrupt => ("blob_corrupt", StatusCode::SERVICE_UNAVAILABLE, "proxy_internal_error"),
            Self::Quarantined => ("quarantined", StatusCode::FORBIDDEN, "http_request_denied"),
            Self::MethodNotAllowed => ("method_not_allowed", StatusCode::METHOD_NOT_ALLOWED, "http_request_error"),
            Self::Misdirected => ("misdirected", StatusCode::MISDIRECTED_REQUEST, "http_request_error"),
            Self::BadRequest => ("bad_request", StatusCode::BAD_REQUEST, "http_request_error"),
            Self::UriTooLong => ("bad_request", StatusCode::URI_TOO_LONG, "http_request_error"),
            Self::NoSuchPage => ("no_such_page", StatusCode::NOT_FOUND, "http_request_error"),
            Self::TooManyConnections => {
                ("too_many_connections", StatusCode::SERVICE_UNAVAILABLE, "connection_limit_reached")
            }
            Self::NotAdmitted => ("client_not_allowed", StatusCode::FORBIDDEN, "http_request_denied"),
            Self::SignInAtProxy => {
                ("sign_in_required", StatusCode::PROXY_AUTHENTICATION_REQUIRED, "http_request_denied")
            }
            Self::SignInAtSite => ("sign_in_required", StatusCode::UNAUTHORIZED, "http_request_denied"),
            Self::Denied => ("undeclared", StatusCode::FORBIDDEN, "http_request_denied"),
            Self::ManifestUnknown | Self::BlobUnknown => ("undeclared", StatusCode::NOT_FOUND, "http_request_denied"),
            Self::NameInvalid | Self::DigestInvalid => ("bad_request", StatusCode::BAD_REQUEST, "http_request_error"),
        }
    }

    /// The code for clients of registries (OCI distribution specification, "Error Codes"). Trouble has none there; `UNAVAILABLE`
    /// is what the registry of the CNCF says.
    fn of_registry(self) -> &'static str {
        match self {
            Self::Denied | Self::Undeclared | Self::Quarantined | Self::Misdirected | Self::NotAdmitted => "DENIED",
            Self::SignInAtProxy | Self::SignInAtSite => "UNAUTHORIZED",
            Self::ManifestUnknown => "MANIFEST_UNKNOWN",
            Self::BlobUnknown | Self::UnknownDigest => "BLOB_UNKNOWN",
            Self::NameInvalid | Self::BadRequest | Self::UriTooLong => "NAME_INVALID",
            Self::DigestInvalid => "DIGEST_INVALID",
            Self::MethodNotAllowed | Self::NoSuchPage => "UNSUPPORTED",
            Self::Pending
            | Self::FetchFailed
            | Self::StorageUnavailable
            | Self::CatalogUnavailable
            | Self::BlobMissing
            | Self::BlobCorrupt
            | Self::TooManyConnections => "UNAVAILABLE",
        }
    }

    /// Whether it says that there is nothing, and not that something is wrong.
    pub(crate) fn is_absence(self) -> bool {
        matches!(
            self,
            Self::Undeclared
                | Self::Denied
                | Self::ManifestUnknown
                | Self::BlobUnknown
                | Self::NameInvalid
                | Self::DigestInvalid
                | Self::NoSuchPage
        )
    }

    /// The field that asks for a sign-in (RFC 9110 section 11).
    fn challenge(self) -> Option<HeaderName> {
        match self {
            Self::SignInAtProxy => Some(header::PROXY_AUTHENTICATE),
            Self::SignInAtSite => Some(header::WWW_AUTHENTICATE),
            _ => None,
        }
    }

    pub(crate) fn name(self) -> &'static str {
        self.row().0
    }

    pub(crate) fn status(self) -> StatusCode {
        self.row().1
    }

    /// What the client, or the person behind it, can do beyond what the detail says.
    fn remedy(self) -> Option<&'static str> {
        Some(match self {
            Self::Undeclared | Self::Denied => {
                "Nobody declared it yet. Declare it, with a reason, and it will be fetched once and kept"
            }
            Self::Pending => "It is declared and on its way. Try again in a moment",
            Self::FetchFailed => "Its page shows the attempts and has a button to try again",
            Self::StorageUnavailable | Self::CatalogUnavailable => {
                "The mirror has trouble, not the artifact. Try again; tell the operator if it lasts"
            }
            Self::BlobMissing | Self::BlobCorrupt => "The stored copy is damaged and is not served. Tell the operator",
            Self::Quarantined => "It was taken out of service. Its page says who did so and why",
            Self::MethodNotAllowed => "Only GET and HEAD are served",
            Self::TooManyConnections => "Try again in a moment, with fewer connections at a time",
            Self::NotAdmitted => "The operator of this mirror says who may use it",
            Self::SignInAtProxy => "Give both to the client with the proxy's address: `http://NAME:PASSWORD@HOST:PORT`",
            Self::SignInAtSite => {
                "Give both to the client with the URL or by its own settings: `http://NAME:PASSWORD@HOST/`"
            }
            Self::Misdirected => "One connection serves one host: open another for another",
            Self::UnknownDigest
            | Self::BadRequest
            | Self::UriTooLong
            | Self::NoSuchPage
            | Self::ManifestUnknown
            | Self::BlobUnknown
            | Self::NameInvalid
            | Self::DigestInvalid => return None,
        })
    }
}

/// An answer that is not a hit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) code: Code,
    detail: String,
    /// The artifact that was asked for.
    subject: Option<String>,
    /// The page that declares or shows it.
    link: Option<String>,
    retry_after_s: Option<u64>,
    /// Whether a client of a registry asked, who reads JSON of another form.
    of_registry: bool,
}

impl Refusal {
    pub(crate) fn new(code: Code, detail: impl Into<String>) -> Self {
        let retry_after_s = match code {
            Code::Pending | Code::TooManyConnections => Some(2),
            Code::StorageUnavailable | Code::CatalogUnavailable => Some(5),
            Code::BlobMissing | Code::BlobCorrupt => Some(60),
            _ => None,
        };
        Self { code, detail: detail.into(), subject: None, link: None, retry_after_s, of_registry: false }
    }

    /// The same for a client of a registry.
    pub(crate) fn of_registry(self) -> Self {
        Self { of_registry: true, ..self }
    }

    pub(crate) fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(Code::BadRequest, detail)
    }

    /// The proxy is not for machines at this address.
    pub(crate) fn not_admitted(client: IpAddr) -> Self {
        Self::new(Code::NotAdmitted, format!("this mirror does not serve clients at {}", client.to_canonical()))
    }

    /// Somebody must sign in, by a code that asks for it.
    pub(crate) fn sign_in(code: Code, fields: &HeaderMap) -> Self {
        let field = if code == Code::SignInAtProxy { header::PROXY_AUTHORIZATION } else { header::AUTHORIZATION };
        let is_wrong = fields.contains_key(field);
        let detail =
            if is_wrong { "the name or the password is wrong" } else { "this mirror wants a name and a password" };
        Self::new(code, detail)
    }

    /// Nobody declared it; links to the page that does.
    pub(crate) fn undeclared(name: &ArtifactName, admin_url: &str) -> Self {
        let link = format!("{admin_url}/declare?uri={}", percent_encode(name.as_str()));
        Self { link: Some(link), ..Self::new(Code::Undeclared, "") }.about(name)
    }

    /// Nobody declared an image in this place, which is a reference as far as it is known; links to the page that does.
    pub(crate) fn denied(reference: &str, admin_url: &str) -> Self {
        Self::new(Code::Denied, "").about(&reference).declared_at(reference, admin_url)
    }

    /// Links to the page that declares an image.
    pub(crate) fn declared_at(self, reference: &str, admin_url: &str) -> Self {
        let link = format!("{admin_url}/declare?kind=image&reference={}", percent_encode(reference));
        Self { link: Some(link), ..self }
    }

    /// It is declared and not in service; the page of the artifact says more.
    pub(crate) fn withheld(artifact: &Artifact, admin_url: &str) -> Self {
        let refusal = match artifact.state {
            State::Failed => Self::fetch_failed(artifact),
            State::Quarantined => {
                let reason = artifact.quarantine_reason.as_deref().unwrap_or_default();
                Self::new(Code::Quarantined, format!("quarantined: {reason}"))
            }
            State::Pending | State::Fetching | State::Present => Self::new(Code::Pending, ""),
        };
        refusal.about(&artifact.name).linked(artifact.id, admin_url)
    }

    /// The fetch failed; says when it is tried again.
    fn fetch_failed(artifact: &Artifact) -> Self {
        let error = artifact.last_error.as_deref().unwrap_or_default();
        let next_attempt_at = artifact.next_attempt_at;
        let next = match next_attempt_at {
            Some(at) => format!("It is tried again at {at:.0}"),
            None => "It is not tried again until somebody asks for it".to_owned(),
        };
        let mut refusal = Self::new(Code::FetchFailed, format!("the last attempt failed: {error}. {next}"));
        let wait = next_attempt_at.map(|at| at.as_second().saturating_sub(Timestamp::now().as_second()));
        refusal.retry_after_s = wait.and_then(|seconds| u64::try_from(seconds).ok());
        refusal
    }

    /// Names the artifact.
    pub(crate) fn about(self, name: &impl ToString) -> Self {
        Self { subject: Some(name.to_string()), ..self }
    }

    /// Links to the page of the artifact.
    pub(crate) fn linked(self, id: ArtifactId, admin_url: &str) -> Self {
        Self { link: Some(format!("{admin_url}/artifacts/{id}")), ..self }
    }

    /// Writes the answer. The body is problem details if the client prefers JSON to text, and an OCI error for a client of a
    /// registry.
    pub(crate) fn into_response(self, request: &HeaderMap) -> Response<Body> {
        let (code, status, error) = self.code.row();
        let (text, content_type) = match self.of_registry {
            true => (self.oci_error(code), "application/json"),
            false if prefers_json(request) => (self.problem(code, status), "application/problem+json"),
            false => (self.text(code), "text/plain; charset=utf-8"),
        };
        let mut response = Response::new(Body::full(text));
        *response.status_mut() = status;
        let fields = response.headers_mut();
        if self.of_registry {
            fields.insert(API_VERSION.0, HeaderValue::from_static(API_VERSION.1));
        }
        fields.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
        fields.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        fields.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        let proxy_status = HeaderValue::from_str(&format!("distmirror; error={error}; details=\"{code}\""));
        fields.insert("proxy-status", proxy_status.expect("the table has visible ASCII only"));
        if self.code == Code::MethodNotAllowed {
            fields.insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
        }
        if let Some(field) = self.code.challenge() {
            fields.insert(field, HeaderValue::from_static(CHALLENGE));
        }
        if let Some(seconds) = self.retry_after_s {
            fields.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        answered(code, response)
    }

    /// The answer as it stands in HTTP/1.1, for a client whose request is not read and whose connection ends.
    pub(crate) fn into_bytes(self) -> Vec<u8> {
        let text = self.text(self.code.name());
        let (head, _) = self.into_response(&HeaderMap::new()).into_parts();
        let mut answer = format!("HTTP/1.1 {}\r\n", head.status).into_bytes();
        for (name, value) in &head.headers {
            answer.extend([name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"].concat());
        }
        answer.extend(format!("content-length: {}\r\nconnection: close\r\n\r\n{text}", text.len()).into_bytes());
        answer
    }

    fn text(&self, code: &str) -> String {
        let mut text = String::new();
        let subject = self.subject.as_ref().map(|name| format!(": {name}")).unwrap_or_default();
        writeln!(text, "distmirror: {code}{subject}").expect("writing to a String cannot fail");
        for sentence in self.sentences() {
            writeln!(text, "{sentence}.").expect("writing to a String cannot fail");
        }
        if let Some(link) = &self.link {
            writeln!(text, "{link}").expect("writing to a String cannot fail");
        }
        text
    }

    /// What clients of registries show is the message alone, so that everything stands in it.
    fn oci_error(&self, code: &str) -> String {
        let subject = self.subject.as_ref().map(|name| format!(" {name}.")).unwrap_or_default();
        let sentences: Vec<_> = self.sentences().collect();
        let link = self.link.as_ref().map(|link| format!(": {link}")).unwrap_or_default();
        let message = format!("distmirror: {code}:{subject} {}{link}", sentences.join(". "));
        let error = serde_json::json!({"code": self.code.of_registry(), "message": message});
        serde_json::json!({"errors": [error]}).to_string()
    }

    fn problem(&self, code: &str, status: StatusCode) -> String {
        let problem = serde_json::json!({
            "type": format!("urn:distmirror:{code}"),
            "title": code,
            "status": status.as_u16(),
            "detail": self.sentences().collect::<Vec<_>>().join(". "),
            "uri": self.subject,
            "link": self.link,
        });
        problem.to_string()
    }

    /// What happened, and what to do.
    fn sentences(&self) -> impl Iterator<Item = &str> {
        let detail = Some(self.detail.as_str()).filter(|detail| !detail.is_empty());
        detail.into_iter().chain(self.code.remedy())
    }
}

impl From<Error> for Refusal {
    /// What went wrong inside becomes an answer; what the log needs beyond that is logged here, once.
    fn from(error: Error) -> Self {
        let code = match &error {
            Error::CatalogUnavailable(_) => Code::CatalogUnavailable,
            Error::BlobMissing { .. } => Code::BlobMissing,
            Error::BlobCorrupt { .. } => Code::BlobCorrupt,
            _ => Code::StorageUnavailable,
        };
        log(code, &error);
        Self::new(code, error.to_string())
    }
}

/// A backend that is away meets every request: one line a second says enough. What concerns one artifact is always said.
fn log(code: Code, error: &Error) {
    static LAST_SECOND: AtomicI64 = AtomicI64::new(0);
    let now = Timestamp::now().as_second();
    if error.is_unavailable() && LAST_SECOND.swap(now, Ordering::Relaxed) == now {
        return;
    }
    tracing::error!(code = code.name(), error = %error.chain(), "cannot answer");
}

/// RFC 7617 section 2.1: by this, clients send names and passwords in UTF-8.
const CHALLENGE: &str = "Basic realm=\"distmirror\", charset=\"UTF-8\"";

/// Whether the `Accept` field puts JSON before text (RFC 9110 section 12.5.1).
fn prefers_json(fields: &HeaderMap) -> bool {
    let mut json = 0.0_f32;
    let mut text = 0.0_f32;
    let values = fields.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    for member in values.flat_map(|value| value.split(',')) {
        let mut parts = member.split(';').map(str::trim);
        let media_type = parts.next().unwrap_or_default().to_ascii_lowercase();
        let weight = parts.find_map(|part| part.strip_prefix("q=")).and_then(|q| q.parse().ok()).unwrap_or(1.0);
        match media_type.as_str() {
            "application/json" | "application/problem+json" | "application/*" => json = json.max(weight),
            "text/plain" | "text/html" | "text/*" => text = text.max(weight),
            _ => {}
        }
    }
    json > text
}

/// Escapes everything but unreserved characters, for a value in a query.
fn percent_encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len() * 2);
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            write!(out, "%{byte:02X}").expect("writing to a String cannot fail");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_prefers_json() {
        for (accept, expected) in [
            ("application/json", true),
            ("application/problem+json, */*;q=0.1", true),
            ("*/*", false),
            ("text/html,application/xhtml+xml,application/json;q=0.9", false),
            ("application/json;q=0.5, text/plain;q=0.4", true),
            ("", false),
        ] {
            let fields: HeaderMap = [(header::ACCEPT, HeaderValue::from_static(accept))].into_iter().collect();
            assert_eq!(prefers_json(&fields), expected, "{accept}");
        }
    }

    #[test]
    fn the_declare_link_survives_any_uri() {
        let name = ArtifactName::File("http://h/a?b=c&d".parse().unwrap());
        let refusal = Refusal::undeclared(&name, "http://admin");
        assert!(refusal.text("undeclared").ends_with("http://admin/declare?uri=http%3A%2F%2Fh%2Fa%3Fb%3Dc%26d\n"));
    }
}
