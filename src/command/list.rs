//! `list` and `misses`: page by page, so that the first lines come at once and a long list needs no memory.

use std::io::Write;

use jiff::Timestamp;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;

use super::{
    Exit,
    api::Api,
    artifact::Artifact,
    error::Result,
    print::{self, bytes, moment},
};
use crate::cli::{ListArgs, MissesArgs};

/// `list`
pub(super) async fn artifacts(args: &ListArgs, out: &mut dyn Write) -> Result<Exit> {
    let api = Api::new(&args.client)?;
    let filter = [
        ("kind", &args.kind),
        ("state", &args.state),
        ("host", &args.host),
        ("project", &args.project),
        ("q", &args.search),
    ];
    let pages = Pages::new(&api, "artifacts", &filter, args.limit);
    if args.client.json {
        return pages.print_json(out).await;
    }
    let row = |artifact: Artifact| {
        let (size, name) = (bytes(artifact.size()), artifact.name().to_owned());
        [artifact.state, size, artifact.id, name]
    };
    pages.print_table(out, ["STATE", "SIZE", "ID", "NAME"], row).await
}

/// `misses`
pub(super) async fn misses(args: &MissesArgs, out: &mut dyn Write) -> Result<Exit> {
    let api = Api::new(&args.client)?;
    let pages = Pages::new(&api, "misses", &[("q", &args.search)], args.limit);
    if args.client.json {
        return pages.print_json(out).await;
    }
    let row = |miss: Miss| {
        let name = miss.uri.or(miss.reference).unwrap_or_default();
        [miss.count.to_string(), moment(miss.last_seen), miss.client, name]
    };
    pages.print_table(out, ["COUNT", "LAST SEEN", "CLIENT", "NAME"], row).await
}

/// What the API says about a miss, as far as it is printed for people.
#[derive(Debug, Deserialize)]
struct Miss {
    uri: Option<String>,
    reference: Option<String>,
    count: u64,
    last_seen: Timestamp,
    client: String,
}

#[derive(Debug, Deserialize)]
struct Page {
    items: Vec<Value>,
    next: Option<String>,
}

/// A list of the API, page by page.
struct Pages<'a> {
    api: &'a Api,
    path: &'static str,
    query: Vec<(&'static str, String)>,
    wanted: u64,
    is_over: bool,
}

impl<'a> Pages<'a> {
    fn new(api: &'a Api, path: &'static str, filter: &[(&'static str, &Option<String>)], limit: Option<u64>) -> Self {
        let given = filter.iter().filter_map(|(name, value)| Some((*name, value.as_deref()?.to_owned())));
        Self { api, path, query: given.collect(), wanted: limit.unwrap_or(u64::MAX), is_over: false }
    }

    /// The next page; `None` after the last one.
    async fn next(&mut self) -> Result<Option<Vec<Value>>> {
        if self.is_over || self.wanted == 0 {
            return Ok(None);
        }
        let limit = self.wanted.min(PAGE).to_string();
        let query = self.query.iter().map(|(name, value)| (*name, value.as_str()));
        let query: Vec<_> = query.chain([("limit", limit.as_str())]).collect();
        let answer = self.api.get(&[self.path], &query).await?;
        let page: Page = self.api.read(&answer)?;
        self.wanted = self.wanted.saturating_sub(page.items.len() as u64);
        self.query.retain(|(name, _)| *name != "cursor");
        match page.next {
            Some(cursor) => self.query.push(("cursor", cursor)),
            None => self.is_over = true,
        }
        Ok(Some(page.items))
    }

    async fn print_table<T: DeserializeOwned, const COLUMNS: usize>(
        mut self,
        out: &mut dyn Write,
        header: [&str; COLUMNS],
        row: impl Fn(T) -> [String; COLUMNS],
    ) -> Result<Exit> {
        let mut header = Some(header.map(str::to_owned));
        while let Some(items) = self.next().await? {
            let rows = items.iter().map(|item| self.api.read(item).map(&row)).collect::<Result<Vec<_>>>()?;
            print::table(out, header.take().into_iter().chain(rows))?;
            out.flush()?;
        }
        Ok(Exit::Done)
    }

    /// All items as one array.
    async fn print_json(mut self, out: &mut dyn Write) -> Result<Exit> {
        let mut separator = "[";
        while let Some(items) = self.next().await? {
            for item in items {
                write!(out, "{separator}\n{item}")?;
                separator = ",";
            }
        }
        writeln!(out, "{}", if separator == "[" { "[]" } else { "\n]" })?;
        Ok(Exit::Done)
    }
}

/// How many items are asked for at a time.
const PAGE: u64 = 200;
