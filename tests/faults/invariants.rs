//! What holds at any time, whatever failed: the promises of the mirror, looked at without faults.

use std::{fs, path::Path, sync::Arc};

use bytes::Bytes;
use distmirror_core::{
    Artifact, Error, Filter, Mirror, Options, PageRequest, Role, Sha256, State, blob::blob_at, mirror::Part,
};
use futures::TryStreamExt;
use jiff::{SignedDuration, Timestamp};

use crate::site::{Asked, Site, read};

/// Whatever failed, this holds.
pub(crate) async fn check(site: &Site) {
    for artifact in artifacts(site).await {
        check_record(site, &artifact).await;
        if matches!(artifact.state, State::Present | State::Quarantined) && artifact.damage.is_none() {
            check_blobs(site, &artifact).await;
        }
    }
    check_acknowledged(site).await;
    check_missed(site).await;
    check_scrubs(site).await;
    check_served(site).await;
    check_spool(site);
}

/// When all is done and tried again, nothing waits, nothing is damaged, and nothing lies about.
pub(crate) async fn check_settled(site: &Site) {
    let about = &site.about;
    for artifact in artifacts(site).await {
        let Artifact { state, damage, progress, .. } = &artifact;
        assert!(!matches!(state, State::Pending | State::Fetching), "{about}: {artifact:?}");
        assert_eq!((damage, progress), (&None, &None), "{about}: {artifact:?}");
    }
    for stat in site.blobs.list().try_collect::<Vec<_>>().await.unwrap() {
        assert_eq!(Sha256::of(&stored(site, &stat.blob).await), stat.blob, "{about}: a blob has other bytes");
    }
    let minutes_later = Timestamp::now() + SignedDuration::from_mins(5);
    for scrub in site.catalog.scrubs(100).await.unwrap() {
        assert_ne!(scrub.state(minutes_later), "running", "{about}: it would keep others from beginning");
    }
    assert_eq!(names_in(&site.spool()), Vec::<String>::new(), "{about}: something is left in the spool");
    if let Some(folder) = site.blob_folder() {
        check_blob_folder(about, &folder, &folder);
    }
}

pub(crate) async fn artifacts(site: &Site) -> Vec<Artifact> {
    site.catalog.list(&Filter::default(), &PageRequest::first(1000)).await.unwrap().items
}

/// An artifact, its declarations and the audit came to be in one step, and states say what they mean.
async fn check_record(site: &Site, artifact: &Artifact) {
    let about = &site.about;
    let declarations =
        site.catalog.declarations(&[artifact.id]).await.unwrap().remove(&artifact.id).unwrap_or_default();
    let audit = site.catalog.audit(Some(artifact.id), &PageRequest::first(1000)).await.unwrap().items;
    let audited = audit.iter().filter(|entry| entry.action == "declared").count();
    assert!(audited > 0 && declarations.len() == audited, "{about}: {declarations:?} {audit:?}");
    let has_content = matches!(artifact.state, State::Present | State::Quarantined);
    assert_eq!(artifact.content.is_some(), has_content, "{about}: {artifact:?}");
    assert_eq!(artifact.quarantine_reason.is_some(), artifact.state == State::Quarantined, "{about}: {artifact:?}");
    assert!(artifact.state != State::Failed || artifact.last_error.is_some(), "{about}: {artifact:?}");
}

/// Every blob that an artifact consists of is there, whole and right.
async fn check_blobs(site: &Site, artifact: &Artifact) {
    let about = &site.about;
    let blobs = site.catalog.blobs(&[artifact.id]).await.unwrap().remove(&artifact.id).unwrap_or_default();
    let here: Vec<_> = blobs.into_iter().filter(|blob| blob.role != Role::Unfetched).collect();
    assert!(!here.is_empty(), "{about}: {artifact:?} is here and consists of nothing");
    for blob in here {
        let is_damaged = site.damaged.lock().unwrap().contains(&blob.blob);
        let bytes = stored(site, &blob.blob).await;
        let is_right = Sha256::of(&bytes) == blob.blob && bytes.len() as u64 == blob.size;
        assert!(is_right || is_damaged, "{about}: {blob:?} of {artifact:?}");
    }
}

/// What was acknowledged is on record.
async fn check_acknowledged(site: &Site) {
    let declared = site.declared.lock().unwrap().clone();
    for (name, reason) in declared {
        let artifact = site.catalog.named(&name.key()).await.unwrap();
        let id = artifact.unwrap_or_else(|| panic!("{}: `{name}` was declared and is not there", site.about)).id;
        let declarations = site.catalog.declarations(&[id]).await.unwrap().remove(&id).unwrap_or_default();
        let is_there = declarations.iter().any(|declaration| declaration.reason == reason);
        assert!(is_there, "{}: the declaration of `{name}` for `{reason}` is not there", site.about);
    }
}

/// What could not be reported stays in memory, and is on record as soon as the catalog answers, unless it was declared.
async fn check_missed(site: &Site) {
    site.mirror.flush_misses().await.unwrap();
    let misses = site.catalog.misses(None, &PageRequest::first(1000)).await.unwrap().items;
    let missed = site.missed.lock().unwrap().clone();
    for name in missed {
        let is_known =
            misses.iter().any(|miss| miss.name == name) || site.catalog.named(&name.key()).await.unwrap().is_some();
        assert!(is_known, "{}: nobody knows any more that `{name}` was missed", site.about);
    }
}

/// What a scrub that ended has found damaged is mended, or known to be damaged.
async fn check_scrubs(site: &Site) {
    for scrub in site.catalog.scrubs(100).await.unwrap() {
        if !scrub.repair || scrub.finished_at.is_none() {
            continue;
        }
        for found in &scrub.damaged {
            let is_known = site.catalog.artifact(found.artifact).await.unwrap().unwrap().damage.is_some();
            let blob = found.sha256.parse().unwrap();
            let is_mended = Sha256::of(&stored(site, &blob).await) == blob;
            assert!(is_known || is_mended, "{}: nobody will mend {found:?}", site.about);
        }
    }
}

/// Both the process that met with the faults and a new one serve what is in service, and never anything else.
async fn check_served(site: &Site) {
    let about = &site.about;
    let expected = site.upstream.lock().unwrap().clone();
    let new = Mirror::new(Arc::clone(&site.catalog), Arc::clone(&site.blobs), Options::default());
    for (asked, bytes) in &expected {
        for (which, mirror) in [("the process", &*site.mirror), ("a new process", &new)] {
            match read(mirror, asked).await {
                Ok(served) => {
                    assert_eq!(&served, bytes, "{about}: {which} serves other bytes as {asked:?}");
                    assert!(is_in_service(site, asked).await, "{about}: {which} serves {asked:?}");
                }
                Err(Error::NotFound { .. }) => {
                    assert!(!is_in_service(site, asked).await, "{about}: {which} does not serve {asked:?}");
                }
                Err(Error::BlobCorrupt { blob, .. } | Error::BlobMissing { blob }) => {
                    let is_damaged = site.damaged.lock().unwrap().contains(&blob);
                    assert!(is_damaged, "{about}: {which} finds {asked:?} damaged");
                }
                Err(error) => panic!("{about}: {which} cannot serve {asked:?}: {}", error.chain()),
            }
        }
    }
}

async fn is_in_service(site: &Site, asked: &Asked) -> bool {
    let artifact = match asked {
        Asked::File(name) => site.catalog.named(&name.key()).await.unwrap(),
        Asked::Part(name, part) => {
            let key = match part {
                Part::Manifest => name.manifest_key(),
                Part::Blob => name.blob_key(),
            };
            let found = site.catalog.part(&key).await.unwrap();
            found.filter(|(_, blob)| blob.role != Role::Unfetched).map(|(artifact, _)| artifact)
        }
    };
    artifact.is_some_and(|artifact| artifact.state == State::Present)
}

/// Everything in the spool is of a kind that is resumed, or removed in the end.
fn check_spool(site: &Site) {
    for name in names_in(&site.spool()) {
        assert!(name.ends_with(".part") || name.ends_with(".validator"), "{}: `{name}` in the spool", site.about);
    }
}

/// Below the folder of a blob store lie its mark, and blobs under their own names.
fn check_blob_folder(about: &str, root: &Path, folder: &Path) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            check_blob_folder(about, root, &path);
            continue;
        }
        let name = path.strip_prefix(root).unwrap().to_str().unwrap();
        let is_mark = folder == root;
        let is_blob = blob_at(name).is_some_and(|blob| Sha256::of(&fs::read(&path).unwrap()) == blob);
        assert!(is_mark || is_blob, "{about}: `{name}` in the blob store");
    }
}

fn names_in(folder: &Path) -> Vec<String> {
    fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

/// The bytes of a blob as they lie there; none if it is missing.
async fn stored(site: &Site, blob: &Sha256) -> Bytes {
    match site.blobs.get(blob, None).await {
        Ok(read) => read.body.collect().await.unwrap(),
        Err(Error::BlobMissing { .. }) => Bytes::new(),
        Err(error) => panic!("{}: {}", site.about, error.chain()),
    }
}
