//! Damage: found by a scrub, and fetched again.

use distmirror_core::{Payload, Result, blob::blob_path};

use crate::{
    every::{Flow, every_fault},
    files::File,
    site::Site,
};

/// A blob has other bytes than its name says, or is not there any more where that can be.
struct Damaged(File, &'static [u8]);

impl Flow for Damaged {
    async fn prepare(&self, site: &Site) {
        self.0.bring(site).await;
        let blob = self.0.blob();
        site.damaged.lock().unwrap().insert(blob);
        match site.blob_folder() {
            Some(folder) if self.1.is_empty() => std::fs::remove_file(folder.join(blob_path(&blob))).unwrap(),
            _ => site.blobs.put(&blob, Payload::Bytes(self.1.into())).await.unwrap(),
        }
    }

    async fn run(&self, site: &Site) -> Result<()> {
        let scrub = site.mirror.begin_scrub("alice", true).await?;
        site.mirror.scrub(scrub, None).await?;
        site.work().await?;
        self.0.read(site).await
    }

    async fn check(&self, site: &Site) {
        site.damaged.lock().unwrap().clear();
        site.check().await;
        self.0.check_present(site).await;
        let scrub = site.mirror.begin_scrub("alice", false).await.unwrap();
        let found = site.mirror.scrub(scrub, None).await.unwrap();
        assert_eq!((found.damaged.len(), found.unreferenced), (0, 0), "{}: {found:?}", site.about);
    }
}

#[tokio::test]
async fn other_bytes_are_found_and_mended() {
    every_fault(Damaged(File::new("/rotten", 9, false).await, b"the bytes")).await;
}

#[tokio::test]
async fn a_blob_that_is_gone_is_found_and_mended() {
    every_fault(Damaged(File::new("/gone", 1000, true).await, b"")).await;
}
