//! Fulfilling by hand: a person supplies the bytes of a file that nobody can fetch. They come in as everything does, through
//! the intake, and must have the checksum that was declared, or else the one that the person shows with them.

use distmirror_core::{
    Artifact, ArtifactId, ArtifactName, Checksums, Content, Error, Intake, Sha256, Source, catalog::rules,
};
use poem::http::StatusCode;

use crate::{
    listing::given,
    problem::{FieldError, Problem},
    site::Site,
    upload::Upload,
};

/// Takes in the bytes of a file and makes it present. `shown` is a SHA-256 that they must have besides what was declared.
///
/// # Errors
/// 404, and before anything of the body is read: 409 if it has bytes or is no file, 422 without any checksum, 503 if this
/// process takes nothing in. Then 400, 408 and 413 for a body that ends early, stalls or is too large, and 409 with both
/// digests if the bytes are others.
pub(crate) async fn fulfil(
    site: &Site,
    id: ArtifactId,
    who: &str,
    shown: Option<String>,
    mut upload: Upload,
) -> Result<Artifact, Problem> {
    let outcome = match Order::check(site, id, shown, upload.announced_bytes).await {
        Ok(order) => order.take_in(site, who, &mut upload).await,
        Err(problem) => Err(problem),
    };
    if outcome.is_err() {
        upload.discard().await;
    }
    outcome
}

/// What may be taken in.
struct Order<'a> {
    id: ArtifactId,
    expected: Checksums,
    intake: &'a Intake,
}

impl<'a> Order<'a> {
    async fn check(
        site: &'a Site,
        id: ArtifactId,
        shown: Option<String>,
        announced_bytes: Option<u64>,
    ) -> Result<Self, Problem> {
        let artifact = site.artifact(id).await?;
        if !matches!(artifact.name, ArtifactName::File(_)) {
            let detail = "an image cannot be supplied as one file: put it into a registry that the mirror reaches, and \
                          declare it there";
            return Err(Problem::new(StatusCode::CONFLICT, "wrong_kind", detail));
        }
        rules::check_fulfil(&artifact)?;
        let Some(intake) = &site.options.intake else {
            let detail = "this process cannot take files in: ask one that can, as `distmirror serve`";
            return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "no_intake", detail));
        };
        let expected = expected(&artifact, shown)?;
        if announced_bytes.is_some_and(|bytes| bytes > intake.max_bytes()) {
            return Err(Error::TooLarge { limit: intake.max_bytes() }.into());
        }
        Ok(Self { id, expected, intake })
    }

    async fn take_in(self, site: &Site, who: &str, upload: &mut Upload) -> Result<Artifact, Problem> {
        let mut spool = self.intake.spool(&format!("by-hand-{}", self.id)).await?;
        spool.restart(None).await?;
        if let Some(total) = upload.announced_bytes {
            spool.expect(total).await?;
        }
        while let Some(piece) = upload.next().await? {
            spool.write(piece).await?;
        }
        let received = spool.finish(&self.expected).await?;
        let content = Content {
            digests: received.digests,
            size: received.size,
            content_type: upload.content_type.clone(),
            content_disposition: None,
            content_encoding: None,
            last_modified: None,
            source: Source { note: Some(format!("supplied by {who}")), ..Source::default() },
        };
        Ok(site.mirror.fulfil(self.id, content, who).await?)
    }
}

/// The checksums that the bytes must have.
fn expected(artifact: &Artifact, shown: Option<String>) -> Result<Checksums, Problem> {
    let bad = |message: String| Problem::invalid(vec![FieldError::new("sha256", message)]);
    let declared = artifact.must_have();
    let Some(shown) = given(shown) else {
        if declared.is_empty() {
            return Err(bad(NO_CHECKSUM.to_owned()));
        }
        return Ok(declared);
    };
    let shown: Sha256 = shown.parse().map_err(bad)?;
    let shown = Checksums::new([shown.into()]).map_err(bad)?;
    if let Some((shown, recorded)) = shown.conflict_with(&declared) {
        return Err(Error::ChecksumConflict {
            artifact: artifact.id,
            name: artifact.name.to_string(),
            declared: shown.to_string(),
            recorded: recorded.to_string(),
        }
        .into());
    }
    Ok(declared.merged_with(&shown))
}

const NO_CHECKSUM: &str = "is required, since none was declared: 64 hexadecimal digits, as the publisher names them, in \
                           `X-Checksum-Sha256` or as `?sha256=`";
