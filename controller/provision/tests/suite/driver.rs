//! Drives a subject as the controller does: orders with rising generations, looks again and again, never waits longer
//! than a deadline. Every look is held against what was seen before: ids are unique, lives go forward only.

use std::collections::{BTreeMap, BTreeSet};
use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use forebay_plan::capacity::{Generation, Group, Instance, InstanceState, Target};
use forebay_provision::{Applied, InstanceManager, Observed, Order, ProvisionError};

use tokio::time::Instant;

use crate::subject::Subject;

/// Longest that anything may take to come true, on a machine that has much else to do.
const SETTLES_WITHIN: Duration = Duration::from_secs(30);
/// After so long the suite gives up a call, as the controller does after `CALL_WITHIN`.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);

/// A subject with its orders and what was seen of it.
pub(crate) struct Driver<S> {
    pub(crate) subject: S,
    order: Order,
    /// Groups that were ever asked for more of than before.
    raised: BTreeSet<Group>,
    seen: BTreeMap<String, Instance>,
}

impl<S: Subject> Driver<S> {
    pub(crate) async fn set_up() -> Result<Self> {
        Ok(Self::of(S::set_up().await?))
    }

    /// Drives a subject that was set up in its own way.
    pub(crate) fn of(subject: S) -> Self {
        let order = Order { generation: Generation { epoch: 1, sequence: 0 }, ..Order::default() };
        Self { subject, order, raised: BTreeSet::new(), seen: BTreeMap::new() }
    }

    /// From here on only what comes is held against itself, as after a store was damaged.
    pub(crate) fn forget_seen(&mut self) {
        self.seen.clear();
    }

    /// Decides anew, without telling the manager yet.
    pub(crate) fn decide(&mut self, targets: &[(Group, u32)]) -> Order {
        self.order.generation.sequence += 1;
        let before = std::mem::take(&mut self.order.targets);
        let asked =
            |group: &Group| before.iter().find(|target| target.group == *group).map_or(0, |target| target.count);
        let more = targets.iter().filter(|(group, count)| *count > asked(group));
        self.raised.extend(more.map(|(group, _)| group.clone()));
        self.order.targets =
            targets.iter().map(|(group, count)| Target { group: group.clone(), count: *count }).collect();
        self.order.clone()
    }

    /// Decides anew and applies it.
    pub(crate) async fn order(&mut self, targets: &[(Group, u32)]) -> Result<Applied> {
        self.decide(targets);
        self.repeat().await
    }

    /// Applies the last decision again.
    pub(crate) async fn repeat(&mut self) -> Result<Applied> {
        Ok(self.apply(&self.order).await?)
    }

    /// Applies any order, within the caller's patience.
    pub(crate) async fn apply(&self, order: &Order) -> Result<Applied, ProvisionError> {
        within(PATIENCE * S::slowness(), self.subject.manager().apply(order)).await
    }

    /// Begins to apply the last decision and drops the call after it was polled so often; whether it had ended by then.
    pub(crate) async fn apply_in_part(&self, polls: usize) -> bool {
        in_part(self.subject.manager().apply(&self.order), polls).await
    }

    /// The same of a look.
    pub(crate) async fn observe_in_part(&self, polls: usize) -> bool {
        in_part(self.subject.manager().observe(), polls).await
    }

    /// Looks, and holds what is seen against what was seen before.
    pub(crate) async fn observe(&mut self) -> Result<Observed> {
        let observed = within(PATIENCE * S::slowness(), self.subject.manager().observe()).await?;
        let mut ids: Vec<&str> = observed.instances.iter().map(|instance| instance.id.as_str()).collect();
        ids.sort_unstable();
        ids.dedup();
        ensure!(ids.len() == observed.instances.len(), "an id is there twice: {observed:?}");
        for instance in &observed.instances {
            let was_ready = instance.ready_ms.is_some();
            ensure!(was_ready || instance.state != InstanceState::Ready, "ready without a time: {instance:?}");
            ensure!(instance.ready_ms.is_none_or(|ready_ms| ready_ms >= instance.requested_ms), "{instance:?}");
            if let Some(before) = self.seen.insert(instance.id.clone(), instance.clone()) {
                // Only its shape may change, where a manager resizes in place.
                let place = |one: &Instance| (one.group.service.clone(), one.group.pool.clone());
                ensure!(place(&before) == place(instance), "{before:?} changed its place: {instance:?}");
                let is_taken_back = S::takes_back()
                    && (before.state == InstanceState::Draining && instance.state.is_wanted())
                    && self.raised.contains(&instance.group);
                let goes_on = before.state <= instance.state || is_taken_back;
                ensure!(goes_on, "{before:?} went back: {instance:?}");
                ensure!(before.requested_ms == instance.requested_ms, "{before:?} was asked for again: {instance:?}");
            }
        }
        Ok(observed)
    }

    /// Looks until `is_so`.
    pub(crate) async fn until(&mut self, what: &str, is_so: impl Fn(&Observed) -> bool) -> Result<Observed> {
        let settles_within = SETTLES_WITHIN * S::slowness();
        let deadline = Instant::now() + settles_within;
        loop {
            let observed = self.observe().await?;
            if is_so(&observed) {
                return Ok(observed);
            }
            ensure!(Instant::now() < deadline, "not within {settles_within:?}: {what}; seen last: {observed:#?}");
            self.subject.pause().await;
        }
    }

    /// Looks and repeats the last decision until it is true: as many are ready, and really there, as it says. Calls that
    /// fail on the way are made good by the next.
    pub(crate) async fn settle(&mut self) -> Result<Observed> {
        let settles_within = SETTLES_WITHIN * S::slowness();
        let deadline = Instant::now() + settles_within;
        loop {
            let applied = self.apply(&self.order).await;
            let observed = self.observe().await;
            if let (Ok(_), Ok(observed)) = (&applied, &observed)
                && self.is_true(observed)
            {
                return Ok(observed.clone());
            }
            // What a look must never show is no failure of a call.
            if observed.as_ref().is_err_and(|error| !error.is::<ProvisionError>()) {
                return observed;
            }
            if Instant::now() > deadline {
                bail!("{:?} is not true within {settles_within:?}: {applied:#?} {observed:#?}", self.order);
            }
            self.subject.pause().await;
        }
    }

    /// Whether the last decision is true: as many are ready, and really there, as it says.
    pub(crate) fn is_true(&self, observed: &Observed) -> bool {
        let alive = observed.instances.iter().filter(|instance| instance.state != InstanceState::Gone).count();
        let asked: u32 = self.order.targets.iter().map(|target| target.count).sum();
        let holds = |target: &Target| {
            ready(observed, &target.group).len() == target.count as usize
                && self.subject.running(&target.group) == target.count as usize
        };
        alive == asked as usize && self.order.targets.iter().all(holds)
    }

    /// Kills the manager and makes it anew.
    pub(crate) async fn restart(&mut self) -> Result<()> {
        self.subject.restart().await.context("restart the manager")
    }
}

async fn in_part<T>(call: impl Future<Output = T>, polls: usize) -> bool {
    let mut call = pin!(call);
    let mut left = polls;
    poll_fn(|context| {
        if left == 0 {
            return Poll::Ready(false);
        }
        left -= 1;
        call.as_mut().poll(context).map(|_| true)
    })
    .await
}

async fn within<T>(
    patience: Duration,
    call: impl Future<Output = Result<T, ProvisionError>>,
) -> Result<T, ProvisionError> {
    let late = || ProvisionError::Unreachable { operation: "wait for the manager", detail: format!("{patience:?}") };
    tokio::time::timeout(patience, call).await.unwrap_or_else(|_| Err(late()))
}

/// Ids of the instances of `group` that are ready.
pub(crate) fn ready(observed: &Observed, group: &Group) -> Vec<String> {
    ids(observed, group, |state| state == InstanceState::Ready)
}

/// Ids of the instances of `group` that count towards its target.
pub(crate) fn wanted(observed: &Observed, group: &Group) -> Vec<String> {
    ids(observed, group, InstanceState::is_wanted)
}

/// The state of one instance.
pub(crate) fn state(observed: &Observed, id: &str) -> Option<InstanceState> {
    observed.instances.iter().find(|instance| instance.id == id).map(|instance| instance.state)
}

fn ids(observed: &Observed, group: &Group, is_meant: impl Fn(InstanceState) -> bool) -> Vec<String> {
    let meant = observed.instances.iter().filter(|instance| instance.group == *group && is_meant(instance.state));
    meant.map(|instance| instance.id.clone()).collect()
}
