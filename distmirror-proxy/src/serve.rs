//! Listening: whoever connects gets a slot and a task; in the end all of them are let go in an orderly way.

use std::{future::Future, io, sync::Arc, time::Duration};

use distmirror_core::Mirror;
use tokio::{sync::watch, task::JoinSet};

use crate::{
    CertificateAuthority, Options,
    connection::Connection,
    listener::{Listener, OwnHosts},
    metrics::{self, METRICS},
    slots::{Hush, Slots},
    tls::Leaves,
};

/// The proxy: answers requests from what a [`Mirror`] holds.
#[derive(Debug, Clone)]
pub struct Proxy {
    pub(crate) shared: Arc<Shared>,
}

/// What all connections have in common.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) mirror: Arc<Mirror>,
    pub(crate) leaves: Leaves,
    pub(crate) options: Options,
    pub(crate) own_hosts: OwnHosts,
}

impl Proxy {
    /// A proxy over this mirror that signs with this authority.
    pub fn new(mirror: Arc<Mirror>, authority: CertificateAuthority, options: Options) -> Self {
        let leaves = Leaves::new(authority, options.cached_leaves);
        let own_hosts = OwnHosts::new(&options);
        Self { shared: Arc::new(Shared { mirror, leaves, options, own_hosts }) }
    }

    /// Serves until `shutdown` is ready; then accepts nothing new, lets running answers end for as long as
    /// [`Options::drain`] says, cuts what is left, reports the last misses and uses, and returns.
    pub async fn serve(
        &self,
        listeners: impl IntoIterator<Item = impl Into<Listener>>,
        shutdown: impl Future<Output = ()>,
    ) {
        let options = &self.shared.options;
        METRICS.connections_max.set(options.max_connections as f64);
        let slots = Slots::new(options.max_connections, options.max_connections_per_address);
        let (stop, stopped) = watch::channel(());
        let mut tasks = JoinSet::new();
        for listener in listeners {
            tasks.spawn(accept(Arc::clone(&self.shared), listener.into(), Arc::clone(&slots), stopped.clone()));
        }
        let (drained, until_drained) = watch::channel(());
        let reporting = tokio::spawn(report(Arc::clone(&self.shared), until_drained));
        shutdown.await;
        stop.send_replace(());
        while tasks.join_next().await.is_some() {}
        self.drain(&slots, stop).await;
        // Only now nothing is noted any more.
        drop(drained);
        if let Err(error) = reporting.await {
            tracing::error!(%error, "the last misses and uses are not reported");
        }
    }

    /// Waits until every connection has ended: then it has given its slot back, and so has all that it was answered with.
    async fn drain(&self, slots: &Slots, stop: watch::Sender<()>) {
        if tokio::time::timeout(self.shared.options.drain, slots.all_given_back()).await.is_err() {
            tracing::warn!("some answers did not end in time and are cut");
            drop(stop);
            let _ = tokio::time::timeout(CUT_WITHIN, slots.all_given_back()).await;
        }
    }
}

async fn accept(shared: Arc<Shared>, listener: Listener, slots: Arc<Slots>, mut stopped: watch::Receiver<()>) {
    let came_in = metrics::accepted(listener.entrance);
    let complaints = Hush::default();
    loop {
        let accepted = tokio::select! {
            accepted = listener.socket.accept() => accepted,
            _ = stopped.changed() => return,
        };
        match accepted {
            Ok((stream, client)) => match slots.take(client.ip()) {
                Ok(slot) => {
                    came_in.increment(1);
                    let connection = Connection::new(Arc::clone(&shared), client, slot, stopped.clone());
                    tokio::spawn(connection.accepted(stream, listener.entrance));
                }
                Err(full) => slots.turn_away(full, stream, listener.entrance),
            },
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            // Out of descriptors, most likely: accepting at once again would spin.
            Err(error) => {
                if complaints.may_speak() {
                    tracing::warn!(%error, "cannot accept a connection; this is said once a minute");
                }
                tokio::time::sleep(ACCEPT_AGAIN).await;
            }
        }
    }
}

/// Reports gathered misses and uses now and then, and once more at the end.
async fn report(shared: Arc<Shared>, mut drained: watch::Receiver<()>) {
    loop {
        let ended = tokio::time::timeout(shared.options.report_every, drained.changed()).await.is_ok();
        shared.leaves.measure();
        shared.mirror.measure_memory();
        if let Err(error) = shared.mirror.flush_misses().await {
            tracing::warn!(error = %error.chain(), "cannot report misses; they stay in memory");
        }
        if let Err(error) = shared.mirror.flush_usage().await {
            tracing::warn!(error = %error.chain(), "cannot report who used what; it stays in memory");
        }
        if ended {
            return;
        }
    }
}

/// How long nobody is accepted after that has failed.
const ACCEPT_AGAIN: Duration = Duration::from_millis(50);
/// How long connections may take to end that are cut.
const CUT_WITHIN: Duration = Duration::from_secs(1);
