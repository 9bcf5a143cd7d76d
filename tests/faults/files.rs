//! Files: declared, fetched and read; refused by upstream; supplied by hand; declared from misses; counted when used.

use std::sync::atomic::{AtomicU64, Ordering};

use distmirror_core::{
    Algorithm, ArtifactId, ArtifactName, Content, Declare, Error, MissReport, PageRequest, Resolution, Result, Sha256,
    Source, State, Uri, UsedBy,
};
use jiff::Timestamp;
use testkit::{Answer, Upstream};

use crate::{
    every::{Flow, every_fault, every_fault_on_disk},
    site::{Asked, Site},
};

/// A file at upstream.
pub(crate) struct File {
    upstream: Upstream,
    path: &'static str,
    bytes: Vec<u8>,
    has_checksum: bool,
}

impl File {
    pub(crate) async fn new(path: &'static str, size: usize, has_checksum: bool) -> Self {
        let upstream = Upstream::start(&[]).await;
        let bytes: Vec<u8> = (0..size).map(|at| (at * 31 + at / 251) as u8).collect();
        let file = Self { upstream, path, bytes, has_checksum };
        file.publish();
        file
    }

    /// Upstream has it.
    pub(crate) fn publish(&self) {
        self.upstream.file(self.path, self.bytes.clone());
    }

    /// Upstream has nothing.
    pub(crate) fn withdraw(&self) {
        self.upstream.on(self.path, |_| Answer::new(404));
    }

    pub(crate) fn name(&self) -> ArtifactName {
        self.upstream.url(self.path).parse::<Uri>().unwrap().into()
    }

    pub(crate) fn blob(&self) -> Sha256 {
        Sha256::of(&self.bytes)
    }

    /// The file may be served from now on.
    pub(crate) fn allow(&self, site: &Site) {
        site.expect(Asked::File(self.name()), self.bytes.clone());
    }

    pub(crate) async fn declare(&self, site: &Site, reason: &str) -> Result<()> {
        let checksum = self.has_checksum.then(|| (Algorithm::Sha256, self.blob().hex()));
        let digests = checksum.into_iter().collect();
        let wanted = Declare { digests, reason: Some(reason.to_owned()), ..Declare::of(&self.name()) };
        site.declare(&wanted).await.map(drop)
    }

    /// It is declared and here.
    pub(crate) async fn bring(&self, site: &Site) {
        self.allow(site);
        self.declare(site, "first").await.unwrap();
        site.work().await.unwrap();
        self.check_present(site).await;
    }

    pub(crate) async fn read(&self, site: &Site) -> Result<()> {
        site.read(&Asked::File(self.name())).await.map(drop)
    }

    async fn id(&self, site: &Site) -> ArtifactId {
        site.catalog.named(&self.name().key()).await.unwrap().expect("it was declared").id
    }

    pub(crate) async fn check_present(&self, site: &Site) {
        let artifact = site.catalog.named(&self.name().key()).await.unwrap().unwrap();
        assert_eq!(artifact.state, State::Present, "{}: {artifact:?}", site.about);
        assert_eq!(artifact.content.unwrap().blob(), self.blob(), "{}", site.about);
        assert!(self.read(site).await.is_ok(), "{}", site.about);
    }
}

/// More than the intake keeps in memory.
const LARGE_BYTES: usize = 530_000;

/// A file is declared, fetched and read.
struct Fetching(File);

impl Flow for Fetching {
    async fn prepare(&self, site: &Site) {
        self.0.allow(site);
    }

    async fn run(&self, site: &Site) -> Result<()> {
        self.0.declare(site, "wanted").await?;
        site.work().await?;
        self.0.read(site).await
    }

    async fn check(&self, site: &Site) {
        self.0.check_present(site).await;
    }
}

#[tokio::test]
async fn a_small_file_is_fetched() {
    every_fault(Fetching(File::new("/small", 1000, false).await)).await;
}

#[tokio::test]
async fn a_large_file_with_a_checksum_is_fetched() {
    every_fault_on_disk(Fetching(File::new("/large", LARGE_BYTES, true).await)).await;
}

/// Somebody else declares what is here, and has a checksum.
struct DeclaringAgain(File);

impl Flow for DeclaringAgain {
    async fn prepare(&self, site: &Site) {
        let first = Declare { reason: Some("first".to_owned()), ..Declare::of(&self.0.name()) };
        self.0.allow(site);
        site.declare(&first).await.unwrap();
        site.work().await.unwrap();
    }

    async fn run(&self, site: &Site) -> Result<()> {
        self.0.declare(site, "second").await?;
        let digests = vec![(Algorithm::Sha256, Sha256::of(b"other bytes").hex())];
        let other = Declare { digests, reason: Some("wrong".to_owned()), ..Declare::of(&self.0.name()) };
        match site.declare(&other).await {
            Err(Error::ChecksumConflict { .. }) => {}
            Ok(_) => panic!("{}: another checksum is taken", site.about),
            Err(trouble) => return Err(trouble),
        }
        site.work().await?;
        self.0.read(site).await
    }

    async fn check(&self, site: &Site) {
        let artifact = site.catalog.named(&self.0.name().key()).await.unwrap().unwrap();
        assert!(artifact.expected.iter().any(|digest| *digest == self.0.blob().into()), "{}", site.about);
        self.0.check_present(site).await;
    }
}

#[tokio::test]
async fn a_file_is_declared_again() {
    every_fault(DeclaringAgain(File::new("/again", 1000, true).await)).await;
}

/// Upstream refuses a file, and has it later, when somebody declares it again.
struct Refused(File);

impl Flow for Refused {
    async fn prepare(&self, site: &Site) {
        self.0.withdraw();
        self.0.allow(site);
    }

    async fn run(&self, site: &Site) -> Result<()> {
        self.0.declare(site, "too early").await?;
        site.work().await?;
        let Resolution::Withheld(artifact) = site.mirror.resolve(&self.0.name()).await? else {
            // It was here already when all of this was done once more.
            return self.0.read(site).await;
        };
        let error = artifact.last_error.clone().unwrap_or_else(|| panic!("{}: {artifact:?}", site.about));
        assert!(artifact.state != State::Failed || !error.is_empty(), "{}: {artifact:?}", site.about);
        self.0.publish();
        self.0.declare(site, "once more").await?;
        site.work().await?;
        self.0.read(site).await
    }

    async fn check(&self, site: &Site) {
        self.0.check_present(site).await;
    }
}

#[tokio::test]
async fn a_file_is_refused_and_comes_later() {
    every_fault(Refused(File::new("/late", 1000, false).await)).await;
}

/// What upstream has lost is supplied by hand, as the admin side does it.
struct ByHand(File);

impl ByHand {
    async fn supply(&self, site: &Site) -> Result<()> {
        let artifact = site.mirror.find(self.0.name().as_str()).await?;
        let mut spool = site.intake.spool(&format!("by-hand-{}", artifact.id)).await?;
        spool.restart(None).await?;
        for piece in self.0.bytes.chunks(300) {
            spool.write(piece.to_vec().into()).await?;
        }
        let received = spool.finish(&artifact.must_have()).await?;
        let content = Content {
            digests: received.digests,
            size: received.size,
            content_type: None,
            content_disposition: None,
            content_encoding: None,
            last_modified: None,
            source: Source::default(),
        };
        site.mirror.fulfil(artifact.id, content, "alice").await.map(drop)
    }
}

impl Flow for ByHand {
    async fn prepare(&self, site: &Site) {
        self.0.withdraw();
        self.0.allow(site);
    }

    async fn run(&self, site: &Site) -> Result<()> {
        self.0.declare(site, "wanted").await?;
        site.work().await?;
        match self.supply(site).await {
            Ok(()) | Err(Error::WrongState { state: State::Present, .. }) => {}
            Err(error) => return Err(error),
        }
        self.0.read(site).await
    }

    async fn check(&self, site: &Site) {
        self.0.check_present(site).await;
    }
}

#[tokio::test]
async fn a_file_is_supplied_by_hand() {
    every_fault(ByHand(File::new("/lost", 1000, true).await)).await;
}

/// Two files are missed, declared together, and fetched.
struct Missed([File; 2]);

impl Flow for Missed {
    async fn prepare(&self, site: &Site) {
        self.0.iter().for_each(|file| file.allow(site));
    }

    async fn run(&self, site: &Site) -> Result<()> {
        for file in &self.0 {
            if matches!(site.mirror.resolve(&file.name()).await?, Resolution::Undeclared) {
                site.mirror.missed(report(file.name()));
                site.missed.lock().unwrap().push(file.name());
            }
        }
        site.mirror.flush_misses().await?;
        let misses = site.mirror.catalog().misses(None, &PageRequest::first(100)).await?.items;
        let ids: Vec<_> = misses.iter().map(|miss| miss.id).collect();
        let declared = site.mirror.declare_misses(&ids, "missed", None, "alice").await?;
        for declared in declared {
            site.declared.lock().unwrap().push((declared.artifact.name, "missed".to_owned()));
        }
        site.work().await?;
        for file in &self.0 {
            file.read(site).await?;
        }
        Ok(())
    }

    async fn check(&self, site: &Site) {
        for file in &self.0 {
            file.check_present(site).await;
        }
        assert_eq!(site.catalog.miss_count().await.unwrap(), 0, "{}: what is declared is not missed", site.about);
    }
}

fn report(name: ArtifactName) -> MissReport {
    let now = Timestamp::now();
    MissReport {
        name,
        count: 1,
        first_seen: now,
        last_seen: now,
        method: "GET".to_owned(),
        client: "192.0.2.1".to_owned(),
        user_agent: None,
        project: None,
    }
}

#[tokio::test]
async fn misses_are_declared() {
    every_fault(Missed([File::new("/a", 1000, false).await, File::new("/b", 10, false).await])).await;
}

/// A present file is used, so often.
struct Used(File, AtomicU64);

impl Flow for Used {
    async fn prepare(&self, site: &Site) {
        self.0.bring(site).await;
        self.1.store(0, Ordering::Relaxed);
    }

    async fn run(&self, site: &Site) -> Result<()> {
        let id = self.0.id(site).await;
        for bytes in [10, 20] {
            self.0.read(site).await?;
            site.mirror.used(id, UsedBy::Project("p".into()), bytes, Timestamp::now());
            self.1.fetch_add(bytes, Ordering::Relaxed);
            site.mirror.flush_usage().await?;
        }
        site.mirror.catalog().daily_usage(id, &PageRequest::first(10)).await.map(drop)
    }

    async fn check(&self, site: &Site) {
        site.mirror.flush_usage().await.unwrap();
        let id = self.0.id(site).await;
        let (total, used) = (site.catalog.usage(&[id]).await.unwrap()[&id], self.1.load(Ordering::Relaxed));
        assert_eq!(total.bytes, used, "{}: every use counts once", site.about);
        let days = site.catalog.daily_usage(id, &PageRequest::first(10)).await.unwrap().items;
        let by_day: u64 = days.iter().map(|daily| daily.usage.bytes).sum();
        assert_eq!(by_day, used, "{}: by day as in all", site.about);
    }
}

#[tokio::test]
async fn use_is_counted_once() {
    every_fault(Used(File::new("/used", 1000, false).await, AtomicU64::new(0))).await;
}
