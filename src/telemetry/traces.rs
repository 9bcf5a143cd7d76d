//! Traces: spans of requests, fetches and what is done for them, sent to a collector by OTLP. Only where an endpoint is configured.
//!
//! Spans are made at the level TRACE in all crates; this layer takes them whatever the log shows, and no events. They are sent by a
//! thread of its own, and dropped when the collector is away: nothing ever waits for it.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use opentelemetry::{KeyValue, trace::TracerProvider};
use opentelemetry_otlp::{Protocol, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::{
    Resource,
    error::OTelSdkResult,
    trace::{BatchSpanProcessor, Sampler, SdkTracerProvider, SpanData, SpanExporter},
};
use tracing::Subscriber;
use tracing_subscriber::{Layer, filter::filter_fn, registry::LookupSpan};

use crate::config::TelemetryConfig;

/// The way of traces to a collector.
#[derive(Debug)]
pub(crate) struct Traces {
    provider: SdkTracerProvider,
}

impl Traces {
    /// Opens it if an endpoint is configured; asks nobody yet. Must not be called in a runtime, for its client has its own.
    ///
    /// # Errors
    /// What is wrong with the endpoint.
    pub(crate) fn open(config: &TelemetryConfig) -> Result<Option<Self>, String> {
        let Some(endpoint) = &config.otlp_endpoint else { return Ok(None) };
        let exporter = Reporting::open(endpoint).map_err(|error| distmirror_core::error::chain(&*error))?;
        let share = f64::from(config.trace_percent) / 100.0;
        let resource = Resource::builder_empty()
            .with_attribute(KeyValue::new("service.name", "distmirror"))
            .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
            .build();
        let provider = SdkTracerProvider::builder()
            .with_span_processor(BatchSpanProcessor::builder(exporter).build())
            .with_sampler(Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(share))))
            .with_resource(resource)
            .build();
        Ok(Some(Self { provider }))
    }

    /// What makes spans of those of the `tracing` facade.
    pub(crate) fn layer<S: Subscriber + for<'a> LookupSpan<'a>>(&self) -> impl Layer<S> + use<S> {
        tracing_opentelemetry::layer()
            .with_tracer(self.provider.tracer("distmirror"))
            .with_location(false)
            .with_threads(false)
            .with_target(false)
            .with_level(false)
            .with_tracked_inactivity(false)
            // Those of libraries tell of frames and pools, and are many.
            .with_filter(filter_fn(|metadata| metadata.is_span() && metadata.target().starts_with("distmirror")))
    }

    /// Sends what is left, within limits.
    pub(crate) fn end(self) {
        // That the collector is away has been said.
        let _ = self.provider.shutdown_with_timeout(END_WITHIN);
    }
}

/// An exporter that says once when it begins to fail, and once when it works again.
#[derive(Debug)]
struct Reporting {
    exporter: opentelemetry_otlp::SpanExporter,
    is_failing: AtomicBool,
}

impl Reporting {
    fn open(endpoint: &str) -> Result<Self, Box<dyn std::error::Error>> {
        let client = reqwest::blocking::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(SEND_WITHIN)
            .build()?;
        let exporter = opentelemetry_otlp::SpanExporter::builder()
            .with_http()
            .with_http_client(client)
            .with_protocol(Protocol::HttpBinary)
            .with_endpoint(format!("{endpoint}/v1/traces"))
            .with_timeout(SEND_WITHIN)
            .build()?;
        Ok(Self { exporter, is_failing: AtomicBool::new(false) })
    }
}

impl SpanExporter for Reporting {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = batch.len() as u64;
        let sent = self.exporter.export(batch).await;
        let outcome = if sent.is_ok() { "sent" } else { "dropped" };
        metrics::counter!("distmirror_trace_spans_total", "outcome" => outcome).increment(spans);
        let was_failing = self.is_failing.swap(sent.is_err(), Ordering::Relaxed);
        match &sent {
            Err(error) if !was_failing => {
                tracing::warn!(%error, "traces cannot be sent; they are dropped until it works again");
            }
            Ok(()) if was_failing => tracing::info!("traces are sent again"),
            _ => {}
        }
        sent
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

/// How long sending a batch may take.
const SEND_WITHIN: Duration = Duration::from_secs(5);

/// How long the end of the process waits for the last batch.
const END_WITHIN: Duration = Duration::from_secs(2);
