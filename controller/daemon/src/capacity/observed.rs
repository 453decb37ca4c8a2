//! What a turn sees: the instances of the manager, the demand of this moment, and what both mean for pools.

use std::collections::BTreeMap;

use forebay_plan::capacity::{CapacityInputs, Fleet, Group, InstanceState, PoolOffer, Reservation};
use forebay_provision::{FailureKind, InstanceManager, InstanceUsage, Observed};

use super::metering::Look;
use super::spending::Instant;
use super::{CapacityLoop, assembling, board, dwell, interruptions, late};
use crate::config::capacity::{LearningMode, ShapeMode};
use crate::planning::capacity::Bounds;
use crate::state::lock;

impl<M: InstanceManager> CapacityLoop<M> {
    /// Takes in what the manager sees; returns what instances use.
    pub(super) fn see(&mut self, mut observed: Observed, now: Instant) -> Vec<InstanceUsage> {
        self.spending.on_own_clock(&mut observed.instances, now);
        if let Some(change) = self.standing.see(observed.generation, self.look(now)) {
            self.note_change(change);
        }
        self.note_unreachable(&observed, now);
        let was_ready = |id: &str| self.instances.iter().any(|one| one.id == id && one.state == InstanceState::Ready);
        for one in observed.instances.iter().filter(|one| one.state == InstanceState::Ready && !was_ready(&one.id)) {
            self.refusals.delivered(&one.group.pool);
        }
        for seen in self.learned.look(&observed.instances, now) {
            self.shared.metrics.capacity.count_seen(&seen);
        }
        let leads = self.lead_by_pool(now);
        let lead_s = |pool: &str| leads.get(pool).copied().unwrap_or(0.0);
        let verdict = self.interruptions.look(&observed.instances, lead_s, now.wall_ms);
        self.note_taken_back(verdict, now);
        let mut instances = observed.instances;
        instances.extend(self.unreachable.untold(self.spending.paid(), &instances));
        for one in &mut instances {
            one.is_interrupted |= self.unreachable.is_given_up(&one.group.pool, now.wall_ms);
        }
        let owing = late::mark(&mut instances, lead_s, now.wall_ms);
        self.note_owing(owing, now);
        if self.ordered.is_none() {
            let is_own = self.standing.stood_down().is_none();
            let now_s = now.calendar_s.max(0.0) as u64;
            let last_turn_s = self.spending.paid_until_calendar_s(now).max(0.0) as u64;
            self.dwell.resume(&instances, dwell::Resuming { now_s, last_turn_s, is_own });
        }
        let fleet = Fleet::count(&instances);
        let is_ordered = self.ordered.is_some() && self.standing.stood_down().is_none();
        self.surplus.look(&fleet, is_ordered, now.wall_ms);
        self.drains.look(&instances, now.wall_ms);
        self.instances = instances;
        let asked = self.ordered.clone().unwrap_or_default();
        for group in self.refusals.look(&fleet, &asked, lead_s, now.wall_ms) {
            let why = "it was asked for instances, and none came".to_owned();
            if self.refusals.refused(&group.pool, FailureKind::OutOfCapacity, why, now.wall_ms) {
                self.shared.metrics.capacity.count_failure(&group.pool, "lost");
                tracing::error!(%group, "instances that were asked for did not come; the pool is done without for a while");
            }
        }
        observed.usage
    }

    /// Pools that interrupt what they have just been asked for are done without for a while, until what they give stays.
    fn note_taken_back(&mut self, verdict: interruptions::Verdict, now: Instant) {
        for pool in verdict.stays {
            self.refusals.stays(&pool);
        }
        for (pool, count) in verdict.taken_back {
            let why = format!("{count} instances that replaced interrupted ones were interrupted soon too");
            if self.refusals.took_back(&pool, why, now.wall_ms) {
                self.shared.metrics.capacity.count_failure(&pool, "interrupted");
                tracing::error!(pool, count, "a pool takes back what it gives; it is done without for a while");
            }
        }
    }

    /// Pools whose starts hang are done without for a while, as those that refuse are.
    fn note_owing(&mut self, owing: BTreeMap<String, usize>, now: Instant) {
        for (pool, count) in owing.into_iter().filter(|(pool, _)| !self.unreachable.is(pool)) {
            let why = format!("{count} instances that were asked for long ago are not ready");
            if self.refusals.refused(&pool, FailureKind::OutOfCapacity, why, now.wall_ms) {
                self.shared.metrics.capacity.count_failure(&pool, "late");
                tracing::error!(pool, count, "starts of a pool hang; it is done without for a while");
            }
        }
    }

    /// Learns from what instances served and what they used for it.
    pub(super) fn measure(&mut self, usage: &[InstanceUsage], now: Instant) {
        let is_off = self.settings.performance.mode == LearningMode::Off;
        if is_off && self.settings.generated_shapes.mode == ShapeMode::Off {
            return;
        }
        let inputs = lock(&self.shared.capacity.view).inputs.clone();
        let is_weighted = self.settings.endpoints.is_some() || self.settings.xds.is_some();
        // The weights that proxies were told are those of the turn before.
        let weight = |group: &Group| match &inputs {
            Some(inputs) if is_weighted => board::serves_per_s(inputs, group).unwrap_or(0.0),
            _ => 1.0,
        };
        let admitted_units = self.admitted_units();
        let look = Look {
            instances: &self.instances,
            usage,
            admitted_units,
            weight: &weight,
            decide_every_ms: self.settings.decide_every.as_millis() as u64,
            now_ms: now.wall_ms,
        };
        let readings = self.meter.look(&look);
        self.performances.learn(&readings, &self.settings, now);
    }

    /// Looks for sizes that what instances use would be cheaper in, where that is due.
    pub(super) fn shape(&mut self, inputs: &CapacityInputs, now: Instant) {
        if self.shaping.move_on(self.performances.uses(), inputs, &self.instances, now) {
            // What is paid, counted and learned of them begins with the next turn.
            self.settings.shapes = self.shaping.all();
        }
    }

    /// Units admitted since the start, by service.
    fn admitted_units(&self) -> BTreeMap<String, f64> {
        let observer = self.shared.observer();
        let mut by_service: BTreeMap<String, f64> = BTreeMap::new();
        for (place, contract) in self.shared.config.contracts.iter().enumerate() {
            if let Some(pool) = &contract.pool {
                let units = observer.admitted_units().get(&place).copied().unwrap_or(0.0);
                *by_service.entry(pool.clone()).or_default() += units;
            }
        }
        by_service
    }

    /// Pools that cannot be seen any more, or again: said once, and kept in a metric.
    fn note_unreachable(&mut self, observed: &Observed, now: Instant) {
        let pools = self.settings.pools.iter().map(|offer| offer.pool.name.as_str());
        for (pool, is_lost) in self.unreachable.look(pools, &observed.unreachable, now.wall_ms) {
            self.shared.metrics.capacity.note_unreachable(pool, is_lost);
            if is_lost {
                tracing::error!(pool, "the manager cannot see a pool; its instances stand, and none is started there");
            } else {
                tracing::info!(pool, "the manager sees the pool again");
            }
        }
    }

    /// Lead times by pool, real seconds: as declared, or as learned where that is longer.
    fn lead_by_pool(&self, now: Instant) -> BTreeMap<String, f64> {
        let lead_s = |offer: &PoolOffer| offer.pool.lead_s.max(self.learned.lead_s(&offer.pool.name, now));
        self.settings.pools.iter().map(|offer| (offer.pool.name.clone(), lead_s(offer))).collect()
    }

    /// Offered demand now, by service, within what contracts may use; units per second.
    fn offered_per_s(&self) -> BTreeMap<String, f64> {
        let config = &self.shared.config;
        let offered = self.shared.observer().offered_per_s(self.shared.clock.steady_now());
        let mut by_service: BTreeMap<String, f64> = BTreeMap::new();
        for (place, contract) in config.contracts.iter().enumerate() {
            let offered_per_s = offered.get(&place).copied().unwrap_or(0.0);
            if let Some(pool) = &contract.pool {
                // No flood keeps capacity: what no contract admits needs none.
                *by_service.entry(pool.clone()).or_default() += Bounds::of(contract, 0.0).hold(offered_per_s);
            }
        }
        by_service
    }

    /// Looks at the demand of the moment, for services that look seldom.
    pub(super) fn sample(&mut self) {
        let offered_per_s = self.offered_per_s();
        self.samples.look(&self.settings.services, &offered_per_s, self.shared.clock.steady_now());
    }

    /// What a plan of this moment is made of, with one more reservation if it is asked what that would do.
    pub(super) fn inputs(&self, now: Instant, further: Option<Reservation>) -> CapacityInputs {
        let demand = lock(&self.shared.capacity.demand).clone();
        let mut reservations = self.allocations.reservations(now.calendar_s as i64);
        reservations.extend(further);
        let known = assembling::Known {
            now,
            instances: &self.instances,
            drains: &self.drains,
            demand: &demand,
            observed_per_s: &self.samples.held(self.offered_per_s()),
            refusals: &self.refusals,
            surplus: &self.surplus,
            unreachable: &self.unreachable,
            reservations,
            maintenance: lock(&self.shared.capacity.maintenance).clone(),
            headroom: &|service| self.tunings.headroom(service),
            covered: &|service, outlook| self.foresights.covered(service, outlook, self.shared.config.step_s),
            spot_shift: &|service| self.tunings.spot_shift(service),
            dwell: self.dwell.memory(),
            spending: &self.spending,
            pools: self.offers(now),
            retired_shapes: self.shaping.retired().into_iter().chain(self.former.retired()).collect(),
        };
        assembling::inputs(&self.shared.config, &self.settings, known)
    }
}

impl<M> CapacityLoop<M> {
    /// The pools as they are believed to be.
    fn offers(&self, now: Instant) -> Vec<PoolOffer> {
        let mut offers = self.learned.offers(&self.settings.pools, now);
        for offer in &mut offers {
            offer.cpu_factors = self.performances.factors(&offer.pool.name, &self.settings.performance);
        }
        offers
    }
}
