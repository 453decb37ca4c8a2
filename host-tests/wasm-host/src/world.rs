//! What the VMs of a process share. It is lent to a VM for the length of one callback, so that host calls reach
//! it without locks.

use std::collections::{BTreeMap, BTreeSet};

use crate::metric::Metrics;
use crate::shared_data::Hook;
use crate::shared_queue::SharedQueues;
use crate::{Clock, HttpCall, LogLevel, LogLine, SharedData, VmId};

pub(crate) struct World {
    pub(crate) clock: Clock,
    pub(crate) shared_data: SharedData,
    pub(crate) shared_data_hook: Option<Hook>,
    pub(crate) queues: SharedQueues,
    pub(crate) metrics: Metrics,
    pub(crate) logs: Vec<LogLine>,
    /// Calls made and not yet taken by the test.
    pub(crate) calls: Vec<HttpCall>,
    /// Calls made and not yet answered: (VM, token) -> context.
    pub(crate) open_calls: BTreeMap<(VmId, u32), u32>,
    pub(crate) missing_clusters: BTreeSet<String>,
    pub(crate) properties: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Host calls of the driving method under way or last done, by the import's place in the table.
    pub(crate) hostcalls: Vec<u64>,
    random_state: u64,
    timers_armed: u64,
}

impl World {
    pub(crate) fn new(clock: Clock, random_seed: u64, imports: usize) -> Self {
        Self {
            clock,
            shared_data: SharedData::default(),
            shared_data_hook: None,
            queues: SharedQueues::default(),
            metrics: Metrics::default(),
            logs: Vec::new(),
            calls: Vec::new(),
            open_calls: BTreeMap::new(),
            missing_clusters: BTreeSet::new(),
            properties: BTreeMap::new(),
            hostcalls: vec![0; imports],
            random_state: random_seed,
            timers_armed: 0,
        }
    }

    pub(crate) fn log(&mut self, vm: VmId, level: LogLevel, text: &[u8]) {
        let text = String::from_utf8_lossy(text).into_owned();
        self.logs.push(LogLine { at_ns: self.clock.steady_ns, vm, level, text });
    }

    /// Numbers timers in the order in which they were armed: the order among those due at one moment.
    pub(crate) fn next_arming(&mut self) -> u64 {
        self.timers_armed += 1;
        self.timers_armed
    }

    /// Next number of the seeded sequence (SplitMix64, Steele, Lea and Flood 2014).
    pub(crate) fn next_random(&mut self) -> u64 {
        self.random_state = self.random_state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random_state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Forgets the calls of a VM, or of one of its contexts: nobody is left to hear the answer.
    pub(crate) fn cancel_calls(&mut self, vm: VmId, only_context: Option<u32>) {
        let gone = |of: VmId, context: u32| of == vm && only_context.is_none_or(|only| only == context);
        self.open_calls.retain(|(of, _), context| !gone(*of, *context));
        self.calls.retain(|call| !gone(call.vm, call.context));
    }
}
