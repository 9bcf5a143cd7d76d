//! An answer that a test makes up, with the ways in which an origin can be slow or break off.

use std::{io, time::Duration};

use bytes::Bytes;
use futures::{StreamExt, stream};
use http_body_util::{BodyExt, Empty, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::{
    HeaderMap, Method, Response, StatusCode,
    body::Frame,
    header::{CONTENT_LENGTH, HeaderName, HeaderValue},
};

/// The body of an answer; its error is what breaks the connection.
pub(super) type AnswerBody = UnsyncBoxBody<Bytes, io::Error>;

/// What an [`Upstream`](crate::Upstream) answers.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
///
/// use testkit::Answer;
///
/// let slow = Answer::ok("0123456789").in_pieces(1, Duration::from_millis(100));
/// let broken = Answer::ok("0123456789").header("etag", "\"a\"").break_after(5);
/// let elsewhere = Answer::new(302).header("location", "/other");
/// ```
#[derive(Debug, Clone)]
pub struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
    delay: Duration,
    pieces: Option<Pieces>,
    announce_length: bool,
}

/// A body that does not come in one go.
#[derive(Debug, Clone)]
struct Pieces {
    piece_bytes: usize,
    pause: Duration,
    ending: Ending,
}

#[derive(Debug, Clone, Copy)]
enum Ending {
    Complete,
    Break,
    Stall,
}

impl Answer {
    /// An answer with this status, no headers and no body.
    ///
    /// # Panics
    ///
    /// When HTTP has no such status.
    pub fn new(status: u16) -> Self {
        let status = StatusCode::from_u16(status).expect("a status between 100 and 999");
        let (headers, body, delay) = (HeaderMap::new(), Bytes::new(), Duration::ZERO);
        Self { status, headers, body, delay, pieces: None, announce_length: true }
    }

    /// A 200 with this body.
    pub fn ok(body: impl Into<Bytes>) -> Self {
        Self::new(200).body(body)
    }

    /// Replaces the body.
    #[must_use]
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    /// Sets a header, also one that lies, such as a wrong `Content-Length` on a broken body.
    ///
    /// # Panics
    ///
    /// When the name or value is not valid in HTTP.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        let name = HeaderName::try_from(name).unwrap_or_else(|error| panic!("`{name}`: {error}"));
        let value = HeaderValue::try_from(value).unwrap_or_else(|error| panic!("`{value}`: {error}"));
        self.headers.insert(name, value);
        self
    }

    /// Does not say how long the body is; in HTTP/1.1 it comes chunked.
    #[must_use]
    pub fn without_length(mut self) -> Self {
        self.announce_length = false;
        let pieces = self.pieces.take();
        self.pieces = pieces.or_else(|| Some(self.in_one_piece(Ending::Complete)));
        self
    }

    /// Waits before the status line.
    #[must_use]
    pub fn after(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    /// Sends the body in pieces of so many bytes with a pause before each.
    #[must_use]
    pub fn in_pieces(mut self, piece_bytes: usize, pause: Duration) -> Self {
        let ending = self.pieces.as_ref().map_or(Ending::Complete, |pieces| pieces.ending);
        self.pieces = Some(Pieces { piece_bytes: piece_bytes.max(1), pause, ending });
        self
    }

    /// Announces the whole body, sends so many bytes of it and breaks the connection.
    #[must_use]
    pub fn break_after(self, bytes: usize) -> Self {
        self.end_early(bytes, Ending::Break)
    }

    /// Announces the whole body, sends so many bytes of it and then nothing more, for ever.
    #[must_use]
    pub fn stall_after(self, bytes: usize) -> Self {
        self.end_early(bytes, Ending::Stall)
    }

    fn end_early(mut self, bytes: usize, ending: Ending) -> Self {
        self.headers.entry(CONTENT_LENGTH).or_insert(HeaderValue::from(self.body.len()));
        self.body.truncate(bytes);
        let pieces = self.pieces.take().map(|pieces| Pieces { ending, ..pieces });
        self.pieces = pieces.or_else(|| Some(self.in_one_piece(ending)));
        self
    }

    fn in_one_piece(&self, ending: Ending) -> Pieces {
        Pieces { piece_bytes: self.body.len().max(1), pause: Duration::ZERO, ending }
    }

    pub(super) async fn into_response(mut self, method: &Method) -> Response<AnswerBody> {
        tokio::time::sleep(self.delay).await;
        if self.announce_length && self.status != StatusCode::NOT_MODIFIED {
            self.headers.entry(CONTENT_LENGTH).or_insert(HeaderValue::from(self.body.len()));
        } else {
            self.headers.remove(CONTENT_LENGTH);
        }
        let body = match self.pieces {
            _ if method == Method::HEAD => Empty::new().map_err(|never| match never {}).boxed_unsync(),
            None => Full::new(self.body).map_err(|never| match never {}).boxed_unsync(),
            Some(pieces) => pieces.body(self.body),
        };
        let mut response = Response::new(body);
        *response.status_mut() = self.status;
        *response.headers_mut() = self.headers;
        response
    }
}

impl Pieces {
    fn body(self, bytes: Bytes) -> AnswerBody {
        let Self { piece_bytes, pause, ending } = self;
        let pieces = stream::unfold(bytes, move |mut rest| async move {
            if rest.is_empty() {
                return None;
            }
            tokio::time::sleep(pause).await;
            let piece = rest.split_to(piece_bytes.min(rest.len()));
            Some((Ok(Frame::data(piece)), rest))
        });
        let ending = match ending {
            Ending::Complete => stream::empty().boxed(),
            Ending::Break => stream::once(break_off()).boxed(),
            Ending::Stall => stream::pending().boxed(),
        };
        BodyExt::boxed_unsync(StreamBody::new(pieces.chain(ending)))
    }
}

/// The pause lets hyper write what it has; an error makes it drop the connection with its buffer.
async fn break_off() -> io::Result<Frame<Bytes>> {
    tokio::time::sleep(Duration::from_millis(50)).await;
    Err(io::Error::other("broken off on purpose"))
}
