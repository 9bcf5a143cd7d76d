//! nginx, which is what static files are served with elsewhere.

use std::{fs, path::Path, process::Command};

use testkit::{Process, free_port};

use crate::support::wait_for;

/// nginx over a folder, as people tune it for static files.
pub(crate) struct Nginx {
    process: Process,
    /// Where it listens on loopback.
    pub(crate) port: u16,
    /// Where it speaks TLS, if it does.
    pub(crate) tls_port: u16,
}

impl Nginx {
    /// Starts it as a single process, so that its processor time is all in one place.
    pub(crate) fn start(folder: &Path, files: &Path) -> Self {
        Self::start_as(folder, files, 0, "")
    }

    /// The same, which speaks TLS elsewhere and resumes no session.
    pub(crate) fn start_with_tls(folder: &Path, files: &Path, certificate: &Path, key: &Path) -> Self {
        let tls_port = free_port();
        let tls = format!(
            "listen 127.0.0.1:{tls_port} ssl; ssl_certificate {}; ssl_certificate_key {};\n\
             ssl_protocols TLSv1.3; ssl_session_cache off; ssl_session_tickets off;",
            certificate.display(),
            key.display(),
        );
        let nginx = Self::start_as(folder, files, tls_port, &tls);
        wait_for(tls_port);
        nginx
    }

    fn start_as(folder: &Path, files: &Path, tls_port: u16, more: &str) -> Self {
        let port = free_port();
        let configuration = format!(
            "daemon off; master_process off; pid {folder}/nginx.pid; error_log stderr warn;\n\
             events {{ worker_connections 16384; }}\n\
             http {{ access_log off; sendfile on; tcp_nopush on; keepalive_requests 100000000;\n\
             open_file_cache max=100; default_type application/octet-stream; expires max;\n\
             client_body_temp_path {folder}; proxy_temp_path {folder}; fastcgi_temp_path {folder};\n\
             uwsgi_temp_path {folder}; scgi_temp_path {folder};\n\
             server {{ listen 127.0.0.1:{port}; root {files}; {more} }} }}\n",
            folder = folder.display(),
            files = files.display(),
        );
        fs::write(folder.join("nginx.conf"), configuration).expect("writes its configuration");
        let process = Process::spawn("nginx", Command::new("nginx").arg("-c").arg(folder.join("nginx.conf")));
        wait_for(port);
        Self { process, port, tls_port }
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
