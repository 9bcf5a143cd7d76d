//! The two servers of the comparison, each one process on a free port.

use std::{
    fs,
    net::TcpStream,
    path::Path,
    process::Command,
    thread::sleep,
    time::{Duration, Instant},
};

use testkit::{Process, free_port};

/// nginx over a folder, as people tune it for static files.
pub(crate) struct Nginx {
    process: Process,
    /// Where it listens on loopback.
    pub(crate) port: u16,
}

impl Nginx {
    /// Starts it as a single process, so that its processor time is all in one place.
    pub(crate) fn start(folder: &Path, files: &Path) -> Self {
        let port = free_port();
        let configuration = format!(
            "daemon off; master_process off; pid {folder}/nginx.pid; error_log stderr warn;\n\
             events {{ worker_connections 1024; }}\n\
             http {{ access_log off; sendfile on; tcp_nopush on; keepalive_requests 100000000;\n\
             open_file_cache max=100; default_type application/octet-stream;\n\
             client_body_temp_path {folder}; proxy_temp_path {folder}; fastcgi_temp_path {folder};\n\
             uwsgi_temp_path {folder}; scgi_temp_path {folder};\n\
             server {{ listen 127.0.0.1:{port}; root {files}; }} }}\n",
            folder = folder.display(),
            files = files.display(),
        );
        fs::write(folder.join("nginx.conf"), configuration).expect("writes its configuration");
        let process = Process::spawn("nginx", Command::new("nginx").arg("-c").arg(folder.join("nginx.conf")));
        wait_for(port);
        Self { process, port }
    }

    /// The URL of its root, without a slash at the end.
    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The process whose time counts.
    pub(crate) fn pid(&self) -> u32 {
        self.process.pid()
    }
}

/// distmirror with all roles over SQLite and a directory.
pub(crate) struct Mirror {
    process: Process,
    /// Where the proxy listens on loopback.
    pub(crate) proxy_port: u16,
    admin_port: u16,
}

impl Mirror {
    /// Starts it with leave to fetch from this port of loopback.
    pub(crate) fn start(folder: &Path, upstream_port: u16) -> Self {
        let (proxy_port, admin_port) = (free_port(), free_port());
        let configuration = format!(
            "data_dir = {:?}\n[proxy]\nlisten = [\"127.0.0.1:{proxy_port}\"]\n[admin]\nlisten = [\"127.0.0.1:{admin_port}\"]\n\
             [fetch]\nallow_addresses = [\"127.0.0.0/8:{upstream_port}\"]\n",
            folder.join("data")
        );
        let file = folder.join("distmirror.toml");
        fs::write(&file, configuration).expect("writes its configuration");
        let process = Process::spawn("distmirror", binary().args(["serve", "--config"]).arg(file));
        wait_for(proxy_port);
        wait_for(admin_port);
        Self { process, proxy_port, admin_port }
    }

    /// Declares a URL and waits until it is present.
    pub(crate) fn hold(&self, url: &str) {
        let server = format!("http://127.0.0.1:{}", self.admin_port);
        let declared =
            binary().args(["declare", "file", url, "--reason", "comparison", "--wait", "--server", &server]).status();
        assert!(declared.expect("the binary runs").success());
    }

    /// The URL of the proxy.
    pub(crate) fn proxy(&self) -> String {
        format!("http://127.0.0.1:{}", self.proxy_port)
    }

    /// The process whose time counts.
    pub(crate) fn pid(&self) -> u32 {
        self.process.pid()
    }
}

fn binary() -> Command {
    Command::new(env!("CARGO_BIN_EXE_distmirror"))
}

/// Processor time that a process has used, in seconds; proc(5), fields `utime` and `stime`.
pub(crate) fn cpu_seconds(pid: u32) -> f64 {
    const TICKS_PER_SECOND: f64 = 100.0;
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).expect("the process is there");
    let after_name = text.rsplit_once(')').map_or("", |(_, rest)| rest);
    let ticks: f64 =
        after_name.split_ascii_whitespace().skip(11).take(2).filter_map(|field| field.parse::<f64>().ok()).sum();
    ticks / TICKS_PER_SECOND
}

/// Resident memory of a process in MiB.
pub(crate) fn resident_mib(pid: u32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).expect("the process is there");
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    line.split_ascii_whitespace().next().and_then(|number| number.parse::<u64>().ok()).unwrap_or_default() / 1024
}

fn wait_for(port: u16) {
    let until = Instant::now() + Duration::from_secs(20);
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(Instant::now() < until, "nothing listens on port {port}");
        sleep(Duration::from_millis(20));
    }
}
