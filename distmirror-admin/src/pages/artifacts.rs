//! `/artifacts`: search, filter, leaf through.

use std::sync::Arc;

use distmirror_core::State;
use poem::{
    Response, handler,
    web::{Data, Query},
};
use serde::Serialize;

use crate::{
    json::{self, Artifact},
    listing::{ArtifactQuery, given},
    pages::Flash,
    problem::Problem,
    site::Site,
};

#[derive(Serialize)]
struct Artifacts {
    flash: Option<&'static str>,
    query: Fields,
    kinds: Vec<Link>,
    states: Vec<Link>,
    watches: Vec<Link>,
    items: Vec<Artifact>,
    /// Where the list starts, unless this is the start.
    first: Option<String>,
    next: Option<String>,
}

/// What the list is narrowed to.
#[derive(Clone, Default, Serialize)]
struct Fields {
    q: Option<String>,
    kind: Option<String>,
    state: Option<String>,
    host: Option<String>,
    repository: Option<String>,
    watch: Option<String>,
    project: Option<String>,
}

#[derive(Serialize)]
struct Link {
    label: &'static str,
    href: String,
    current: bool,
}

/// The list.
#[handler]
pub(super) async fn show(
    site: Data<&Arc<Site>>,
    Query(query): Query<ArtifactQuery>,
    flash: Flash,
) -> Result<Response, Problem> {
    let fields = Fields {
        q: given(query.q.clone()),
        kind: given(query.kind.clone()),
        state: given(query.state.clone()),
        host: given(query.host.clone()),
        repository: given(query.repository.clone()),
        watch: given(query.watch.clone()),
        project: given(query.project.clone()),
    };
    let (filter, page) = query.parse(None)?;
    let found = site.mirror.catalog().list(&filter, &page).await?;
    let list = json::artifacts(site.mirror.catalog().as_ref(), found).await?;
    let artifacts = Artifacts {
        flash: flash.0,
        kinds: fields.kind_links(),
        states: fields.state_links(),
        watches: fields.watch_links(),
        items: list.items,
        first: page.after.map(|_| fields.href(None)),
        next: list.next.map(|cursor| fields.href(Some(&cursor))),
        query: fields,
    };
    Ok(site.templates.page("artifacts.html", "/artifacts", &artifacts))
}

impl Fields {
    /// The address of the list that is narrowed like this.
    fn href(&self, cursor: Option<&str>) -> String {
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        for (name, value) in [
            ("q", self.q.as_deref()),
            ("kind", self.kind.as_deref()),
            ("state", self.state.as_deref()),
            ("host", self.host.as_deref()),
            ("repository", self.repository.as_deref()),
            ("watch", self.watch.as_deref()),
            ("project", self.project.as_deref()),
            ("cursor", cursor),
        ] {
            if let Some(value) = value {
                query.append_pair(name, value);
            }
        }
        format!("/artifacts?{}", query.finish()).trim_end_matches('?').to_owned()
    }

    fn kind_links(&self) -> Vec<Link> {
        let link = |(label, kind): (&'static str, Option<&str>)| Link {
            label,
            href: Self { kind: kind.map(str::to_owned), ..self.clone() }.href(None),
            current: self.kind.as_deref() == kind,
        };
        let kinds = [("all kinds", None), ("files", Some("file")), ("images", Some("image"))];
        kinds.map(link).into()
    }

    fn state_links(&self) -> Vec<Link> {
        let link = |label: &'static str, state: Option<&str>| Link {
            label,
            href: Self { state: state.map(str::to_owned), ..self.clone() }.href(None),
            current: self.state.as_deref() == state,
        };
        let states = State::ALL.map(|state| link(state.as_str(), Some(state.as_str())));
        std::iter::once(link("all", None)).chain(states).collect()
    }

    /// What upstream does not have any more; the one that is chosen leads back.
    fn watch_links(&self) -> Vec<Link> {
        let link = |(label, watch): (&'static str, &str)| {
            let current = self.watch.as_deref() == Some(watch);
            let watch = (!current).then(|| watch.to_owned());
            Link { label, href: Self { watch, ..self.clone() }.href(None), current }
        };
        [("gone upstream", "gone"), ("changed upstream", "changed")].map(link).into()
    }
}
