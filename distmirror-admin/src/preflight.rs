//! Looking at a file before it is declared, for the API and the form alike.

use distmirror_core::Declare;

use crate::{json, problem::Problem, site::Site};

/// What there is to know of this file. Nothing is declared, and no reason needed.
///
/// # Errors
/// 422 with every bad field, 503 while the catalog is away.
pub(crate) async fn look(site: &Site, wanted: &Declare, who: &str) -> Result<json::Preflight, Problem> {
    let found = site.mirror.preflight(wanted, who, site.options.prober.as_deref()).await?;
    let max_bytes = site.options.intake.as_ref().map(distmirror_core::Intake::max_bytes);
    Ok(json::Preflight::new(found, max_bytes))
}
