//! Credentials for upstream, and the only question about them: may they go there?
//!
//! They go to the host that the configuration names, and to nobody whom that host names: not to another realm, not along a
//! redirect. Over plain `http` they go where that is declared, unless the host is written with `https://`.

use std::fmt;

use base64::{Engine, engine::general_purpose::STANDARD};
use distmirror_core::{Authority, Host, Registry, Scheme, Uri};
use http::HeaderValue;

/// Credentials for one host.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The registry or host as people write it; with `https://` before it they never go there unencrypted.
    pub host: String,
    /// Who signs in; without a name the secret is a bearer token.
    pub username: Option<String>,
    /// The password, or the token.
    pub secret: String,
    /// Hosts besides that one to which the password may go for a token, as `auth.example.org`.
    pub token_hosts: Vec<String>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("host", &self.host)
            .field("username", &self.username)
            .field("token_hosts", &self.token_hosts)
            .finish_non_exhaustive()
    }
}

impl Credentials {
    /// The registry that they are for, and whether they must be encrypted on the way there.
    ///
    /// # Errors
    /// When the host is none.
    pub fn registry(&self) -> Result<(Registry, bool), String> {
        let (host, is_secure) = match self.host.strip_prefix("https://") {
            Some(host) => (host, true),
            None => (self.host.strip_prefix("http://").unwrap_or(&self.host), false),
        };
        Ok((Registry::parse(host.trim_end_matches('/'))?, is_secure))
    }

    /// Whether everything in them can be used.
    ///
    /// # Errors
    /// What cannot.
    pub fn check(&self) -> Result<(), String> {
        self.registry()?;
        self.token_hosts.iter().try_for_each(|host| Host::parse(host).map(drop).map_err(|error| error.to_string()))?;
        if self.username.as_ref().is_some_and(|name| name.contains(':')) {
            return Err("a user name with a `:` in it cannot be sent".to_owned());
        }
        self.header().map(drop).ok_or_else(|| "the secret cannot be sent: it has more than one line".to_owned())
    }

    /// The value of `Authorization` (RFC 7617, RFC 6750), which logs do not show.
    pub(crate) fn header(&self) -> Option<HeaderValue> {
        let text = match &self.username {
            Some(name) => format!("Basic {}", STANDARD.encode(format!("{name}:{}", self.secret))),
            None => format!("Bearer {}", self.secret),
        };
        sensitive(&text)
    }

    /// Whether the password may go to this realm to get a token for the registry.
    pub(crate) fn may_go_to(&self, realm: &Uri, registry: &Registry) -> bool {
        let own = registry.upstream(realm.scheme()).host;
        let is_own = realm.authority().host == own;
        let is_docker_hub = registry.as_str() == "docker.io" && is_host(realm.authority(), "auth.docker.io");
        is_own || is_docker_hub || self.token_hosts.iter().any(|host| is_host(realm.authority(), host))
    }
}

/// The credentials for a registry that is reached by this scheme, if there are any that may go there.
pub(crate) fn for_registry<'a>(all: &'a [Credentials], registry: &Registry, scheme: Scheme) -> Option<&'a Credentials> {
    all.iter().find(|credentials| {
        credentials
            .registry()
            .is_ok_and(|(named, is_secure)| named == *registry && (scheme == Scheme::Https || !is_secure))
    })
}

/// The credentials for a file, if there are any that may go there. A host without a port means every port of it, as people who
/// write `files.example.org` expect; of a registry the port is part of the name.
pub(crate) fn for_file<'a>(all: &'a [Credentials], uri: &Uri) -> Option<&'a Credentials> {
    let exactly = for_registry(all, &Registry::at(uri.authority(), uri.scheme()), uri.scheme());
    exactly.or_else(|| for_registry(all, &Registry::parse(&uri.authority().host.to_string()).ok()?, uri.scheme()))
}

/// A header value that is never shown.
pub(crate) fn sensitive(text: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

fn is_host(authority: &Authority, name: &str) -> bool {
    Host::parse(name).is_ok_and(|host| host == authority.host)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn credentials(host: &str, token_hosts: &[&str]) -> Credentials {
        let token_hosts = token_hosts.iter().map(|host| (*host).to_owned()).collect();
        Credentials {
            host: host.to_owned(),
            username: Some("me".to_owned()),
            secret: "hunter2".to_owned(),
            token_hosts,
        }
    }

    #[test]
    fn they_go_to_the_named_host_only() {
        let all = [
            credentials("https://registry.test", &[]),
            credentials("plain.test:5000", &[]),
            credentials("index.docker.io", &[]),
        ];
        for (registry, scheme, found) in [
            ("registry.test", Scheme::Https, true),
            ("registry.test:443", Scheme::Https, true),
            ("registry.test", Scheme::Http, false),
            ("registry.test:5000", Scheme::Https, false),
            ("other.registry.test", Scheme::Https, false),
            ("plain.test:5000", Scheme::Http, true),
            ("plain.test:5000", Scheme::Https, true),
            ("docker.io", Scheme::Https, true),
        ] {
            let registry = Registry::parse(registry).unwrap();
            assert_eq!(for_registry(&all, &registry, scheme).is_some(), found, "{registry} {scheme:?}");
        }
        assert!(!format!("{all:?}").contains("hunter2"));
        assert!(!format!("{:?}", all[0].header()).contains("aHVudGVyMg"));
    }

    #[test]
    fn of_files_a_host_means_every_port() {
        let all = [credentials("files.test", &[]), credentials("https://ported.test:8443", &[])];
        for (uri, found) in [
            ("https://files.test/a", true),
            ("http://files.test:8000/a", true),
            ("https://other.files.test/a", false),
            ("https://ported.test:8443/a", true),
            ("http://ported.test:8443/a", false),
            ("https://ported.test/a", false),
        ] {
            assert_eq!(for_file(&all, &uri.parse().unwrap()).is_some(), found, "{uri}");
        }
    }

    #[test]
    fn and_to_realms_that_are_its_own_or_named() {
        for (registry, token_hosts, realm, may) in [
            ("registry.test", &[][..], "https://registry.test/token", true),
            ("registry.test", &[], "https://registry.test:8443/token", true),
            ("registry.test", &[], "https://evil.test/token", false),
            ("registry.test", &[], "https://registry.test.evil.test/token", false),
            ("registry.test", &["AUTH.test"], "https://auth.test/token", true),
            ("docker.io", &[], "https://auth.docker.io/token", true),
            ("registry.test", &[], "https://auth.docker.io/token", false),
        ] {
            let realm: Uri = realm.parse().unwrap();
            let allowed = credentials(registry, token_hosts).may_go_to(&realm, &Registry::parse(registry).unwrap());
            assert_eq!(allowed, may, "{registry} {token_hosts:?} {realm}");
        }
    }

    #[test]
    fn what_cannot_be_used_is_told() {
        assert!(credentials("registry.test", &["auth.test"]).check().is_ok());
        for bad in [
            credentials("", &[]),
            credentials("registry.test", &["a b"]),
            Credentials { username: Some("a:b".to_owned()), ..credentials("registry.test", &[]) },
            Credentials { username: None, secret: "two\nlines".to_owned(), ..credentials("registry.test", &[]) },
        ] {
            assert!(bad.check().is_err(), "{bad:?}");
        }
    }
}
