//! What is learned of one pool by its starts and interruptions, and the pool as the planner is to see it. How much work its
//! machines do is another thing for each service, and learned beside it ([`PerformanceFactor`](super::PerformanceFactor)).

use serde::{Deserialize, Serialize};

use super::census::Seen;
use super::error::LearningError;
use super::failure::StartFailures;
use super::forgetting::HalfLife;
use super::interruption::InterruptionRate;
use super::lead::{DeclaredLead, LeadTimes};
use crate::capacity::Pool;

/// What is believed of a pool before anything is learned, and for how much that counts.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct DeclaredPool {
    /// Its lead time.
    pub lead: DeclaredLead,
    /// Half-life of starts, by number and time.
    pub starts_half_life: HalfLife,
    /// Chance that an instance is taken within an hour.
    pub interruption_per_h: f64,
    /// Instance-hours for which that counts.
    pub interruption_instance_h: f64,
    /// Half-life of interruptions, in seconds.
    pub interruption_half_life_s: f64,
    /// Share of starts that fail.
    pub failure_share: f64,
    /// Starts for which that counts.
    pub failure_starts: f64,
}

impl DeclaredPool {
    /// What a pool declares by its lead time and interruption chance, with usual weights: five starts and 100
    /// instance-hours; half of it forgotten after 50 starts, two weeks, four weeks of interruptions.
    #[must_use]
    pub fn of(pool: &Pool) -> Self {
        const WEEK_S: f64 = 7.0 * 86_400.0;
        Self {
            lead: DeclaredLead::of(pool.lead_s),
            starts_half_life: HalfLife { observations: 50.0, seconds: 2.0 * WEEK_S },
            interruption_per_h: pool.interruption_per_h,
            interruption_instance_h: 100.0,
            interruption_half_life_s: 4.0 * WEEK_S,
            failure_share: 0.0,
            failure_starts: 20.0,
        }
    }
}

/// What is learned of one pool; see the module's text.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PoolLearning {
    declared: DeclaredPool,
    /// Lead times, by shape where enough is known.
    pub leads: LeadTimes,
    /// Interruptions.
    pub interruptions: InterruptionRate,
    /// Starts that failed.
    pub failures: StartFailures,
}

impl PoolLearning {
    /// Nothing learned yet.
    ///
    /// # Errors
    /// What is declared cannot be.
    pub fn new(declared: DeclaredPool) -> Result<Self, LearningError> {
        let DeclaredPool { interruption_per_h, interruption_instance_h, interruption_half_life_s, .. } = declared;
        Ok(Self {
            declared,
            leads: LeadTimes::new(declared.lead, declared.starts_half_life),
            interruptions: InterruptionRate::new(
                interruption_per_h,
                interruption_instance_h,
                interruption_half_life_s,
            )?,
            failures: StartFailures::new(declared.failure_share, declared.failure_starts, declared.starts_half_life)?,
        })
    }

    /// Takes in what a [`Census`](super::Census) saw of this pool at `at_s`; of another pool it must not be given.
    ///
    /// # Errors
    /// A number that cannot be, as after a clock has jumped; nothing is learned of it.
    pub fn observe(&mut self, seen: &Seen, at_s: i64) -> Result<(), LearningError> {
        match seen {
            Seen::Ready { shape, lead_s, .. } => {
                self.leads.observe_ready(shape, *lead_s, at_s)?;
                self.failures.observe(0, 1, at_s)
            }
            Seen::Never { shape, waited_s, .. } => self.leads.observe_never(shape, *waited_s, at_s),
            Seen::Exposed { exposure, .. } => self.interruptions.observe(*exposure, at_s),
        }
    }

    /// The pool with what was learned in place of what was declared, beside starts that have not ended (how many seconds ago
    /// each was asked for).
    #[must_use]
    pub fn learned(&self, pool: &Pool, now_s: i64, starting_s: &[f64]) -> Pool {
        Pool {
            lead_s: self.leads.lead_s(now_s, starting_s),
            interruption_per_h: self.interruptions.chance_per_h(now_s),
            ..pool.clone()
        }
    }

    /// Chance that one instance of a shape that is asked for now is ready within `within_s` seconds: that its start does not
    /// fail and does not take longer.
    #[must_use]
    pub fn confidence(&self, shape: &str, within_s: f64, now_s: i64) -> f64 {
        let lead = self.leads.estimate_shape(shape, now_s, &[], &[]);
        (1.0 - self.failures.share(now_s)) * lead.ready_within(within_s)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capacity::{ComputeType, CostClass};
    use crate::learning::Exposure;

    fn pool() -> Pool {
        Pool {
            name: "spot-eu".into(),
            compute: ComputeType::Cpu,
            location: "eu".into(),
            class: CostClass::Spot,
            tier: "spot".into(),
            max_instances: 100,
            price_milli: 1000,
            lead_s: 90.0,
            interruption_per_h: 0.05,
        }
    }

    #[test]
    fn a_pool_of_which_nothing_is_learned_is_the_declared_one() {
        let learning = PoolLearning::new(DeclaredPool::of(&pool())).unwrap();
        let learned = learning.learned(&pool(), 0, &[]);
        assert!((learned.lead_s - 90.0).abs() < 1e-6 && (learned.interruption_per_h - 0.05).abs() < 1e-12);
        assert_eq!(Pool { lead_s: 90.0, interruption_per_h: 0.05, ..learned }, pool());
        assert!((learning.confidence("Small", 90.0, 0) - 0.95).abs() < 1e-6);
    }

    #[test]
    fn what_was_seen_changes_what_the_planner_sees_and_survives_storage() {
        let mut learning = PoolLearning::new(DeclaredPool::of(&pool())).unwrap();
        for hour in 0..200 {
            let (at_s, pool, shape) = (hour * 3600, "spot-eu".to_owned(), "Small".to_owned());
            let exposure = Exposure { instances: 10, taken: u32::from(hour % 2 == 0), hours: 1.0 };
            learning.observe(&Seen::Exposed { pool: pool.clone(), exposure }, at_s).unwrap();
            learning.observe(&Seen::Ready { pool, shape, lead_s: 240.0 }, at_s).unwrap();
        }
        learning.failures.observe(20, 20, 200 * 3600).unwrap();
        let learned = learning.learned(&pool(), 200 * 3600, &[]);
        assert!(learned.lead_s >= 240.0 && (0.04..0.06).contains(&learned.interruption_per_h), "{learned:?}");
        assert!(learning.confidence("Small", 300.0, 200 * 3600) < 0.85, "some starts fail");
        // JSON keeps numbers to their last digit but one.
        let stored = serde_json::to_string(&learning).unwrap();
        let restored: PoolLearning = serde_json::from_str(&stored).unwrap();
        let again = restored.learned(&pool(), 200 * 3600, &[]);
        assert!((again.lead_s / learned.lead_s - 1.0).abs() < 1e-9);
        assert!((again.interruption_per_h / learned.interruption_per_h - 1.0).abs() < 1e-9);
    }
}
