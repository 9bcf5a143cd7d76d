//! What an operator would see of it: counters and the log, of this thread alone.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use metrics::{Counter, Gauge, Histogram, Key, KeyName, LocalRecorderGuard, Metadata, Recorder, SharedString, Unit};
use tracing::{Event, Level, Subscriber, span, subscriber::DefaultGuard};

/// Counters, as long as this lives.
pub(super) struct Counters {
    values: Arc<Values>,
    _guard: LocalRecorderGuard<'static>,
}

impl Counters {
    pub(super) fn install() -> Self {
        let values = Arc::<Values>::default();
        // A recorder of a thread is borrowed; a few bytes for each test are not worth the trouble of a lifetime.
        let recorder: &'static Arc<Values> = Box::leak(Box::new(Arc::clone(&values)));
        Self { values, _guard: metrics::set_default_local_recorder(&**recorder) }
    }

    pub(super) fn count(&self, name: &str) -> u64 {
        self.values.0.lock().unwrap().get(name).map_or(0, |value| value.load(Ordering::Relaxed))
    }
}

#[derive(Default)]
struct Values(Mutex<HashMap<String, Arc<AtomicU64>>>);

impl Recorder for Values {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        let mut values = self.0.lock().unwrap();
        Counter::from_arc(Arc::clone(values.entry(key.name().to_owned()).or_default()))
    }

    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::noop()
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}

/// Counts warnings, as long as this lives.
pub(super) struct Warnings {
    number: Arc<AtomicUsize>,
    _guard: DefaultGuard,
}

impl Warnings {
    pub(super) fn install() -> Self {
        let number = Arc::<AtomicUsize>::default();
        let guard = tracing::subscriber::set_default(Log(Arc::clone(&number)));
        Self { number, _guard: guard }
    }

    pub(super) fn count(&self) -> usize {
        self.number.load(Ordering::Relaxed)
    }
}

struct Log(Arc<AtomicUsize>);

impl Subscriber for Log {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        *metadata.level() == Level::WARN && metadata.is_event()
    }

    fn event(&self, _: &Event<'_>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}
