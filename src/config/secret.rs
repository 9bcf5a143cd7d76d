//! Values that must not appear in logs and messages.

use std::fmt;

/// A text whose `Debug` hides it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Hides this text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HIDDEN)
    }
}

/// The URL of a database or of an object store. It may hold a password, which is only seen through [`Self::expose`].
#[derive(Clone, PartialEq, Eq)]
pub struct BackendUrl(String);

impl BackendUrl {
    /// Takes a URL that has been checked.
    pub(super) fn new(url: impl Into<String>) -> Self {
        Self(url.into())
    }

    /// The whole URL, for who connects to it.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// The URL for people: the password and every value in the query are `****`.
    pub fn redacted(&self) -> String {
        let (address, query) = match self.0.split_once('?') {
            Some((address, query)) => (address, Some(query)),
            None => (self.0.as_str(), None),
        };
        let address = hide_password(address);
        match query {
            Some(query) => format!("{address}?{}", hide_values(query)),
            None => address,
        }
    }
}

impl fmt::Debug for BackendUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.redacted())
    }
}

/// `scheme://user:password@host/path` without the password. Whatever stands before the last `@` is taken for user and
/// password, so that a password with a `/` or an `@` in it does not show through.
fn hide_password(address: &str) -> String {
    let Some((scheme, rest)) = address.split_once("://") else { return address.to_owned() };
    let Some((user_info, host)) = rest.rsplit_once('@') else { return address.to_owned() };
    match user_info.split_once(':') {
        Some((user, _)) => format!("{scheme}://{user}:{HIDDEN}@{host}"),
        None => address.to_owned(),
    }
}

fn hide_values(query: &str) -> String {
    let hide = |field: &str| match field.split_once('=') {
        Some((name, _)) => format!("{name}={HIDDEN}"),
        None => HIDDEN.to_owned(),
    };
    query.split('&').map(hide).collect::<Vec<_>>().join("&")
}

const HIDDEN: &str = "****";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redacted_url_shows_no_secret() {
        for (url, expected) in [
            ("sqlite:///srv/catalog.db", "sqlite:///srv/catalog.db"),
            ("mysql://root@h/d", "mysql://root@h/d"),
            ("mysql://u:p@ss@h/d", "mysql://u:****@h/d"),
            ("mysql://u:p/w@h/d", "mysql://u:****@h/d"),
            ("s3://bucket/prefix?x", "s3://bucket/prefix?****"),
        ] {
            assert_eq!(BackendUrl::new(url).redacted(), expected);
        }
    }
}
