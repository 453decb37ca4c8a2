//! A fleet in memory: the outside of tests. It is the simplest thing that does what orders say, and the oracle that
//! managers are held against; instances go one state further with every look.

use std::collections::{BTreeMap, BTreeSet};

use forebay_plan::capacity::{Generation, Group, Instance, InstanceState};
use forebay_provision::{Applied, FailureKind, GroupFailure, Observed, Order};

use crate::subject::{LIMIT, limited, other, steady};

/// Instances, what was ever done, and the knobs.
#[derive(Clone, Debug, Default)]
pub(crate) struct Fleet {
    generation: Option<Generation>,
    instances: Vec<Instance>,
    now_ms: u64,
    held: BTreeSet<Group>,
    refused: BTreeSet<Group>,
    /// Pools that it cannot see.
    lost: BTreeSet<String>,
    /// What it knew of instances before it lost sight of them, by id.
    known: BTreeMap<String, Instance>,
    /// A fault of its own, which the suite has to find.
    pub(crate) stops_ready_first: bool,
}

impl Fleet {
    /// What there is; one look later than the last.
    pub(crate) fn observe(&mut self) -> Observed {
        self.now_ms += 1;
        for instance in &mut self.instances {
            let is_held = self.held.contains(&instance.group);
            instance.state = match instance.state {
                InstanceState::Requested => InstanceState::Starting,
                InstanceState::Starting if !is_held => InstanceState::Warming,
                InstanceState::Warming if !is_held => {
                    instance.ready_ms = Some(self.now_ms);
                    InstanceState::Ready
                }
                InstanceState::Draining => InstanceState::Gone,
                unchanged => unchanged,
            };
        }
        let seen = |instance: &Instance| self.known.get(&instance.id).unwrap_or(instance).clone();
        let instances = self.instances.iter().map(seen).collect();
        Observed { generation: self.generation, instances, unreachable: self.lost.clone(), ..Observed::default() }
    }

    /// Makes an order true, or says which newer one was taken.
    pub(crate) fn apply(&mut self, order: &Order) -> Result<Applied, Generation> {
        if let Some(taken) = self.generation.filter(|taken| *taken > order.generation) {
            return Err(taken);
        }
        self.generation = Some(order.generation);
        let mut counts: BTreeMap<Group, u32> =
            self.instances.iter().map(|instance| (instance.group.clone(), 0)).collect();
        counts.extend(order.targets.iter().map(|target| (target.group.clone(), target.count)));
        let mut applied = Applied::default();
        for (group, count) in counts {
            if self.lost.contains(&group.pool) {
                let is_named = order.targets.iter().any(|target| target.group == group);
                let failure =
                    GroupFailure { group, kind: FailureKind::Failed, detail: "its region is lost".to_owned() };
                applied.failures.extend(is_named.then_some(failure));
                continue;
            }
            let wanted = self.count(&group, InstanceState::is_wanted) as u32;
            applied.stopped += self.stop(&group, wanted.saturating_sub(count));
            self.start(&group, count.saturating_sub(wanted), &mut applied);
        }
        Ok(applied)
    }

    /// Instances of `group` that exist.
    pub(crate) fn running(&self, group: &Group) -> usize {
        self.count(group, |state| state != InstanceState::Gone)
    }

    /// Instances of `group` that were ever asked for.
    pub(crate) fn ever_started(&self, group: &Group) -> usize {
        self.count(group, |_| true)
    }

    /// While held, none becomes ready.
    pub(crate) fn hold_starts(&mut self, group: &Group, is_held: bool) {
        self.held.remove(group);
        self.held.extend(is_held.then(|| group.clone()));
    }

    /// While refused, none starts.
    pub(crate) fn refuse_starts(&mut self, group: &Group, is_refused: bool) {
        self.refused.remove(group);
        self.refused.extend(is_refused.then(|| group.clone()));
    }

    /// While lost, a pool is not seen, and goes on by itself.
    pub(crate) fn lose(&mut self, pool: &str, is_lost: bool) {
        self.lost.remove(pool);
        self.lost.extend(is_lost.then(|| pool.to_owned()));
        let lost = self.instances.iter().filter(|instance| self.lost.contains(&instance.group.pool));
        self.known = lost.map(|instance| (instance.id.clone(), instance.clone())).collect();
    }

    /// A fault: it does not know any more what it took.
    pub(crate) fn forget_generation(&mut self) {
        self.generation = None;
    }

    /// A fault: what is not ready yet stays, and no order sees it again.
    pub(crate) fn forget_starts(&mut self) {
        for instance in &mut self.instances {
            if instance.state < InstanceState::Ready {
                instance.state = InstanceState::Draining;
            }
        }
    }

    fn count(&self, group: &Group, is_meant: impl Fn(InstanceState) -> bool) -> usize {
        self.instances.iter().filter(|instance| instance.group == *group && is_meant(instance.state)).count()
    }

    /// Ends one at once.
    pub(crate) fn take_away(&mut self, id: &str) {
        for instance in self.instances.iter_mut().filter(|instance| instance.id == id) {
            instance.state = InstanceState::Gone;
        }
    }

    /// Announces that one will be taken away.
    pub(crate) fn announce(&mut self, id: &str) {
        for instance in self.instances.iter_mut().filter(|instance| instance.id == id) {
            instance.is_interrupted = true;
        }
    }

    fn start(&mut self, group: &Group, count: u32, applied: &mut Applied) {
        if count == 0 {
            return;
        }
        let mut fail = |kind, detail: &str| {
            applied.failures.push(GroupFailure { group: group.clone(), kind, detail: detail.to_owned() });
        };
        let room = if *group == limited() { LIMIT.saturating_sub(self.running(group) as u32) } else { u32::MAX };
        if ![steady(), other(), limited()].contains(group) {
            return fail(FailureKind::Unknown, "no such group");
        }
        if self.refused.contains(group) {
            return fail(FailureKind::Failed, "refused");
        }
        if room < count {
            fail(FailureKind::QuotaExceeded, "limited");
        }
        for _ in 0..count.min(room) {
            applied.started += 1;
            self.instances.push(Instance {
                id: format!("i{}", self.instances.len()),
                group: group.clone(),
                state: InstanceState::Requested,
                requested_ms: self.now_ms,
                ready_ms: None,
                address: None,
                is_interrupted: false,
            });
        }
    }

    fn stop(&mut self, group: &Group, count: u32) -> u32 {
        let wanted =
            self.instances.iter_mut().filter(|instance| instance.group == *group && instance.state.is_wanted());
        let mut candidates: Vec<&mut Instance> = wanted.collect();
        candidates.sort_by_key(|instance| instance.state);
        if self.stops_ready_first {
            candidates.reverse();
        }
        let mut stopped = 0;
        for instance in candidates.into_iter().take(count as usize) {
            instance.state = InstanceState::Draining;
            stopped += 1;
        }
        stopped
    }
}
