//! Leaves of any authority that people have, for hosts of every form, before the verifiers that people have: whoever accepts the
//! authority must accept its leaves. What a verifier rejects for reasons of its own is listed here, with the reason.

use std::{
    fs,
    io::Write,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::Arc,
};

use distmirror_core::{
    Mirror,
    memory::{MemoryBlobStore, MemoryCatalog},
};
use distmirror_proxy::{CertificateAuthority, Options, Proxy};
use tempfile::TempDir;
use tokio::net::TcpListener;

#[path = "support/openssl.rs"]
mod by_openssl;
use by_openssl::{ED25519, P256, P384, RSA, hosts, intermediate_by_openssl, mint, openssl, root_by_openssl};

/// An authority with a proxy that signs by it.
struct Signer {
    name: &'static str,
    /// Where its files are.
    folder: PathBuf,
    /// The certificate that clients trust.
    trusted: PathBuf,
    authority: CertificateAuthority,
    proxy: SocketAddr,
}

/// All authorities, in folders below this one.
async fn signers(folder: &Path) -> Vec<Signer> {
    let constraints = "nameConstraints=critical,permitted;DNS:test,permitted;IP:192.0.2.0/255.255.255.0,\
                       permitted;IP:2001:db8::/ffff:ffff::";
    let plain = |options: &'static [&'static [&'static str]]| {
        move |folder: &Path| root_by_openssl(folder, &options.concat(), "/O=Bücher & Söhne/CN=root")
    };
    let older = |options: &'static [&'static str], convert: &'static str| {
        move |folder: &Path| {
            let (certificate, _) = root_by_openssl(folder, options, "/CN=root");
            let traditional: &[&str] = if convert == "rsa" { &["-traditional"] } else { &[] };
            openssl(folder, &[&[convert], traditional, &["-in", "root.key", "-out", "older.key"]].concat());
            (certificate, folder.join("older.key"))
        }
    };
    type Make<'a> = Box<dyn Fn(&Path) -> (PathBuf, PathBuf) + 'a>;
    let makers: [(&'static str, Make<'_>); 11] = [
        ("rsa", Box::new(plain(&[&RSA]))),
        ("rsa-pkcs1", Box::new(older(&RSA, "rsa"))),
        ("p256", Box::new(plain(&[&P256]))),
        ("p256-sec1", Box::new(older(&P256, "ec"))),
        ("p384", Box::new(plain(&[&P384]))),
        ("ed25519", Box::new(plain(&[&ED25519]))),
        ("intermediate", Box::new(intermediate_by_openssl)),
        (
            "constrained",
            Box::new(|folder| root_by_openssl(folder, &[&P256[..], &["-addext", constraints]].concat(), "/CN=root")),
        ),
        ("odd-identifier", Box::new(plain(&[&P256, &ODD]))),
        ("no-identifier", Box::new(plain(&[&P256, &NONE]))),
        ("ends-soon", Box::new(plain(&[&P256, &["-days", "2"]]))),
    ];
    let mut signers = Vec::new();
    for (name, make) in makers {
        let folder = folder.join(name);
        fs::create_dir(&folder).expect("a fresh folder");
        let (certificate, key) = make(&folder);
        let load = || CertificateAuthority::load(&certificate, &key).expect("it can be used");
        let proxy = serve(load()).await;
        signers.push(Signer { name, trusted: folder.join("root.pem"), authority: load(), folder, proxy });
    }
    signers
}

/// A proxy that has nothing.
async fn serve(authority: CertificateAuthority) -> SocketAddr {
    let mirror = Mirror::new(Arc::new(MemoryCatalog::new()), Arc::new(MemoryBlobStore::new()), Default::default());
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    let proxy = Proxy::new(Arc::new(mirror), authority, Options::default());
    tokio::spawn(async move { proxy.serve([listener], std::future::pending()).await });
    address
}

/// Compares what a verifier said of each authority and host, `ok` or why not, with what it may reject.
fn judge(said: &[(&'static str, String, String)], may_reject: impl Fn(&str, &str) -> Option<&'static str>) {
    assert_eq!(said.len(), 11 * hosts().len(), "all were asked for: {said:?}");
    let mut wrong = Vec::new();
    for (signer, host, answer) in said {
        let is_right = match may_reject(signer, host) {
            None => answer == "ok",
            Some(reason) => answer.contains(reason),
        };
        if !is_right {
            wrong.push(format!("{signer} {host:.20}: {answer}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Lets a verifier look at a leaf for each host of each authority, one at a time.
async fn one_by_one(look: impl Fn(&Signer, &str) -> String) -> Vec<(&'static str, String, String)> {
    let folder = TempDir::new().expect("a temporary folder");
    let mut said = Vec::new();
    for signer in &signers(folder.path()).await {
        for host in hosts() {
            let answer = look(signer, &host);
            said.push((signer.name, host, answer));
        }
    }
    said
}

/// Lets a program shake hands for each host with each authority: it reads `CASE PORT CA HOST` and writes `CASE ANSWER`.
async fn by_program(program: &mut Command) -> Vec<(&'static str, String, String)> {
    let folder = TempDir::new().expect("a temporary folder");
    let (mut cases, mut lines) = (Vec::new(), String::new());
    for signer in &signers(folder.path()).await {
        for host in hosts() {
            let (port, bare) = (signer.proxy.port(), host.trim_matches(['[', ']']));
            lines += &format!("{} {port} {} {bare}\n", cases.len(), signer.trusted.display());
            cases.push((signer.name, host));
        }
    }
    program.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut running = program.spawn().unwrap_or_else(|error| panic!("{program:?}: {error}"));
    running.stdin.take().expect("it is piped").write_all(lines.as_bytes()).expect("it reads");
    let output = running.wait_with_output().expect("it ends");
    assert!(output.status.success(), "{}", text(&output));
    let answers = String::from_utf8_lossy(&output.stdout).into_owned();
    let answered = answers.lines().filter_map(|line| line.split_once(' ')).map(|(case, answer)| {
        let (signer, host) = &cases[case.parse::<usize>().expect("a case")];
        (*signer, host.clone(), answer.to_owned())
    });
    answered.collect()
}

fn run(program: &str, arguments: &[&str]) -> Output {
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).output();
    output.unwrap_or_else(|error| panic!("{program}: {error}; run `cargo xtask install`"))
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr].concat()).into_owned()
}

/// `ok` if a program succeeded and said so, or all that it said.
fn verdict(output: &Output, good: &str) -> String {
    if output.status.success() && text(output).contains(good) { "ok".to_owned() } else { text(output) }
}

fn is_address(host: &str) -> bool {
    host.starts_with(|first: char| first.is_ascii_digit() || first == '[')
}

fn beside(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/verifiers").join(name)
}

/// OpenSSL's strict mode wants a key identifier in every authority (RFC 5280 section 4.2.1.2).
fn strict_openssl(signer: &str, _: &str) -> Option<&'static str> {
    (signer == "no-identifier").then_some("Missing Subject Key Identifier")
}

#[tokio::test(flavor = "multi_thread")]
async fn openssl_strictly() {
    let said = one_by_one(|signer, host| {
        let option = if is_address(host) { "-verify_ip" } else { "-verify_hostname" };
        let (trusted, bare) = (signer.trusted.display().to_string(), host.trim_matches(['[', ']']));
        let common = ["-CAfile", &trusted, "-x509_strict", option, bare];
        // `s_client` writes no brackets into its CONNECT.
        if bare.contains(':') {
            mint(&signer.authority, host, &signer.folder);
            let (leaf, sent) = (signer.folder.join("leaf.pem"), signer.folder.join("sent.pem"));
            let (leaf, sent) = (leaf.display().to_string(), sent.display().to_string());
            let chain: &[&str] =
                if fs::read(&sent).expect("minted before").is_empty() { &[] } else { &["-untrusted", &sent] };
            let arguments = [&["verify", "-purpose", "sslserver"], &common[..], chain, &[&leaf]].concat();
            return verdict(&run("openssl", &arguments), "leaf.pem: OK");
        }
        let (proxy, connect) = (signer.proxy.to_string(), format!("{host}:443"));
        let name: &[&str] = if is_address(host) { &["-noservername"] } else { &["-servername", bare] };
        let shaking = ["s_client", "-proxy", &proxy, "-connect", &connect, "-verify_return_error"];
        verdict(&run("openssl", &[&shaking, &common[..], name].concat()), "Verify return code: 0 (ok)")
    });
    judge(&said.await, strict_openssl);
}

#[tokio::test(flavor = "multi_thread")]
async fn python_strictly() {
    let said = by_program(Command::new("/usr/bin/python3").arg(beside("verify.py"))).await;
    judge(&said, strict_openssl);
}

#[tokio::test(flavor = "multi_thread")]
async fn gnutls() {
    let said = one_by_one(|signer, host| {
        mint(&signer.authority, host, &signer.folder);
        let chain = signer.folder.join("chain.pem");
        let read = |file: &str| fs::read_to_string(signer.folder.join(file)).expect("minted before");
        fs::write(&chain, read("leaf.pem") + &read("sent.pem")).expect("writes");
        let (trusted, chain) = (signer.trusted.display().to_string(), chain.display().to_string());
        let bare = host.trim_matches(['[', ']']);
        let arguments = ["--verify", "--load-ca-certificate", &trusted, "--verify-hostname", bare];
        let output = run("certtool", &[&arguments, &["--verify-purpose", SERVER, "--infile", &chain][..]].concat());
        verdict(&output, "Verified. The certificate is trusted.")
    });
    judge(&said.await, |_, _| None);
}

/// The chain alone: NSS looks at names in handshakes only, and its tools do not speak CONNECT.
#[tokio::test(flavor = "multi_thread")]
async fn nss() {
    let said = one_by_one(|signer, host| {
        mint(&signer.authority, host, &signer.folder);
        let database = format!("sql:{}", signer.folder.display());
        let file = |name: &str| signer.folder.join(name).display().to_string();
        let certificate = signer.trusted.display().to_string();
        if !signer.folder.join("cert9.db").exists() {
            assert!(run("certutil", &["-N", "-d", &database, "--empty-password"]).status.success());
        }
        // Again for each host is as good as once.
        let added = run("certutil", &["-A", "-d", &database, "-n", "root", "-t", "C,,", "-a", "-i", &certificate]);
        if !added.status.success() {
            return text(&added);
        }
        let (leaf, sent) = (file("leaf.pem"), file("sent.pem"));
        let mut arguments = vec!["-d", &database, "-pp", "-u", "1", "-a", &leaf];
        if !fs::read(&sent).expect("minted before").is_empty() {
            arguments.extend(["-a", &sent]);
        }
        let output = run("vfychain", &arguments);
        verdict(&output, "Chain is good!")
    });
    // It knows no certificate with such a key.
    judge(&said.await, |signer, _| (signer == "ed25519").then_some("could not add certificate"));
}

#[tokio::test(flavor = "multi_thread")]
async fn go() {
    let mut command = Command::new("go");
    command.arg("run").arg(beside("verify.go"));
    // What it has compiled stays for the next run.
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    command.env("GOCACHE", folder.join("go-cache")).env("GOPATH", folder.join("go")).env("GO111MODULE", "off");
    judge(&by_program(&mut command).await, |_, _| None);
}

#[tokio::test(flavor = "multi_thread")]
async fn java() {
    let said = by_program(Command::new("java").arg("-Xshare:auto").arg(beside("Verify.java"))).await;
    // It takes an underscore for no part of a name of a host, whatever the certificate says.
    judge(&said, |_, host| (host == "under_score.test").then_some("Illegal given domain name"));
}

/// With an identifier of the authority itself, which openssl would write by its own method, it would not be its own issuer.
const ODD: [&str; 4] = ["-addext", "subjectKeyIdentifier=0102030405", "-addext", "authorityKeyIdentifier=none"];
const NONE: [&str; 4] = ["-addext", "subjectKeyIdentifier=none", "-addext", "authorityKeyIdentifier=none"];
/// `id-kp-serverAuth`
const SERVER: &str = "1.3.6.1.5.5.7.3.1";
