//! A body that waits until somebody reads on, over a connection to the store that nobody else can use meanwhile. Whoever takes
//! too long finds it gone and asks for the rest anew: a client that stalls holds neither connection nor memory.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    task::AbortHandle,
    time::{Instant, sleep_until},
};

use super::download::Body;

/// Room for one body, which is let go of when nobody takes it for a while. That needs a task of its own: of a stream that
/// nobody polls no timer runs.
pub(super) struct Parked {
    place: Arc<Mutex<Place>>,
    watch: AbortHandle,
}

struct Place {
    body: Option<Body>,
    since: Instant,
}

impl Parked {
    pub(super) fn new(body: Body) -> Self {
        let place = Arc::new(Mutex::new(Place { body: Some(body), since: Instant::now() }));
        let watch = tokio::spawn(let_go(Arc::clone(&place))).abort_handle();
        Self { place, watch }
    }

    /// The body, unless it was let go of.
    pub(super) fn take(&self) -> Option<Body> {
        lock(&self.place).body.take()
    }

    pub(super) fn put(&self, body: Body) {
        *lock(&self.place) = Place { body: Some(body), since: Instant::now() };
    }
}

impl Drop for Parked {
    fn drop(&mut self) {
        drop(self.take());
        self.watch.abort();
    }
}

async fn let_go(place: Arc<Mutex<Place>>) {
    loop {
        let until = lock(&place).since + LET_GO_AFTER;
        sleep_until(until).await;
        drop(take_idle(&place));
    }
}

fn take_idle(place: &Mutex<Place>) -> Option<Body> {
    let mut place = lock(place);
    if place.since.elapsed() < LET_GO_AFTER {
        return None;
    }
    // Also where there is none: then somebody waits for the store, and has limits of his own.
    place.since = Instant::now();
    place.body.take()
}

fn lock(place: &Mutex<Place>) -> MutexGuard<'_, Place> {
    // A panic elsewhere leaves a whole place: each use is one assignment.
    place.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How long a connection is held for somebody who takes nothing.
const LET_GO_AFTER: Duration = Duration::from_secs(5);
