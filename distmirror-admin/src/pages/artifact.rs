//! `/artifacts/ID`: everything about one artifact, and what can be done with it.

use std::sync::Arc;

use distmirror_core::{Artifact, ArtifactId, ArtifactName, PageRequest, Uri};
use poem::{
    Response, handler,
    web::{Data, Path},
};
use serde::Serialize;
use uuid::Uuid;

use crate::{
    identity::Who,
    json::{self, AuditEntry, List},
    pages::{Flash, advice, done, form::Form},
    problem::Problem,
    site::Site,
};

#[derive(Serialize)]
struct Shown<'a> {
    flash: Option<&'static str>,
    alert: Option<&'a str>,
    artifact: json::Artifact,
    history: Vec<AuditEntry>,
    commands: Vec<Command>,
    /// How to get the CA certificate, if the first command needs it.
    fetch_ca: Option<String>,
    /// What to do about the last error.
    advice: Option<&'static str>,
}

/// A command line that downloads the artifact.
#[derive(Serialize)]
struct Command {
    label: &'static str,
    line: String,
}

/// The artifact.
#[handler]
pub(super) async fn show(site: Data<&Arc<Site>>, Path(id): Path<Uuid>, flash: Flash) -> Result<Response, Problem> {
    render(&site, ArtifactId(id), flash.0, None).await
}

/// Tries a failed artifact again.
#[handler]
pub(super) async fn retry(site: Data<&Arc<Site>>, Path(id): Path<Uuid>, who: Who) -> Result<Response, Problem> {
    let id = ArtifactId(id);
    let outcome = site.mirror.retry(id, &who.0).await;
    finish(&site, id, outcome, "retried").await
}

/// Takes the artifact out of service.
#[handler]
pub(super) async fn quarantine(
    site: Data<&Arc<Site>>,
    Path(id): Path<Uuid>,
    who: Who,
    form: Form,
) -> Result<Response, Problem> {
    let id = ArtifactId(id);
    let outcome = site.mirror.quarantine(id, form.text("reason"), &who.0).await;
    finish(&site, id, outcome, "quarantined").await
}

/// Puts the artifact back into service.
#[handler]
pub(super) async fn release(
    site: Data<&Arc<Site>>,
    Path(id): Path<Uuid>,
    who: Who,
    form: Form,
) -> Result<Response, Problem> {
    let id = ArtifactId(id);
    let outcome = site.mirror.release(id, form.text("reason"), &who.0).await;
    finish(&site, id, outcome, "released").await
}

async fn finish(
    site: &Site,
    id: ArtifactId,
    outcome: distmirror_core::Result<Artifact>,
    what: &str,
) -> Result<Response, Problem> {
    match outcome.map_err(Problem::from) {
        Ok(artifact) => Ok(done(&format!("/artifacts/{}", artifact.id), what)),
        Err(problem) if problem.is_mendable() => {
            let mut page = render(site, id, None, Some(&problem.detail)).await?;
            page.set_status(problem.status_code());
            Ok(page)
        }
        Err(problem) => Err(problem),
    }
}

async fn render(
    site: &Site,
    id: ArtifactId,
    flash: Option<&'static str>,
    alert: Option<&str>,
) -> Result<Response, Problem> {
    let catalog = site.mirror.catalog();
    let found = site.artifact(id).await?;
    let proxy = &site.options.proxy_address;
    let commands = commands(&found, proxy);
    let fetch_ca = found.name.as_str().starts_with("https:").then(|| fetch_ca(proxy));
    let advice = found.last_error.as_deref().map(advice::on);
    let history = catalog.audit(Some(id), &PageRequest::first(50)).await?;
    let artifact = json::artifact(catalog.as_ref(), found).await?;
    let shown = Shown { flash, alert, artifact, history: List::of(history).items, commands, fetch_ca, advice };
    Ok(site.templates.page("artifact.html", "/artifacts", &shown))
}

/// How to download it: under its own URL through the proxy, and from the mirror's own site.
fn commands(artifact: &Artifact, proxy: &str) -> Vec<Command> {
    let ArtifactName::File(uri) = &artifact.name else { return Vec::new() };
    let output = if uri.file_name().is_empty() { "-o download" } else { "-O" };
    let trust = if uri.scheme() == distmirror_core::Scheme::Https { "--cacert distmirror-ca.pem " } else { "" };
    let through_proxy = format!("curl -f {output} {trust}--proxy http://{proxy} {}", quoted(uri.as_str()));
    let from_site = format!("curl -f {output} {}", quoted(&format!("http://{proxy}{}", site_path(uri))));
    let mut commands = vec![
        Command { label: "Through the proxy, under its own URL", line: through_proxy },
        Command { label: "From the mirror's own site", line: from_site },
    ];
    if let Some(content) = &artifact.content {
        let address = format!("http://{proxy}/sha256/{}", content.digests.sha256.hex());
        commands.push(Command { label: "By its digest", line: format!("curl -f -o download {}", quoted(&address)) });
    }
    commands
}

/// How to get the certificate that `--cacert` names.
fn fetch_ca(proxy: &str) -> String {
    format!("curl -f -o distmirror-ca.pem http://{proxy}/ca.pem")
}

/// Where the mirror's own site has it, with the scheme so that nothing has to be guessed.
fn site_path(uri: &Uri) -> String {
    let authority = uri.authority().for_scheme(uri.scheme());
    format!("/{}/{authority}{}", uri.scheme().as_str(), uri.path_and_query())
}

/// For a POSIX shell.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_reads_a_quoted_text_as_it_is() {
        assert_eq!(quoted("http://h/it's?a=1&b=$(x)"), r"'http://h/it'\''s?a=1&b=$(x)'");
    }

    #[test]
    fn the_path_on_the_own_site_is_exact() {
        for (uri, path) in
            [("https://h.test/a?b=c", "/https/h.test/a?b=c"), ("http://h.test:8080/a/", "/http/h.test:8080/a/")]
        {
            assert_eq!(site_path(&uri.parse().unwrap()), path);
        }
    }
}
