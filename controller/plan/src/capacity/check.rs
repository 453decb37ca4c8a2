//! Judges a capacity plan against its inputs, without trusting how it was made.
//!
//! Everything is added up again from the targets alone; of the planner only the two formulas of [`super::price`] and what
//! an instance is counted as against a budget are shared. *Violations* keep a plan from being carried out; the rest are
//! remarks about the inputs that somebody should read. Where one rule gave way to another (DESIGN section 4), the check
//! proves that it had to: one more instance of the group would not have fitted the pool or the budget.

use std::collections::BTreeMap;
use std::fmt;

use super::commitment::dues::Dues;
use super::planning::size_of;
use super::price::units_per_s;
use super::{CapacityInputs, CapacityPlan, Fleet, Group, Micros, Outlook, PoolOffer, Service};

/// Something that is wrong.
#[derive(Clone, Debug, PartialEq)]
pub enum CapacityFinding {
    /// Remark: what runs exceeds a budget even if all of it is told to go; somebody lowered the limit or bought elsewhere.
    BudgetLost {
        /// Name of the budget.
        budget: String,
        /// What going at once can still cost with what was spent, in micros.
        least_micros: Micros,
        /// The limit.
        limit_micros: Micros,
    },
    /// Violation: the plan can come to cost more than a budget has left.
    BudgetExceeded {
        /// Name of the budget.
        budget: String,
        /// What was spent and what the plan can cost, in micros.
        committed_micros: Micros,
        /// The limit.
        limit_micros: Micros,
    },
    /// Violation: more instances than a pool can have, or than can be started in it.
    PoolExceeded {
        /// Name of the pool.
        pool: String,
        /// Its targets.
        targets: u32,
        /// What it can have.
        size: u32,
    },
    /// Violation: ready capacity may fall below what the demand observed now needs, and nothing forced it.
    FloorBroken {
        /// The service.
        service: String,
        /// Units per second that surely stay ready.
        ready_per_s: f64,
        /// Units per second that had to.
        floor_per_s: f64,
    },
    /// Violation: a group goes down within its dwell, and nothing forced it.
    DwellBroken {
        /// The group.
        group: Group,
    },
    /// Violation: a group has less than the schedule asks for now, and nothing forced it.
    ScaleUpDelayed {
        /// The group.
        group: Group,
    },
    /// Violation: targets are not ordered by group, name one twice, or name none of the inputs.
    BadTarget {
        /// The group.
        group: Group,
    },
}

impl CapacityFinding {
    /// Whether a plan with this finding must not be carried out.
    #[must_use]
    pub fn is_violation(&self) -> bool {
        !matches!(self, Self::BudgetLost { .. })
    }
}

impl fmt::Display for CapacityFinding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BudgetLost { budget, least_micros, limit_micros } => write!(
                f,
                "budget {budget}: what runs costs {least_micros} micros even if it ends now, the limit is {limit_micros}; \
                 raise the limit"
            ),
            Self::BudgetExceeded { budget, committed_micros, limit_micros } => {
                write!(f, "budget {budget}: the plan can cost {committed_micros} micros, the limit is {limit_micros}")
            }
            Self::PoolExceeded { pool, targets, size } => {
                write!(f, "pool {pool}: {targets} instances of {size} possible")
            }
            Self::FloorBroken { service, ready_per_s, floor_per_s } => write!(
                f,
                "service {service}: {ready_per_s:.3}/s surely stay ready of {floor_per_s:.3}/s that demand needs now"
            ),
            Self::DwellBroken { group } => write!(f, "{group}: goes down within its dwell"),
            Self::ScaleUpDelayed { group } => write!(f, "{group}: has less than the schedule asks for now"),
            Self::BadTarget { group } => write!(f, "{group}: named twice, out of order, or not among the inputs"),
        }
    }
}

/// All findings, in a fixed order.
#[must_use]
pub fn check_capacity(inputs: &CapacityInputs, plan: &CapacityPlan) -> Vec<CapacityFinding> {
    let account = Account::new(inputs, plan);
    let mut findings = Vec::new();
    targets_sound(inputs, plan, &mut findings);
    account.budgets_kept(&mut findings);
    account.pools_kept(&mut findings);
    account.floors_kept(&mut findings);
    account.dwell_kept(&mut findings);
    account.asked_for(plan, &mut findings);
    findings
}

fn targets_sound(inputs: &CapacityInputs, plan: &CapacityPlan, findings: &mut Vec<CapacityFinding>) {
    let mut previous: Option<&Group> = None;
    for target in &plan.targets {
        let is_known = inputs.shapes.iter().any(|shape| shape.name == target.group.shape)
            && inputs.pools.iter().any(|offer| offer.pool.name == target.group.pool)
            && inputs.services.iter().any(|service| service.name == target.group.service);
        if !is_known || target.count == 0 || previous.is_some_and(|previous| *previous >= target.group) {
            findings.push(CapacityFinding::BadTarget { group: target.group.clone() });
        }
        previous = Some(&target.group);
    }
}

/// What a plan does to each group.
struct Row<'a> {
    group: &'a Group,
    fleet: Fleet,
    to: u32,
    units: f64,
    dues: Dues,
    service: &'a Service,
}

impl Row<'_> {
    /// Ready instances that are left if the ready ones go first.
    fn sure_ready(&self) -> u32 {
        self.fleet.ready.saturating_sub(self.fleet.wanted().saturating_sub(self.to))
    }

    fn committed(&self) -> i128 {
        let leaving = i128::from(self.fleet.wanted().saturating_sub(self.to));
        i128::from(self.dues.leaving) * leaving
            + i128::from(self.dues.staying) * i128::from(self.to)
            + self.dues.draining(&self.fleet)
    }
}

/// A plan added up.
struct Account<'a> {
    inputs: &'a CapacityInputs,
    rows: Vec<Row<'a>>,
}

impl<'a> Account<'a> {
    fn new(inputs: &'a CapacityInputs, plan: &'a CapacityPlan) -> Self {
        let mut of_group: BTreeMap<&Group, u32> = inputs.fleet.keys().map(|group| (group, 0)).collect();
        for target in &plan.targets {
            *of_group.entry(&target.group).or_default() += target.count;
        }
        let row = |(group, to): (&'a Group, u32)| {
            let service = inputs.services.iter().find(|service| service.name == group.service)?;
            let offer = inputs.pools.iter().find(|offer| offer.pool.name == group.pool)?;
            let tier = inputs.tiers.iter().find(|tier| tier.name == offer.pool.tier)?;
            let shape = inputs.shapes.iter().find(|shape| shape.name == group.shape)?;
            let fleet = inputs.fleet.get(group).copied().unwrap_or_default();
            let dues = Dues::of(inputs, group)?;
            Some(Row { group, fleet, to, units: units_per_s(service, shape, tier, offer), dues, service })
        };
        Self { inputs, rows: of_group.into_iter().filter_map(row).collect() }
    }

    /// What a budget has left, in micros, the targets being what `to` says.
    fn left(&self, budget: usize, committed: impl Fn(&Row<'_>) -> i128) -> i128 {
        let budget = &self.inputs.budgets[budget];
        let of = self.rows.iter().filter(|row| budget.covers(row.service, &row.group.pool));
        i128::from(budget.limit_micros) - i128::from(budget.spent_micros) - of.map(committed).sum::<i128>()
    }

    fn budgets_kept(&self, findings: &mut Vec<CapacityFinding>) {
        for (at, budget) in self.inputs.budgets.iter().enumerate() {
            let all_leave = |row: &Row<'_>| {
                i128::from(row.dues.leaving) * i128::from(row.fleet.wanted()) + row.dues.draining(&row.fleet)
            };
            let (left, least) = (self.left(at, |row| row.committed()), self.left(at, all_leave));
            let micros =
                |left: i128| Micros::try_from((i128::from(budget.limit_micros) - left).max(0)).unwrap_or(Micros::MAX);
            let (budget, limit_micros) = (budget.name.clone(), budget.limit_micros);
            if least < 0 {
                findings.push(CapacityFinding::BudgetLost { budget, least_micros: micros(least), limit_micros });
                if left < least {
                    let budget = self.inputs.budgets[at].name.clone();
                    findings.push(CapacityFinding::BudgetExceeded {
                        budget,
                        committed_micros: micros(left),
                        limit_micros,
                    });
                }
            } else if left < 0 {
                findings.push(CapacityFinding::BudgetExceeded { budget, committed_micros: micros(left), limit_micros });
            }
        }
    }

    fn in_pool(&self, offer: &PoolOffer) -> impl Iterator<Item = &Row<'a>> {
        self.rows.iter().filter(move |row| row.group.pool == offer.pool.name)
    }

    /// What a pool can have until the next plan, beside what is draining.
    fn size(&self, offer: &PoolOffer) -> u32 {
        let until_s = self.inputs.now_s + u64::from(self.inputs.decide_every_s.max(1));
        let size = size_of(self.inputs, &offer.pool, self.inputs.now_s, until_s);
        size.saturating_sub(self.in_pool(offer).map(|row| row.fleet.draining).sum())
    }

    /// What can be added to a pool beside what exists.
    fn free(&self, offer: &PoolOffer) -> u32 {
        let free = self.size(offer).saturating_sub(self.in_pool(offer).map(|row| row.fleet.wanted()).sum());
        offer.startable.map_or(free, |startable| free.min(startable))
    }

    fn added(&self, offer: &PoolOffer) -> u32 {
        self.in_pool(offer).map(|row| row.to.saturating_sub(row.fleet.wanted())).sum()
    }

    fn pools_kept(&self, findings: &mut Vec<CapacityFinding>) {
        for offer in &self.inputs.pools {
            let (targets, size) = (self.in_pool(offer).map(|row| row.to).sum(), self.size(offer));
            if targets > size || self.added(offer) > self.free(offer) {
                findings.push(CapacityFinding::PoolExceeded { pool: offer.pool.name.clone(), targets, size });
            }
        }
    }

    /// Whether one more instance of a group would fit its pool and every budget.
    fn has_room(&self, row: &Row<'_>) -> bool {
        let is_new = row.to >= row.fleet.wanted();
        let fits_pool = self.inputs.pools.iter().find(|offer| offer.pool.name == row.group.pool).is_some_and(|offer| {
            let targets: u32 = self.in_pool(offer).map(|row| row.to).sum();
            targets < self.size(offer) && (!is_new || self.added(offer) < self.free(offer))
        });
        let due = i128::from(row.dues.staying) - if is_new { 0 } else { i128::from(row.dues.leaving) };
        let mut paying =
            (0..self.inputs.budgets.len()).filter(|at| self.inputs.budgets[*at].covers(row.service, &row.group.pool));
        fits_pool && paying.all(|at| due == 0 || self.left(at, |row| row.committed()) >= due)
    }

    fn floors_kept(&self, findings: &mut Vec<CapacityFinding>) {
        for service in &self.inputs.services {
            let rows = || self.rows.iter().filter(|row| row.service.name == service.name);
            let ready: f64 = rows().map(|row| f64::from(row.fleet.ready) * row.units).sum();
            let sure: f64 = rows().map(|row| f64::from(row.sure_ready()) * row.units).sum();
            let observed = self.inputs.outlooks.get(&service.name).map_or(0.0, Outlook::floor_per_s);
            let floor = observed.min(ready);
            let mut reduced = rows().filter(|row| row.sure_ready() < row.fleet.ready && row.units > 0.0);
            if sure < floor * (1.0 - 1e-6) && reduced.any(|row| self.has_room(row)) {
                let (ready_per_s, floor_per_s) = (sure, floor);
                findings.push(CapacityFinding::FloorBroken { service: service.name.clone(), ready_per_s, floor_per_s });
            }
        }
    }

    fn dwell_kept(&self, findings: &mut Vec<CapacityFinding>) {
        for row in self.rows.iter().filter(|row| row.to < row.fleet.wanted()) {
            let since_s = self.inputs.dwell.last_wanted_s(row.group).map(|at_s| self.inputs.now_s.saturating_sub(at_s));
            let is_within = since_s.is_some_and(|since_s| (since_s as f64) < row.service.min_dwell_s);
            if is_within && self.has_room(row) {
                findings.push(CapacityFinding::DwellBroken { group: row.group.clone() });
            }
        }
    }

    /// What the schedule asks for now is asked for now.
    fn asked_for(&self, plan: &CapacityPlan, findings: &mut Vec<CapacityFinding>) {
        let asked: BTreeMap<&Group, u32> =
            plan.schedule.iter().map(|of| (&of.group, of.asked.first().copied().unwrap_or(0))).collect();
        for row in &self.rows {
            let asked = asked.get(row.group).copied().unwrap_or(0);
            if row.to < asked && self.has_room(row) {
                findings.push(CapacityFinding::ScaleUpDelayed { group: row.group.clone() });
            }
        }
    }
}
