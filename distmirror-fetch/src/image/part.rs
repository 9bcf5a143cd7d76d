//! One config or layer on its way in. Its digest says which bytes it is, so that a transfer may go on wherever it stopped.

use distmirror_core::{Checksums, Digest, Failure, Intake, PartHasher, ProgressMeter, Sha256, Spool};
use http::StatusCode;

use crate::{Answer, file::length, headers::ContentRange, registry::Session, transfer};

/// How often a transfer that was cut goes on at once, as long as it gets on.
const GO_ON: usize = 3;

/// Brings a part from the registry, unless it is here and the registry shows that it has it too.
pub(super) async fn fetch(
    session: &Session<'_>,
    intake: &Intake,
    meter: &ProgressMeter,
    digest: &Digest,
    size: u64,
) -> Result<Sha256, Failure> {
    if let Some(blob) = intake.held(digest, size).await?
        && session.has_blob(digest, size).await?
    {
        meter.add_bytes(size);
        return Ok(blob);
    }
    let mut cut = 0;
    loop {
        let mut spool = intake.part(digest, size).await?;
        let before = spool.received();
        meter.add_bytes(before);
        let outcome = receive(session, &mut spool, meter, digest, size).await;
        let Err(failure) = outcome else {
            let expected = Checksums::new([*digest]).map_err(Failure::new)?;
            return Ok(spool.finish(&expected).await?.digests.sha256);
        };
        let got_on = spool.received() > before;
        meter.take_back(spool.received());
        // If even this fails, the next attempt starts anew: no reason to hide the first cause.
        let _ = spool.keep().await;
        cut += 1;
        if !got_on || cut > GO_ON {
            return Err(Failure { message: format!("`{digest}`: {}", failure.message), ..failure });
        }
    }
}

async fn receive(
    session: &Session<'_>,
    spool: &mut Spool<PartHasher>,
    meter: &ProgressMeter,
    digest: &Digest,
    size: u64,
) -> Result<(), Failure> {
    // What was left by a fetch from elsewhere is given away only where the registry shows that it has it too.
    if size > 0 && spool.received() == size && session.has_blob(digest, size).await? {
        return Ok(());
    }
    let answer = open(session, spool, meter, digest, size).await?;
    let announced = length(&answer.response);
    let missing = size - spool.received();
    if announced.is_some_and(|announced| announced != missing) {
        return Err(Failure::new(format!(
            "the registry announces {} bytes, and the manifest says that {missing} are to come",
            announced.unwrap_or_default()
        )));
    }
    let came = |bytes| meter.add_bytes(bytes);
    transfer::receive(answer.response.into_body(), Some(size), spool, came, session.pace()).await
}

/// An answer whose body goes on where the spool stands.
async fn open(
    session: &Session<'_>,
    spool: &mut Spool<PartHasher>,
    meter: &ProgressMeter,
    digest: &Digest,
    size: u64,
) -> Result<Answer, Failure> {
    let from = spool.received();
    let mut answer = session.blob(digest, from).await?;
    let status = answer.response.status();
    // Any other status is trouble, and says nothing of the bytes that are here.
    let is_answer = matches!(status, StatusCode::OK | StatusCode::PARTIAL_CONTENT | StatusCode::RANGE_NOT_SATISFIABLE);
    if from > 0 && is_answer {
        if continues(&answer, from, size) {
            return Ok(answer);
        }
        meter.take_back(from);
        spool.restart(Some(digest.to_string())).await?;
        if status != StatusCode::OK {
            answer = session.blob(digest, 0).await?;
        }
    }
    if answer.response.status() == StatusCode::OK { Ok(answer) } else { Err(session.refusal(&answer)) }
}

/// Whether the answer is exactly the rest.
fn continues(answer: &Answer, from: u64, size: u64) -> bool {
    let range = ContentRange::of(answer.response.headers());
    answer.response.status() == StatusCode::PARTIAL_CONTENT
        && range.is_some_and(|range| range.first == from && range.last + 1 == size && range.total == size)
}
