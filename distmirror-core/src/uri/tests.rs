use proptest::prelude::*;

use super::*;

fn check(given: &str, canonical: &str) {
    let uri = Uri::parse(given).unwrap_or_else(|error| panic!("{given}: {error}"));
    assert_eq!(uri.as_str(), canonical, "{given}");
    assert_eq!(Uri::parse(canonical).unwrap(), uri, "{given}: the canonical form is not its own");
}

#[test]
fn canonical_forms() {
    for (given, canonical) in [
        ("HTTP://EXAMPLE.test:80/a", "http://example.test/a"),
        ("https://example.test:443", "https://example.test/"),
        ("https://example.test:8443/", "https://example.test:8443/"),
        ("https://example.test:/", "https://example.test/"),
        ("https://example.test:0443/", "https://example.test/"),
        ("http://h?x", "http://h/?x"),
        ("http://h/?", "http://h/?"),
        ("http://h/a#part", "http://h/a"),
        ("https://bücher.test/", "https://xn--bcher-kva.test/"),
        ("https://XN--BCHER-KVA.test/", "https://xn--bcher-kva.test/"),
        ("https://a_b.test/", "https://a_b.test/"),
        ("http://h/%41%7e%2f%2F", "http://h/A~%2F%2F"),
        ("http://h/a%20b+c", "http://h/a%20b+c"),
        ("http://h/a/../b", "http://h/b"),
        ("http://h/a/./b/.", "http://h/a/b/"),
        ("http://h/a/b/..", "http://h/a/"),
        ("http://h/%2e%2e/b", "http://h/b"),
        ("http://h/../../b", "http://h/b"),
        ("http://h//a///b", "http://h//a///b"),
        ("http://h/a?b=2&a=1", "http://h/a?b=2&a=1"),
        ("http://h/a?b=[1]", "http://h/a?b=%5B1%5D"),
        ("http://h/a|b", "http://h/a%7Cb"),
        ("http://[2001:DB8::0:7]:8080/x", "http://[2001:db8::7]:8080/x"),
        ("http://127.0.0.1:3000/x", "http://127.0.0.1:3000/x"),
    ] {
        check(given, canonical);
    }
}

#[test]
fn distinct_resources_stay_distinct() {
    for (one, other) in [
        ("/A", "/a"),
        ("//a///b", "/a/b"),
        ("/?a=1&b=2", "/?b=2&a=1"),
        ("/x", "/x/"),
        ("/a%2Fb", "/a/b"),
        ("/%20", "/+"),
        ("/x", "/x?"),
    ] {
        let parse = |path: &str| Uri::parse(&format!("http://h{path}")).unwrap();
        assert_ne!(parse(one), parse(other), "{one} {other}");
    }
}

#[test]
fn refused_with_a_reason() {
    let long = format!("http://h/{}", "x".repeat(65536));
    let label = format!("http://{}.test/", "x".repeat(64));
    for (given, reason) in [
        ("file:///etc/passwd", "only http and https"),
        ("ftp://x/y", "only http and https"),
        ("data:text/plain,x", "only http and https"),
        ("javascript:alert(1)", "only http and https"),
        ("//h/x", "whole URI"),
        ("http:/x", "whole URI"),
        ("x/y", "whole URI"),
        ("", "whole URI"),
        ("http://", "host is empty"),
        ("http:///x", "host is empty"),
        ("http://u:p@h/x", "user information"),
        ("http://h:0/", "port"),
        ("http://h:65536/", "port"),
        ("http://h:+80/", "port"),
        ("http://h/\r\nX: y", "cannot stand"),
        ("http://h/\0", "cannot stand"),
        ("http://h/a b", "cannot stand"),
        ("http://h/a\tb", "cannot stand"),
        ("http://h/a\\b", "cannot stand"),
        ("http://h/\u{202e}", "cannot stand"),
        ("http://h/%", "hexadecimal"),
        ("http://h/%zz", "hexadecimal"),
        ("http://h/%4", "hexadecimal"),
        ("http://127.1/", "abbreviated"),
        ("http://2130706433/", "abbreviated"),
        ("http://0x7f.1/", "abbreviated"),
        ("http://0177.0.0.1/", "abbreviated"),
        ("http://0x7f000001/", "abbreviated"),
        ("http://[::1/", "not closed"),
        ("http://[fe80::1%25eth0]/", "IPv6"),
        ("http://a..b/", "host"),
        ("http://a.test./", "dot"),
        ("http://*.test/", "host"),
        ("http://a%20b/", "host"),
        (label.as_str(), "host"),
        (long.as_str(), "at most"),
    ] {
        let error = Uri::parse(given).expect_err(given).to_string();
        assert!(error.contains(reason), "{}: {error}", given.escape_debug());
    }
}

#[test]
fn references_of_redirects() {
    let base = Uri::parse("https://h/a/b?q").unwrap();
    for (reference, target) in [
        ("/x", "https://h/x"),
        ("x", "https://h/a/x"),
        ("../x", "https://h/x"),
        ("?r", "https://h/a/b?r"),
        ("", "https://h/a/b?q"),
        ("//other/x", "https://other/x"),
        ("http://other/x#f", "http://other/x"),
    ] {
        assert_eq!(base.join(reference).unwrap().as_str(), target, "{reference}");
    }
    assert!(base.join("file:///x").is_err());
}

#[test]
fn secrets_do_not_reach_logs() {
    let uri = Uri::parse("https://h/x?a=1&X-Amz-Signature=abc&token=t").unwrap();
    assert_eq!(uri.redacted(), "https://h/x?a=1&X-Amz-Signature=****&token=****");
    assert!(!format!("{uri:?}").contains("abc"));
    for (field, is_hidden) in [
        ("Signature=1", true),
        ("AWSAccessKeyId=1", true),
        ("private_token=1", true),
        ("client_secret=1", true),
        ("sig=1", true),
        ("X-Goog-Expires=1", true),
        ("X-Oss-Signature=1", true),
        ("page=1", false),
        ("keyword=1", false),
        ("design=1", false),
        ("token", false),
    ] {
        let shown = Uri::parse(&format!("https://h/x?{field}")).unwrap().redacted();
        assert_eq!(shown.ends_with("=****"), is_hidden, "{shown}");
    }
}

proptest! {
    #[test]
    fn canonicalising_twice_changes_nothing(text in "(http|HTTPS)://[a-zA-Z0-9._-]{1,20}(:[0-9]{0,5})?(/[ -~]{0,30})?") {
        if let Ok(uri) = Uri::parse(&text) {
            prop_assert_eq!(Uri::parse(uri.as_str()).unwrap(), uri);
        }
    }

    #[test]
    fn no_text_panics(text in "\\PC*") {
        let _ = Uri::parse(&text);
        let _ = Authority::parse(&text, 443);
    }

    #[test]
    fn escaping_unreserved_characters_changes_nothing(path in "[a-zA-Z0-9~_-]{1,20}") {
        let escaped: String = path.bytes().map(|b| format!("%{b:02x}")).collect();
        prop_assert_eq!(Uri::parse(&format!("http://h/{escaped}")).unwrap(), Uri::parse(&format!("http://h/{path}")).unwrap());
    }

    #[test]
    fn reserved_characters_never_merge_with_their_escapes(reserved in "[!$&'()*+,;=:@/?]") {
        let byte = reserved.as_bytes()[0];
        prop_assert_ne!(Uri::parse(&format!("http://h/a{reserved}b")).unwrap(), Uri::parse(&format!("http://h/a%{byte:02X}b")).unwrap());
    }
}
