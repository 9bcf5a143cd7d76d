//! Leaves and authorities, judged by OpenSSL in its strict mode: a verifier that shares no code with what signs.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use distmirror_core::Host;
use distmirror_proxy::CertificateAuthority;
use tempfile::TempDir;

const P256: [&str; 4] = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"];
const P384: [&str; 4] = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-384"];
const RSA: [&str; 2] = ["-newkey", "rsa:2048"];

fn openssl(folder: &Path, arguments: &[&str]) -> String {
    let output = Command::new("openssl").args(arguments).current_dir(folder).output().expect("openssl is installed");
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "openssl {arguments:?}: {text}");
    text
}

/// Mints a leaf and writes it, and the chain sent with it, as PEM.
fn mint(authority: &CertificateAuthority, host: &str, folder: &Path) {
    let minted = authority.mint(&Host::parse(host).expect("the test's own host")).expect("mints");
    for (file, certificates) in [("leaf.pem", &minted.cert[..1]), ("sent.pem", &minted.cert[1..])] {
        let mut text = String::new();
        for certificate in certificates {
            fs::write(folder.join("certificate.der"), certificate).expect("writes");
            text += &openssl(folder, &["x509", "-inform", "DER", "-in", "certificate.der"]);
        }
        fs::write(folder.join(file), text).expect("writes");
    }
}

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

/// An authority by the openssl command line: (certificate, key).
fn root_by_openssl(folder: &Path, algorithm: &[&str], subject: &str) -> (PathBuf, PathBuf) {
    let mut arguments = vec!["req", "-x509", "-nodes", "-utf8", "-days", "30", "-subj", subject];
    arguments.extend(["-keyout", "root.key", "-out", "root.pem", "-addext", "keyUsage=critical,keyCertSign,cRLSign"]);
    arguments.extend(algorithm);
    openssl(folder, &arguments);
    (folder.join("root.pem"), folder.join("root.key"))
}

#[test]
fn hosts_of_every_form_verify() {
    let folder = TempDir::new().unwrap();
    let authority = CertificateAuthority::load_or_create(&folder.path().join("ca")).unwrap();
    let long = format!("{0}.{0}.{0}.{1}.test", "a".repeat(63), "b".repeat(56));
    let exactly_64 = format!("{}.{}.test", "c".repeat(50), "d".repeat(8));
    assert_eq!((long.len(), exactly_64.len()), (253, 64));
    for host in
        ["example.test", "under_score.test", "192.0.2.1", "[2001:db8::7]", "xn--bcher-kva.test", &exactly_64, &long]
    {
        mint(&authority, host, folder.path());
        verify(folder.path(), "ca/certificate.pem", host);
    }
}

#[test]
fn any_authority_that_people_have() {
    for algorithm in [&RSA[..], &P256, &P384, &["-newkey", "ed25519"]] {
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
    root_by_openssl(folder.path(), &P256, "/CN=root");
    openssl(
        folder.path(),
        &[&["req", "-nodes", "-keyout", "sub.key", "-subj", "/CN=sub", "-out", "sub.csr"], &RSA[..]].concat(),
    );
    let extensions = "basicConstraints=critical,CA:TRUE,pathlen:0\nkeyUsage=critical,keyCertSign\n\
                      subjectKeyIdentifier=01020304\nauthorityKeyIdentifier=keyid\n";
    fs::write(folder.path().join("extensions"), extensions).unwrap();
    let signing = ["x509", "-req", "-in", "sub.csr", "-CA", "root.pem", "-CAkey", "root.key", "-days", "9"];
    openssl(folder.path(), &[&signing[..], &["-extfile", "extensions", "-out", "sub.pem"]].concat());
    let (certificate, key) = (folder.path().join("sub.pem"), folder.path().join("sub.key"));
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
