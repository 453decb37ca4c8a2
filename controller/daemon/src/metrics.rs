//! What the controller tells Prometheus, all named `forebay_*`.
//!
//! Label sets are bounded: tenants and resources come from the configured contracts (and `*`), never from requests;
//! attributes have a bound of their own ([`counts`]); outcomes are the variants of small enums. Counters count since the
//! start of the process; rates and levels are in units per real second.

pub(crate) mod capacity;
mod counts;
pub(crate) mod foresight;
mod lifecycle;
pub(crate) mod xds;

use std::sync::atomic::AtomicU64;

use forebay_forecast::Direction;
use forebay_plan::Key;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Metric, Registry};

use crate::observe::counted::News;
use capacity::CapacityMetrics;
use counts::CountMetrics;
use foresight::ForesightMetrics;
use lifecycle::LifecycleMetrics;
use xds::XdsMetrics;

type Level = Gauge<f64, AtomicU64>;

/// Labels of one key.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct KeyLabels {
    tenant: String,
    resource: String,
}

impl From<&Key> for KeyLabels {
    fn from(key: &Key) -> Self {
        Self { tenant: key.tenant.clone(), resource: key.resource.clone() }
    }
}

/// Labels of one key and lane.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct LaneLabels {
    tenant: String,
    resource: String,
    lane: &'static str,
}

/// Labels of one key and side of its forecast.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct DirectionLabels {
    tenant: String,
    resource: String,
    direction: &'static str,
}

impl DirectionLabels {
    pub(crate) fn of(key: &Key, direction: Direction) -> Self {
        Self { tenant: key.tenant.clone(), resource: key.resource.clone(), direction: direction.as_str() }
    }
}

/// The label of one event feed.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct FeedLabel {
    /// Its file.
    pub(crate) feed: String,
}

/// The label of one outcome.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct OutcomeLabel {
    pub(crate) outcome: &'static str,
}

/// Every metric of the controller.
pub(crate) struct Metrics {
    registry: Registry,
    requests: Family<LaneLabels, Counter>,
    units: Family<LaneLabels, Counter>,
    reports: Family<OutcomeLabel, Counter>,
    watches: Family<OutcomeLabel, Counter>,
    pub(crate) watches_held: Gauge,
    pub(crate) tables_served: Counter,
    pub(crate) decode_errors: Counter,
    pub(crate) rows_backwards: Counter,
    pub(crate) rows_unknown: Counter,
    pub(crate) store_errors: Counter,
    pub(crate) plans_refused: Counter,
    pub(crate) plan_duration: Histogram,
    pub(crate) generation_epoch: Gauge,
    pub(crate) generation_sequence: Gauge,
    pub(crate) proxies_live: Gauge,
    pub(crate) bursts: Family<KeyLabels, Counter>,
    pub(crate) anomalies: Family<DirectionLabels, Counter>,
    pub(crate) anomalous: Family<DirectionLabels, Gauge>,
    pub(crate) left_out_steps: Family<KeyLabels, Gauge>,
    pub(crate) event_feed_errors: Family<FeedLabel, Counter>,
    pub(crate) event_feed_up: Family<FeedLabel, Gauge>,
    pub(crate) forecast_upper: Family<KeyLabels, Level>,
    pub(crate) forecast_bought: Family<KeyLabels, Level>,
    pub(crate) forecast_point: Family<KeyLabels, Level>,
    pub(crate) forecast_coverage: Family<KeyLabels, Level>,
    pub(crate) forecast_loss: Family<KeyLabels, Level>,
    pub(crate) naive_loss: Family<KeyLabels, Level>,
    pub(crate) gate_open: Family<KeyLabels, Gauge>,
    pub(crate) shadow_granted: Family<KeyLabels, Level>,
    pub(crate) fits: Family<OutcomeLabel, Counter>,
    pub(crate) over_admission_bound: Family<KeyLabels, Gauge>,
    pub(crate) demand_ratio: Family<KeyLabels, Level>,
    pub(crate) lifecycle: LifecycleMetrics,
    pub(crate) capacity: CapacityMetrics,
    pub(crate) foresight: ForesightMetrics,
    pub(crate) xds: XdsMetrics,
    counts: CountMetrics,
}

/// A metric that `registry` knows by its name.
fn registered<M: Metric + Clone + Default>(registry: &mut Registry, name: &str, help: &str) -> M {
    let metric = M::default();
    registry.register(name, help, metric.clone());
    metric
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let mut registry = Registry::with_prefix("forebay");
        let r = &mut registry;
        // 10 us to about 10 s.
        let plan_duration = Histogram::new(exponential_buckets(1e-5, 4.0, 11));
        r.register("plan_duration_seconds", "Time to make and check a plan", plan_duration.clone());
        Self {
            plan_duration,
            requests: registered(r, "requests", "Requests that filters counted, by lane"),
            units: registered(r, "units", "Cost of requests that filters counted, by lane"),
            reports: registered(r, "reports", "Reports received, by outcome"),
            watches: registered(r, "watches", "Watches answered, by outcome"),
            watches_held: registered(r, "watches_held", "Watches that wait for news"),
            tables_served: registered(r, "tables_served", "Parts of grant tables served"),
            decode_errors: registered(r, "decode_errors", "Sync calls whose body was no message"),
            rows_backwards: registered(r, "rows_backwards", "Report rows whose counters ran backwards"),
            rows_unknown: registered(r, "rows_unknown", "Report rows of keys without a contract"),
            store_errors: registered(r, "store_errors", "Operations of the history store that failed"),
            plans_refused: registered(r, "plans_refused", "Plans that failed their own check"),
            generation_epoch: registered(r, "generation_epoch", "Epoch of the published table"),
            generation_sequence: registered(r, "generation_sequence", "Sequence of the published table"),
            proxies_live: registered(r, "proxies_live", "Proxies that have a share"),
            bursts: registered(r, "bursts", "Steps whose demand exceeded the forecast's upper bound"),
            anomalies: registered(r, "anomalies", "Anomalies that began, by side of the forecast"),
            anomalous: registered(r, "anomalous", "1 while demand is part of an anomaly, by side of the forecast"),
            left_out_steps: registered(r, "training_left_out_steps", "Steps that the last fit was not to learn from"),
            event_feed_errors: registered(r, "event_feed_errors", "Event feeds that could not be read"),
            event_feed_up: registered(r, "event_feed_up", "1 where the event feed was read when it was looked at last"),
            forecast_upper: registered(r, "forecast_upper_per_s", "Upper quantile for the current step"),
            forecast_bought: registered(
                r,
                "forecast_bought_per_s",
                "The quantile for the current step that shadow is bought for",
            ),
            forecast_point: registered(r, "forecast_point_per_s", "Median for the current step"),
            forecast_coverage: registered(
                r,
                "forecast_coverage_ratio",
                "Recent share of steps within the upper quantile",
            ),
            forecast_loss: registered(r, "forecast_loss", "Recent mean pinball loss of the forecasts"),
            naive_loss: registered(r, "naive_loss", "Recent mean pinball loss of the naive forecasts"),
            gate_open: registered(r, "quality_gate_open", "1 where forecasts may bring shadow"),
            shadow_granted: registered(r, "shadow_granted_per_s", "Shadow rate granted for the current step"),
            fits: registered(r, "fits", "Fits of forecasters, by outcome"),
            over_admission_bound: registered(
                r,
                "over_admission_bound_units",
                "Most units above rate x time + burst that all proxies together may admit",
            ),
            demand_ratio: registered(
                r,
                "demand_ratio",
                "Demand of the last complete slot as a part of what was predicted for it",
            ),
            lifecycle: LifecycleMetrics::registered(r),
            capacity: CapacityMetrics::registered(r),
            foresight: ForesightMetrics::registered(r),
            xds: XdsMetrics::registered(r),
            counts: CountMetrics::registered(r),
            registry,
        }
    }

    /// What filters counted for a key.
    pub(crate) fn count_news(&self, news: &News) {
        let (key, lanes, borrowed) = (&news.key, &news.counted.counters, news.counted.further.borrowed);
        let lanes = [
            ("reserved", lanes.reserved_requests, lanes.reserved_units),
            ("standard", lanes.standard_requests, lanes.standard_units),
            ("borrowed", borrowed.requests, borrowed.units),
            ("refused", lanes.refused_requests, lanes.refused_units),
        ];
        for (lane, requests, units) in lanes {
            let labels = LaneLabels { tenant: key.tenant.clone(), resource: key.resource.clone(), lane };
            self.requests.get_or_create(&labels).inc_by(requests);
            self.units.get_or_create(&labels).inc_by(units);
        }
        self.counts.count(news);
    }

    pub(crate) fn count_report(&self, outcome: &'static str) {
        self.reports.get_or_create(&OutcomeLabel { outcome }).inc();
    }

    pub(crate) fn count_watch(&self, outcome: &'static str) {
        self.watches.get_or_create(&OutcomeLabel { outcome }).inc();
    }

    /// The text that Prometheus reads.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        // Writing into a string cannot fail; a half-written page would be cut at its missing end mark.
        let _ = encode(&mut text, &self.registry);
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::counted::Counted;
    use forebay_protocol::{Count, Counters, Further};
    use std::collections::BTreeSet;

    #[test]
    fn names_and_labels_follow_the_convention() {
        let metrics = Metrics::new();
        let counters = Counters { refused_requests: 3, refused_units: 30, ..Counters::default() };
        let in_slot = Count { requests: 2, units: 20 };
        let further =
            Further { borrowed: Count { requests: 1, units: 5 }, charged_units: 7, in_slot, ..Further::default() };
        metrics.count_news(&News {
            key: Key::new("shop", "requests"),
            counted: Counted { counters, further },
            has_details: true,
            attributes: vec![("region".to_owned(), "eu".to_owned(), 4)],
        });
        metrics.count_report("counted");
        let text = metrics.text();
        let line = "forebay_units_total{tenant=\"shop\",resource=\"requests\",lane=\"refused\"} 30";
        assert!(text.contains(line), "{text}");
        for line in [
            "forebay_units_total{tenant=\"shop\",resource=\"requests\",lane=\"borrowed\"} 5",
            "forebay_settled_units_total{tenant=\"shop\",resource=\"requests\",outcome=\"charged\"} 7",
            "forebay_would_have_units_total{tenant=\"shop\",resource=\"requests\",bucket=\"plain\",outcome=\"admitted\"} 35",
            "forebay_would_have_requests_total{tenant=\"shop\",resource=\"requests\",bucket=\"shadow\",outcome=\"refused\"} 2",
            "forebay_attribute_requests_total{tenant=\"shop\",resource=\"requests\",attribute=\"region\",value=\"eu\"} 4",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
        assert!(text.contains("forebay_reports_total{outcome=\"counted\"} 1"), "{text}");
        assert!(text.ends_with("# EOF\n"));
    }

    #[test]
    fn the_shipped_rules_ask_for_metrics_that_exist() {
        let rules = include_str!("../../../examples/prometheus/forebay.rules.yaml");
        let sources = [
            include_str!("metrics.rs"),
            include_str!("metrics/capacity.rs"),
            include_str!("metrics/counts.rs"),
            include_str!("metrics/foresight.rs"),
            include_str!("metrics/lifecycle.rs"),
        ];
        let words = rules.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
        let names: BTreeSet<&str> = words.filter_map(|word| word.strip_prefix("forebay_")).collect();
        assert!(names.len() > 12, "{names:?}");
        for name in names {
            let registered = format!("\"{}\",", name.strip_suffix("_total").unwrap_or(name));
            assert!(sources.iter().any(|source| source.contains(&registered)), "no metric is called {name}");
        }
    }
}
