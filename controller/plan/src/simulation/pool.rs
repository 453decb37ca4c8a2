//! Replicas that are ready and that are starting.
//!
//! Invariant: after [`Pool::scale`] what runs, ready and starting together, is what was wanted.

use std::collections::VecDeque;

use super::World;

/// See the module's text; as default nothing was decided yet.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub(super) struct Pool {
    ready: usize,
    /// By when they become ready, the next step's first; `None` before the first decision, whose replicas are there at once.
    starting: Option<VecDeque<usize>>,
}

impl Pool {
    /// A step begins: what was to be ready now is.
    pub(super) fn begin_step(&mut self) {
        self.ready += self.starting.as_mut().and_then(VecDeque::pop_front).unwrap_or(0);
    }

    /// Whether anything was decided yet.
    pub(super) fn was_scaled(&self) -> bool {
        self.starting.is_some()
    }

    pub(super) fn ready(&self) -> usize {
        self.ready
    }

    /// Ready and starting.
    pub(super) fn running(&self) -> usize {
        self.ready + self.starting.iter().flatten().sum::<usize>()
    }

    /// Once in each step: starts what is wanted beyond what runs, or gives back, what is starting first, the youngest of it.
    pub(super) fn scale(&mut self, world: &World<'_>, wanted: usize) {
        let running = self.running();
        let Some(starting) = &mut self.starting else {
            (self.ready, self.starting) = (wanted, Some(VecDeque::from(vec![0; world.lead_steps.max(1)])));
            return;
        };
        starting.push_back(wanted.saturating_sub(running));
        let mut surplus = running.saturating_sub(wanted);
        for young in starting.iter_mut().rev() {
            let given_back = surplus.min(*young);
            *young -= given_back;
            surplus -= given_back;
        }
        self.ready -= surplus;
    }

    /// Whether what is ready serves this demand in full; true where that is not known.
    pub(super) fn serves(&self, world: &World<'_>, demand: f64) -> bool {
        world.replicas(demand) <= self.ready
    }
}
