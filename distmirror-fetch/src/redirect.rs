//! Where a redirect leads, and whether we go there. The address it leads to is checked when it is dialled.

use distmirror_core::{Failure, Scheme, Uri};
use http::{HeaderMap, StatusCode, header::LOCATION};

/// How many redirects are followed.
pub(crate) const MAX_REDIRECTS: usize = 10;

/// The next hop after this answer, `None` if it is no redirect.
///
/// `earlier` are the URIs that redirected before this one. A hop from https to http is taken only if it `may_downgrade`.
pub(crate) fn next_hop(
    uri: &Uri,
    earlier: &[Uri],
    status: StatusCode,
    headers: &HeaderMap,
    may_downgrade: bool,
) -> Result<Option<Uri>, Failure> {
    if !matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308) {
        return Ok(None);
    }
    let here = uri.redacted();
    let location = headers.get(LOCATION).and_then(|value| std::str::from_utf8(value.as_bytes()).ok());
    let Some(location) = location else {
        return Err(Failure::new(format!("`{here}` answered {status} without saying where to go")));
    };
    let next = uri
        .join(location.trim())
        .map_err(|error| Failure::new(format!("`{here}` redirects to something that cannot be fetched: {error}")))?;
    if uri.scheme() == Scheme::Https && next.scheme() == Scheme::Http && !may_downgrade {
        return Err(Failure::new(format!(
            "downgrade refused: `{here}` redirects from https to `{}`; declare the http URI itself if you trust it, or allow \
             it for what has a checksum by fetch.allow_downgrade",
            next.redacted()
        )));
    }
    if next == *uri || earlier.contains(&next) {
        return Err(Failure::new(format!("redirect loop: `{here}` redirects back to `{}`", next.redacted())));
    }
    if earlier.len() == MAX_REDIRECTS {
        return Err(Failure::new(format!("more than {MAX_REDIRECTS} redirects, the last one at `{here}`")));
    }
    Ok(Some(next))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(location: &str, expected: Result<&str, &str>) {
        let uri: Uri = "https://a.test/x/y".parse().unwrap();
        let earlier = ["https://a.test/first".parse().unwrap()];
        let headers = HeaderMap::from_iter([(LOCATION, location.parse().unwrap())]);
        match (next_hop(&uri, &earlier, StatusCode::FOUND, &headers, false), expected) {
            (Ok(Some(next)), Ok(expected)) => assert_eq!(next.as_str(), expected, "{location}"),
            (Err(failure), Err(expected)) => assert!(failure.message.contains(expected), "{location}: {failure}"),
            (other, _) => panic!("{location}: {other:?}"),
        }
    }

    #[test]
    fn locations() {
        check("z?q#part", Ok("https://a.test/x/z?q"));
        check("//b.test/", Ok("https://b.test/"));
        check("HTTPS://B.test:443/%7e", Ok("https://b.test/~"));
        check("http://a.test/", Err("downgrade"));
        check("/x/../x/y", Err("redirect loop"));
        check("/first", Err("redirect loop"));
        check("ftp://b.test/", Err("scheme `ftp`"));
        check("http://2130706433/", Err("abbreviated address"));
        check("https://me:secret@b.test/", Err("user information"));
    }

    #[test]
    fn other_answers_are_no_redirects_and_a_redirect_says_where_to() {
        let uri: Uri = "https://a.test/".parse().unwrap();
        for status in [200, 204, 300, 304, 404] {
            let status = StatusCode::from_u16(status).unwrap();
            assert_eq!(next_hop(&uri, &[], status, &HeaderMap::new(), false), Ok(None));
        }
        let failure = next_hop(&uri, &[], StatusCode::FOUND, &HeaderMap::new(), false).unwrap_err();
        assert!(failure.message.contains("302 Found"), "{failure}");
    }

    #[test]
    fn a_downgrade_can_be_allowed() {
        let uri: Uri = "https://a.test/".parse().unwrap();
        let headers = HeaderMap::from_iter([(LOCATION, "http://a.test/".parse().unwrap())]);
        let next = next_hop(&uri, &[], StatusCode::FOUND, &headers, true).unwrap().unwrap();
        assert_eq!(next.as_str(), "http://a.test/");
    }

    #[test]
    fn ten_hops_are_enough() {
        let hops: Vec<Uri> = (0..12).map(|n| format!("https://a.test/{n}").parse().unwrap()).collect();
        let headers = HeaderMap::from_iter([(LOCATION, "https://a.test/11".parse().unwrap())]);
        assert!(next_hop(&hops[9], &hops[..9], StatusCode::FOUND, &headers, false).is_ok());
        assert!(next_hop(&hops[10], &hops[..10], StatusCode::FOUND, &headers, false).is_err());
    }
}
