//! What people decide: out of service, and back.

use distmirror_core::{Artifact, Error, Resolution, Result, State};

use crate::{
    every::{Flow, every_fault},
    files::File,
    site::Site,
};

/// A file is taken out of service, and put back.
struct Quarantined(File);

impl Flow for Quarantined {
    async fn prepare(&self, site: &Site) {
        self.0.bring(site).await;
    }

    async fn run(&self, site: &Site) -> Result<()> {
        let artifact = site.mirror.find(self.0.name().as_str()).await?;
        is_already(State::Quarantined, site.mirror.quarantine(artifact.id, "suspicious", "alice").await)?;
        let found = site.mirror.resolve(&self.0.name()).await?;
        assert!(matches!(found, Resolution::Withheld(_)), "{}: {found:?} is out of service", site.about);
        is_already(State::Present, site.mirror.release(artifact.id, "it is fine", "alice").await)?;
        self.0.read(site).await
    }

    async fn check(&self, site: &Site) {
        self.0.check_present(site).await;
    }
}

/// Whoever hears that it is done already has what he wanted.
fn is_already(state: State, answer: Result<Artifact>) -> Result<()> {
    match answer {
        Ok(artifact) if artifact.state == state => Ok(()),
        Err(Error::WrongState { state: found, .. }) if found == state => Ok(()),
        Ok(artifact) => panic!("{artifact:?} is to be {state}"),
        Err(error) => Err(error),
    }
}

#[tokio::test]
async fn a_file_is_taken_out_of_service_and_put_back() {
    every_fault(Quarantined(File::new("/suspicious", 1000, false).await)).await;
}
