//! What services that say how often they may be short tell Prometheus. Labels are services of the configuration, and the
//! variants of small enums.
//!
//! What is not known is absent: a share of steps is that of steps that say something.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::capacity::ServiceLabel;
use super::{Level, registered};
use crate::capacity::foreseeing::{Ended, Foresaw};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct GateLabels {
    service: String,
    gate: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabels {
    service: String,
    outcome: &'static str,
}

/// See the module's text.
pub(crate) struct ForesightMetrics {
    steps: Family<OutcomeLabels, Counter>,
    short_steps: Family<ServiceLabel, Level>,
    allowed: Family<ServiceLabel, Level>,
    factor: Family<ServiceLabel, Level>,
    gate: Family<GateLabels, Gauge>,
    guarded: Family<ServiceLabel, Gauge>,
}

impl ForesightMetrics {
    pub(super) fn registered(r: &mut Registry) -> Self {
        Self {
            steps: registered(
                r,
                "capacity_followed_steps",
                "Steps of services that say how often they may be short, by what came of them: served, short, denied (short \
                 for want of what was not to be had) or unseen",
            ),
            short_steps: registered(
                r,
                "capacity_short_steps",
                "Share of steps in which a service was short, of those that say something of how it is followed",
            ),
            allowed: registered(r, "capacity_short_steps_allowed", "Share of steps in which a service may be short"),
            factor: registered(
                r,
                "capacity_foresight_factor",
                "What a service multiplies the signal by that it follows",
            ),
            gate: registered(
                r,
                "capacity_foresight_gate",
                "1 for what a service follows that says how often it may be short; opening or learning until it is calibrated",
            ),
            guarded: registered(
                r,
                "capacity_foresight_guarded",
                "1 while a service is held to a reactive policy, which had been cheaper",
            ),
        }
    }

    /// Counts a step that has ended.
    pub(crate) fn count(&self, service: &str, ended: Ended) {
        self.steps.get_or_create(&OutcomeLabels { service: service.to_owned(), outcome: ended.name() }).inc();
    }

    /// Notes how services stand.
    pub(crate) fn note<'a>(&self, figures: impl Iterator<Item = Foresaw<'a>>) {
        self.gate.clear();
        self.short_steps.clear();
        for one in figures {
            let label = ServiceLabel { service: one.service.to_owned() };
            self.allowed.get_or_create(&label).set(one.short_steps_share);
            self.guarded.get_or_create(&label).set(i64::from(one.is_guarded));
            if let Some(share) = one.lived_share {
                self.short_steps.get_or_create(&label).set(share);
            }
            if let Some(factor) = one.factor {
                self.factor.get_or_create(&label).set(factor);
            }
            self.gate.get_or_create(&GateLabels { service: label.service, gate: one.gate }).set(1);
        }
    }
}
