//! Who may use the proxy. Pure: addresses and fields in, a decision out.

use std::{fmt, net::IpAddr, sync::Arc};

use base64::prelude::{BASE64_STANDARD, Engine};
use distmirror_core::Sha256;
use http::HeaderValue;
use ipnet::IpNet;

/// Somebody who may sign in at the proxy.
#[derive(Clone)]
pub struct User {
    /// The name, without a colon (RFC 7617 section 2).
    pub name: String,
    /// The SHA-256 of the password.
    pub password: Sha256,
    /// The project that is noted with what this user asks for, whether it is here or not.
    pub project: Option<Arc<str>>,
}

impl fmt::Debug for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("User").field("name", &self.name).field("project", &self.project).finish_non_exhaustive()
    }
}

/// Whether a client at this address may use a proxy that is for these networks; for everybody if there are none.
pub(crate) fn admits(networks: &[IpNet], client: IpAddr) -> bool {
    networks.is_empty() || networks.iter().any(|network| network.contains(&client.to_canonical()))
}

/// The user whose name and password a field brings, by the scheme `Basic` (RFC 7617).
pub(crate) fn signed_in<'a>(users: &'a [User], credentials: Option<&HeaderValue>) -> Option<&'a User> {
    let (scheme, encoded) = credentials?.to_str().ok()?.split_once(' ')?;
    let decoded = BASE64_STANDARD.decode(encoded.trim()).ok().filter(|_| scheme.eq_ignore_ascii_case("basic"))?;
    let colon = decoded.iter().position(|byte| *byte == b':')?;
    let (name, password) = (&decoded[..colon], Sha256::of(&decoded[colon + 1..]));
    users.iter().find(|user| user.name.as_bytes() == name && is_equal(&user.password, &password))
}

/// Takes as long for digests that begin alike as for others, so that nobody learns one byte by byte.
fn is_equal(one: &Sha256, other: &Sha256) -> bool {
    let pairs = one.as_bytes().iter().zip(other.as_bytes());
    std::hint::black_box(pairs.fold(0, |difference, (one, other)| difference | (one ^ other))) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_that_are_let_in() {
        let some = ["10.1.0.0/16", "192.0.2.7/32", "fd00::/8"].map(|network| network.parse().unwrap());
        for (networks, client, expected) in [
            (&some[..0], "203.0.113.1", true),
            (&some, "10.1.255.255", true),
            (&some, "10.2.0.0", false),
            (&some, "::ffff:192.0.2.7", true),
            (&some, "192.0.2.8", false),
            (&some, "fd12::1", true),
            (&some, "::1", false),
        ] {
            assert_eq!(admits(networks, client.parse().unwrap()), expected, "{client}");
        }
    }

    #[test]
    fn who_signs_in() {
        let user = |name: &str, password: &str| User {
            name: name.to_owned(),
            password: Sha256::of(password.as_bytes()),
            project: None,
        };
        let users = [user("ci", "pass:word"), user("b\u{fc}cher", "\u{20ac}")];
        let basic = |scheme: &str, text: &str| format!("{scheme} {}", BASE64_STANDARD.encode(text));
        for (field, expected) in [
            (basic("Basic", "ci:pass:word"), Some("ci")),
            (basic("bAsIc", "b\u{fc}cher:\u{20ac}"), Some("b\u{fc}cher")),
            (basic("Basic", "ci:pass"), None),
            (basic("Basic", "ci:"), None),
            (basic("Basic", "ci"), None),
            (basic("Basic", "b\u{fc}cher:pass:word"), None),
            (basic("Bearer", "ci:pass:word"), None),
            ("Basic ci:pass:word".to_owned(), None),
            (String::new(), None),
        ] {
            let value = HeaderValue::from_str(&field).unwrap();
            assert_eq!(signed_in(&users, Some(&value)).map(|user| user.name.as_str()), expected, "{field}");
        }
        assert!(signed_in(&users, None).is_none());
        assert!(!format!("{users:?}").contains(&users[0].password.hex()));
    }
}
