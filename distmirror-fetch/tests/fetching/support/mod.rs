//! A hostile upstream on raw sockets, a registry that answers as a test says, and places to fetch into.

mod hostile;
mod images;
mod registry;

use std::{path::PathBuf, sync::Arc, time::Duration};

use distmirror_core::{
    Algorithm, Artifact, ArtifactId, Checksums, Content, Digest, Digests, Failure, Fetched, Fetcher, Intake, Job,
    Lease, ProgressMeter, Source, State, Uri, memory::MemoryBlobStore,
};
use distmirror_fetch::{FetchOptions, FileFetcher, FileOptions, UpstreamClient};
use jiff::Timestamp;
use tempfile::TempDir;
use uuid::Uuid;

pub(crate) use hostile::{Hostile, Request, Step, answer, chunked, endless, send};
pub(crate) use images::{
    ImagePlace, PASSWORD, TOKEN, check_no_secret, credentials, image_job, image_options, in_lines, layers, lines_of,
    reaching_loopback,
};
pub(crate) use registry::{OCI_INDEX, REPOSITORY, Registry, Trap, authorization, list_of, part, range_start};

/// What fetches into memory, in time limits that suit a test.
pub(crate) struct Place {
    pub(crate) intake: Intake,
    folder: TempDir,
    fetcher: FileFetcher,
}

impl Place {
    /// One that may reach loopback.
    pub(crate) fn new() -> Self {
        Self::with(&options(&["127.0.0.0/8"]))
    }

    pub(crate) fn with(options: &FetchOptions) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let intake = Intake::open(folder.path(), Arc::new(MemoryBlobStore::new()), LIMIT_BYTES).unwrap();
        Self {
            intake,
            folder,
            fetcher: FileFetcher::new(UpstreamClient::new(options).unwrap(), FileOptions::default()),
        }
    }

    pub(crate) async fn fetch(&self, job: &Job) -> Result<Fetched, Failure> {
        self.fetcher.fetch(job, &self.intake, &ProgressMeter::default()).await
    }

    /// Fetches, and returns why that failed.
    pub(crate) async fn failure(&self, uri: &str) -> String {
        self.fetch(&job(uri)).await.expect_err(uri).message
    }

    /// Where the transfer of this job lies in the spool, but for the extension.
    pub(crate) fn spool_file(&self, job: &Job) -> PathBuf {
        self.folder.path().join(job.artifact.id.to_string())
    }

    /// How many bytes lie in the spool.
    pub(crate) fn spooled_bytes(&self) -> u64 {
        let files = std::fs::read_dir(self.folder.path()).unwrap();
        files.map(|file| file.unwrap().metadata().unwrap().len()).sum()
    }
}

/// The largest file that a [`Place`] lets in.
pub(crate) const LIMIT_BYTES: u64 = 4 << 20;

pub(crate) fn options(allow_addresses: &[&str]) -> FetchOptions {
    FetchOptions {
        allow_addresses: allow_addresses.iter().map(|text| (*text).to_owned()).collect(),
        connect_timeout: Duration::from_millis(500),
        idle_timeout: Duration::from_millis(500),
        ..FetchOptions::default()
    }
}

/// A job for a new artifact without a checksum.
pub(crate) fn job(uri: &str) -> Job {
    let now = Timestamp::now();
    let artifact = Artifact {
        id: ArtifactId::new(),
        name: uri.parse::<Uri>().unwrap().into(),
        state: State::Fetching,
        expected: Checksums::none(),
        content: None,
        attempts: 1,
        last_error: None,
        next_attempt_at: None,
        progress: None,
        quarantine_reason: None,
        declared_at: now,
        fetched_at: None,
        selection: None,
        damage: None,
        watch: None,
    };
    let lease = Lease { artifact: artifact.id, token: Uuid::new_v4(), expires_at: now };
    Job { lease, artifact, attempt: 1 }
}

/// A job for a new artifact that must have this content.
pub(crate) fn job_for(uri: &str, body: &[u8]) -> Job {
    let mut job = job(uri);
    job.artifact.expected = Checksums::new([Digests::of(body).get(Algorithm::Sha256)]).unwrap();
    job
}

pub(crate) fn sha256(body: &[u8]) -> Digest {
    Digests::of(body).get(Algorithm::Sha256)
}

/// Bytes without a pattern.
pub(crate) fn noise(size: usize) -> Vec<u8> {
    let mut state = 88_172_645_463_325_252_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    (0..size).map(|_| next()).collect()
}

/// Content as a fetcher would bring it.
pub(crate) fn content(body: &[u8]) -> Content {
    Content {
        digests: Digests::of(body),
        size: body.len() as u64,
        content_type: None,
        content_disposition: None,
        content_encoding: None,
        last_modified: None,
        source: Source::default(),
    }
}
