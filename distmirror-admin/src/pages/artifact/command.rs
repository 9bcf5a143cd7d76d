//! Command lines and files that people paste.

use serde::Serialize;

/// Something to paste, and what it does.
#[derive(Debug, Serialize)]
pub(super) struct Command {
    pub(super) label: String,
    pub(super) line: String,
}

impl Command {
    pub(super) fn new(label: impl Into<String>, line: impl Into<String>) -> Self {
        Self { label: label.into(), line: line.into() }
    }
}

/// How to get the certificate that commands name.
pub(super) fn fetch_ca(proxy: &str) -> String {
    format!("curl -f -o distmirror-ca.pem http://{proxy}/ca.pem")
}

/// One word for a POSIX shell, as plain as it can be.
pub(super) fn word(text: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:/@".contains(&byte);
    if text.bytes().all(is_plain) { text.to_owned() } else { quoted(text) }
}

/// One word for a POSIX shell, whatever is in it.
pub(super) fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_reads_a_quoted_text_as_it_is() {
        assert_eq!(quoted("http://h/it's?a=1&b=$(x)"), r"'http://h/it'\''s?a=1&b=$(x)'");
        assert_eq!(word("quay.io/a/b:1@sha256:0f"), "quay.io/a/b:1@sha256:0f");
        assert_eq!(word("[::1]:5000/a"), "'[::1]:5000/a'");
    }
}
