//! Promises of [`Images`](crate::Images), and what [`Artifacts`](crate::Artifacts) and [`Fetches`](crate::Fetches) promise of images.

use std::sync::Arc;

use crate::{
    Artifact, Catalog, Checksums, Content, Digest, Digests, Error, Failure, Fetched, Filter, ImageName, Job, Kind,
    NewDeclaration, PageRequest, PlatformChoice, Progress, Registry, Repository, RepositoryTotals, Role, Scheme,
    Sha256, Source, State, StoredBlob, WantedImage,
    conformance::catalog::support::{artifact, at, blobs, declarations, declare, lease_all, lease_one},
};

pub(super) async fn every_case(fresh: &impl AsyncFn() -> Arc<dyn Catalog>) {
    an_image_is_recorded_as_declared(fresh().await).await;
    parts_are_found_in_their_repository(fresh().await).await;
    an_image_in_service_is_preferred(fresh().await).await;
    referrers_are_found_by_their_subject(fresh().await).await;
    repositories_are_counted(fresh().await).await;
    more_platforms_make_it_due_and_it_stays_present(fresh().await).await;
    what_fails_later_takes_nothing_away(fresh().await).await;
    what_an_image_lacks_is_not_waited_for(fresh().await).await;
    what_was_declared_during_the_fetch_is_fetched_next(fresh().await).await;
    quarantine_ends_what_was_being_added(fresh().await).await;
}

fn repository(text: &str) -> Repository {
    let (registry, path) = text.split_once('/').expect("the cases write REGISTRY/PATH");
    Repository::new(Registry::parse(registry).expect("a good registry"), path).expect("a good path")
}

fn digest(bytes: &[u8]) -> Digest {
    Sha256::of(bytes).into()
}

/// The image with these bytes as its manifest.
fn image(place: &str, manifest: &[u8]) -> ImageName {
    ImageName::new(repository(place), digest(manifest))
}

fn wanted_image(place: &str, manifest: &[u8], platforms: Option<&str>) -> NewDeclaration {
    let name = image(place, manifest);
    let platforms = platforms.map(|words| words.parse().expect("the cases use good platforms"));
    NewDeclaration {
        expected: Checksums::new([*name.digest()]).expect("one checksum"),
        name: name.into(),
        image: Some(WantedImage { platforms, scheme: None, tag: None }),
        who: "alice".to_owned(),
        reason: "the build needs it".to_owned(),
        project: None,
        license: None,
        ticket: None,
    }
}

async fn declare_image(catalog: &Arc<dyn Catalog>, place: &str, manifest: &[u8], platforms: &str) -> Artifact {
    let wanted = wanted_image(place, manifest, Some(platforms));
    catalog.declare(&wanted, at(0)).await.expect("an image is declared").artifact
}

fn part(role: Role, bytes: &[u8]) -> StoredBlob {
    StoredBlob {
        blob: Sha256::of(bytes),
        role,
        digest: digest(bytes),
        size: bytes.len() as u64,
        media_type: Some("application/x".to_owned()),
        platform: None,
        subject: None,
    }
}

/// A fetch of the image with this manifest, which brought these platforms and these parts besides.
fn brought(manifest: &[u8], platforms: &str, parts: Vec<StoredBlob>) -> Fetched {
    let content = Content {
        digests: Digests::of(manifest),
        size: manifest.len() as u64,
        content_type: Some("application/x".to_owned()),
        content_disposition: None,
        content_encoding: None,
        last_modified: None,
        source: Source::default(),
    };
    let own = part(Role::Manifest, manifest);
    let platforms = Some(platforms.parse().expect("the cases use good platforms"));
    Fetched { content, blobs: [vec![own], parts].concat(), platforms }
}

async fn complete(catalog: &Arc<dyn Catalog>, job: &Job, fetched: &Fetched, seconds: i64) {
    catalog.complete(&job.lease, fetched, at(seconds)).await.expect("the holder completes");
}

/// An image that was declared and fetched with these parts.
async fn present_image(catalog: &Arc<dyn Catalog>, place: &str, manifest: &[u8], parts: Vec<StoredBlob>) -> Artifact {
    let declared = declare_image(catalog, place, manifest, "all").await;
    complete(catalog, &lease_one(catalog, 0).await, &brought(manifest, "all", parts), 1).await;
    artifact(catalog, declared.id).await
}

/// The role of what has this key, and the artifact that it is found by.
async fn found(catalog: &Arc<dyn Catalog>, name: &ImageName, as_blob: bool) -> Option<(Artifact, Role)> {
    let key = if as_blob { name.blob_key() } else { name.manifest_key() };
    let part = catalog.part(&key).await.expect("part answers");
    part.map(|(artifact, part)| {
        assert_eq!(&part.digest, name.digest(), "promise 1: it is the part that was asked for");
        (artifact, part.role)
    })
}

async fn an_image_is_recorded_as_declared(catalog: Arc<dyn Catalog>) {
    let place = "registry.test:5000/a/b";
    let mut wanted = wanted_image(place, b"m", None);
    wanted.image = Some(WantedImage { platforms: None, scheme: Some(Scheme::Http), tag: Some("1.0-ä".to_owned()) });
    let declared = catalog.declare(&wanted, at(0)).await.unwrap().artifact;
    let selection = declared.selection.clone().expect("an image has a selection");
    assert_eq!(
        (selection.wanted, selection.held, selection.scheme),
        (PlatformChoice::usual(), None, Scheme::Http),
        "what nobody chose is what is usual"
    );
    assert_eq!(artifact(&catalog, declared.id).await, declared, "it reads back as it was declared");
    assert_eq!(declarations(&catalog, declared.id).await[0].tag.as_deref(), Some("1.0-ä"), "the tag is a note");
    let again = wanted_image(place, b"m", Some("linux/arm64 linux/arm/v7"));
    let again = catalog.declare(&again, at(1)).await.unwrap();
    let selection = again.artifact.selection.expect("an image has a selection");
    assert_eq!(
        (again.is_new, selection.wanted.to_string().as_str(), selection.scheme),
        (false, "usual linux/arm/v7 linux/arm64", Scheme::Http),
        "what is wanted grows, and what was not said stays"
    );
    let file = declare(&catalog, "https://registry.test:5000/a/b", 2).await;
    assert_eq!(file.selection, None, "a file has no selection");
    let other = declare_image(&catalog, "registry.test:5000/a/c", b"m", "all").await;
    for (filter, expected) in [
        (Filter { kind: Some(Kind::Image), ..Filter::default() }, vec![other.id, declared.id]),
        (Filter { repository: Some("a/b".to_owned()), ..Filter::default() }, vec![declared.id]),
        (
            Filter { host: Some("registry.test:5000".to_owned()), ..Filter::default() },
            vec![other.id, file.id, declared.id],
        ),
    ] {
        let page = catalog.list(&filter, &PageRequest::first(10)).await.unwrap();
        let ids: Vec<_> = page.items.iter().map(|artifact| artifact.id).collect();
        assert_eq!(ids, expected, "images are found by {filter:?}");
    }
}

async fn parts_are_found_in_their_repository(catalog: Arc<dyn Catalog>) {
    let (here, elsewhere) = ("registry.test/a", "registry.test/b");
    declare_image(&catalog, here, b"m", "all").await;
    assert_eq!(found(&catalog, &image(here, b"m"), false).await, None, "promise 2: what was not fetched has no parts");
    let parts =
        vec![part(Role::Config, b"c"), part(Role::Layer, b"l"), part(Role::Layer, b"l"), part(Role::Unfetched, b"u")];
    let sha512 = StoredBlob { digest: Digests::of(b"s").get(crate::Algorithm::Sha512), ..part(Role::Layer, b"s") };
    let with_platform =
        StoredBlob { platform: Some("linux/arm/v7".parse().expect("a platform")), ..part(Role::Manifest, b"child") };
    let fetched = brought(b"m", "all", [parts, vec![sha512.clone(), with_platform.clone()]].concat());
    complete(&catalog, &lease_one(&catalog, 0).await, &fetched, 1).await;
    for (bytes, as_blob, role) in [
        (&b"m"[..], false, Some(Role::Manifest)),
        (b"m", true, None),
        (b"c", true, Some(Role::Config)),
        (b"c", false, None),
        (b"l", true, Some(Role::Layer)),
        (b"u", false, Some(Role::Unfetched)),
        (b"child", false, Some(Role::Manifest)),
        (b"s", true, None),
    ] {
        let part = found(&catalog, &image(here, bytes), as_blob).await.map(|(_, role)| role);
        assert_eq!(part, role, "promise 1: {bytes:?} as a blob: {as_blob}");
        assert_eq!(
            found(&catalog, &image(elsewhere, bytes), as_blob).await,
            None,
            "promise 1: and in no other repository"
        );
    }
    let by_sha512 = ImageName::new(repository(here), sha512.digest);
    let (holder, stored) = catalog.part(&by_sha512.blob_key()).await.unwrap().expect("promise 1: found by sha512");
    assert_eq!(stored, sha512, "a part reads back as it was brought");
    assert!(blobs(&catalog, holder.id).await.contains(&with_platform), "with its platform");
    let once = blobs(&catalog, holder.id).await.iter().filter(|blob| blob.digest == digest(b"l")).count();
    assert_eq!(once, 1, "a layer that stands twice in a manifest is one blob");
}

async fn an_image_in_service_is_preferred(catalog: Arc<dyn Catalog>) {
    let place = "registry.test/a";
    let shared = || part(Role::Layer, b"shared");
    let one = present_image(&catalog, place, b"one", vec![shared(), part(Role::Unfetched, b"two")]).await;
    catalog.quarantine(one.id, "r", "alice", at(2)).await.unwrap();
    let state = async || found(&catalog, &image(place, b"shared"), true).await.map(|(artifact, _)| artifact.state);
    assert_eq!(state().await, Some(State::Quarantined), "promise 2: what is in quarantine is found as that");
    let two = present_image(&catalog, place, b"two", vec![shared()]).await;
    assert_eq!(state().await, Some(State::Present), "an image in service is preferred");
    let (holder, role) = found(&catalog, &image(place, b"two"), false).await.expect("the manifest is there");
    assert_eq!((holder.id, role), (two.id, Role::Manifest), "what is here is preferred to what is not");
}

async fn referrers_are_found_by_their_subject(catalog: Arc<dyn Catalog>) {
    let place = "registry.test/a";
    let referrer = |bytes| StoredBlob { subject: Some(digest(b"m")), ..part(Role::Manifest, bytes) };
    let one = present_image(&catalog, place, b"m", vec![referrer(b"signature"), referrer(b"sbom")]).await;
    present_image(&catalog, place, b"other", vec![referrer(b"signature"), part(Role::Layer, b"l")]).await;
    let listed = async |place: &str, bytes: &[u8]| {
        let found = catalog.referrers(&image(place, bytes).subject_key()).await.expect("referrers answers");
        let mut digests: Vec<_> = found.iter().map(|blob| blob.digest).collect();
        digests.sort();
        digests
    };
    let mut both = vec![digest(b"signature"), digest(b"sbom")];
    both.sort();
    assert_eq!(listed(place, b"m").await, both, "promise 1: each referrer is found once");
    assert!(listed(place, b"l").await.is_empty() && listed("registry.test/b", b"m").await.is_empty());
    catalog.quarantine(one.id, "r", "alice", at(2)).await.unwrap();
    assert_eq!(listed(place, b"m").await, [digest(b"signature")], "promise 2: only of artifacts in service");
}

async fn repositories_are_counted(catalog: Arc<dyn Catalog>) {
    let registry = |name: &str| Registry::parse(name).expect("a good registry");
    assert_eq!(catalog.repositories(None).await.unwrap(), [], "an empty catalog has no repositories");
    declare(&catalog, "https://registry.test/a", 0).await;
    catalog.lease(&super::support::request(1), at(0)).await.unwrap();
    present_image(&catalog, "registry.test/a", b"1", Vec::new()).await;
    for (place, manifest) in
        [("registry.test/a", b"2"), ("registry.test/a/b", b"1"), ("docker.io/library/debian", b"1")]
    {
        declare_image(&catalog, place, manifest, "all").await;
    }
    let totals = |place: &str, declared, present| RepositoryTotals { repository: repository(place), declared, present };
    let (a, ab, debian) =
        (totals("registry.test/a", 2, 1), totals("registry.test/a/b", 1, 0), totals("docker.io/library/debian", 1, 0));
    assert_eq!(catalog.repositories(None).await.unwrap(), [debian, a.clone(), ab.clone()], "every repository, by name");
    assert_eq!(catalog.repositories(Some(&registry("registry.test"))).await.unwrap(), [a, ab], "those of one registry");
    for (name, path, expected) in [
        ("registry.test", None, true),
        ("registry.test", Some("a/b"), true),
        ("registry.test", Some("b"), false),
        ("other.test", None, false),
        ("docker.io", Some("library/debian"), true),
        ("docker.io", Some("a"), false),
    ] {
        assert_eq!(catalog.has_images(&registry(name), path).await.unwrap(), expected, "has_images: {name} {path:?}");
    }
}

async fn more_platforms_make_it_due_and_it_stays_present(catalog: Arc<dyn Catalog>) {
    let place = "registry.test/a";
    let declared = declare_image(&catalog, place, b"m", "linux/amd64").await;
    let first = vec![part(Role::Manifest, b"amd64"), part(Role::Unfetched, b"arm64"), part(Role::Unfetched, b"s390x")];
    complete(&catalog, &lease_one(&catalog, 0).await, &brought(b"m", "linux/amd64", first), 1).await;
    let before = artifact(&catalog, declared.id).await;
    assert!(!before.lacks_something() && lease_all(&catalog, 1).await.is_empty(), "fetches promise 4: it is whole");

    let same = catalog.declare(&wanted_image(place, b"m", None), at(2)).await.unwrap().artifact;
    assert_eq!(same.next_attempt_at, None, "declaring the same again makes nothing due");
    let more = catalog.declare(&wanted_image(place, b"m", Some("linux/arm64")), at(3)).await.unwrap().artifact;
    assert_eq!((more.state, more.next_attempt_at), (State::Present, Some(at(3))), "promise 5: it is due and present");
    let job = lease_one(&catalog, 3).await;
    assert_eq!((job.attempt, job.artifact.state), (1, State::Present), "fetches promise 4: handed out, and present");
    catalog.renew(&job.lease, at(60), Progress { bytes: 1, total: None }).await.expect("the holder renews");
    assert_eq!(artifact(&catalog, declared.id).await.state, State::Present, "present throughout");
    let second = vec![part(Role::Manifest, b"amd64"), part(Role::Manifest, b"arm64"), part(Role::Unfetched, b"s390x")];
    complete(&catalog, &job, &brought(b"m", "linux/amd64 linux/arm64", second), 4).await;
    let after = artifact(&catalog, declared.id).await;
    assert_eq!((after.state, after.fetched_at, &after.content), (State::Present, Some(at(1)), &before.content));
    assert!(!after.lacks_something() && after.next_attempt_at.is_none(), "it is whole again");
    let parts = blobs(&catalog, declared.id).await;
    let parts: Vec<_> = parts.iter().map(|blob| (blob.role, blob.digest)).collect();
    let mut expected = vec![(Role::Manifest, digest(b"m")), (Role::Manifest, digest(b"amd64"))];
    expected.extend([(Role::Manifest, digest(b"arm64")), (Role::Unfetched, digest(b"s390x"))]);
    assert_eq!(
        parts, expected,
        "fetches promise 4: blobs are added, none goes away, and what came is no longer missing"
    );
}

async fn what_fails_later_takes_nothing_away(catalog: Arc<dyn Catalog>) {
    let place = "registry.test/a";
    let declared = declare_image(&catalog, place, b"m", "linux/amd64").await;
    complete(&catalog, &lease_one(&catalog, 0).await, &brought(b"m", "linux/amd64", Vec::new()), 1).await;
    let refused = catalog.retry(declared.id, "alice", at(1)).await;
    assert!(matches!(refused, Err(Error::WrongState { .. })), "there is nothing to retry: {refused:?}");
    declare_image(&catalog, place, b"m", "linux/riscv64").await;
    let job = lease_one(&catalog, 2).await;
    catalog.fail(&job.lease, &Failure::new("no such platform"), Some(at(9)), at(2)).await.unwrap();
    let failed = artifact(&catalog, declared.id).await;
    assert_eq!(
        (failed.state, failed.last_error.as_deref(), failed.next_attempt_at),
        (State::Present, Some("no such platform"), Some(at(9))),
        "fetches promise 4: it stays present, and says what is wrong"
    );
    let retried = catalog.retry(declared.id, "alice", at(3)).await.expect("what is lacking can be retried");
    assert_eq!((retried.state, retried.next_attempt_at), (State::Present, Some(at(3))));
    let job = lease_one(&catalog, 3).await;
    assert_eq!(job.attempt, 1, "a retry counts attempts anew");
    catalog.give_back(&job.lease, at(4)).await.unwrap();
    let given_back = artifact(&catalog, declared.id).await;
    assert_eq!((given_back.state, given_back.next_attempt_at), (State::Present, Some(at(4))));
    assert_eq!(lease_all(&catalog, 4).await.len(), 1, "what was given back is handed out again");
}

async fn what_an_image_lacks_is_not_waited_for(catalog: Arc<dyn Catalog>) {
    let place = "registry.test/a";
    let declared = declare_image(&catalog, place, b"m", "linux/amd64").await;
    complete(&catalog, &lease_one(&catalog, 0).await, &brought(b"m", "linux/amd64", Vec::new()), 1).await;
    declare_image(&catalog, place, b"m", "linux/riscv64").await;
    let lacking: PlatformChoice = "linux/riscv64".parse().expect("a platform");
    let failure = Failure { lacking: lacking.clone(), ..Failure::new("no such platform") };
    catalog.fail(&lease_one(&catalog, 2).await.lease, &failure, Some(at(9)), at(2)).await.unwrap();
    let after = artifact(&catalog, declared.id).await;
    let selection = after.selection.clone().expect("an image has a selection");
    assert_eq!((selection.lacking, after.state), (lacking, State::Present), "what it lacks is on record");
    assert_eq!(after.last_error.as_deref(), Some("no such platform"), "and why is told");
    assert!(!after.lacks_something() && after.next_attempt_at.is_none(), "it is whole with what can be had");
    assert!(lease_all(&catalog, 999).await.is_empty());
    let other = declare_image(&catalog, place, b"m", "linux/arm64").await;
    assert!(other.next_attempt_at.is_some(), "another platform can still be wanted");
}

async fn what_was_declared_during_the_fetch_is_fetched_next(catalog: Arc<dyn Catalog>) {
    let place = "registry.test/a";
    let declared = declare_image(&catalog, place, b"m", "linux/amd64").await;
    let job = lease_one(&catalog, 0).await;
    let during = declare_image(&catalog, place, b"m", "linux/arm64").await;
    assert_eq!(during.state, State::Fetching, "the fetch that runs goes on");
    assert!(lease_all(&catalog, 1).await.is_empty(), "and is handed out to nobody else");
    complete(&catalog, &job, &brought(b"m", "linux/amd64", Vec::new()), 2).await;
    let next = artifact(&catalog, declared.id).await;
    assert_eq!((next.state, next.next_attempt_at), (State::Present, Some(at(2))), "fetches promise 5: due again");
    let job = lease_one(&catalog, 2).await;
    declare_image(&catalog, place, b"m", "all").await;
    complete(&catalog, &job, &brought(b"m", "linux/amd64 linux/arm64", Vec::new()), 3).await;
    let job = lease_one(&catalog, 3).await;
    complete(&catalog, &job, &brought(b"m", "all", Vec::new()), 4).await;
    assert!(!artifact(&catalog, declared.id).await.lacks_something() && lease_all(&catalog, 99).await.is_empty());
}

async fn quarantine_ends_what_was_being_added(catalog: Arc<dyn Catalog>) {
    let place = "registry.test/a";
    let declared = declare_image(&catalog, place, b"m", "linux/amd64").await;
    complete(&catalog, &lease_one(&catalog, 0).await, &brought(b"m", "linux/amd64", Vec::new()), 1).await;
    declare_image(&catalog, place, b"m", "all").await;
    let job = lease_one(&catalog, 2).await;
    catalog.quarantine(declared.id, "r", "alice", at(3)).await.unwrap();
    let late = catalog.complete(&job.lease, &brought(b"m", "all", Vec::new()), at(4)).await;
    assert!(matches!(late, Err(Error::LeaseLost { .. })), "what is in quarantine is not fetched: {late:?}");
    assert_eq!(artifact(&catalog, declared.id).await.state, State::Quarantined);
    assert!(lease_all(&catalog, 99).await.is_empty(), "nor handed out");
    let released = catalog.release(declared.id, "fine", "alice", at(5)).await.unwrap();
    assert_eq!((released.state, released.next_attempt_at), (State::Present, Some(at(5))), "and goes on after that");
}
