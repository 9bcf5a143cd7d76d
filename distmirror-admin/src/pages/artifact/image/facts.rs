//! What authors write to images: names and values of which nobody knows what is in them. Only so much is shown as people read.

use std::collections::BTreeMap;

use serde::Serialize;
use url::Url;

/// Names with values.
#[derive(Debug, Default, Serialize)]
pub(super) struct Facts {
    pub(super) items: Vec<Fact>,
    /// How many more there are.
    pub(super) more: usize,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Fact {
    pub(super) name: String,
    pub(super) value: String,
    /// Whether the value is an address that may be made a link.
    pub(super) is_link: bool,
}

impl Fact {
    pub(super) fn new(name: &str, value: &str) -> Self {
        Self { name: cut(name), value: cut(value), is_link: is_link(value) }
    }
}

impl Facts {
    /// What people look for first, then the rest by name.
    pub(super) fn of(texts: &BTreeMap<String, String>) -> Self {
        let mut texts: Vec<_> = texts.iter().collect();
        texts.sort_by_key(|(name, _)| FIRST.iter().position(|first| first == name).unwrap_or(FIRST.len()));
        let shown = texts.iter().take(MOST_FACTS).map(|(name, value)| Fact::new(name, value));
        Self { items: shown.collect(), more: texts.len().saturating_sub(MOST_FACTS) }
    }
}

/// The text, or its start.
pub(super) fn cut(text: &str) -> String {
    match text.char_indices().nth(MOST_CHARACTERS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// Whether it leads to a page of the web, and nowhere else than it seems to.
fn is_link(text: &str) -> bool {
    let Ok(url) = Url::parse(text) else { return false };
    let is_web = matches!(url.scheme(), "http" | "https") && url.username().is_empty() && url.password().is_none();
    is_web && text.len() <= MOST_CHARACTERS
}

/// Where an image comes from and what may be done with it (OCI image specification, "Pre-Defined Annotation Keys").
const FIRST: [&str; 9] = [
    "org.opencontainers.image.source",
    "org.opencontainers.image.licenses",
    "org.opencontainers.image.revision",
    "org.opencontainers.image.version",
    "org.opencontainers.image.title",
    "org.opencontainers.image.description",
    "org.opencontainers.image.vendor",
    "org.opencontainers.image.url",
    "org.opencontainers.image.documentation",
];
const MOST_FACTS: usize = 100;
const MOST_CHARACTERS: usize = 1000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_look_for_comes_first() {
        let texts = ["a", "org.opencontainers.image.licenses", "z", "org.opencontainers.image.source"];
        let facts = Facts::of(&texts.map(|name| (name.to_owned(), "v".to_owned())).into());
        let names: Vec<_> = facts.items.iter().map(|fact| fact.name.as_str()).collect();
        assert_eq!(names, ["org.opencontainers.image.source", "org.opencontainers.image.licenses", "a", "z"]);
    }

    #[test]
    fn only_addresses_of_the_web_become_links() {
        for (text, expected) in [
            ("https://example.test/a?b#c", true),
            ("http://example.test", true),
            ("HTTPS://example.test/", true),
            ("javascript:alert(1)", false),
            ("data:text/html,x", false),
            ("https://github.com@evil.test/", false),
            ("https://", false),
            ("//example.test/", false),
            ("Apache-2.0", false),
        ] {
            assert_eq!(Fact::new("n", text).is_link, expected, "{text}");
        }
    }

    #[test]
    fn much_is_cut() {
        let long = Fact::new(&"ä".repeat(5000), &format!("https://h/{}", "a".repeat(5000)));
        assert_eq!((long.name.chars().count(), long.value.chars().count(), long.is_link), (1001, 1001, false));
        let many = (0..250).map(|number| (number.to_string(), String::new())).collect();
        assert_eq!((Facts::of(&many).items.len(), Facts::of(&many).more), (100, 150));
    }
}
