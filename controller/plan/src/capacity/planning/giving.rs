//! Small instances of a service that give their places in a full pool to larger ones of it.
//!
//! A pool has so many places, whatever stands in them. One that is full of small instances never gets larger ones as long as
//! all that is ready is kept until others are, so a service whose need has outgrown it would stay short for good. What goes
//! is missed until what takes its place is ready: so nothing goes that the demand observed now needs (the floor), that a dwell
//! holds or the schedule wants, and no more than larger ones lack places. It takes some plans: small ones drain, larger ones
//! come, and then the next small ones are spare.
//!
//! What it does not do: buy elsewhere for a while. Where nothing is spare the report says so
//! ([`super::ServiceReason::FullOfNeeded`]).

use super::line::{Line, Lines};

impl Lines<'_> {
    /// Where what there is does not serve `units` per second and larger instances are wanted in a pool that is full of smaller
    /// ones: marks those to give their places that nothing let in yet, that are not wanted and whose dwell is over. What they
    /// serve is missed until the larger ones are ready, which would be missed for good otherwise; the demand of now must have
    /// been let in before.
    pub(super) fn give_way(&mut self, service: usize, units: f64) {
        let of = self.of_service[service].clone();
        let has = |line: &Line| f64::from(line.fleet.ready + line.fleet.coming) * line.units;
        if of.iter().map(|at| has(&self.all[*at])).sum::<f64>() >= units * (1.0 - 1e-9) {
            return;
        }
        let count: u32 = of.iter().map(|at| self.all[*at].fleet.ready + self.all[*at].fleet.coming).sum();
        let mut most = count.saturating_sub(self.inputs.services[service].min_instances);
        for larger in &of {
            let Some(pool) = self.all[*larger].known.as_ref().map(|known| known.pool) else { continue };
            let mut lacking = self.lacking_places(*larger, pool).min(most);
            for at in &of {
                let is_smaller = self.all[*at].units < self.all[*larger].units;
                if is_smaller && self.all[*at].known.as_ref().is_some_and(|known| known.pool == pool) {
                    let gives = self.spare(service, *at).min(lacking);
                    self.all[*at].gives += gives;
                    self.leaving[pool] += gives;
                    lacking -= gives;
                    most -= gives;
                }
            }
        }
    }

    /// Instances of a line that are wanted and have neither a place nor one that is about to be free.
    fn lacking_places(&self, at: usize, pool: usize) -> u32 {
        let line = &self.all[at];
        let coming_free = self.leaving[pool] + self.free[pool];
        let more = line.wanted.saturating_sub(line.fleet.wanted()).saturating_sub(coming_free);
        if self.inputs.pools[pool].startable == Some(0) { 0 } else { more }
    }

    /// Ready instances of a line that neither the demand of now needs nor the schedule wants, nor a dwell holds.
    fn spare(&self, service: usize, at: usize) -> u32 {
        let line = &self.all[at];
        let kept = line.to.max(line.wanted);
        let spare = line.fleet.wanted().saturating_sub(kept).min(line.fleet.ready).saturating_sub(line.gives);
        if self.dwell_left_s(service, at) > 0.0 { 0 } else { spare }
    }
}
