//! Orders: what a plan says, told to the manager, and what comes back.
//!
//! The same order is said again each turn until it is so: a manager that lost one, or was started again, hears the next. What it
//! says it could not do is taken as word of the pool, of the shape, or of nobody, by kind. A manager that knows a newer
//! controller is obeyed at once ([`super::standing`]).

use forebay_plan::capacity::CapacityPlan;
use forebay_provision::{Applied, CALL_WITHIN, FailureKind, InstanceManager, Order, ProvisionError};

use super::spending::Instant;
use super::standing::Change;
use super::{CapacityLoop, timed_out};

impl<M: InstanceManager> CapacityLoop<M> {
    /// Says the order of a plan: a new one under a new generation, the same one again as it was, until that is long ago.
    pub(super) async fn carry_out(&mut self, plan: &CapacityPlan, now: Instant) -> Result<(), ProvisionError> {
        let is_new = self.ordered.as_ref() != Some(&plan.targets);
        let steady = self.shared.clock.steady_now();
        if self.standing.is_due(is_new, steady) {
            let generation = self.standing.next(steady);
            // Written down before it is said: an order is always of a generation that a successor knows of.
            self.store_generation(generation);
        }
        let generation = self.standing.generation();
        if is_new {
            self.ordered = Some(plan.targets.clone());
            let targets: Vec<String> =
                plan.targets.iter().map(|target| format!("{}={}", target.group, target.count)).collect();
            tracing::info!(%generation, ?targets, "capacity ordered");
            self.note_decision(plan, now);
        }
        self.surplus.note(&plan.targets, now.wall_ms);
        let mut shapes = self.shaping.described(&plan.targets);
        shapes.extend(self.former.described(&plan.targets));
        let order = Order { generation, targets: plan.targets.clone(), shapes };
        let applied = match tokio::time::timeout(CALL_WITHIN, self.manager.apply(&order)).await {
            Ok(Ok(applied)) => applied,
            Ok(Err(error)) if let ProvisionError::StaleGeneration { taken, .. } = error => {
                self.count_error(&error);
                self.standing.stand_down(taken, self.look(now));
                self.note_change(Change::StandsDown);
                return Err(error);
            }
            Ok(Err(error)) => {
                self.count_error(&error);
                tracing::error!(%error, "order capacity; it is said again");
                return Err(error);
            }
            Err(_) => {
                let error = timed_out("order instances");
                self.count_error(&error);
                tracing::error!(%error, "order capacity; it is said again");
                return Err(error);
            }
        };
        self.take_failures(applied, now);
        Ok(())
    }

    fn take_failures(&mut self, applied: Applied, now: Instant) {
        self.shared.metrics.capacity.started.inc_by(u64::from(applied.started));
        self.shared.metrics.capacity.stopped.inc_by(u64::from(applied.stopped));
        for failure in applied.failures {
            if self.unreachable.is(&failure.group.pool) {
                // Told already, and it says nothing about the pool.
                continue;
            }
            self.shared.metrics.capacity.count_failure(&failure.group.pool, failure.kind.name());
            if failure.kind == FailureKind::Unknown && self.shaping.give_up(&failure.group.shape, &failure.detail, now)
            {
                tracing::error!(group = %failure.group, detail = failure.detail, "a generated shape cannot be made; it is retired");
                self.settings.shapes = self.shaping.all();
                continue;
            }
            if failure.kind == FailureKind::Failed {
                self.learned.failed(&failure.group.pool, now);
            }
            let why = format!("{}: {}", failure.kind.name(), failure.detail);
            if self.refusals.refused(&failure.group.pool, failure.kind, why, now.wall_ms) {
                tracing::error!(group = %failure.group, kind = failure.kind.name(), detail = failure.detail,
                    "a pool does not give what it was asked for; it is done without for a while");
            }
        }
    }
}
