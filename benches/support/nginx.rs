//! nginx, which is what static files are served with elsewhere.

use std::{fs, path::Path, process::Command};

use testkit::{Process, free_port};

use crate::support::wait_for;

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
