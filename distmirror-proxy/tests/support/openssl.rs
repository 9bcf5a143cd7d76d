//! Authorities by the openssl command line, and leaves as files.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use distmirror_core::Host;
use distmirror_proxy::CertificateAuthority;

pub(crate) const P256: [&str; 4] = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"];
pub(crate) const P384: [&str; 4] = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-384"];
pub(crate) const RSA: [&str; 2] = ["-newkey", "rsa:2048"];
pub(crate) const ED25519: [&str; 2] = ["-newkey", "ed25519"];

/// What openssl says, which must succeed.
pub(crate) fn openssl(folder: &Path, arguments: &[&str]) -> String {
    let output = Command::new("openssl").args(arguments).current_dir(folder).output().expect("openssl is installed");
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "openssl {arguments:?}: {text}");
    text
}

/// Mints a leaf and writes it, and the chain sent with it, as PEM.
pub(crate) fn mint(authority: &CertificateAuthority, host: &str, folder: &Path) {
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

/// An authority that signs itself: (certificate, key).
pub(crate) fn root_by_openssl(folder: &Path, options: &[&str], subject: &str) -> (PathBuf, PathBuf) {
    let mut arguments = vec!["req", "-x509", "-nodes", "-utf8", "-subj", subject];
    arguments.extend(["-keyout", "root.key", "-out", "root.pem", "-addext", "keyUsage=critical,keyCertSign,cRLSign"]);
    if !options.contains(&"-days") {
        arguments.extend(["-days", "30"]);
    }
    arguments.extend(options);
    openssl(folder, &arguments);
    (folder.join("root.pem"), folder.join("root.key"))
}

/// An authority below another one, with an odd key identifier: (certificate, key).
pub(crate) fn intermediate_by_openssl(folder: &Path) -> (PathBuf, PathBuf) {
    root_by_openssl(folder, &P256, "/CN=root");
    openssl(
        folder,
        &[&["req", "-nodes", "-keyout", "sub.key", "-subj", "/CN=sub", "-out", "sub.csr"], &RSA[..]].concat(),
    );
    let extensions = "basicConstraints=critical,CA:TRUE,pathlen:0\nkeyUsage=critical,keyCertSign\n\
                      subjectKeyIdentifier=01020304\nauthorityKeyIdentifier=keyid\n";
    fs::write(folder.join("extensions"), extensions).expect("writes");
    let signing = ["x509", "-req", "-in", "sub.csr", "-CA", "root.pem", "-CAkey", "root.key", "-days", "9"];
    openssl(folder, &[&signing[..], &["-extfile", "extensions", "-out", "sub.pem"]].concat());
    (folder.join("sub.pem"), folder.join("sub.key"))
}

/// Hosts of every form; one of 64 characters, which is too long for a common name, and one as long as can be.
pub(crate) fn hosts() -> Vec<String> {
    let long = format!("{0}.{0}.{0}.{1}.test", "a".repeat(63), "b".repeat(56));
    let exactly_64 = format!("{}.{}.test", "c".repeat(50), "d".repeat(8));
    assert_eq!((long.len(), exactly_64.len()), (253, 64));
    let others = ["example.test", "under_score.test", "192.0.2.1", "[2001:db8::7]", "xn--bcher-kva.test"];
    others.map(str::to_owned).into_iter().chain([exactly_64, long]).collect()
}
