//! Runs a flow once for each operation that can fail, and for each way in which it can.

use std::time::Duration;

use distmirror_core::{
    Error, Result,
    faulty::{Fault, How},
};

use crate::site::{Kept, Site, fetchers};

/// What happens in a flow.
pub(crate) trait Flow {
    /// What is there before anything fails.
    async fn prepare(&self, site: &Site);

    /// The steps, up to the first that fails. They can be done again from the start, whatever came of them before.
    async fn run(&self, site: &Site) -> Result<()>;

    /// How everything stands when all steps are done.
    async fn check(&self, site: &Site);
}

/// Lets every operation of a flow fail in every way.
pub(crate) async fn every_fault(flow: impl Flow) {
    let all_ways = [(How::Before, 1), (How::After, 1), (How::Before, u64::MAX), (How::After, u64::MAX)];
    each_operation(&flow, Kept::InMemory, &all_ways).await;
    every_fault_on_disk(flow).await;
}

/// The same on the backends of this machine alone, which take longer: in those ways that leave most behind.
pub(crate) async fn every_fault_on_disk(flow: impl Flow) {
    each_operation(&flow, Kept::OnDisk, &[(How::After, 1), (How::Before, u64::MAX)]).await;
}

async fn each_operation(flow: &impl Flow, kept: Kept, ways: &[(How, u64)]) {
    let fetchers = fetchers();
    for &(how, times) in ways {
        let mut nth = 1;
        while fires(flow, Site::new(kept, &fetchers).await, Fault { nth, times, how }).await {
            nth += 1;
        }
        assert!(nth > 3, "{kept:?}: a flow has more operations than {nth}");
    }
}

/// Runs a flow with one fault, looks after everything, and does it again; whether the fault came to its turn.
async fn fires(flow: &impl Flow, mut site: Site, fault: Fault) -> bool {
    flow.prepare(&site).await;
    site.about += &format!(", {fault:?}");
    site.faults.arm(fault);
    let ended = until_killed(&site, flow.run(&site)).await;
    let fired = site.faults.fired() > 0;
    site.faults.disarm();
    site.about += &format!(": {ended:?}");
    assert!(ended.is_ok() || fired, "{}: it fails without a fault", site.about);
    site.check().await;
    if ended.is_ok() {
        // Where no step failed, nothing may be left to be mended.
        flow.check(&site).await;
    }
    site.settle().await;
    site.check().await;
    flow.run(&site).await.unwrap_or_else(|error| panic!("{}: once more: {}", site.about, error.chain()));
    site.settle().await;
    site.check_settled().await;
    flow.check(&site).await;
    fired
}

/// Workers wait until backends are well again. These die instead, once they have met with trouble twice.
async fn until_killed(site: &Site, run: impl Future<Output = Result<()>>) -> Result<()> {
    const PATIENCE: u64 = 2;
    let killed = async {
        while site.faults.fired() < PATIENCE {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::select! {
        biased;
        ended = run => ended,
        () = killed => {
            // What it had in memory goes with it.
            site.missed.lock().unwrap().clear();
            Err(Error::catalog("the process was killed"))
        }
    }
}
