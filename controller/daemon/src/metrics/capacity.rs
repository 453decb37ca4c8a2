//! What the capacity loop tells Prometheus. Labels are services, pools, shapes and budgets of the configuration, and the
//! variants of small enums.

use std::collections::BTreeMap;

use forebay_plan::capacity::{CapacityInputs, CapacityPlan};
use forebay_plan::learning::Seen;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use super::{Level, registered};
use crate::capacity::performance::KnownFactor;
use crate::capacity::shaping::Figures;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ServiceLabel {
    pub(super) service: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabels {
    service: String,
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct GroupLabels {
    service: String,
    pool: String,
    shape: String,
    state: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FailureLabels {
    pool: String,
    kind: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PoolLabel {
    pool: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PlaceLabels {
    service: String,
    pool: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct UseLabels {
    service: String,
    shape: String,
    resource: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StateLabel {
    state: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindLabel {
    kind: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct BudgetLabel {
    budget: String,
}

/// From half a second, a process, to more than half an hour.
fn leads() -> Histogram {
    Histogram::new(exponential_buckets(0.5, 2.0, 13))
}

/// The metrics.
pub(crate) struct CapacityMetrics {
    pub(crate) plans_refused: Counter,
    pub(crate) started: Counter,
    pub(crate) stopped: Counter,
    pub(crate) endpoint_errors: Counter,
    /// 1 while a newer controller's orders count.
    pub(crate) standing_down: Gauge,
    /// Seconds to draw what pools are to be ready for.
    pub(crate) demand_duration: Histogram,
    errors: Family<KindLabel, Counter>,
    failures: Family<FailureLabels, Counter>,
    lead: Family<PoolLabel, Histogram, fn() -> Histogram>,
    interruptions: Family<PoolLabel, Counter>,
    unreachable: Family<PoolLabel, Gauge>,
    instances: Family<GroupLabels, Gauge>,
    ready: Family<ServiceLabel, Level>,
    needed: Family<ServiceLabel, Level>,
    short: Family<ServiceLabel, Level>,
    performance_learned: Family<PlaceLabels, Level>,
    performance_planned: Family<PlaceLabels, Level>,
    utilisation: Family<UseLabels, Level>,
    shapes: Family<StateLabel, Gauge>,
    shape_saving: Level,
    reasons: Family<ReasonLabels, Gauge>,
    spent: Family<BudgetLabel, Level>,
    committed: Family<BudgetLabel, Level>,
    limit: Family<BudgetLabel, Level>,
}

impl CapacityMetrics {
    pub(super) fn registered(r: &mut Registry) -> Self {
        Self {
            plans_refused: registered(r, "capacity_plans_refused", "Plans of capacity that failed their check"),
            started: registered(r, "capacity_instances_started", "Instances that managers were asked to start"),
            stopped: registered(r, "capacity_instances_stopped", "Instances that managers were asked to stop"),
            endpoint_errors: registered(r, "capacity_endpoint_errors", "Files of endpoints that could not be written"),
            standing_down: registered(
                r,
                "capacity_standing_down",
                "1 while a newer controller keeps the capacity and this one orders nothing",
            ),
            demand_duration: {
                let duration = Histogram::new(exponential_buckets(0.001, 4.0, 8));
                let help = "Seconds to draw what pools are to be ready for from the forecasts of their keys";
                r.register("capacity_demand_duration_seconds", help, duration.clone());
                duration
            },
            errors: registered(r, "capacity_manager_errors", "Calls to instance managers that failed, by kind"),
            failures: registered(
                r,
                "capacity_failures",
                "Groups that did not get what was asked for, by pool and kind",
            ),
            lead: {
                let lead: Family<PoolLabel, Histogram, fn() -> Histogram> = Family::new_with_constructor(leads);
                let help = "Seconds from asking for an instance until it is ready";
                r.register("capacity_lead_seconds", help, lead.clone());
                lead
            },
            interruptions: registered(r, "capacity_interruptions", "Instances that were taken away"),
            unreachable: registered(r, "capacity_pool_unreachable", "1 where the manager cannot see a pool"),
            instances: registered(r, "capacity_instances", "Instances by service, pool, shape and state"),
            ready: registered(r, "capacity_ready", "What ready instances serve, units per second"),
            needed: registered(
                r,
                "capacity_needed",
                "What is planned for until what is asked for now is ready, units per second",
            ),
            short: registered(r, "capacity_short", "Most that is missing in any planned step, units per second"),
            performance_learned: registered(
                r,
                "capacity_performance_learned",
                "Work that a core was seen to do beside what is declared",
            ),
            performance_planned: registered(
                r,
                "capacity_performance_planned",
                "Work of a core that plans count with beside what is declared",
            ),
            utilisation: registered(
                r,
                "capacity_utilisation",
                "Share of what an instance has that its use stays within, 95 % of the time",
            ),
            shapes: registered(r, "capacity_generated_shapes", "Sizes found from what instances use, by state"),
            shape_saving: registered(
                r,
                "capacity_proposed_shapes_saving_per_hour",
                "What proposed sizes would save an hour, in the currency of prices",
            ),
            reasons: registered(r, "capacity_reason", "1 for why a service has the capacity that it has"),
            spent: registered(r, "capacity_budget_spent", "Spent of a budget in its period, in its currency"),
            committed: registered(
                r,
                "capacity_budget_committed",
                "What a budget is bound to pay at most, in its currency",
            ),
            limit: registered(r, "capacity_budget_limit", "Limit of a budget, in its currency"),
        }
    }

    pub(crate) fn count_error(&self, kind: &'static str) {
        self.errors.get_or_create(&KindLabel { kind }).inc();
    }

    pub(crate) fn count_failure(&self, pool: &str, kind: &'static str) {
        self.failures.get_or_create(&FailureLabels { pool: pool.to_owned(), kind }).inc();
    }

    /// Notes whether a pool can be seen.
    pub(crate) fn note_unreachable(&self, pool: &str, is_lost: bool) {
        self.unreachable.get_or_create(&PoolLabel { pool: pool.to_owned() }).set(i64::from(is_lost));
    }

    /// Notes what was seen of starts and interruptions.
    pub(crate) fn count_seen(&self, seen: &Seen) {
        match seen {
            Seen::Ready { pool, lead_s, .. } => {
                self.lead.get_or_create(&PoolLabel { pool: pool.clone() }).observe(*lead_s);
            }
            Seen::Never { pool, .. } => self.count_failure(pool, "never_ready"),
            Seen::Exposed { pool, exposure } if exposure.taken > 0 => {
                let taken = u64::from(exposure.taken);
                self.interruptions.get_or_create(&PoolLabel { pool: pool.clone() }).inc_by(taken);
            }
            Seen::Exposed { .. } => {}
        }
    }

    /// Notes what cores were seen to do, and what plans count with.
    pub(crate) fn note_work(&self, known: &[KnownFactor<'_>]) {
        for one in known {
            let labels = PlaceLabels { service: one.service.to_owned(), pool: one.pool.to_owned() };
            self.performance_learned.get_or_create(&labels).set(one.learned);
            self.performance_planned.get_or_create(&labels).set(one.planned);
        }
    }

    /// Notes what instances use, by service and shape: of CPU and of memory.
    pub(crate) fn note_use<'a>(&self, uses: impl Iterator<Item = (&'a str, &'a str, [f64; 2])>) {
        self.utilisation.clear();
        for (service, shape, shares) in uses {
            for (resource, share) in ["cpu", "memory"].into_iter().zip(shares) {
                let (service, shape) = (service.to_owned(), shape.to_owned());
                self.utilisation.get_or_create(&UseLabels { service, shape, resource }).set(share);
            }
        }
    }

    /// Notes how many sizes were found, and what those that are proposed would save.
    pub(crate) fn note_shapes(&self, figures: Figures) {
        let states = [("in_use", figures.in_use), ("retired", figures.retired), ("proposed", figures.proposed)];
        for (state, count) in states {
            self.shapes.get_or_create(&StateLabel { state }).set(count as i64);
        }
        self.shape_saving.set(figures.saving_per_h);
    }

    /// Notes a turn.
    pub(crate) fn note(&self, inputs: &CapacityInputs, plan: &CapacityPlan, ready: &BTreeMap<String, Vec<u64>>) {
        self.instances.clear();
        for (group, fleet) in &inputs.fleet {
            let states = [
                ("coming", fleet.coming),
                ("ready", fleet.ready),
                ("doomed", fleet.doomed),
                ("draining", fleet.draining),
            ];
            for (state, count) in states {
                let (service, pool, shape) = (group.service.clone(), group.pool.clone(), group.shape.clone());
                self.instances.get_or_create(&GroupLabels { service, pool, shape, state }).set(i64::from(count));
            }
        }
        self.reasons.clear();
        for line in &plan.report.services {
            let label = ServiceLabel { service: line.service.clone() };
            let now = ready.get(&line.service).and_then(|steps| steps.first()).copied().unwrap_or(0);
            self.ready.get_or_create(&label).set(now as f64 / 1000.0);
            self.needed.get_or_create(&label).set(line.need_per_s);
            self.short.get_or_create(&label).set(line.short_per_s);
            let reason = ReasonLabels { service: line.service.clone(), reason: line.reason.name() };
            self.reasons.get_or_create(&reason).set(1);
        }
        for line in &plan.report.budgets {
            let label = BudgetLabel { budget: line.name.clone() };
            let money = |micros: u64| micros as f64 / 1e6;
            self.spent.get_or_create(&label).set(money(line.spent_micros));
            self.committed.get_or_create(&label).set(money(line.committed_micros));
            self.limit.get_or_create(&label).set(money(line.limit_micros));
        }
    }
}
