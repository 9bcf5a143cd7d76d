//! What is counted of the proxy. Everything that a request touches is looked up once, when the first one is counted: the recorder
//! has to be installed by then.

use std::sync::LazyLock;

use http::{Response, StatusCode};
use metrics::{Counter, Gauge, Histogram, Unit, describe_counter, describe_gauge, describe_histogram};

use crate::{
    access_log::{self, CountedAs},
    body::Body,
    listener::Entrance,
    refusal::Code,
};

/// The metrics of all proxies of this process.
pub(crate) static METRICS: LazyLock<Metrics> = LazyLock::new(Metrics::register);

/// Describes the metrics of the proxy, and shows zero for what was not counted yet. To be called once, after the recorder is
/// installed.
pub fn describe_metrics() {
    describe_counter!(
        "distmirror_proxy_responses_total",
        "Answers of the proxy by code and status; `hit` is an artifact in service."
    );
    describe_counter!("distmirror_proxy_sent_bytes_total", Unit::Bytes, "Bytes of artifacts that connections took.");
    describe_histogram!(
        "distmirror_proxy_first_byte_seconds",
        Unit::Seconds,
        "From the head of a request to the first bytes of the artifact."
    );
    describe_gauge!("distmirror_proxy_connections", "Connections that are open.");
    describe_gauge!("distmirror_proxy_connections_max", "The most connections that may be open.");
    describe_counter!("distmirror_proxy_connections_total", "Connections that were accepted, by entrance.");
    describe_counter!(
        "distmirror_proxy_connections_refused_total",
        "Connections that were refused: because of `all` that were open, or of those from the same `address`."
    );
    describe_counter!("distmirror_handshakes_total", "TLS handshakes by outcome.");
    describe_histogram!("distmirror_handshake_seconds", Unit::Seconds, "How long TLS handshakes took, by outcome.");
    describe_counter!("distmirror_leaves_minted_total", "Leaf certificates signed.");
    describe_histogram!("distmirror_leaf_mint_seconds", Unit::Seconds, "How long making a leaf certificate took.");
    describe_counter!(
        "distmirror_leaf_lookups_total",
        "Leaf certificates that were needed: a `hit` was there already."
    );
    describe_gauge!("distmirror_leaves_cached", "Leaf certificates that are remembered.");
    LazyLock::force(&METRICS);
}

/// Counts an answer.
pub(crate) fn answered(code: &'static str, mut response: Response<Body>) -> Response<Body> {
    METRICS.responses.count(code, response.status());
    if access_log::is_wanted() {
        response.extensions_mut().insert(CountedAs(code));
    }
    response
}

#[derive(Debug)]
pub(crate) struct Metrics {
    responses: Responses,
    pub(crate) sent_bytes: Counter,
    pub(crate) first_byte: Histogram,
    pub(crate) connections: Gauge,
    pub(crate) connections_max: Gauge,
    pub(crate) refused_for_all: Counter,
    pub(crate) refused_for_address: Counter,
    handshakes: Outcomes,
    pub(crate) minted: Counter,
    pub(crate) mint_seconds: Histogram,
    pub(crate) leaf_hits: Counter,
    pub(crate) leaf_misses: Counter,
    pub(crate) leaves_cached: Gauge,
}

impl Metrics {
    fn register() -> Self {
        for entrance in Entrance::ALL {
            accepted(entrance).absolute(0);
        }
        let lookups = |outcome| metrics::counter!("distmirror_leaf_lookups_total", "outcome" => outcome);
        let refused = |because| metrics::counter!("distmirror_proxy_connections_refused_total", "because" => because);
        Self {
            responses: Responses::register(),
            sent_bytes: metrics::counter!("distmirror_proxy_sent_bytes_total"),
            first_byte: metrics::histogram!("distmirror_proxy_first_byte_seconds"),
            connections: metrics::gauge!("distmirror_proxy_connections"),
            connections_max: metrics::gauge!("distmirror_proxy_connections_max"),
            refused_for_all: refused("all"),
            refused_for_address: refused("address"),
            handshakes: Outcomes::register(),
            minted: metrics::counter!("distmirror_leaves_minted_total"),
            mint_seconds: metrics::histogram!("distmirror_leaf_mint_seconds"),
            leaf_hits: lookups("hit"),
            leaf_misses: lookups("miss"),
            leaves_cached: metrics::gauge!("distmirror_leaves_cached"),
        }
    }

    /// Counts a handshake that took so long.
    pub(crate) fn shaken(&self, is_ok: bool, seconds: f64) {
        let (count, duration) = if is_ok { &self.handshakes.ok } else { &self.handshakes.failed };
        count.increment(1);
        duration.record(seconds);
    }
}

/// Counts of connections that came in at an entrance.
pub(crate) fn accepted(entrance: Entrance) -> Counter {
    metrics::counter!("distmirror_proxy_connections_total", "entrance" => entrance.as_str())
}

/// Counts of answers, hits first.
#[derive(Debug)]
struct Responses(Vec<((&'static str, StatusCode), Counter)>);

impl Responses {
    fn register() -> Self {
        let hits = [
            StatusCode::OK,
            StatusCode::PARTIAL_CONTENT,
            StatusCode::NOT_MODIFIED,
            StatusCode::RANGE_NOT_SATISFIABLE,
            StatusCode::PRECONDITION_FAILED,
        ];
        let others = [
            ("tunnel", StatusCode::OK),
            ("registry", StatusCode::OK),
            ("page", StatusCode::OK),
            ("page", StatusCode::SERVICE_UNAVAILABLE),
        ];
        let refusals = Code::ALL.map(|code| (code.name(), code.status()));
        let known = hits.map(|status| ("hit", status)).into_iter().chain(others).chain(refusals);
        Self(known.map(|(code, status)| ((code, status), Self::counter(code, status))).collect())
    }

    fn count(&self, code: &'static str, status: StatusCode) {
        match self.0.iter().find(|(known, _)| *known == (code, status)) {
            Some((_, counter)) => counter.increment(1),
            None => Self::counter(code, status).increment(1),
        }
    }

    fn counter(code: &'static str, status: StatusCode) -> Counter {
        metrics::counter!("distmirror_proxy_responses_total", "code" => code, "status" => status.as_str().to_owned())
    }
}

/// How many handshakes ended in a way, and how long they took.
#[derive(Debug)]
struct Outcomes {
    ok: (Counter, Histogram),
    failed: (Counter, Histogram),
}

impl Outcomes {
    fn register() -> Self {
        let of = |outcome| {
            let count = metrics::counter!("distmirror_handshakes_total", "outcome" => outcome);
            (count, metrics::histogram!("distmirror_handshake_seconds", "outcome" => outcome))
        };
        Self { ok: of("ok"), failed: of("failed") }
    }
}
