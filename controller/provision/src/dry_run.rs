//! Says what it would do, and does nothing.
//!
//! The intuition: orders are taken, held against what earlier orders would have started, and what would happen is listed with
//! its reason ([`Step`]). Nothing real is observed: instances that would have been started are shown as requested for
//! ever, so that they count towards their group and are not asked for again, and nobody lends capacity that is not there.
//!
//! It knows the groups, and how many of each there may be, that it is told; steps are kept up to [`MAX_STEPS`], then the oldest
//! go. It stores nothing: made anew it has taken no order.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use forebay_plan::capacity::{Generation, Group, Instance, InstanceState};

use crate::{Applied, FailureKind, GroupFailure, InstanceManager, Observed, Order, ProvisionError};

/// Steps that are kept; about 200 bytes each.
pub const MAX_STEPS: usize = 1_024;

/// The manager.
pub struct DryRun {
    /// Groups that are known, and how many instances of each there may be.
    groups: BTreeMap<Group, u32>,
    now_ms: Box<dyn Fn() -> u64 + Send + Sync>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    generation: Option<Generation>,
    instances: Vec<Instance>,
    /// Also the number of the next.
    ever_started: u64,
    steps: VecDeque<Step>,
}

/// What would have been done, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// When; unix milliseconds.
    pub at_ms: u64,
    /// By which order.
    pub generation: Generation,
    /// To which group.
    pub group: Group,
    /// What.
    pub action: Action,
    /// Instances that the group would have had before.
    pub had: u32,
    /// Instances that the order asks for.
    pub asked: u32,
}

/// What would have been done to a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// So many would have been started.
    Start(u32),
    /// So many would have been drained.
    Stop(u32),
    /// It would have failed, or in part.
    Fail(FailureKind),
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { generation, group, action, had, asked, .. } = self;
        match action {
            Action::Start(count) => write!(f, "would start {count} of {group}")?,
            Action::Stop(count) => write!(f, "would stop {count} of {group}")?,
            Action::Fail(kind) => write!(f, "could not bring {group} to its number ({})", kind.name())?,
        }
        write!(f, ": it has {had}, order {generation} asks for {asked}")
    }
}

impl DryRun {
    /// Knows these groups, with the most instances that each may have; `now_ms` says the time in unix milliseconds.
    pub fn new(groups: BTreeMap<Group, u32>, now_ms: impl Fn() -> u64 + Send + Sync + 'static) -> Self {
        Self { groups, now_ms: Box::new(now_ms), state: Mutex::default() }
    }

    /// What would have been done, the oldest first.
    #[must_use]
    pub fn steps(&self) -> Vec<Step> {
        self.locked().steps.iter().cloned().collect()
    }

    fn locked(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many of `missing` could be started beside those that are there, and what keeps the others.
    fn possible(&self, group: &Group, had: u32, missing: u32, order: &Order) -> (u32, Option<GroupFailure>) {
        let failure = |kind, detail| Some(GroupFailure { group: group.clone(), kind, detail });
        // A size that the order describes may be wherever its service may.
        let is_described = order.shapes.iter().any(|shape| shape.name == group.shape);
        let place = |known: &Group| known.service == group.service && known.pool == group.pool;
        let elsewhere = || self.groups.iter().find(|(known, _)| is_described && place(known)).map(|(_, most)| most);
        let Some(most) = self.groups.get(group).or_else(elsewhere) else {
            return (0, failure(FailureKind::Unknown, format!("{group} is not among the groups that were declared")));
        };
        let room = most.saturating_sub(had);
        if missing <= room {
            return (missing, None);
        }
        (room, failure(FailureKind::QuotaExceeded, format!("at most {most} instances of {group} are allowed")))
    }
}

impl InstanceManager for DryRun {
    async fn observe(&self) -> Result<Observed, ProvisionError> {
        let state = self.locked();
        Ok(Observed { generation: state.generation, instances: state.instances.clone(), ..Observed::default() })
    }

    async fn apply(&self, order: &Order) -> Result<Applied, ProvisionError> {
        let at_ms = (self.now_ms)();
        let mut state = self.locked();
        if let Some(taken) = state.generation.filter(|taken| *taken > order.generation) {
            return Err(ProvisionError::StaleGeneration { asked: order.generation, taken });
        }
        state.generation = Some(order.generation);
        let mut counts: BTreeMap<&Group, u32> = self.groups.keys().map(|group| (group, 0)).collect();
        counts.extend(order.targets.iter().map(|target| (&target.group, target.count)));
        let mut applied = Applied::default();
        for (group, asked) in counts {
            let had = state.instances.iter().filter(|instance| instance.group == *group).count() as u32;
            let step = |action| Step { at_ms, generation: order.generation, group: group.clone(), action, had, asked };
            let surplus = had.saturating_sub(asked);
            if surplus > 0 {
                state.end(group, surplus);
                state.list(step(Action::Stop(surplus)));
                applied.stopped += surplus;
            }
            if asked > had {
                let (started, failure) = self.possible(group, had, asked - had, order);
                state.begin(group, started, at_ms);
                if started > 0 {
                    state.list(step(Action::Start(started)));
                    applied.started += started;
                }
                if let Some(failure) = failure {
                    state.list(step(Action::Fail(failure.kind)));
                    applied.failures.push(failure);
                }
            }
        }
        Ok(applied)
    }
}

impl State {
    fn begin(&mut self, group: &Group, count: u32, at_ms: u64) {
        for _ in 0..count {
            self.ever_started += 1;
            self.instances.push(Instance {
                id: format!("dry-{at_ms}-{}", self.ever_started),
                group: group.clone(),
                state: InstanceState::Requested,
                requested_ms: at_ms,
                ready_ms: None,
                address: None,
                is_interrupted: false,
            });
        }
    }

    /// The youngest go: none of them serves.
    fn end(&mut self, group: &Group, count: u32) {
        for _ in 0..count {
            if let Some(last) = self.instances.iter().rposition(|instance| instance.group == *group) {
                self.instances.remove(last);
            }
        }
    }

    fn list(&mut self, step: Step) {
        // What is said again as long as it is so needs no line each time.
        let is_same = |last: &Step| (&last.group, &last.action, last.asked) == (&step.group, &step.action, step.asked);
        let last = self.steps.iter().rev().find(|earlier| earlier.group == step.group);
        if matches!(step.action, Action::Fail(_)) && last.is_some_and(is_same) {
            return;
        }
        if self.steps.len() == MAX_STEPS {
            self.steps.pop_front();
        }
        self.steps.push_back(step);
    }
}
