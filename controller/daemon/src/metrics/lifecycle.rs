//! What happens to forecasters: fits by their reason, contests of models by their end.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::{KeyLabels, OutcomeLabel, registered};

/// The label of one reason.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabel {
    reason: &'static str,
}

/// The metrics.
pub(crate) struct LifecycleMetrics {
    refits: Family<ReasonLabel, Counter>,
    contests: Family<OutcomeLabel, Counter>,
    pub(crate) borrowed: Family<KeyLabels, Gauge>,
    networks: Family<OutcomeLabel, Counter>,
    pub(crate) network_trained_until: Gauge,
}

impl LifecycleMetrics {
    pub(super) fn registered(r: &mut Registry) -> Self {
        Self {
            refits: registered(r, "refits", "Fits of forecasters that were asked for, by reason"),
            contests: registered(r, "model_contests", "Contests of two models that were decided, by outcome"),
            borrowed: registered(r, "forecast_borrowed", "1 where a key is forecast from similar ones"),
            networks: registered(r, "network_trainings", "Trainings of a network of many keys, by outcome"),
            network_trained_until: registered(
                r,
                "network_trained_until_seconds",
                "End of what the newest network of many keys was trained on, unix seconds; 0 while there is none",
            ),
        }
    }

    pub(crate) fn count_refit(&self, reason: &'static str) {
        self.refits.get_or_create(&ReasonLabel { reason }).inc();
    }

    /// `trained` or `refused`.
    pub(crate) fn count_network(&self, outcome: &'static str) {
        self.networks.get_or_create(&OutcomeLabel { outcome }).inc();
    }

    /// `promoted`, `dropped`, `rolled_back` or `confirmed`.
    pub(crate) fn count_contest(&self, outcome: &'static str) {
        self.contests.get_or_create(&OutcomeLabel { outcome }).inc();
    }
}
