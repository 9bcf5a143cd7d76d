//! The REST API as its client sees it: requests out, JSON or an [`Error`] in.

use std::time::Duration;

use distmirror_core::ArtifactId;
use reqwest::{Client, Method, RequestBuilder, StatusCode, redirect};
use serde::de::DeserializeOwned;
use serde_json::Value;
use url::Url;

use super::error::{Error, Problem, Result};
use crate::{cli::ClientArgs, config::Secret};

/// A server's REST API.
#[derive(Debug)]
pub(super) struct Api {
    client: Client,
    base: Url,
    token: Option<Secret>,
}

impl Api {
    /// The API that the command line names. Nothing is sent yet.
    pub(super) fn new(args: &ClientArgs) -> Result<Self> {
        let client = Client::builder()
            .user_agent(concat!("distmirror/", env!("CARGO_PKG_VERSION")))
            // The mirror's own proxy, which builds have in their environment, is not the way to its API.
            .no_proxy()
            .redirect(redirect::Policy::none())
            .connect_timeout(Duration::from_secs(10))
            .timeout(Duration::from_secs(60))
            .build()
            .map_err(|error| Error::unreachable(shown(&args.server), &error))?;
        let token = args.token.clone().filter(|token| !token.expose().is_empty());
        Ok(Self { client, base: args.server.clone(), token })
    }

    /// Gets what is at a path below `/api/v1`.
    pub(super) async fn get(&self, path: &[&str], query: &[(&str, &str)]) -> Result<Value> {
        let mut url = self.url(path)?;
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        Ok(self.send(self.client.request(Method::GET, url)).await?.1)
    }

    /// Posts to a path below `/api/v1`, with this JSON if there is any.
    pub(super) async fn post(&self, path: &[&str], body: Option<&Value>) -> Result<(StatusCode, Value)> {
        let mut request = self.client.request(Method::POST, self.url(path)?);
        if let Some(body) = body {
            request = request.json(body);
        }
        self.send(request).await
    }

    /// The artifact with this id or this URI.
    pub(super) async fn find(&self, id_or_uri: &str) -> Result<Value> {
        match id_or_uri.parse::<ArtifactId>() {
            Ok(id) => self.get(&["artifacts", &id.to_string()], &[]).await,
            Err(_) => self.get(&["artifacts", "lookup"], &[("uri", id_or_uri)]).await,
        }
    }

    /// Reads an answer as what it should be.
    pub(super) fn read<T: DeserializeOwned>(&self, answer: &Value) -> Result<T> {
        T::deserialize(answer).map_err(|error| self.strange(error.to_string()))
    }

    /// The error for an answer that is not one of distmirror's.
    pub(super) fn strange(&self, what: impl Into<String>) -> Error {
        Error::Strange { server: shown(&self.base), what: what.into() }
    }

    fn url(&self, path: &[&str]) -> Result<Url> {
        let mut url = self.base.clone();
        let Ok(mut segments) = url.path_segments_mut() else { return Err(self.strange("not a web address")) };
        segments.pop_if_empty().extend(["api", "v1"]).extend(path);
        drop(segments);
        Ok(url)
    }

    async fn send(&self, mut request: RequestBuilder) -> Result<(StatusCode, Value)> {
        if let Some(token) = &self.token {
            request = request.bearer_auth(token.expose());
        }
        let unreachable = |error| Error::unreachable(shown(&self.base), &error);
        let response = request.send().await.map_err(unreachable)?;
        let status = response.status();
        let body = response.bytes().await.map_err(unreachable)?;
        let Ok(answer) = serde_json::from_slice::<Value>(&body) else {
            return Err(self.strange(format!("status {}, and no JSON", status.as_u16())));
        };
        if status.is_success() {
            return Ok((status, answer));
        }
        let problem: Problem = self.read(&answer)?;
        Err(Error::Refused { status, problem })
    }
}

/// A server's URL for people: without a password in it.
fn shown(server: &Url) -> String {
    let mut shown = server.clone();
    // Only URLs that cannot have a password refuse to take it away.
    let _ = shown.set_password(None);
    shown.as_str().trim_end_matches('/').to_owned()
}
