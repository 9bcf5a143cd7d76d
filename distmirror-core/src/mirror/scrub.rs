//! The part of [`Mirror`] that looks after what is stored: hashes it again, and has what is damaged fetched again.

use std::{
    collections::{HashMap, HashSet},
    pin::pin,
    time::{Duration, Instant},
};

use futures::StreamExt;
use jiff::Timestamp;

use super::Mirror;
use crate::{
    Artifact, ArtifactId, Error, Filter, PageRequest, Result, Role, Sha256, State, StoredBlob, WatchStatus,
    upkeep::{Damage, Scrub},
    verify,
};

impl Mirror {
    /// Begins a scrub; [`scrub`](Self::scrub) does it.
    ///
    /// # Errors
    /// The catalog's trouble.
    pub async fn begin_scrub(&self, who: &str, repair: bool) -> Result<Scrub> {
        let scrub = Scrub::begin(who, repair, Timestamp::now());
        self.catalog.save_scrub(&scrub).await?;
        Ok(scrub)
    }

    /// Hashes everything that is stored again, at this many bytes a second at most, and records what it finds. Damage of artifacts
    /// is reported so that workers fetch them again, if the scrub is to repair.
    ///
    /// # Errors
    /// The trouble of the catalog or the blob store. What was found until then is on record.
    pub async fn scrub(&self, scrub: Scrub, bytes_per_second: Option<u64>) -> Result<Scrub> {
        let mut pass = Pass {
            mirror: self,
            scrub,
            bytes_per_second,
            started: Instant::now(),
            saved: Instant::now(),
            seen: HashMap::new(),
            found: HashSet::new(),
        };
        pass.all().await?;
        pass.scrub.finished_at = Some(Timestamp::now());
        pass.save().await?;
        metrics::gauge!("distmirror_scrub_damaged").set(pass.scrub.damaged.len() as f64);
        Ok(pass.scrub)
    }

    /// The artifacts that this scrub found damaged, was to repair, and that are whole again.
    ///
    /// # Errors
    /// The catalog's trouble.
    pub async fn healed(&self, scrub: &Scrub) -> Result<HashSet<ArtifactId>> {
        let damaged: HashSet<ArtifactId> = scrub.damaged.iter().map(|damage| damage.artifact).collect();
        let mut healed = HashSet::new();
        for id in damaged.into_iter().filter(|_| scrub.repair) {
            let artifact = self.catalog.artifact(id).await?;
            healed.extend(artifact.filter(|artifact| artifact.damage.is_none()).map(|artifact| artifact.id));
        }
        Ok(healed)
    }
}

/// A scrub while it runs.
struct Pass<'a> {
    mirror: &'a Mirror,
    scrub: Scrub,
    bytes_per_second: Option<u64>,
    started: Instant,
    saved: Instant,
    /// What was hashed, and what was wrong with it: a blob may belong to many artifacts.
    seen: HashMap<Sha256, Option<String>>,
    /// What was found damaged, by whose it is: some artifacts are looked at twice, and some have a blob twice.
    found: HashSet<(ArtifactId, Sha256)>,
}

impl Pass<'_> {
    /// What upstream has lost comes first: nobody else may have it.
    async fn all(&mut self) -> Result<()> {
        for (state, watch) in
            [(State::Present, Some(WatchStatus::Gone)), (State::Present, None), (State::Quarantined, None)]
        {
            let filter = Filter { state: Some(state), watch, ..Filter::default() };
            let mut request = PageRequest::first(ARTIFACTS_AT_ONCE);
            loop {
                let page = self.mirror.catalog.list(&filter, &request).await?;
                self.artifacts(&page.items).await?;
                let Some(next) = page.next else { break };
                request.after = Some(next);
            }
        }
        self.unreferenced().await
    }

    async fn artifacts(&mut self, artifacts: &[Artifact]) -> Result<()> {
        let ids: Vec<_> = artifacts.iter().map(|artifact| artifact.id).collect();
        let mut blobs = self.mirror.catalog.blobs(&ids).await?;
        for artifact in artifacts {
            for blob in blobs.remove(&artifact.id).unwrap_or_default() {
                if blob.role != Role::Unfetched {
                    self.blob(artifact, &blob).await?;
                }
            }
        }
        Ok(())
    }

    /// Hashes a blob, unless that was done for another artifact. Whoever has it is damaged if it is: upstream may have lost it
    /// for one and not for another.
    async fn blob(&mut self, artifact: &Artifact, stored: &StoredBlob) -> Result<()> {
        if !self.seen.contains_key(&stored.blob) {
            let problem = self.check(stored).await?;
            self.seen.insert(stored.blob, problem);
        }
        let Some(problem) = self.seen[&stored.blob].clone() else { return Ok(()) };
        if !self.found.insert((artifact.id, stored.blob)) {
            return Ok(());
        }
        tracing::error!(artifact = %artifact.id, blob = %stored.blob, problem, "a stored blob is damaged");
        if self.scrub.repair {
            self.mirror.report_damage(artifact.id, &format!("blob `{}`: {problem}", stored.blob)).await?;
        }
        self.scrub.add(Damage::new(artifact.id, &stored.blob, problem));
        Ok(())
    }

    /// What is wrong with a blob, if anything is.
    async fn check(&mut self, stored: &StoredBlob) -> Result<Option<String>> {
        let checked = self.hash(stored).await?;
        self.scrub.checked += 1;
        self.scrub.bytes += stored.size;
        metrics::counter!("distmirror_scrub_bytes_total").increment(stored.size);
        let problem = match checked {
            Ok(()) => None,
            Err(Error::BlobMissing { .. }) => Some("it is missing".to_owned()),
            Err(Error::BlobCorrupt { problem, .. }) => Some(problem),
            Err(trouble) => return Err(trouble),
        };
        self.pace().await?;
        if self.saved.elapsed() > SAVE_EVERY {
            self.save().await?;
        }
        Ok(problem)
    }

    /// Hashes a blob. While that takes long, the record of the scrub is written, so that nobody takes it for stopped.
    async fn hash(&mut self, stored: &StoredBlob) -> Result<Result<()>> {
        let mirror = self.mirror;
        let mut checked = pin!(verify::again(&*mirror.blobs, &mirror.verifier, &stored.blob, stored.size));
        loop {
            tokio::select! {
                checked = &mut checked => return Ok(checked),
                () = tokio::time::sleep(SAVE_EVERY) => self.save().await?,
            }
        }
    }

    /// Counts what is stored and belongs to nothing.
    async fn unreferenced(&mut self) -> Result<()> {
        let mut listed = self.mirror.blobs.list().chunks(BLOBS_AT_ONCE);
        while let Some(batch) = listed.next().await {
            let blobs: Vec<Sha256> = batch.into_iter().map(|stat| Ok(stat?.blob)).collect::<Result<_>>()?;
            let blobs: Vec<_> = blobs.into_iter().filter(|blob| !self.seen.contains_key(blob)).collect();
            self.scrub.unreferenced += self.mirror.catalog.unreferenced(&blobs).await?.len() as u64;
        }
        Ok(())
    }

    async fn save(&mut self) -> Result<()> {
        self.scrub.updated_at = Timestamp::now();
        self.saved = Instant::now();
        self.mirror.catalog.save_scrub(&self.scrub).await
    }

    /// Waits as long as what was read should have taken.
    async fn pace(&mut self) -> Result<()> {
        let Some(rate) = self.bytes_per_second.filter(|rate| *rate > 0) else { return Ok(()) };
        let due = Duration::from_secs_f64(self.scrub.bytes as f64 / rate as f64);
        loop {
            let wait = due.saturating_sub(self.started.elapsed());
            tokio::time::sleep(wait.min(SAVE_EVERY)).await;
            if wait <= SAVE_EVERY {
                return Ok(());
            }
            self.save().await?;
        }
    }
}

const ARTIFACTS_AT_ONCE: usize = 200;
const BLOBS_AT_ONCE: usize = 500;
/// How often the record of a scrub that runs is written.
const SAVE_EVERY: Duration = Duration::from_secs(2);
