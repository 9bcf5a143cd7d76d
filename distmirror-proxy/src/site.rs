//! The mirror's own site on the proxy port: the certificate, how to point a tool here, whether that worked, and health.

use bytes::Bytes;
use distmirror_core::{Authority, Scheme};
use http::{HeaderValue, Response, StatusCode, header, request::Parts};

use crate::{
    body::Body,
    face::{Page, Via},
    metrics::answered,
    refusal::{Code, Refusal},
    serve::Shared,
};

/// Answers a page of the site.
pub(crate) async fn answer(shared: &Shared, page: &Page, via: &Via, parts: &Parts) -> Result<Response<Body>, Refusal> {
    let proxy = own_url(shared, via, parts);
    Ok(answered(
        "page",
        match page {
            Page::Welcome => text(welcome(shared, &proxy)),
            Page::Certificate => typed("application/x-pem-file", shared.leaves.authority().pem().to_owned()),
            Page::Setup(tool) => text(setup(tool, &proxy).ok_or_else(|| unknown_tool(tool))?),
            Page::Check => check(via, parts, &proxy),
            Page::Health => text("ok\n".to_owned()),
            Page::Readiness => readiness(shared).await,
            Page::Metrics => typed("text/plain; version=0.0.4", (shared.options.metrics)()),
        },
    ))
}

/// The URL by which the client calls this proxy; what it must put into its settings.
fn own_url(shared: &Shared, via: &Via, parts: &Parts) -> String {
    if let Some(own) = &shared.options.public_url {
        return own.clone();
    }
    let scheme = if matches!(via, Via::Secure(_)) { Scheme::Https } else { Scheme::Http };
    let in_field = parts.headers.get(header::HOST).and_then(|value| value.to_str().ok());
    // HTTP/2 has the target instead.
    let host = in_field.or_else(|| parts.uri.authority().map(http::uri::Authority::as_str));
    let host = host.and_then(|host| Authority::parse(host, scheme.default_port()).ok());
    let host = host.map_or_else(|| "127.0.0.1:3128".to_owned(), |host| host.to_string());
    format!("{}://{host}", scheme.as_str())
}

fn welcome(shared: &Shared, proxy: &str) -> String {
    format!(
        "distmirror: declared artifacts under their original URLs.\n\n\
         Declare artifacts:    {}/declare\n\
         Use this proxy:       {proxy}/setup/\n\
         Trust its CA:         {proxy}/ca.pem\n\
         Try whether it works: {proxy}/check\n",
        shared.options.admin_url
    )
}

/// What to paste for a tool; an empty name lists the tools.
fn setup(tool: &str, proxy: &str) -> Option<String> {
    if tool.is_empty() {
        let list: Vec<String> = TOOLS.iter().map(|(name, _)| format!("  {proxy}/setup/{name}\n")).collect();
        return Some(format!(
            "How to point a tool at this mirror:\n\n{}\nThe CA certificate: {proxy}/ca.pem\n",
            list.concat()
        ));
    }
    let (_, template) = TOOLS.iter().find(|(name, _)| *name == tool)?;
    let address = address_in(proxy);
    let text = template.replace("{proxy}", proxy).replace("{address}", address);
    let (host, port) = address.rsplit_once(':').unwrap_or((address, "3128"));
    let text = text.replace("{host}", host).replace("{port}", port);
    let is_curl_by_tls = tool == "curl" && proxy.starts_with("https:");
    Some(if is_curl_by_tls { text + "proxy-cacert = \"distmirror-ca.pem\"\n" } else { text })
}

/// `HOST:PORT` of the proxy's URL.
fn address_in(proxy: &str) -> &str {
    proxy.split_once("://").map_or(proxy, |(_, address)| address)
}

fn unknown_tool(tool: &str) -> Refusal {
    let known: Vec<&str> = TOOLS.iter().map(|(name, _)| *name).collect();
    Refusal::new(
        Code::NoSuchPage,
        format!("there is no set-up for `{}`; there is for {}", tool.escape_debug(), known.join(", ")),
    )
}

/// Tells a client how it reaches the mirror. That it reads this through TLS proves that it trusts the CA.
fn check(via: &Via, parts: &Parts, proxy: &str) -> Response<Body> {
    let through_proxy = matches!(via, Via::Tunnel(..)) || via.asks_a_proxy(parts);
    let trusts = match via {
        Via::Tunnel(..) | Via::Secure(_) => "yes".to_owned(),
        Via::Plain | Via::Redirected => {
            let trusting = if proxy.starts_with("https:") { " --proxy-cacert distmirror-ca.pem" } else { "" };
            let address = address_in(proxy);
            format!("not shown yet: curl -x {proxy}{trusting} --cacert distmirror-ca.pem https://{address}/check")
        }
    };
    let through_proxy = if through_proxy { "yes" } else { "no" };
    text(format!("through the proxy: {through_proxy}\ntrusts the CA:     {trusts}\n"))
}

async fn readiness(shared: &Shared) -> Response<Body> {
    let problems = shared.mirror.readiness().await;
    if problems.is_empty() {
        return text("ready\n".to_owned());
    }
    // Without their causes: those name servers, and anybody may ask here. The admin side has them.
    let mut response = text(problems.iter().map(|problem| format!("{problem}\n")).collect());
    *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    response
}

fn text(body: String) -> Response<Body> {
    typed("text/plain; charset=utf-8", body)
}

/// A page that the mirror makes itself, and that nobody may keep.
pub(crate) fn typed(content_type: &'static str, body: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(Body::full(body));
    let fields = response.headers_mut();
    fields.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    fields.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    fields.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// What to paste, by tool. `{proxy}` is the URL of this proxy, `{address}` its `HOST:PORT`.
const TOOLS: &[(&str, &str)] = &[
    (
        "env",
        "# For most tools, in the shell that builds:\n\
         curl -fsS {proxy}/ca.pem -o distmirror-ca.pem\n\
         cat /etc/ssl/certs/ca-certificates.crt distmirror-ca.pem > distmirror-bundle.pem\n\
         export http_proxy={proxy} https_proxy={proxy} HTTP_PROXY={proxy} HTTPS_PROXY={proxy}\n\
         export SSL_CERT_FILE=$PWD/distmirror-bundle.pem CURL_CA_BUNDLE=$PWD/distmirror-bundle.pem\n\
         export REQUESTS_CA_BUNDLE=$PWD/distmirror-bundle.pem PIP_CERT=$PWD/distmirror-bundle.pem\n\
         export GIT_SSL_CAINFO=$PWD/distmirror-bundle.pem\n\
         export NODE_EXTRA_CA_CERTS=$PWD/distmirror-ca.pem CARGO_HTTP_CAINFO=$PWD/distmirror-bundle.pem\n",
    ),
    (
        "curl",
        "curl -fsS {proxy}/ca.pem -o distmirror-ca.pem\n# then, in ~/.curlrc or on the command line:\nproxy = \"{proxy}\"\ncacert = \"distmirror-ca.pem\"\n",
    ),
    (
        "wget",
        "curl -fsS {proxy}/ca.pem -o distmirror-ca.pem\n# then, in ~/.wgetrc:\nuse_proxy = on\nhttp_proxy = {proxy}\nhttps_proxy = {proxy}\nca_certificate = distmirror-ca.pem\n",
    ),
    (
        "debian",
        "# Trust the CA in the whole system (Debian, Ubuntu), as root:\n\
         curl -fsS {proxy}/ca.pem -o /usr/local/share/ca-certificates/distmirror.crt && update-ca-certificates\n",
    ),
    (
        "java",
        "# A trust store with the CA, and the options for the JVM; for Bazel put each option behind a\n\
         # `startup --host_jvm_args=` of its own in .bazelrc:\n\
         curl -fsS {proxy}/ca.pem -o distmirror-ca.pem\n\
         keytool -importcert -noprompt -alias distmirror -file distmirror-ca.pem -keystore distmirror.jks -storepass changeit\n\
         -Djavax.net.ssl.trustStore=distmirror.jks\n-Djavax.net.ssl.trustStorePassword=changeit\n\
         -Dhttps.proxyHost={host}\n-Dhttps.proxyPort={port}\n-Dhttp.proxyHost={host}\n-Dhttp.proxyPort={port}\n",
    ),
    (
        "podman",
        "# podman, skopeo, buildah, CRI-O: through the proxy, trusting the mirror's CA\n\
         curl -fsS {proxy}/ca.pem -o distmirror-ca.pem\n\
         export HTTPS_PROXY={proxy} SSL_CERT_FILE=$PWD/distmirror-ca.pem\n\
         # or without the CA, for each registry a file in /etc/containers/registries.conf.d/, as distmirror.conf:\n\
         [[registry]]\nprefix = \"docker.io\"\nlocation = \"docker.io\"\nmirror-by-digest-only = true\n\
         [[registry.mirror]]\nlocation = \"{address}/docker.io\"\ninsecure = true\n",
    ),
    (
        "containerd",
        "# With config_path = \"/etc/containerd/certs.d\" in containerd's configuration, for every registry, in\n\
         # /etc/containerd/certs.d/_default/hosts.toml (or REGISTRY in place of _default):\n\
         server = \"{proxy}\"\n[host.\"{proxy}\"]\ncapabilities = [\"pull\"]\n",
    ),
    (
        "docker",
        "# In /etc/docker/daemon.json, with the CA among those of the system (see debian); then restart Docker:\n\
         {\"proxies\": {\"http-proxy\": \"{proxy}\", \"https-proxy\": \"{proxy}\"}}\n\
         # or for docker.io alone, without the CA:\n\
         {\"registry-mirrors\": [\"{proxy}\"]}\n",
    ),
];
