//! A strict reader of what a server of HTTP/1.1 sends: RFC 9112 as far as this proxy uses it. It panics where the bytes
//! are not that.

/// One answer.
#[derive(Debug)]
pub(crate) struct Answer<'a> {
    pub(crate) status: u16,
    fields: Vec<(String, &'a str)>,
    /// What follows the head and belongs to the answer; all that is left after the 200 of a CONNECT.
    pub(crate) body: &'a [u8],
    pub(crate) is_tunnel: bool,
}

impl Answer<'_> {
    /// The value of a field that stands there once at most.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        let mut values = self.fields.iter().filter(|(own, _)| own == name).map(|(_, value)| *value);
        let value = values.next();
        assert!(values.next().is_none(), "`{name}` is there twice");
        value
    }
}

/// Reads all answers of a connection.
pub(crate) fn read(mut sent: &[u8]) -> Vec<Answer<'_>> {
    let mut answers = Vec::new();
    while !sent.is_empty() {
        let (mut answer, rest) = head(sent);
        let length = answer.field("content-length").map(|length| length.parse::<usize>().expect("a length"));
        assert_eq!(answer.field("transfer-encoding"), None, "every answer knows how long it is");
        answer.is_tunnel = answer.status == 200 && length.is_none();
        let length = match (answer.status, length) {
            _ if answer.is_tunnel => rest.len(),
            (304 | 100..=199, _) => 0,
            // The answer to HEAD: nothing that is served here begins like an answer.
            (_, Some(_)) if rest.is_empty() || rest.starts_with(b"HTTP/1.") => 0,
            (_, Some(length)) => length,
            (status, None) => panic!("{status} without a length"),
        };
        assert!(length <= rest.len(), "{answer:?} has {} of {length} bytes", rest.len());
        (answer.body, sent) = rest.split_at(length);
        answers.push(answer);
    }
    answers
}

fn head(sent: &[u8]) -> (Answer<'_>, &[u8]) {
    let end = sent.windows(4).position(|window| window == b"\r\n\r\n");
    let end = end.unwrap_or_else(|| panic!("a head without an end: {}", sent.escape_ascii()));
    let text = std::str::from_utf8(&sent[..end]).expect("text");
    let mut lines = text.split("\r\n");
    let status = status(lines.next().unwrap_or_default());
    let fields = lines.map(|line| {
        let (name, value) = line.split_once(": ").or_else(|| line.split_once(':')).expect("a field has a colon");
        assert!(!name.is_empty() && name.bytes().all(is_token), "field name {name:?}");
        assert!(!value.bytes().any(|byte| byte < 0x20 && byte != b'\t' || byte == 0x7f), "field value {value:?}");
        (name.to_ascii_lowercase(), value)
    });
    (Answer { status, fields: fields.collect(), body: &[], is_tunnel: false }, &sent[end + 4..])
}

fn status(line: &str) -> u16 {
    let (version, rest) = line.split_once(' ').expect("a status line");
    assert!(["HTTP/1.0", "HTTP/1.1"].contains(&version), "{line:?}");
    let (code, reason) = rest.split_once(' ').expect("a space before the reason");
    assert!(code.len() == 3 && !reason.bytes().any(|byte| byte < 0x20), "{line:?}");
    code.parse().expect("three digits")
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}
