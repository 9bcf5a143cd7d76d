//! What is shown of a file: how to download it, or how to supply it by hand.

use distmirror_core::{Artifact, Scheme, Uri};
use serde::Serialize;

use super::{
    by_hand::Card,
    command::{Command, fetch_ca, quoted},
};
use crate::Options;

#[derive(Serialize)]
pub(super) struct View {
    commands: Vec<Command>,
    /// How to get the CA certificate, if the first command needs it.
    fetch_ca: Option<String>,
    /// How to supply it, if it may be.
    by_hand: Option<Card>,
}

/// How clients get it, and people bring it.
pub(super) fn view(uri: &Uri, artifact: &Artifact, options: &Options) -> View {
    let proxy = &options.proxy_address;
    let fetch_ca = (uri.scheme() == Scheme::Https).then(|| fetch_ca(proxy));
    View { commands: commands(uri, artifact, proxy), fetch_ca, by_hand: Card::of(uri, artifact, options) }
}

/// Under its own URL through the proxy, and from the mirror's own site.
fn commands(uri: &Uri, artifact: &Artifact, proxy: &str) -> Vec<Command> {
    let output = if uri.file_name().is_empty() { "-o download" } else { "-O" };
    let trust = if uri.scheme() == Scheme::Https { "--cacert distmirror-ca.pem " } else { "" };
    let through_proxy = format!("curl -f {output} {trust}--proxy http://{proxy} {}", quoted(uri.as_str()));
    let from_site = format!("curl -f {output} {}", quoted(&format!("http://{proxy}{}", site_path(uri))));
    let mut commands = vec![
        Command::new("Through the proxy, under its own URL", through_proxy),
        Command::new("From the mirror's own site", from_site),
    ];
    if let Some(content) = &artifact.content {
        let address = format!("http://{proxy}/sha256/{}", content.digests.sha256.hex());
        commands.push(Command::new("By its digest", format!("curl -f -o download {}", quoted(&address))));
    }
    commands
}

/// Where the mirror's own site has it, with the scheme so that nothing has to be guessed.
fn site_path(uri: &Uri) -> String {
    let authority = uri.authority().for_scheme(uri.scheme());
    format!("/{}/{authority}{}", uri.scheme().as_str(), uri.path_and_query())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_on_the_own_site_is_exact() {
        for (uri, path) in
            [("https://h.test/a?b=c", "/https/h.test/a?b=c"), ("http://h.test:8080/a/", "/http/h.test:8080/a/")]
        {
            assert_eq!(site_path(&uri.parse().unwrap()), path);
        }
    }
}
