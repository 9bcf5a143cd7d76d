//! An upstream whose file changes from one attempt to the next, and that answers as a case of a property says.

use std::sync::{Arc, Mutex};

use tokio::sync::Notify;

use crate::support::{Hostile, Request, Step};

/// What upstream has during one attempt, and how it behaves.
#[derive(Debug, Clone)]
pub(crate) struct Attempt {
    /// Which of the versions it has.
    pub(crate) version: usize,
    pub(crate) tag: Tag,
    pub(crate) framing: Framing,
    pub(crate) to_range: ToRange,
    /// After which part of a body, in thousandths, no more of it comes.
    pub(crate) cut: Option<usize>,
    /// Whether the process is killed then; otherwise upstream closes the connection.
    pub(crate) killed: bool,
}

impl Attempt {
    /// One in which everything goes well.
    pub(crate) fn clean(version: usize) -> Self {
        let (tag, framing, to_range) = (Tag::Strong, Framing::Length, ToRange::Honours);
        Self { version, tag, framing, to_range, cut: None, killed: false }
    }
}

/// By what a version is named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tag {
    Strong,
    /// The same for all versions, which is allowed.
    Weak,
    None,
    /// A lie: strong, and the same for all versions.
    Shared,
}

/// How the end of a body is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    Length,
    Chunked,
    /// The length is a wrong one, and does not count (RFC 9112 section 6.3).
    ChunkedWithLength,
    /// By closing the connection.
    Closing,
    /// More is announced than comes.
    TooLong,
    /// A lie: less is announced than the file has.
    TooShort,
}

/// What upstream makes of the question for a range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ToRange {
    /// What RFC 9110 wants of it.
    Honours,
    /// It sends the whole.
    Ignores,
    /// It sends more than the rest, and says so.
    OtherStart,
    UnknownTotal,
    OtherTotal,
    /// It sends what it has, whatever was asked for, and says what that is: under a strong tag of another kind ...
    OtherTag,
    /// ... a weak one ...
    WeakTag,
    /// ... or none.
    NoTag,
    Unsatisfiable,
    Refuses,
    /// A lie: it sends what it has, under the tag that was asked for.
    Splices,
    /// A lie: the bytes stand one place further on than it says.
    Shifted,
}

/// One answer that upstream gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sent {
    pub(crate) asked_from: Option<usize>,
    pub(crate) if_range: Option<String>,
    pub(crate) status: u16,
    /// Where the body begins in the file.
    pub(crate) from: usize,
    /// How many bytes of the body came out.
    pub(crate) count: usize,
    /// How many were announced.
    pub(crate) announced: Option<usize>,
}

/// The upstream. One case runs at a time.
pub(crate) struct Changing {
    origin: Hostile,
    now: Arc<Mutex<Now>>,
}

#[derive(Default)]
struct Now {
    attempt: Option<Attempt>,
    versions: Vec<Vec<u8>>,
    sent: Vec<Sent>,
    /// Told when a body stands still.
    stalled: Arc<Notify>,
}

impl Changing {
    pub(crate) async fn start() -> Self {
        let now = Arc::new(Mutex::new(Now::default()));
        let shared: Arc<Mutex<Now>> = Arc::clone(&now);
        let origin = Hostile::start(move |request| {
            let mut now = shared.lock().unwrap();
            let attempt = now.attempt.clone().unwrap();
            let answer = Answer::to(request, &attempt, &now.versions[attempt.version]);
            now.sent.push(answer.sent(request));
            answer.steps(&now.stalled)
        })
        .await;
        Self { origin, now }
    }

    pub(crate) fn url(&self) -> String {
        self.origin.url("/file")
    }

    /// These are the versions that it has, one at a time.
    pub(crate) fn publish(&self, versions: &[Vec<u8>]) {
        self.now.lock().unwrap().versions = versions.to_vec();
    }

    /// Behaves like this from now on.
    pub(crate) fn behave(&self, attempt: &Attempt) {
        let mut now = self.now.lock().unwrap();
        (now.attempt, now.sent, now.stalled) = (Some(attempt.clone()), Vec::new(), Arc::default());
    }

    /// What it answered since then.
    pub(crate) fn sent(&self) -> Vec<Sent> {
        self.now.lock().unwrap().sent.clone()
    }

    /// Waits until a body stands still because the process is to be killed.
    pub(crate) async fn stalled(&self) {
        let stalled = Arc::clone(&self.now.lock().unwrap().stalled);
        stalled.notified().await;
    }
}

/// The strong tag of a version.
pub(crate) fn strong_tag(version: usize) -> String {
    format!("\"v{version}\"")
}

struct Answer {
    status: u16,
    headers: Vec<String>,
    from: usize,
    body: Vec<u8>,
    framing: Framing,
    /// How many bytes of the body are sent, if not all.
    cut: Option<usize>,
    killed: bool,
}

impl Answer {
    fn to(request: &Request, attempt: &Attempt, file: &[u8]) -> Self {
        let Some(from) = request.range_start() else { return Self::whole(attempt, file) };
        let if_range = request.header("if-range").unwrap_or_default();
        let (tag, total) = (strong_tag(attempt.version), file.len().to_string());
        let part = |start: usize, tag: &str, total: &str| Self::part(attempt, file, start, start, tag, total);
        match attempt.to_range {
            ToRange::Honours if tag_of(attempt).as_deref() != Some(if_range) => Self::whole(attempt, file),
            ToRange::Ignores => Self::whole(attempt, file),
            ToRange::Refuses => Self::empty(attempt, 503),
            ToRange::Unsatisfiable => Self::empty(attempt, 416),
            _ if from >= file.len() => Self::empty(attempt, 416),
            ToRange::Honours => part(from, &tag_of(attempt).unwrap_or_default(), &total),
            ToRange::OtherStart => part(from / 2, &tag, &total),
            ToRange::UnknownTotal => part(from, &tag, "*"),
            ToRange::OtherTotal => part(from, &tag, &(file.len() + 7).to_string()),
            ToRange::OtherTag => part(from, &format!("\"other{}\"", attempt.version), &total),
            ToRange::WeakTag => part(from, &format!("W/{tag}"), &total),
            ToRange::NoTag => part(from, "", &total),
            ToRange::Splices => part(from, if_range, &total),
            ToRange::Shifted => Self::part(attempt, file, from, from - 1, if_range, &total),
        }
    }

    fn whole(attempt: &Attempt, file: &[u8]) -> Self {
        let headers = tag_of(attempt).map(|tag| format!("ETag: {tag}")).into_iter().collect();
        Self::with(attempt, 200, headers, 0, file.to_vec())
    }

    /// Says that it starts at `start`, and really starts at `really`, with as many bytes as it says.
    fn part(attempt: &Attempt, file: &[u8], start: usize, really: usize, tag: &str, total: &str) -> Self {
        let range = format!("Content-Range: bytes {start}-{}/{total}", file.len() - 1);
        let tag = Some(format!("ETag: {tag}")).filter(|_| !tag.is_empty());
        let body = file[really..really + (file.len() - start)].to_vec();
        Self::with(attempt, 206, [range].into_iter().chain(tag).collect(), start, body)
    }

    fn empty(attempt: &Attempt, status: u16) -> Self {
        let attempt = Attempt { framing: Framing::Length, cut: None, ..attempt.clone() };
        Self::with(&attempt, status, Vec::new(), 0, Vec::new())
    }

    fn with(attempt: &Attempt, status: u16, headers: Vec<String>, from: usize, body: Vec<u8>) -> Self {
        let cut = attempt.cut.map(|thousandths| body.len() * thousandths / 1000);
        Self { status, headers, from, body, framing: attempt.framing, cut, killed: attempt.killed }
    }

    fn sent(&self, request: &Request) -> Sent {
        Sent {
            asked_from: request.range_start(),
            if_range: request.header("if-range").map(str::to_owned),
            status: self.status,
            from: self.from,
            count: self.cut.unwrap_or(self.body.len()),
            announced: self.announced().filter(|_| !self.is_chunked()),
        }
    }

    fn is_chunked(&self) -> bool {
        matches!(self.framing, Framing::Chunked | Framing::ChunkedWithLength)
    }

    /// What stands as the length in the header.
    fn announced(&self) -> Option<usize> {
        let length = self.body.len();
        match self.framing {
            Framing::Length => Some(length),
            Framing::TooLong | Framing::ChunkedWithLength => Some(length + 5),
            Framing::TooShort => Some(length / 2),
            Framing::Chunked | Framing::Closing => None,
        }
    }

    fn steps(self, stalled: &Arc<Notify>) -> Vec<Step> {
        let (is_chunked, announced) = (self.is_chunked(), self.announced());
        let mut message = format!("HTTP/1.1 {} Answer\r\nConnection: close\r\n", self.status);
        let length = announced.map(|length| format!("Content-Length: {length}"));
        let coding = is_chunked.then(|| "Transfer-Encoding: chunked".to_owned());
        for line in self.headers.into_iter().chain(length).chain(coding) {
            message += &format!("{line}\r\n");
        }
        message += "\r\n";
        if is_chunked && !self.body.is_empty() {
            message += &format!("{:x}\r\n", self.body.len());
        }
        let mut bytes = message.into_bytes();
        bytes.extend_from_slice(&self.body[..self.cut.unwrap_or(self.body.len())]);
        if is_chunked && self.cut.is_none() {
            let end: &[u8] = if self.body.is_empty() { b"0\r\n\r\n" } else { b"\r\n0\r\n\r\n" };
            bytes.extend_from_slice(end);
        }
        let stall = (self.cut.is_some() && self.killed).then(|| Step::Stall(Arc::clone(stalled)));
        [Step::Send(bytes)].into_iter().chain(stall).collect()
    }
}

/// The tag that an attempt gives to the file.
pub(crate) fn tag_of(attempt: &Attempt) -> Option<String> {
    match attempt.tag {
        Tag::Strong => Some(strong_tag(attempt.version)),
        Tag::Weak => Some("W/\"weak\"".to_owned()),
        Tag::Shared => Some("\"shared\"".to_owned()),
        Tag::None => None,
    }
}
