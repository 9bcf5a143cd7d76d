//! Leaves and authorities, judged by OpenSSL in its strict mode: a verifier that shares no code with what signs.

use std::{fs, path::Path};

use distmirror_proxy::CertificateAuthority;
use tempfile::TempDir;

#[path = "support/openssl.rs"]
mod by_openssl;
use by_openssl::{ED25519, P256, P384, RSA, hosts, intermediate_by_openssl, mint, openssl, root_by_openssl};

fn verify(folder: &Path, root: &str, host: &str) {
    let is_address = host.starts_with(|c: char| c.is_ascii_digit() || c == '[');
    let kind = if is_address { "-verify_ip" } else { "-verify_hostname" };
    let name = host.trim_matches(['[', ']']);
    let mut arguments = vec!["verify", "-x509_strict", "-purpose", "sslserver", "-CAfile", root, kind, name];
    if fs::metadata(folder.join("sent.pem")).expect("minted before").len() > 0 {
        arguments.extend(["-untrusted", "sent.pem"]);
    }
    arguments.push("leaf.pem");
    assert!(openssl(folder, &arguments).contains("leaf.pem: OK"));
}

#[test]
fn hosts_of_every_form_verify() {
    let folder = TempDir::new().unwrap();
    let authority = CertificateAuthority::load_or_create(&folder.path().join("ca")).unwrap();
    for host in &hosts() {
        mint(&authority, host, folder.path());
        verify(folder.path(), "ca/certificate.pem", host);
    }
}

#[test]
fn any_authority_that_people_have() {
    for algorithm in [&RSA[..], &P256, &P384, &ED25519] {
        let folder = TempDir::new().unwrap();
        let subject = "/DC=test/DC=corp/O=Bücher & Söhne/OU=one/OU=two/CN=root";
        let (certificate, key) = root_by_openssl(folder.path(), algorithm, subject);
        mint(&CertificateAuthority::load(&certificate, &key).unwrap(), "example.test", folder.path());
        verify(folder.path(), "root.pem", "example.test");
    }
}

#[test]
fn keys_in_their_older_encodings() {
    let folder = TempDir::new().unwrap();
    for (algorithm, convert) in
        [(&RSA[..], &["rsa", "-traditional", "-in", "root.key"][..]), (&P256, &["ec", "-in", "root.key"])]
    {
        let (certificate, _) = root_by_openssl(folder.path(), algorithm, "/CN=root");
        openssl(folder.path(), &[convert, &["-out", "older.key"]].concat());
        let older = folder.path().join("older.key");
        assert!(!fs::read_to_string(&older).unwrap().contains("BEGIN PRIVATE KEY"));
        mint(&CertificateAuthority::load(&certificate, &older).unwrap(), "example.test", folder.path());
        verify(folder.path(), "root.pem", "example.test");
    }
}

#[test]
fn an_intermediate_comes_with_its_chain() {
    let folder = TempDir::new().unwrap();
    let (certificate, key) = intermediate_by_openssl(folder.path());
    mint(&CertificateAuthority::load(&certificate, &key).unwrap(), "example.test", folder.path());
    verify(folder.path(), "root.pem", "example.test");
    let text = openssl(folder.path(), &["x509", "-in", "leaf.pem", "-noout", "-text"]);
    assert!(text.contains("01:02:03:04"), "the odd key identifier of the issuer is kept: {text}");
}

#[test]
fn leaves_differ_in_serial_and_share_no_key_with_the_authority() {
    let folder = TempDir::new().unwrap();
    let authority = CertificateAuthority::load_or_create(&folder.path().join("ca")).unwrap();
    let mut serials = Vec::new();
    for _ in 0..20 {
        mint(&authority, "example.test", folder.path());
        serials.push(openssl(folder.path(), &["x509", "-in", "leaf.pem", "-noout", "-serial"]));
        let key = |file| openssl(folder.path(), &["x509", "-in", file, "-noout", "-pubkey"]);
        assert_ne!(key("leaf.pem"), key("ca/certificate.pem"));
    }
    serials.sort();
    serials.dedup();
    assert_eq!(serials.len(), 20);
}

#[test]
fn what_cannot_be_used_is_refused_by_name() {
    let folder = TempDir::new().unwrap();
    let (certificate, key) = root_by_openssl(folder.path(), &RSA, "/CN=root");
    let other = folder.path().join("other");
    CertificateAuthority::create(&other).unwrap();
    let garbage = folder.path().join("garbage.pem");
    fs::write(&garbage, "not PEM").unwrap();
    openssl(folder.path(), &["rsa", "-in", "root.key", "-aes128", "-passout", "pass:x", "-out", "encrypted.key"]);
    let plain = ["req", "-x509", "-nodes", "-subj", "/CN=x", "-keyout", "plain.key", "-out", "plain.pem"];
    openssl(folder.path(), &[&plain[..], &["-addext", "basicConstraints=critical,CA:FALSE"], &RSA].concat());
    let file = |name: &str| folder.path().join(name);
    for (certificate, key, reason) in [
        (file("missing.pem"), key.clone(), "cannot be read"),
        (garbage.clone(), key.clone(), "no certificate"),
        (certificate.clone(), garbage, "no private key"),
        (certificate.clone(), other.join("key.pem"), "another certificate"),
        (certificate, file("encrypted.key"), "encrypted"),
        (file("plain.pem"), file("plain.key"), "not the certificate of an authority"),
    ] {
        let error = CertificateAuthority::load(&certificate, &key).unwrap_err().to_string();
        assert!(error.contains(reason) && !error.contains('\n'), "{error}");
    }
}

#[test]
fn many_starts_at_once_agree_on_one_authority() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("ca");
    let start = || CertificateAuthority::load_or_create(&path).unwrap().pem().to_owned();
    let made: Vec<String> = std::thread::scope(|scope| {
        let tasks: Vec<_> = (0..8).map(|_| scope.spawn(start)).collect();
        tasks.into_iter().map(|task| task.join().unwrap()).collect()
    });
    assert!(made.iter().all(|pem| *pem == made[0]));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "debris");
}
