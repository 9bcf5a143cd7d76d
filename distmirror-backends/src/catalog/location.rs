//! Which database a URL means, and how to show it without its password.

use std::{fmt, path::PathBuf};

use url::Url;

const ACCEPTED: &str =
    "use `sqlite://PATH`, `postgres://USER:PASSWORD@HOST/DATABASE` or `mysql://USER:PASSWORD@HOST/DATABASE`";

/// Where a catalog is. Shows itself without its password.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Location {
    /// A file of SQLite.
    Sqlite(PathBuf),
    /// A server that speaks the protocol of PostgreSQL.
    Postgres(Url),
    /// A server that speaks the protocol of MySQL.
    MySql(Url),
}

impl Location {
    /// Reads the URL of a catalog.
    pub(super) fn parse(url: &str) -> Result<Self, String> {
        let Some((scheme, rest)) = url.split_once("://") else {
            return Err(format!("`{}` is not the URL of a catalog: {ACCEPTED}", redacted(url)));
        };
        match scheme {
            "sqlite" => Self::parse_path(rest),
            "postgres" | "postgresql" => parse_server("postgres", rest).map(Self::Postgres),
            "mysql" | "mariadb" => parse_server("mysql", rest).map(Self::MySql),
            other => Err(format!("`{}` is not a kind of catalog: {ACCEPTED}", other.escape_debug())),
        }
    }

    fn parse_path(path: &str) -> Result<Self, String> {
        if path.is_empty() || path == ":memory:" {
            return Err(format!("a catalog in SQLite needs a file: {ACCEPTED}"));
        }
        if path.contains(['?', '\0']) {
            return Err(
                "the path of a catalog in SQLite takes no parameters: leave out `?` and what follows it".to_owned()
            );
        }
        Ok(Self::Sqlite(path.into()))
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(path) => path.display().fmt(f),
            Self::Postgres(url) | Self::MySql(url) => f.write_str(&without_secrets(url)),
        }
    }
}

impl fmt::Debug for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The URL of a catalog as it may be shown, whether it is well formed or not.
pub(super) fn redacted(url: &str) -> String {
    match (url.split_once("://"), Url::parse(url)) {
        (Some(("sqlite", _)), _) => url.to_owned(),
        (Some(_), Ok(parsed)) => without_secrets(&parsed),
        (Some((scheme, _)), Err(_)) => format!("{}://****", scheme.escape_debug()),
        (None, _) => "****".to_owned(),
    }
}

/// Parameters may be secrets as well (`?password=`), and say nothing about which database it is.
fn without_secrets(url: &Url) -> String {
    let mut shown = url.clone();
    shown.set_query(None);
    if shown.password().is_some() {
        // Refused only by URLs that cannot have a password.
        shown.set_password(Some("****")).ok();
    }
    shown.to_string()
}

fn parse_server(scheme: &str, rest: &str) -> Result<Url, String> {
    let url = Url::parse(&format!("{scheme}://{rest}"))
        .map_err(|error| format!("the URL of the catalog is malformed ({error}): {ACCEPTED}"))?;
    if url.path().len() < 2 {
        return Err(format!("the URL of the catalog names no database: {ACCEPTED}"));
    }
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepted_forms() {
        for (url, shown) in [
            ("sqlite://catalog.db", "catalog.db"),
            ("sqlite:///var/lib/a b/catalog.db", "/var/lib/a b/catalog.db"),
            ("postgres://u:secret@h/d?password=secret", "postgres://u:****@h/d"),
            ("postgresql://u@h:5433/d", "postgres://u@h:5433/d"),
            ("mysql://u:se%40cret@h/d", "mysql://u:****@h/d"),
            ("mariadb://u@h/d", "mysql://u@h/d"),
        ] {
            assert_eq!(Location::parse(url).map(|location| location.to_string()).as_deref(), Ok(shown), "{url}");
        }
    }

    #[test]
    fn refused_forms_name_the_accepted_ones_and_no_password() {
        for url in [
            "",
            "catalog.db",
            "sqlite:catalog.db",
            "sqlite://",
            "sqlite://:memory:",
            "oracle://u:secret@h/d",
            "postgres://u:secret@h",
            "mysql://u:secret@h:port/d",
        ] {
            let message = Location::parse(url).expect_err(url);
            assert!(message.contains("sqlite://PATH") && message.contains("mysql://"), "{url}: {message}");
            assert!(!message.contains("secret") && !redacted(url).contains("secret"), "{url}: {message}");
        }
    }
}
