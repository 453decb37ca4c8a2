//! What was seen of instances, so that one whose pod is no longer there is known to be gone, for a day.
//!
//! Also what is answered for a cluster that does not answer: what was known of it last. Only memory; what outlasts a restart
//! is `roster.rs`.

use std::collections::BTreeMap;

use forebay_plan::capacity::{Instance, InstanceState};

/// How long an instance that is gone is told of.
const TOLD_FOR_MS: u64 = 24 * 60 * 60 * 1000;
/// Most that are remembered of one cluster; the oldest that are gone are forgotten first.
const REMEMBERED_MAX: usize = 100_000;

/// Instances of one cluster.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    instances: BTreeMap<String, Entry>,
}

#[derive(Clone, Debug)]
struct Entry {
    instance: Instance,
    gone_ms: Option<u64>,
}

impl Seen {
    /// Takes what there is now, and returns it with what is gone.
    pub(super) fn update(&mut self, there: Vec<Instance>, now_ms: u64) -> Vec<Instance> {
        let mut gone = std::mem::take(&mut self.instances);
        for mut instance in there {
            let before = gone.remove(&instance.id);
            if let Some(before) = &before {
                // Readiness that comes and goes does not change when it came first.
                instance.ready_ms = before.instance.ready_ms.or(instance.ready_ms);
            }
            let gone_ms = before.and_then(|before| before.gone_ms);
            let gone_ms = (instance.state == InstanceState::Gone).then(|| gone_ms.unwrap_or(now_ms));
            self.instances.insert(instance.id.clone(), Entry { instance, gone_ms });
        }
        for (id, mut entry) in gone {
            entry.instance.state = InstanceState::Gone;
            entry.gone_ms.get_or_insert(now_ms);
            self.instances.insert(id, entry);
        }
        self.instances.retain(|_, entry| entry.gone_ms.is_none_or(|gone_ms| gone_ms + TOLD_FOR_MS > now_ms));
        self.forget_surplus();
        self.last()
    }

    /// Takes what was seen before a restart.
    pub(super) fn restore(&mut self, before: Vec<Instance>) {
        for instance in before {
            self.instances.entry(instance.id.clone()).or_insert(Entry { instance, gone_ms: None });
        }
    }

    /// What was known last.
    pub(super) fn last(&self) -> Vec<Instance> {
        self.instances.values().map(|entry| entry.instance.clone()).collect()
    }

    fn forget_surplus(&mut self) {
        let surplus = self.instances.len().saturating_sub(REMEMBERED_MAX);
        if surplus == 0 {
            return;
        }
        let mut gone: Vec<(u64, String)> =
            self.instances.iter().filter_map(|(id, entry)| Some((entry.gone_ms?, id.clone()))).collect();
        gone.sort_unstable();
        for (_, id) in gone.into_iter().take(surplus) {
            self.instances.remove(&id);
        }
    }
}

#[cfg(test)]
mod tests {
    use forebay_plan::capacity::Group;

    use super::*;

    fn instance(id: &str, state: InstanceState) -> Instance {
        let group = Group { service: "web".to_owned(), pool: "spot".to_owned(), shape: "Small".to_owned() };
        let ready_ms = (state == InstanceState::Ready).then_some(7);
        Instance { id: id.to_owned(), group, state, requested_ms: 5, ready_ms, address: None, is_interrupted: false }
    }

    #[test]
    fn what_is_no_longer_there_is_gone_for_a_day() {
        let mut seen = Seen::default();
        seen.update(vec![instance("a", InstanceState::Ready), instance("b", InstanceState::Starting)], 1_000);
        let after = seen.update(vec![instance("b", InstanceState::Ready)], 2_000);
        let states: Vec<_> = after.iter().map(|instance| (instance.id.as_str(), instance.state)).collect();
        assert_eq!(states, [("a", InstanceState::Gone), ("b", InstanceState::Ready)]);
        assert_eq!(seen.last(), after);
        let there = vec![instance("b", InstanceState::Ready)];
        assert_eq!(seen.update(there.clone(), 2_000 + TOLD_FOR_MS - 1).len(), 2);
        assert_eq!(seen.update(there.clone(), 2_000 + TOLD_FOR_MS), there);
    }

    #[test]
    fn the_first_time_of_readiness_stays() {
        let mut seen = Seen::default();
        seen.update(vec![instance("a", InstanceState::Ready)], 1);
        seen.update(vec![instance("a", InstanceState::Starting)], 2);
        let again = Instance { ready_ms: Some(99), ..instance("a", InstanceState::Ready) };
        assert_eq!(seen.update(vec![again], 3).first().and_then(|instance| instance.ready_ms), Some(7));
    }
}
