//! What the server of endpoints tells Prometheus. No labels: who calls is the caller's word.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::registered;

/// The metrics.
pub(crate) struct XdsMetrics {
    pub(crate) streams: Streams,
    pub(crate) refused_streams: Counter,
    pub(crate) pushes: Counter,
    pub(crate) acks: Counter,
    pub(crate) nacks: Counter,
}

impl XdsMetrics {
    pub(super) fn registered(r: &mut Registry) -> Self {
        Self {
            streams: Streams(registered(r, "xds_streams", "Streams of endpoints that are open")),
            refused_streams: registered(r, "xds_streams_refused", "Streams of endpoints beyond the most there may be"),
            pushes: registered(r, "xds_pushes", "Responses with endpoints that were sent to proxies"),
            acks: registered(r, "xds_acks", "Responses with endpoints that proxies took"),
            nacks: registered(r, "xds_nacks", "Responses with endpoints that proxies refused"),
        }
    }
}

/// How many streams are open.
pub(crate) struct Streams(Gauge);

impl Streams {
    /// Counts a stream until what is returned is dropped.
    pub(crate) fn opened(&self) -> StreamGauge {
        self.0.inc();
        StreamGauge(self.0.clone())
    }
}

/// A stream that is counted.
pub(crate) struct StreamGauge(Gauge);

impl Drop for StreamGauge {
    fn drop(&mut self) {
        self.0.dec();
    }
}
