//! Bodies that are taken in piece by piece: of any size, and never in memory as a whole. Who takes them limits their size.

use std::{io, time::Duration};

use futures::{StreamExt, stream::BoxStream};
use hyper::body::Bytes;
use poem::{
    Request, RequestBody, Result,
    http::{StatusCode, header},
    web::Field,
};
use poem_openapi::{
    ApiExtractor, ApiExtractorType, ExtractParamOptions,
    registry::{MetaMediaType, MetaRequest, MetaSchema, MetaSchemaRef},
};
use tokio::io::{AsyncRead, AsyncReadExt};

use crate::problem::Problem;

/// Bytes on their way in.
pub(crate) struct Upload {
    /// The media type, if the client named one.
    pub(crate) content_type: Option<String>,
    /// How many bytes the client announced.
    pub(crate) announced_bytes: Option<u64>,
    pieces: BoxStream<'static, io::Result<Bytes>>,
    has_ended: bool,
    /// Whether the client sends nothing until it is told to go on.
    is_held_back: bool,
}

impl Upload {
    /// The file in a form.
    pub(crate) fn of_field(field: Field) -> Self {
        Self {
            content_type: field.content_type().map(str::to_owned),
            announced_bytes: None,
            pieces: pieces(field.into_async_read()),
            has_ended: false,
            is_held_back: false,
        }
    }

    /// The next bytes, unless that was all.
    ///
    /// # Errors
    /// 400 if it ended early, 408 if nothing came for a while.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, Problem> {
        if self.has_ended {
            return Ok(None);
        }
        let next = tokio::time::timeout(PIECE_WITHIN, self.pieces.next()).await;
        self.has_ended = !matches!(next, Ok(Some(Ok(_))));
        match next {
            Ok(Some(Ok(piece))) => Ok(Some(piece)),
            Ok(None) => Ok(None),
            Ok(Some(Err(_))) => Err(Problem::bad_request("the body ended early: nothing of it is kept")),
            Err(_) => {
                let detail = "nothing came for a while: nothing of the body is kept";
                Err(Problem::new(StatusCode::REQUEST_TIMEOUT, "too_slow", detail))
            }
        }
    }

    /// Reads on a bit and drops it, so that a client that only listens when it has sent everything gets to see the answer.
    pub(crate) async fn discard(mut self) {
        if self.is_held_back {
            return;
        }
        let rest = async {
            let mut received = 0;
            while let Ok(Some(piece)) = self.next().await {
                received += piece.len();
                if received > MAX_DISCARDED_BYTES {
                    break;
                }
            }
        };
        // Too late is as good as too much.
        let _ = tokio::time::timeout(DISCARD_WITHIN, rest).await;
    }
}

impl<'a> ApiExtractor<'a> for Upload {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::RequestObject];
    type ParamType = ();
    type ParamRawType = ();

    fn request_meta() -> Option<MetaRequest> {
        let bytes = MetaSchema { format: Some("binary"), ..MetaSchema::new("string") };
        let schema = MetaSchemaRef::Inline(Box::new(bytes));
        Some(MetaRequest {
            description: Some("The bytes, of whatever media type."),
            content: vec![MetaMediaType { content_type: "application/octet-stream", schema }],
            required: true,
        })
    }

    async fn from_request(request: &'a Request, body: &mut RequestBody, _: ExtractParamOptions<()>) -> Result<Self> {
        Ok(Self {
            content_type: request.content_type().filter(|name| is_meant(name)).map(str::to_owned),
            announced_bytes: request.header(header::CONTENT_LENGTH).and_then(|length| length.parse().ok()),
            pieces: body.take()?.into_bytes_stream().boxed(),
            has_ended: false,
            is_held_back: request.header(header::EXPECT).is_some(),
        })
    }
}

/// Whether somebody said so: this one curl adds by itself to whatever is sent with `--data-binary`.
fn is_meant(content_type: &str) -> bool {
    !content_type.eq_ignore_ascii_case("application/x-www-form-urlencoded")
}

fn pieces(reader: impl AsyncRead + Send + 'static) -> BoxStream<'static, io::Result<Bytes>> {
    let next = async |mut reader: std::pin::Pin<Box<dyn AsyncRead + Send>>| {
        let mut piece = vec![0; PIECE_BYTES];
        let count = reader.read(&mut piece).await?;
        piece.truncate(count);
        Ok((count > 0).then(|| (Bytes::from(piece), reader)))
    };
    futures::stream::try_unfold(Box::pin(reader) as _, next).boxed()
}

/// How many bytes of a form are read at once.
const PIECE_BYTES: usize = 64 * 1024;
/// How long the next piece may take.
const PIECE_WITHIN: Duration = Duration::from_secs(60);
/// How much of a body that is refused is read and dropped, in bytes, and for how long.
const MAX_DISCARDED_BYTES: usize = 32 << 20;
const DISCARD_WITHIN: Duration = Duration::from_secs(30);
