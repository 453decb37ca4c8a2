//! What instances use, by `/proc`: processor time and resident memory of all processes of an instance's process group.
//!
//! The intuition: a program may work in processes of its own, so a whole group is added up. Processor time is a counter
//! (that of children that ended is in their parents'), so what is told is the mean between two looks. Memory that processes
//! share is counted in each of them: more than there is, where a program forks workers.

use std::collections::BTreeMap;
use std::fs;
use std::time::Instant;

use rustix::param::{clock_ticks_per_second, page_size};

use super::alive::stat;
use crate::InstanceUsage;

/// Shortest time that a mean is taken over: processor time is counted in hundredths of a second.
const SHORTEST_S: f64 = 0.5;
const BYTES_PER_MIB: f64 = 1024.0 * 1024.0;

/// What was read last, by instance.
#[derive(Default)]
pub(super) struct Meter {
    looks: BTreeMap<String, Look>,
}

struct Look {
    ticks: u64,
    at: Instant,
    /// Between the two looks before.
    told: Option<InstanceUsage>,
}

/// Of a process group.
#[derive(Clone, Copy, Default)]
struct Used {
    ticks: u64,
    pages: u64,
}

impl Meter {
    /// Looks at the groups of these processes, by instance; tells of those that were looked at before.
    pub(super) fn look(&mut self, groups: &BTreeMap<String, u32>, now: Instant) -> Vec<InstanceUsage> {
        let used = if groups.is_empty() { BTreeMap::new() } else { by_group() };
        let mut before = std::mem::take(&mut self.looks);
        for (id, group) in groups {
            let Some(Used { ticks, pages }) = used.get(group).copied() else { continue };
            let look = match before.remove(id) {
                None => Look { ticks, at: now, told: None },
                Some(look) => {
                    let passed_s = now.saturating_duration_since(look.at).as_secs_f64();
                    if passed_s < SHORTEST_S {
                        look
                    } else {
                        let busy_s = ticks.saturating_sub(look.ticks) as f64 / clock_ticks_per_second() as f64;
                        let memory_mib = pages as f64 * page_size() as f64 / BYTES_PER_MIB;
                        let cpu_milli = 1000.0 * busy_s / passed_s;
                        Look { ticks, at: now, told: Some(InstanceUsage { id: id.clone(), cpu_milli, memory_mib }) }
                    }
                }
            };
            self.looks.insert(id.clone(), look);
        }
        self.looks.values().filter_map(|look| look.told.clone()).collect()
    }
}

/// All processes that can be seen, added up by process group.
fn by_group() -> BTreeMap<u32, Used> {
    let mut groups: BTreeMap<u32, Used> = BTreeMap::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        // One that ends meanwhile is not there any more.
        let Ok(Some(stat)) = stat(pid) else { continue };
        let used = groups.entry(stat.process_group).or_default();
        used.ticks = used.ticks.saturating_add(stat.busy_ticks);
        used.pages = used.pages.saturating_add(stat.resident_pages);
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn what_a_busy_process_uses_is_told_at_the_second_look() {
        let own = stat(std::process::id()).unwrap().unwrap();
        let groups = BTreeMap::from([("own".to_owned(), own.process_group)]);
        let mut meter = Meter::default();
        let begun = Instant::now();
        assert_eq!(meter.look(&groups, begun), [], "nothing to compare with yet");
        // By the clock of the process, so that a machine that is busy with other things makes it no shorter.
        while stat(std::process::id()).unwrap().unwrap().busy_ticks < own.busy_ticks + 20 {
            std::hint::black_box((0..100_000_u64).sum::<u64>());
        }
        let told = meter.look(&groups, begun + Duration::from_secs(1));
        assert!(told[0].cpu_milli >= 150.0, "{told:?}");
        assert!(told[0].memory_mib > 0.5, "{told:?}");
        assert_eq!(meter.look(&groups, begun + Duration::from_millis(1_100)), told, "too soon for news");
        assert_eq!(meter.look(&BTreeMap::new(), begun + Duration::from_secs(2)), [], "it is gone");
    }
}
