//! What operation has taught of each pool: its lead times, interruptions and failed starts, beside what is declared.
//!
//! The learners are of `forebay-plan`; here they are fed with what is seen, kept over restarts, and asked. A pool whose
//! declaration was changed is learned anew.

use std::collections::BTreeMap;

use forebay_plan::capacity::{Instance, PoolOffer};
use forebay_plan::learning::{Census, DeclaredPool, PoolLearning, Seen};
use serde::{Deserialize, Serialize};

use super::remembered::remembered;
use super::spending::Instant;

/// What is learned of a pool, and what it was declared as then.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Lesson {
    declared: DeclaredPool,
    learning: PoolLearning,
}

/// See the module's text.
#[derive(Clone, Debug, Default)]
pub(crate) struct Learned {
    census: Census,
    pools: BTreeMap<String, Lesson>,
    is_changed: bool,
}

impl Learned {
    /// Of these pools, with what was stored.
    pub(super) fn of(offers: &[PoolOffer], stored: Option<&str>) -> Self {
        let mut stored: BTreeMap<String, Lesson> = remembered("pools", stored);
        let mut pools = BTreeMap::new();
        for offer in offers {
            let declared = DeclaredPool::of(&offer.pool);
            let lesson = match stored.remove(&offer.pool.name).filter(|lesson| lesson.declared == declared) {
                Some(lesson) => Some(lesson),
                None => PoolLearning::new(declared).ok().map(|learning| Lesson { declared, learning }),
            };
            if let Some(lesson) = lesson {
                pools.insert(offer.pool.name.clone(), lesson);
            }
        }
        Self { census: Census::default(), pools, is_changed: false }
    }

    /// Takes in what is seen; returns what was seen of interruptions and starts, for metrics.
    pub(super) fn look(&mut self, instances: &[Instance], now: Instant) -> Vec<Seen> {
        let seen = self.census.look(instances, now.wall_ms);
        for one in &seen {
            let (Seen::Ready { pool, .. } | Seen::Never { pool, .. } | Seen::Exposed { pool, .. }) = one;
            if let Some(lesson) = self.pools.get_mut(pool) {
                match lesson.learning.observe(one, now.wall_s()) {
                    Ok(()) => self.is_changed = true,
                    Err(error) => tracing::debug!(%error, pool, "nothing was learned"),
                }
            }
        }
        seen
    }

    /// A start failed.
    pub(super) fn failed(&mut self, pool: &str, now: Instant) {
        if let Some(lesson) = self.pools.get_mut(pool) {
            self.is_changed |= lesson.learning.failures.observe(1, 1, now.wall_s()).is_ok();
        }
    }

    /// The pools as they are believed to be.
    pub(super) fn offers(&self, offers: &[PoolOffer], now: Instant) -> Vec<PoolOffer> {
        let believed = |offer: &PoolOffer| match self.pools.get(&offer.pool.name) {
            Some(lesson) => {
                let starting_s = self.census.starting_s(&offer.pool.name, None, now.wall_ms);
                PoolOffer { pool: lesson.learning.learned(&offer.pool, now.wall_s(), &starting_s), ..offer.clone() }
            }
            None => offer.clone(),
        };
        offers.iter().map(believed).collect()
    }

    /// The lead time of a pool, real seconds, as learned from starts that have ended.
    pub(super) fn lead_s(&self, pool: &str, now: Instant) -> f64 {
        self.pools.get(pool).map_or(0.0, |lesson| lesson.learning.leads.lead_s(now.wall_s(), &[]))
    }

    /// How probable it is that an instance of a shape that is asked for now is ready within so many real seconds.
    pub(super) fn confidence(&self, pool: &str, shape: &str, within_s: f64, now: Instant) -> f64 {
        self.pools.get(pool).map_or(0.0, |lesson| lesson.learning.confidence(shape, within_s, now.wall_s()))
    }

    /// To be stored, if it has changed since the last time.
    pub(super) fn take_changed(&mut self) -> Option<String> {
        let text = self.is_changed.then(|| serde_json::to_string(&self.pools).ok()).flatten();
        self.is_changed = false;
        text
    }

    /// What could not be stored is stored later.
    pub(super) fn all_changed(&mut self) {
        self.is_changed = true;
    }
}
