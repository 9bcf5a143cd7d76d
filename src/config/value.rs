//! A value as it was written, in the file or in the environment, and its reading as a type.
//!
//! In the environment everything is text, so that a number, a truth value and a list may also be written as text.

use std::{collections::BTreeMap, ops::RangeInclusive, time::Duration};

use toml::de::DeValue;

use super::parse;

/// A value as it was written.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    /// A text.
    Text(String),
    /// A whole number.
    Integer(i64),
    /// `true` or `false`.
    Boolean(bool),
    /// A list.
    List(Vec<Value>),
    /// A table in a list, as `[[section]]` writes it.
    Table(BTreeMap<String, Value>),
    /// Something that no key accepts, by its name in English.
    Other(&'static str),
}

impl Value {
    /// Takes over what TOML says.
    pub(super) fn from_toml(value: &DeValue<'_>) -> Self {
        match value {
            DeValue::String(text) => Self::Text(text.to_string()),
            DeValue::Integer(digits) => i64::from_str_radix(digits.as_str(), digits.radix())
                .map_or(Self::Other("a number out of range"), Self::Integer),
            DeValue::Boolean(truth) => Self::Boolean(*truth),
            DeValue::Array(values) => Self::List(values.iter().map(|v| Self::from_toml(v.get_ref())).collect()),
            DeValue::Float(_) => Self::Other("a number with a fraction"),
            DeValue::Datetime(_) => Self::Other("a date"),
            DeValue::Table(table) => {
                let entries =
                    table.iter().map(|(name, value)| (name.get_ref().to_string(), Self::from_toml(value.get_ref())));
                Self::Table(entries.collect())
            }
        }
    }

    /// Whether it is 0, which needs no unit.
    fn is_zero(&self) -> bool {
        match self {
            Self::Integer(number) => *number == 0,
            Self::Text(text) => text.trim() == "0",
            _ => false,
        }
    }

    /// Whether it says as good as nothing: an empty text or list, or `false`.
    pub(super) fn is_empty(&self) -> bool {
        match self {
            Self::Text(text) => matches!(text.trim(), "" | "[]" | "false"),
            Self::List(values) => values.is_empty(),
            Self::Boolean(truth) => !truth,
            Self::Table(table) => table.is_empty(),
            Self::Integer(_) | Self::Other(_) => false,
        }
    }

    fn what(&self) -> &'static str {
        match self {
            Self::Text(_) => "a text",
            Self::Integer(_) => "a number",
            Self::Boolean(_) => "true or false",
            Self::List(_) => "a list",
            Self::Table(_) => "a section",
            Self::Other(what) => what,
        }
    }

    fn is_not(&self, wanted: &str) -> String {
        format!("must be {wanted}, not {}", self.what())
    }
}

/// A text, read on by `parse`.
pub(super) fn text<T>(parse: impl Fn(&str) -> Result<T, String>) -> impl Fn(&Value) -> Result<T, String> {
    move |value| match value {
        Value::Text(text) => parse(text),
        other => Err(other.is_not("a text in quotes")),
    }
}

/// A list, each member read by `member`. As a text: members separated by commas, or a list as TOML writes it.
pub(super) fn list<T>(member: impl Fn(&Value) -> Result<T, String>) -> impl Fn(&Value) -> Result<Vec<T>, String> {
    move |value| match value {
        Value::List(values) => values.iter().map(&member).collect(),
        Value::Text(text) => members(text)?.iter().map(&member).collect(),
        other => Err(other.is_not("a list in brackets")),
    }
}

fn members(text: &str) -> Result<Vec<Value>, String> {
    let text = text.trim();
    // An IPv6 address begins with a bracket too, so what is no TOML list is taken for members with commas.
    if text.starts_with('[')
        && let Ok(parsed) = DeValue::parse(text)
        && let Value::List(values) = Value::from_toml(parsed.get_ref())
    {
        return Ok(values);
    }
    let members = text.split(',').map(str::trim).filter(|member| !member.is_empty());
    Ok(members.map(|member| Value::Text(member.to_owned())).collect())
}

/// A table in a list: its keys by name, each read once, and none besides.
pub(super) struct Fields<'a> {
    table: &'a BTreeMap<String, Value>,
    known: Vec<&'static str>,
}

impl<'a> Fields<'a> {
    /// The fields of a value that is a table.
    pub(super) fn of(value: &'a Value) -> Result<Self, String> {
        match value {
            Value::Table(table) => Ok(Self { table, known: Vec::new() }),
            other => Err(other.is_not("a section with double brackets")),
        }
    }

    /// Reads a field, if it is there.
    pub(super) fn read<T>(
        &mut self,
        name: &'static str,
        read: impl Fn(&Value) -> Result<T, String>,
    ) -> Result<Option<T>, String> {
        self.known.push(name);
        self.table.get(name).map(|value| read(value).map_err(|problem| format!("`{name}` {problem}"))).transpose()
    }

    /// Ends the reading: fields that nobody read are unknown.
    pub(super) fn end(self) -> Result<(), String> {
        match self.table.keys().find(|name| !self.known.contains(&name.as_str())) {
            Some(unknown) => {
                Err(format!("has the unknown key `{}`: use {}", unknown.escape_debug(), self.known.join(", ")))
            }
            None => Ok(()),
        }
    }
}

/// `true` or `false`.
pub(super) fn boolean(value: &Value) -> Result<bool, String> {
    match value {
        Value::Boolean(truth) => Ok(*truth),
        Value::Text(text) => text.parse().map_err(|_| "must be `true` or `false`".to_owned()),
        other => Err(other.is_not("true or false")),
    }
}

/// A whole number within limits.
pub(super) fn number(within: RangeInclusive<u32>) -> impl Fn(&Value) -> Result<u32, String> {
    move |value| {
        let number = match value {
            Value::Integer(number) => u32::try_from(*number).ok(),
            Value::Text(text) => text.trim().parse().ok(),
            other => return Err(other.is_not("a whole number")),
        };
        let bad = || format!("must be a whole number from {} to {}", within.start(), within.end());
        number.filter(|number| within.contains(number)).ok_or_else(bad)
    }
}

/// A number of bytes.
pub(super) fn size(value: &Value) -> Result<u64, String> {
    match value {
        Value::Integer(number) => parse::size(&number.to_string()),
        Value::Text(text) => parse::size(text),
        other => Err(other.is_not("a size, as in `\"4 GiB\"`")),
    }
}

/// A number of bytes, or of bytes a second; 0 for none, or no limit.
pub(super) fn size_or_none(value: &Value) -> Result<u64, String> {
    if value.is_zero() { Ok(0) } else { size(value) }
}

/// A time span.
pub(super) fn duration(value: &Value) -> Result<Duration, String> {
    match value {
        Value::Text(text) => parse::duration(text),
        other => Err(other.is_not("a time span with its unit in quotes, as in `\"30s\"`")),
    }
}

/// A time span; 0 for none.
pub(super) fn duration_or_none(value: &Value) -> Result<Duration, String> {
    if value.is_zero() { Ok(Duration::ZERO) } else { duration(value) }
}

/// A text that another library reads: numbers and truth values become text.
pub(super) fn option(value: &Value) -> Result<String, String> {
    match value {
        Value::Text(text) => Ok(text.clone()),
        Value::Integer(number) => Ok(number.to_string()),
        Value::Boolean(truth) => Ok(truth.to_string()),
        other => Err(other.is_not("a text, a number, or true or false")),
    }
}
