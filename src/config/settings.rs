//! Everything that was written, by its full key, with the place where it was written.
//!
//! Sections are flattened: `[proxy]` with `listen` becomes `proxy.listen`. A key is known once somebody asked for it, so
//! that the list of keys exists only once, in [`super::keys`]; what was written and never asked for is an unknown key.

use std::{collections::BTreeMap, path::Path};

use toml::de::DeTable;

use super::{
    problem::{ConfigProblem, Origin},
    value::Value,
};

/// What was written, and what was found to be wrong with it.
#[derive(Debug, Default)]
pub(super) struct Settings {
    written: BTreeMap<String, Setting>,
    empty_sections: BTreeMap<String, Origin>,
    known: Vec<&'static str>,
    free_sections: Vec<&'static str>,
    problems: Vec<ConfigProblem>,
}

#[derive(Debug)]
struct Setting {
    value: Value,
    origin: Origin,
}

impl Settings {
    /// Adds what a file says.
    ///
    /// # Errors
    /// When it is not TOML.
    pub(super) fn add_file(&mut self, path: &Path, text: &str) -> Result<(), ConfigProblem> {
        let origin = |at: usize| Origin::File { path: path.to_owned(), line: line_of(text, at) };
        let table = DeTable::parse(text).map_err(|error| ConfigProblem {
            origin: origin(error.span().map_or(0, |span| span.start)),
            key: String::new(),
            message: error.message().replace('\n', "; "),
        })?;
        self.add_table("", table.get_ref(), &origin);
        Ok(())
    }

    fn add_table(&mut self, section: &str, table: &DeTable<'_>, origin: &dyn Fn(usize) -> Origin) {
        for (name, value) in table {
            let key = join(section, name.get_ref());
            let origin_of_key = origin(name.span().start);
            match value.get_ref().as_table() {
                Some(inner) if inner.is_empty() => drop(self.empty_sections.insert(key, origin_of_key)),
                Some(inner) => self.add_table(&key, inner, origin),
                None => {
                    let value = Value::from_toml(value.get_ref());
                    self.written.insert(key, Setting { value, origin: origin_of_key });
                }
            }
        }
    }

    /// Adds what the environment says, over what was there.
    pub(super) fn add_environment(&mut self, environment: impl Iterator<Item = (String, String)>) {
        for (variable, text) in environment {
            let Some(name) = variable.strip_prefix(PREFIX) else { continue };
            let key = name.split("__").fold(String::new(), |section, part| join(&section, &part.to_lowercase()));
            let in_capitals = !name.chars().any(char::is_lowercase);
            let origin = Origin::Environment(variable);
            if in_capitals {
                self.written.insert(key, Setting { value: Value::Text(text), origin });
            } else {
                let message = "must be written in capitals in the environment".to_owned();
                self.problems.push(ConfigProblem { origin, key, message });
            }
        }
    }

    /// Reads a key into its place, if it was written.
    pub(super) fn read<T>(
        &mut self,
        key: &'static str,
        place: &mut T,
        read: impl Fn(&Value) -> Result<T, String>,
    ) -> bool {
        self.known.push(key);
        let Some(setting) = self.written.get(key) else { return false };
        match read(&setting.value) {
            Ok(value) => *place = value,
            Err(message) => self.report(key, message),
        }
        true
    }

    /// Reads a key for which an empty text means that nothing was written. Tells whether something was.
    pub(super) fn read_unless_empty<T>(
        &mut self,
        key: &'static str,
        place: &mut T,
        read: impl Fn(&Value) -> Result<T, String>,
    ) -> bool {
        if self.written.get(key).is_some_and(|setting| setting.value == Value::Text(String::new())) {
            self.known.push(key);
            return false;
        }
        self.read(key, place, read)
    }

    /// Reads every key of a section whose keys are not ours.
    pub(super) fn read_section<T>(
        &mut self,
        section: &'static str,
        read: impl Fn(&Value) -> Result<T, String>,
    ) -> BTreeMap<String, T> {
        self.free_sections.push(section);
        let (mut values, mut problems) = (BTreeMap::new(), Vec::new());
        for (key, setting) in &self.written {
            let Some(name) = key.strip_prefix(section).and_then(|rest| rest.strip_prefix('.')) else { continue };
            match read(&setting.value) {
                Ok(value) => drop(values.insert(name.to_owned(), value)),
                Err(message) => problems.push((key.clone(), message)),
            }
        }
        for (key, message) in problems {
            self.report(&key, message);
        }
        values
    }

    /// Whether a key was written.
    pub(super) fn is_written(&self, key: &str) -> bool {
        self.written.contains_key(key)
    }

    /// Whether a key was written and asks for something.
    pub(super) fn is_written_and_not_empty(&self, key: &str) -> bool {
        self.written.get(key).is_some_and(|setting| !setting.value.is_empty())
    }

    /// Notes that something is wrong with a key.
    pub(super) fn report(&mut self, key: &str, message: String) {
        let origin = self.written.get(key).map_or(Origin::Nowhere, |setting| setting.origin.clone());
        self.problems.push(ConfigProblem { origin, key: key.to_owned(), message });
    }

    /// Whether something is wrong with this key.
    pub(super) fn is_reported(&self, key: &str) -> bool {
        self.problems.iter().any(|problem| problem.key == key)
    }

    /// Every key that somebody asked for.
    #[cfg(test)]
    pub(super) fn known(&self) -> &[&'static str] {
        &self.known
    }

    /// Everything that is wrong, unknown keys included, in the order of the file.
    pub(super) fn into_problems(mut self) -> Vec<ConfigProblem> {
        let written = self.written.iter().map(|(key, setting)| (key, &setting.origin));
        let unknown = written.filter(|(key, _)| !self.is_known(key));
        let unknown_sections = self.empty_sections.iter().filter(|(section, _)| !self.is_known_section(section));
        let found: Vec<_> = unknown
            .chain(unknown_sections)
            .map(|(key, origin)| ConfigProblem { origin: origin.clone(), key: key.clone(), message: self.unknown(key) })
            .collect();
        self.problems.extend(found);
        self.problems.sort();
        self.problems
    }

    fn is_known(&self, key: &str) -> bool {
        self.known.contains(&key) || self.free_sections.iter().any(|section| is_inside(key, section))
    }

    fn is_known_section(&self, key: &str) -> bool {
        self.free_sections.contains(&key) || self.known.iter().any(|known| is_inside(known, key))
    }

    fn unknown(&self, key: &str) -> String {
        if self.is_known_section(key) {
            return format!("is a section: write `[{key}]`, and its keys on the lines below");
        }
        let nearest = self.known.iter().map(|known| (distance(key, known), *known)).min();
        match nearest.filter(|(distance, _)| *distance <= 2) {
            Some((_, known)) if section_of(known) == section_of(key) => {
                format!("unknown key; did you mean `{}`?", known.rsplit('.').next().unwrap_or(known))
            }
            Some((_, known)) => format!("unknown key; did you mean `{known}`?"),
            None => "unknown key".to_owned(),
        }
    }
}

/// A key inside a section. A name that is not made of plain characters keeps its quotes, so that a dot inside it does not
/// become a section.
fn join(section: &str, name: &str) -> String {
    let plain = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'));
    let name = if plain { name.to_owned() } else { format!("\"{}\"", name.escape_debug()) };
    if section.is_empty() { name } else { format!("{section}.{name}") }
}

fn section_of(key: &str) -> &str {
    key.rsplit_once('.').map_or("", |(section, _)| section)
}

fn is_inside(key: &str, section: &str) -> bool {
    key.strip_prefix(section).is_some_and(|rest| rest.starts_with('.'))
}

fn line_of(text: &str, at: usize) -> usize {
    text.bytes().take(at).filter(|byte| *byte == b'\n').count() + 1
}

/// How many letters must be changed, added or left out to get from one word to the other (Levenshtein's distance).
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (line, letter) in one.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = line + 1;
        for column in 0..other.len() {
            let change = diagonal + usize::from(letter != other[column]);
            diagonal = row[column + 1];
            row[column + 1] = change.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[other.len()]
}

const PREFIX: &str = "DISTMIRROR__";
