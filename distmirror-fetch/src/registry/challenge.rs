//! What a registry wants before it answers: the `WWW-Authenticate` field (RFC 9110 section 11.6.1). Pure.

use http::{HeaderMap, header};

/// One way in which a registry lets somebody in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Challenge {
    /// In lower case: `bearer`, `basic`.
    pub(crate) scheme: String,
    parameters: Vec<(String, String)>,
}

impl Challenge {
    /// A parameter, whatever the case of its name.
    pub(crate) fn parameter(&self, name: &str) -> Option<&str> {
        let found = self.parameters.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    /// Every challenge of an answer, in order.
    pub(crate) fn all(headers: &HeaderMap) -> Vec<Self> {
        let values = headers.get_all(header::WWW_AUTHENTICATE).iter().filter_map(|value| value.to_str().ok());
        values.flat_map(parse).collect()
    }
}

/// A name before `=` belongs to the challenge that came before it; any other one begins a challenge.
fn parse(field: &str) -> Vec<Challenge> {
    let mut found: Vec<Challenge> = Vec::new();
    let mut rest = field;
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        let end = rest.find([' ', '\t', ',', '=', '"']).unwrap_or(rest.len());
        if end == 0 {
            // Either the end, or nothing that anybody could mean.
            return found;
        }
        let (name, after) = rest.split_at(end);
        match (after.trim_start().strip_prefix('='), found.last_mut()) {
            (Some(value), Some(challenge)) => {
                let (value, after) = parse_value(value.trim_start());
                challenge.parameters.push((name.to_owned(), value));
                rest = after;
            }
            (Some(_), None) => return found,
            (None, _) => {
                found.push(Challenge { scheme: name.to_ascii_lowercase(), parameters: Vec::new() });
                rest = after;
            }
        }
    }
}

/// A token or a quoted string, and what follows it.
fn parse_value(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([',', ' ', '\t']).unwrap_or(text.len());
        return (text[..end].to_owned(), &text[end..]);
    };
    let (mut value, mut escaped) = (String::new(), false);
    for (at, character) in quoted.char_indices() {
        match character {
            _ if escaped => {
                value.push(character);
                escaped = false;
            }
            '\\' => escaped = true,
            '"' => return (value, &quoted[at + 1..]),
            _ => value.push(character),
        }
    }
    (value, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn challenges_as_registries_write_them() {
        let hub = r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:library/debian:pull""#;
        let [challenge] = &parse(hub)[..] else { panic!("one challenge") };
        assert_eq!(challenge.scheme, "bearer");
        for (name, value) in [
            ("realm", Some("https://auth.docker.io/token")),
            ("SERVICE", Some("registry.docker.io")),
            ("scope", Some("repository:library/debian:pull")),
            ("error", None),
        ] {
            assert_eq!(challenge.parameter(name), value);
        }
        for (field, schemes) in [
            ("Basic realm=\"a, b\", Bearer realm=x , service = \"y\\\"z\"", vec!["basic", "bearer"]),
            ("Negotiate, Basic realm=x", vec!["negotiate", "basic"]),
            ("Basic", vec!["basic"]),
            ("", vec![]),
            ("=", vec![]),
            ("\"", vec![]),
            ("realm=x", vec![]),
            ("Bearer realm=\"unfinished", vec!["bearer"]),
        ] {
            let found: Vec<_> = parse(field).into_iter().map(|challenge| challenge.scheme).collect();
            assert_eq!(found, schemes, "{field}");
        }
        assert_eq!(parse("Bearer service = \"y\\\"z\"")[0].parameter("service"), Some("y\"z"));
    }
}
