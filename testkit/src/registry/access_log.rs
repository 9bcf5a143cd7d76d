//! The registry's access log, in Apache's combined format.

use super::OWN_AGENT;

/// A request that somebody made to a [`Registry`](crate::Registry).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegistryRequest {
    /// `GET`, `HEAD` and so on.
    pub method: String,
    /// The path with its query.
    pub path: String,
    /// How it was answered.
    pub status: u16,
}

/// The requests in the log that are not our own; other lines are passed over.
pub(super) fn requests(log: &str) -> Vec<RegistryRequest> {
    log.lines().filter_map(parse).collect()
}

/// `127.0.0.1 - - [DATE] "GET /v2/ HTTP/1.1" 200 2 "REFERRER" "AGENT"`
fn parse(line: &str) -> Option<RegistryRequest> {
    let mut parts = line.split('"');
    let (request, sizes, agent) = (parts.nth(1)?, parts.next()?, parts.nth(2)?);
    let (method, rest) = request.split_once(' ')?;
    let (path, _) = rest.rsplit_once(" HTTP/")?;
    let status = sizes.split_whitespace().next()?.parse().ok()?;
    (agent != OWN_AGENT).then(|| RegistryRequest { method: method.to_owned(), path: path.to_owned(), status })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_of_others_are_read() {
        let log = r#"
time="2026-11-24T22:04:54Z" level=warning msg="No HTTP secret provided" go.version=go1.19.8
127.0.0.1 - - [24/Nov/2026:22:04:34 +0000] "PUT /v2/a/manifests/1 HTTP/1.1" 201 0 "" "testkit"
127.0.0.1 - puller [24/Nov/2026:22:04:34 +0000] "GET /v2/a/tags/list?n=1 HTTP/2.0" 200 32 "" "skopeo/1.9.3"
"#;
        let expected =
            RegistryRequest { method: "GET".to_owned(), path: "/v2/a/tags/list?n=1".to_owned(), status: 200 };
        assert_eq!(requests(log), [expected]);
    }
}
