//! What filters count of each key beside the lanes: settlement, the counterfactual, bursts, attributes.
//!
//! Keys are bounded as everywhere here (contracts and `*`). Attributes come from the filters' policies, so they are
//! bounded here once more: beyond [`MAX_ATTRIBUTE_SERIES`] label sets a tenant's requests are counted under `*`, and what
//! would be new there too is counted in `forebay_attribute_requests_dropped`.

use std::collections::HashSet;
use std::sync::Mutex;

use forebay_plan::Key;
use forebay_protocol::{Count, OTHERS};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use super::{KeyLabels, registered};
use crate::observe::counted::{Counted, News};
use crate::state::lock;

/// Label sets of attributes for tenants: at about 400 bytes each 20 MB. A tenth more is kept for `*`.
const MAX_ATTRIBUTE_SERIES: usize = 50_000;

/// Labels of what settlement did with units: `refunded`, `charged` or `forgiven`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SettledLabels {
    tenant: String,
    resource: String,
    outcome: &'static str,
}

/// Labels of the counterfactual: what a bucket (`plain` or `shadow`) alone would have done.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct WouldHaveLabels {
    tenant: String,
    resource: String,
    bucket: &'static str,
    outcome: &'static str,
}

/// Labels of one attribute's value.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct AttributeLabels {
    tenant: String,
    resource: String,
    attribute: String,
    value: String,
}

/// The metrics.
pub(crate) struct CountMetrics {
    settled: Family<SettledLabels, Counter>,
    would_have_requests: Family<WouldHaveLabels, Counter>,
    would_have_units: Family<WouldHaveLabels, Counter>,
    rescued: Family<KeyLabels, Counter>,
    worse_than_plain: Family<KeyLabels, Counter>,
    overcommitted: Family<KeyLabels, Counter>,
    burst_slots: Family<KeyLabels, Counter>,
    burst_units: Family<KeyLabels, Counter>,
    hostile_requests: Family<KeyLabels, Counter>,
    hostile_units: Family<KeyLabels, Counter>,
    attributes: Family<AttributeLabels, Counter>,
    attributes_dropped: Counter,
    series: Mutex<HashSet<AttributeLabels>>,
}

impl CountMetrics {
    pub(super) fn registered(r: &mut Registry) -> Self {
        Self {
            settled: registered(r, "settled_units", "Units settled after the response, by what became of them"),
            would_have_requests: registered(
                r,
                "would_have_requests",
                "Requests that one bucket alone would have admitted or refused",
            ),
            would_have_units: registered(r, "would_have_units", "Their cost"),
            rescued: registered(r, "rescued_requests", "Requests admitted that a plain bucket would have refused"),
            worse_than_plain: registered(
                r,
                "worse_than_plain_requests",
                "Requests refused that a plain bucket would have admitted",
            ),
            overcommitted: registered(r, "overcommitted_units", "Units borrowed that no reservation stood behind"),
            burst_slots: registered(
                r,
                "proxy_burst_slots",
                "Slots in which a proxy's demand passed its part of the forecast's upper bound",
            ),
            burst_units: registered(
                r,
                "proxy_burst_units",
                "Demand above the forecast's upper bound, as proxies counted it",
            ),
            hostile_requests: registered(
                r,
                "hostile_requests",
                "Requests under a rule that the policy marks as hostile, in whatever lane",
            ),
            hostile_units: registered(r, "hostile_units", "Their cost, which is no demand"),
            attributes: registered(r, "attribute_requests", "Requests by attribute and value"),
            attributes_dropped: registered(
                r,
                "attribute_requests_dropped",
                "Requests whose attribute had no room among the metrics",
            ),
            series: Mutex::default(),
        }
    }

    /// What is new of a key.
    pub(super) fn count(&self, news: &News) {
        if news.has_details {
            self.count_details(&news.key, &news.counted);
        }
        for (attribute, value, requests) in &news.attributes {
            self.count_attribute(&news.key, attribute, value, *requests);
        }
    }

    fn count_details(&self, key: &Key, counted: &Counted) {
        let further = &counted.further;
        let (tenant, resource) = (&key.tenant, &key.resource);
        for (outcome, units) in [
            ("refunded", further.refunded_units),
            ("charged", further.charged_units),
            ("forgiven", further.forgiven_units),
        ] {
            let labels = SettledLabels { tenant: tenant.clone(), resource: resource.clone(), outcome };
            self.settled.get_or_create(&labels).inc_by(units);
        }
        let lanes = &counted.counters;
        let reserved = Count { requests: lanes.reserved_requests, units: lanes.reserved_units };
        for (bucket, outcome, count) in [
            ("plain", "refused", further.refused_by_plain),
            ("plain", "admitted", less(counted.offered(), further.refused_by_plain)),
            ("shadow", "refused", less(further.in_slot, reserved)),
            ("shadow", "admitted", reserved),
        ] {
            let labels = WouldHaveLabels { tenant: tenant.clone(), resource: resource.clone(), bucket, outcome };
            self.would_have_requests.get_or_create(&labels).inc_by(count.requests);
            self.would_have_units.get_or_create(&labels).inc_by(count.units);
        }
        let labels = KeyLabels::from(key);
        for (family, count) in [
            (&self.rescued, further.rescued.requests),
            (&self.worse_than_plain, further.worse_than_plain.requests),
            (&self.overcommitted, further.overcommitted.units),
            (&self.burst_slots, further.burst_slots),
            (&self.burst_units, further.burst_units),
            (&self.hostile_requests, further.hostile.requests),
            (&self.hostile_units, further.hostile.units),
        ] {
            family.get_or_create(&labels).inc_by(count);
        }
    }

    fn count_attribute(&self, key: &Key, attribute: &str, value: &str, requests: u64) {
        let labels = |tenant: &str| AttributeLabels {
            tenant: tenant.to_owned(),
            resource: key.resource.clone(),
            attribute: attribute.to_owned(),
            value: value.to_owned(),
        };
        let mut series = lock(&self.series);
        for (labels, most) in
            [(labels(&key.tenant), MAX_ATTRIBUTE_SERIES), (labels(OTHERS), MAX_ATTRIBUTE_SERIES / 10 * 11)]
        {
            if series.contains(&labels) || series.len() < most {
                self.attributes.get_or_create(&labels).inc_by(requests);
                series.insert(labels);
                return;
            }
        }
        self.attributes_dropped.inc_by(requests);
    }
}

/// Hand-overs of two counts are never quite of the same moment.
fn less(count: Count, part: Count) -> Count {
    Count { requests: count.requests.saturating_sub(part.requests), units: count.units.saturating_sub(part.units) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_fill_up_to_a_bound_and_then_count_for_everybody_else() {
        let metrics = CountMetrics::registered(&mut Registry::default());
        for tenant in 0..MAX_ATTRIBUTE_SERIES + 2 {
            metrics.count_attribute(&Key::new(format!("tenant-{tenant}"), "requests"), "region", "eu", 1);
        }
        let of = |tenant: &str| {
            let labels = AttributeLabels {
                tenant: tenant.to_owned(),
                resource: "requests".to_owned(),
                attribute: "region".to_owned(),
                value: "eu".to_owned(),
            };
            metrics.attributes.get_or_create(&labels).get()
        };
        assert_eq!((of("tenant-0"), of("*")), (1, 2));
        metrics.count_attribute(&Key::new("tenant-0", "requests"), "region", "eu", 4);
        assert_eq!(of("tenant-0"), 5, "who has a place keeps it");
        for value in 0..MAX_ATTRIBUTE_SERIES {
            metrics.count_attribute(&Key::new("late", "requests"), "region", &value.to_string(), 1);
        }
        assert!(metrics.attributes_dropped.get() > 0);
        assert_eq!(lock(&metrics.series).len(), MAX_ATTRIBUTE_SERIES / 10 * 11);
    }
}
