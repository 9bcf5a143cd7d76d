//! The address guard with the default policy: the binary in a network of its own, which has a public address and nothing behind
//! it. Nothing is allowed there that a fresh installation does not allow.

use std::fs;

use tempfile::TempDir;

use crate::support::in_namespaces;

/// What runs inside the network: a public web server, a private one that nobody must reach, and distmirror without a configuration.
const SCRIPT: &str = r#"
set -u
cd "$1"
ip link set lo up
ip addr add 93.184.216.34/32 dev lo
printf '127.0.0.1 localhost private.test\n93.184.216.34 public.test\n93.184.216.34 both.test\n127.0.0.1 both.test\n' > hosts
mount --bind hosts /etc/hosts
/usr/bin/python3 servers.py > servers.log 2>&1 &
"$2" serve --data-dir data > log 2>&1 &
for attempt in $(seq 100); do
    curl -fs -o ready http://127.0.0.1:8080/readyz && break
    sleep 0.1
done
while read -r uri; do
    "$2" declare file "$uri" --reason test --wait > out 2>&1
    printf 'exit %s %s %s\n' "$?" "$uri" "$(tail -n 1 out)"
done < uris
printf 'reached %s\n' "$(cat reached 2>/dev/null | wc -l)"
"#;

/// The public server redirects wherever its path says; the private one notes that it was reached.
const SERVERS: &str = r#"
import http.server, threading, urllib.parse
class Public(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path.startswith("/to/"):
            self.send_response(302)
            self.send_header("Location", urllib.parse.unquote(self.path[4:]))
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(200)
        self.send_header("Content-Length", "6")
        self.end_headers()
        self.wfile.write(b"public")
    def log_message(self, *_):
        pass
class Private(Public):
    def do_GET(self):
        open("reached", "a").write(self.path + "\n")
        Public.do_GET(self)
for address, handler in (("93.184.216.34", Public), ("127.0.0.1", Private)):
    server = http.server.ThreadingHTTPServer((address, 80), handler)
    threading.Thread(target=server.serve_forever).start()
"#;

#[tokio::test]
async fn by_default_only_public_addresses_are_reached() {
    let folder = TempDir::new().expect("a temporary folder");
    fs::write(folder.path().join("servers.py"), SERVERS).expect("writes the servers");
    let (good, bad) = (
        ["http://93.184.216.34/a", "http://public.test/a", "http://public.test/to/http%3A%2F%2F93.184.216.34%2Fb"],
        [
            "http://127.0.0.1/a",
            "http://private.test/a",
            "http://both.test/a",
            "http://localhost/a",
            "http://[::1]/a",
            "http://[::ffff:127.0.0.1]/a",
            "http://169.254.169.254/latest/meta-data",
            "http://127.0.0.1:8080/api/v1/artifacts",
            "http://public.test/to/http%3A%2F%2F127.0.0.1%2Fa",
            "http://public.test/to/http%3A%2F%2Fprivate.test%2Fa",
            "http://public.test/to/http%3A%2F%2F93.184.216.34%2Fto%2Fhttp%253A%252F%252Fprivate.test%252Fa",
        ],
    );
    let uris: String = good.iter().chain(&bad).map(|uri| format!("{uri}\n")).collect();
    fs::write(folder.path().join("uris"), uris).expect("writes the URIs");
    let printed = in_namespaces(SCRIPT, folder.path()).await;
    let lines: Vec<&str> = printed.lines().collect();
    assert_eq!(lines.len(), good.len() + bad.len() + 1, "{printed}");
    for (uri, line) in good.iter().zip(&lines) {
        assert!(line.starts_with(&format!("exit 0 {uri} ")), "{line}");
    }
    for (uri, line) in bad.iter().zip(&lines[good.len()..]) {
        assert!(line.starts_with(&format!("exit 1 {uri} ")) && line.contains("address not allowed"), "{line}");
    }
    assert_eq!(lines.last(), Some(&"reached 0"), "the private server was reached: {printed}");
}
