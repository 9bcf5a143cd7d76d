use super::*;

#[track_caller]
fn check_public(expected: bool, addresses: &str) {
    for text in addresses.split_whitespace() {
        assert_eq!(is_public(text.parse().unwrap()), expected, "{text}");
    }
}

#[test]
fn what_is_public() {
    check_public(
        true,
        "1.1.1.1 8.8.8.8 9.255.255.255 11.0.0.0 93.184.216.34 100.63.255.255 100.128.0.0 126.255.255.255",
    );
    check_public(true, "128.0.0.0 169.253.255.255 172.15.255.255 172.32.0.0 192.0.1.0 198.17.255.255 223.255.255.255");
    check_public(true, "2600:: 2606:4700:4700::1111 2001:200:: 2a00:1450:4001::200e 2003::1 3ffe::1");
    check_public(true, "::ffff:8.8.8.8 64:ff9b::8.8.8.8");
}

#[test]
fn what_is_not_public() {
    check_public(false, "0.0.0.0 0.1.2.3 10.0.0.0 10.255.255.255 100.64.0.0 100.127.255.255 127.0.0.1 127.255.255.255");
    check_public(false, "168.63.129.16 169.254.0.1 169.254.169.254 172.16.0.1 172.31.255.255 192.0.0.0 192.0.0.192");
    check_public(false, "192.0.2.1 192.88.99.1 192.168.0.1 198.18.0.0 198.19.255.255 198.51.100.7 203.0.113.1");
    check_public(false, "224.0.0.1 239.255.255.255 240.0.0.1 255.255.255.255");
    check_public(false, ":: ::1 ::8.8.8.8 ::127.0.0.1 ::ffff:127.0.0.1 ::ffff:7f00:1 ::ffff:10.0.0.1 ::ffff:0:8.8.8.8");
    check_public(false, "64:ff9b::10.0.0.1 64:ff9b::127.0.0.1 64:ff9b:1::8.8.8.8 100::1 1fff::1 4000::1 5f00::1");
    check_public(
        false,
        "2001::1 2001:0:808:808:: 2001:2::1 2001:10::1 2001:20::1 2001:db8::1 2002:808:808:: 2002:7f00:1::",
    );
    check_public(false, "3fff::1 fc00::1 fd00:ec2::254 fe80::1 fec0::1 ff02::1");
}

#[test]
fn what_is_allowed() {
    let allow =
        ["10.1.2.0/24:443", "10.9.0.0/16", "[fd00::/8]:80", "fd00::/8:443", "fe80::1", "[fe80::2]:1", "192.168.0.1:5"];
    let policy = AddressPolicy::new(&allow.map(str::to_owned), Vec::new()).unwrap();
    for (address, allowed) in [
        ("10.1.2.3:443", true),
        ("[::ffff:10.1.2.3]:443", true),
        ("10.1.2.3:80", false),
        ("10.1.3.3:443", false),
        ("10.9.9.9:1", true),
        ("[fd00::1]:80", true),
        ("[fd00::1]:443", true),
        ("[fd00::1]:444", false),
        ("[fe80::1]:9", true),
        ("[fe80::2]:1", true),
        ("[fe80::2]:2", false),
        ("192.168.0.1:5", true),
        ("192.168.0.1:6", false),
        ("192.168.0.2:5", false),
        ("8.8.8.8:53", true),
    ] {
        let expected = if allowed { Ok(()) } else { Err(Refusal::NotPublic) };
        assert_eq!(policy.check(address.parse().unwrap()), expected, "{address}");
    }
}

#[test]
fn malformed_networks_are_named() {
    for text in [
        "",
        "x",
        "10.0.0.0/33",
        "10.0.0.0/8:",
        "10.0.0.0/8:x",
        "10.0.0.0/8:0",
        "[fd00::/8",
        "[fd00::/8]443",
        "10.0.0.0/8:1:2",
    ] {
        let error = AddressPolicy::new(&[text.to_owned()], Vec::new()).unwrap_err();
        assert!(error.to_string().contains(&format!("`{text}`")), "{error}");
    }
}

#[test]
fn own_listeners_lose_even_when_allowed() {
    let own = ["127.0.0.1:8080", "0.0.0.0:3128"].map(|listener| listener.parse().unwrap()).to_vec();
    let policy =
        AddressPolicy::new(&["127.0.0.0/8".to_owned(), "0.0.0.0/8".to_owned(), "::1".to_owned()], own).unwrap();
    for address in
        ["127.0.0.1:8080", "127.0.0.1:3128", "127.9.9.9:3128", "0.0.0.0:3128", "[::1]:3128", "[::ffff:127.0.0.1]:8080"]
    {
        assert_eq!(policy.check(address.parse().unwrap()), Err(Refusal::OwnListener), "{address}");
    }
    assert_eq!(policy.check("127.0.0.1:8081".parse().unwrap()), Ok(()));
    assert_eq!(policy.check("8.8.8.8:3128".parse().unwrap()), Ok(()));
}
