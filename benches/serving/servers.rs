//! The three servers over the same files, with one certificate authority among them.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    thread::sleep,
    time::Duration,
};

use reqwest::Client;
use serde_json::{Value, json};
use tempfile::TempDir;
use testkit::{Process, free_port};
use tokio::{fs::File, sync::Semaphore, task::JoinSet};

use crate::{
    nginx::Nginx,
    support::{Mirror, cpu_seconds_of_group, resident_kib_of_group, wait_for},
};

/// The host that has the files. As many more have the small one.
pub(crate) const HOST: &str = "files.test";
pub(crate) const LARGE: &str = "/large";
pub(crate) const SMALL: &str = "/small";

/// The name of one of many hosts.
pub(crate) fn host(number: usize) -> String {
    format!("host{number}.many.test")
}

/// What a client has to know of a server.
pub(crate) struct Server {
    pub(crate) name: &'static str,
    pub(crate) port: u16,
    /// Where it speaks TLS; proxies do that at the same place.
    pub(crate) tls_port: u16,
    pub(crate) is_proxy: bool,
    group: u32,
    _running: Running,
}

#[expect(dead_code, reason = "they are there to be ended")]
enum Running {
    Nginx(Nginx),
    Squid(Squid),
    Mirror(Mirror),
}

/// Ends when it is asked to, because it would leave shared memory behind that keeps the next one from starting.
struct Squid(Process);

impl Drop for Squid {
    fn drop(&mut self) {
        self.0.terminate();
    }
}

impl Server {
    /// Processor time of it and of its helpers, in seconds.
    pub(crate) fn cpu_seconds(&self) -> f64 {
        cpu_seconds_of_group(self.group)
    }

    /// Resident memory of it and of its helpers, in KiB.
    pub(crate) fn resident_kib(&self) -> u64 {
        resident_kib_of_group(self.group)
    }
}

/// The files, the CA and what distmirror has of them.
pub(crate) struct Stage {
    folder: TempDir,
    /// For squid, which has to have the files from somewhere.
    origin: Nginx,
}

impl Stage {
    /// Makes the files, and lets distmirror have them for so many hosts.
    pub(crate) async fn set(hosts: usize, large_bytes: u64, small_bytes: u64) -> Self {
        let folder = TempDir::new().expect("a folder");
        let path = folder.path();
        fs::set_permissions(path, Permissions::from_mode(0o755)).expect("it is ours");
        fs::create_dir(path.join("files")).expect("a folder of files");
        for (name, bytes) in [(LARGE, large_bytes), (SMALL, small_bytes)] {
            let file = format!("of=files{name}");
            run(
                path,
                "dd",
                &["if=/dev/urandom", &file, "bs=10K", &format!("count={}", bytes.div_ceil(10 << 10)), "status=none"],
            );
        }
        make_certificates(path);
        let origin = start_nginx(&make_folder(path, "origin"), path);
        let stage = Self { folder, origin };
        stage.supply(hosts).await;
        stage
    }

    pub(crate) fn ca_pem(&self) -> Vec<u8> {
        fs::read(self.path().join("ca.pem")).expect("the CA was made")
    }

    pub(crate) fn nginx(&self) -> Server {
        let nginx = start_nginx(&make_folder(self.path(), "nginx"), self.path());
        let (port, tls_port, group) = (nginx.port, nginx.tls_port, nginx.pid());
        Server { name: "nginx", port, tls_port, is_proxy: false, group, _running: Running::Nginx(nginx) }
    }

    pub(crate) fn distmirror(&self) -> Server {
        let mirror = self.mirror("serve");
        let (port, group) = (mirror.proxy_port, mirror.pid());
        Server { name: "distmirror", port, tls_port: port, is_proxy: true, group, _running: Running::Mirror(mirror) }
    }

    /// squid with an empty cache and no certificates.
    pub(crate) fn squid(&self) -> Server {
        let folder = make_folder(self.path(), "squid");
        let port = free_port();
        fs::write(folder.join("squid.conf"), self.squid_conf(&folder, port)).expect("writes its configuration");
        run(&folder, CERTGEN, &["-c", "-s", "certificates", "-M", "64MB"]);
        if rustix::process::geteuid().is_root() {
            // It does not stay root.
            run(&folder, "chown", &["-R", "proxy", "."]);
        }
        let squid = |arguments: &[&str]| {
            let mut command = Command::new("/usr/sbin/squid");
            command.args(["-N", "-f", "squid.conf"]).args(arguments).current_dir(&folder);
            command
        };
        assert!(squid(&["-z"]).output().expect("squid is installed").status.success(), "squid cannot make its folders");
        let process = Process::spawn("squid", &mut squid(&[]));
        wait_for(port);
        // It listens before it has looked at its folders.
        sleep(Duration::from_secs(2));
        let group = process.pid();
        Server { name: "squid", port, tls_port: port, is_proxy: true, group, _running: Running::Squid(Squid(process)) }
    }

    /// As for a proxy that mints, with everything that it is asked for in its cache, and no log of requests.
    fn squid_conf(&self, folder: &Path, port: u16) -> String {
        let (folder, top) = (folder.display(), self.path().display());
        let (origin, origin_tls) = (self.origin.port, self.origin.tls_port);
        format!(
            "http_port 127.0.0.1:{port} ssl-bump generate-host-certificates=on dynamic_cert_mem_cache_size=64MB \
             tls-cert={top}/ca-and-key.pem\n\
             sslcrtd_program {CERTGEN} -s {folder}/certificates -M 64MB\n\
             sslcrtd_children 4 startup=2 idle=1\n\
             ssl_bump bump all\n\
             http_access allow all\n\
             acl encrypted proto HTTPS\n\
             cache_peer 127.0.0.1 parent {origin} 0 no-query no-digest originserver name=plain\n\
             cache_peer 127.0.0.1 parent {origin_tls} 0 no-query no-digest originserver tls \
             sslflags=DONT_VERIFY_PEER,DONT_VERIFY_DOMAIN name=tls\n\
             cache_peer_access plain deny encrypted\n\
             cache_peer_access tls allow encrypted\n\
             never_direct allow all\n\
             cache_mem 256 MB\n\
             maximum_object_size 2 GB\n\
             cache_dir aufs {folder}/cache 4096 16 256\n\
             max_filedescriptors 20000\n\
             shutdown_lifetime 0 seconds\n\
             access_log none\n\
             cache_log {folder}/cache.log\n\
             pid_filename {folder}/squid.pid\n\
             coredump_dir {folder}\n\
             visible_hostname squid.test\n\
             pinger_enable off\n\
             netdb_filename none\n"
        )
    }

    fn mirror(&self, role: &str) -> Mirror {
        let ca = "[ca]\ncertificate = \"../ca.pem\"\nkey = \"../ca.key\"\n";
        Mirror::configured(role, &make_folder(self.path(), "distmirror"), self.origin.port, ca)
    }

    /// Gives distmirror by hand what it would fetch.
    async fn supply(&self, hosts: usize) {
        let mirror = self.mirror("admin");
        let api = Arc::new(format!("{}/api/v1/artifacts", mirror.admin()));
        let (client, at_once) = (Client::new(), Arc::new(Semaphore::new(8)));
        let files =
            [LARGE, SMALL].map(|name| ["http", "https"].map(|scheme| (format!("{scheme}://{HOST}{name}"), name)));
        let more = (0..hosts).map(|number| (format!("https://{}{SMALL}", host(number)), SMALL));
        let [large, small] = [LARGE, SMALL].map(|name| self.sha256(name));
        let mut running = JoinSet::new();
        for (uri, name) in files.into_iter().flatten().chain(more) {
            let (client, api, at_once) = (client.clone(), Arc::clone(&api), Arc::clone(&at_once));
            let file = self.path().join("files").join(&name[1..]);
            let sha256 = if name == LARGE { large.clone() } else { small.clone() };
            running.spawn(async move {
                let _permit = at_once.acquire().await.expect("nobody closes it");
                supply(&client, &api, &uri, &sha256, file).await.unwrap_or_else(|error| panic!("{uri}: {error}"));
            });
        }
        while let Some(ended) = running.join_next().await {
            ended.expect("distmirror has the file");
        }
    }

    fn sha256(&self, name: &str) -> String {
        let summed = Command::new("sha256sum").arg(self.path().join("files").join(&name[1..])).output();
        let text = String::from_utf8(summed.expect("sha256sum runs").stdout).expect("a digest is ASCII");
        text.split_ascii_whitespace().next().expect("it prints the digest").to_owned()
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }
}

async fn supply(client: &Client, api: &str, uri: &str, sha256: &str, file: PathBuf) -> reqwest::Result<()> {
    let declaration = json!({"kind": "file", "uri": uri, "sha256": sha256, "reason": "comparison"});
    let declared: Value = client.post(api).json(&declaration).send().await?.error_for_status()?.json().await?;
    let id = declared["id"].as_str().expect("an artifact has an id");
    let content = File::open(file).await.expect("the file is there");
    client.put(format!("{api}/{id}/content")).body(content).send().await?.error_for_status()?;
    Ok(())
}

fn start_nginx(folder: &Path, top: &Path) -> Nginx {
    Nginx::start_with_tls(folder, &top.join("files"), &top.join("origin.pem"), &top.join("origin.key"))
}

/// A CA, and a leaf of it for every host that there is.
fn make_certificates(folder: &Path) {
    const KEY: [&str; 5] = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-noenc"];
    let ca = ["req", "-x509", "-subj", "/CN=comparison", "-days", "30", "-keyout", "ca.key", "-out", "ca.pem"];
    let usages = ["-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign,cRLSign"];
    run(folder, "openssl", &[&ca[..], &KEY, &usages].concat());
    let leaf = ["req", "-x509", "-CA", "ca.pem", "-CAkey", "ca.key", "-subj", "/CN=files.test", "-days", "20"];
    let names =
        ["-addext", "subjectAltName=DNS:files.test,DNS:*.many.test", "-addext", "basicConstraints=critical,CA:FALSE"];
    run(folder, "openssl", &[&leaf[..], &KEY, &names, &["-keyout", "origin.key", "-out", "origin.pem"]].concat());
    let read = |name: &str| fs::read(folder.join(name)).expect("openssl made it");
    fs::write(folder.join("ca-and-key.pem"), [read("ca.pem"), read("ca.key")].concat()).expect("writes both");
}

fn make_folder(top: &Path, name: &str) -> PathBuf {
    let folder = top.join(name);
    if name == "squid" && folder.exists() {
        fs::remove_dir_all(&folder).expect("removes the cache of an earlier one");
    }
    fs::create_dir_all(&folder).expect("a folder");
    folder
}

fn run(folder: &Path, program: &str, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).current_dir(folder).output();
    let output = output.unwrap_or_else(|error| panic!("{program}: {error}"));
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
}

/// What makes certificates for squid.
const CERTGEN: &str = "/usr/lib/squid/security_file_certgen";
