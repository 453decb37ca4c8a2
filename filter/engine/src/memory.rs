//! A host in memory, for simulation and tests: one proxy's shared data and clock, any number of workers.
//!
//! Shared data behaves like Envoy's where it matters: marks come from one counter for all keys, and nothing is deleted.

use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use forebay_admission::Nanos;

use crate::effect::Effect;
use crate::host::{Expected, Host, StoreError, Unreadable};
use crate::worker::{TICK_MS, Worker};

/// A proxy without workers: what they share.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    /// The steady clock.
    pub now: Nanos,
    /// The wall clock, in nanoseconds since 1970.
    pub wall_nanos: u64,
    /// Shared data: value and mark by key.
    pub shared: BTreeMap<String, (Vec<u8>, u32)>,
    /// Reads and writes of shared data so far.
    pub accesses: u64,
    /// Properties by path, its segments separated by NUL; `Err` ones cannot be read.
    pub properties: BTreeMap<String, Result<Vec<u8>, Unreadable>>,
    /// Reads of headers and properties so far.
    pub fact_reads: u64,
    /// What was written into filter state, in that order.
    pub filter_state: Vec<(String, String)>,
    /// What the host gives as random; the same every time.
    pub random: [u64; 2],
    /// Makes every write to shared data fail.
    pub broken: bool,
    last_mark: u32,
}

/// One callback's view of a [`Memory`].
#[derive(Debug)]
pub struct MemoryHost<'a> {
    memory: &'a mut Memory,
    headers: &'a [(&'a str, &'a [u8])],
    answer: &'a [(&'a str, &'a [u8])],
}

impl Memory {
    /// The host during a request with these headers; names in lower case.
    pub fn request<'a>(&'a mut self, headers: &'a [(&'a str, &'a [u8])]) -> MemoryHost<'a> {
        MemoryHost { memory: self, headers, answer: &[] }
    }

    /// The host during a callback about a response with these headers; names in lower case.
    pub fn response<'a>(&'a mut self, answer: &'a [(&'a str, &'a [u8])]) -> MemoryHost<'a> {
        MemoryHost { memory: self, headers: &[], answer }
    }

    /// The host during a tick or an answer.
    pub fn host(&mut self) -> MemoryHost<'_> {
        self.request(&[])
    }

    /// Lets time pass on both clocks.
    pub fn advance_nanos(&mut self, nanos: u64) {
        self.now = self.now.plus(nanos);
        self.wall_nanos = self.wall_nanos.saturating_add(nanos);
    }
}

/// When the workers of a proxy tick. As in Envoy each has a timer of its own, which is armed anew when its tick is over.
#[derive(Clone, Debug)]
pub struct Timers {
    timers: Vec<Timer>,
    armings: u64,
}

#[derive(Clone, Copy, Debug)]
struct Timer {
    period_ms: u32,
    due: Nanos,
    /// Orders timers that are due at the same instant.
    arming: u64,
}

impl Timers {
    /// Timers of so many workers that are configured `now`.
    pub fn new(workers: usize, now: Nanos) -> Self {
        let mut this = Self { timers: Vec::new(), armings: 0 };
        for worker in 0..workers {
            this.timers.push(Timer { period_ms: TICK_MS, due: now, arming: 0 });
            this.set_period(worker, now, TICK_MS);
        }
        this
    }

    /// Lets time pass up to the next tick that is due by `until`, and has its worker tick: which, and its effects. Of
    /// several due at once the one that was armed first. `None` once it is `until` and nothing is due.
    pub fn tick(&mut self, memory: &mut Memory, workers: &mut [Worker], until: Nanos) -> Option<(usize, Vec<Effect>)> {
        let armed = self.timers.iter().enumerate().map(|(worker, timer)| (timer.due, timer.arming, worker));
        let Some((due, _, worker)) = armed.min().filter(|(due, ..)| *due <= until) else {
            memory.advance_nanos(until.since(memory.now));
            return None;
        };
        memory.advance_nanos(due.since(memory.now));
        let effects = workers.get_mut(worker).map_or_else(Vec::new, |worker| worker.on_tick(&mut memory.host()));
        let before = self.timers.get(worker).map_or(TICK_MS, |timer| timer.period_ms);
        let asked = effects.iter().rev().find_map(|effect| match effect {
            Effect::TickEvery(ms) => Some(*ms),
            _ => None,
        });
        self.set_period(worker, due, asked.unwrap_or(before));
        Some((worker, effects))
    }

    /// The worker wants another period, from now on.
    pub fn set_period(&mut self, worker: usize, now: Nanos, period_ms: u32) {
        self.armings += 1;
        if let Some(timer) = self.timers.get_mut(worker) {
            let due = now.plus(u64::from(period_ms) * Nanos::MILLI);
            *timer = Timer { period_ms, due, arming: self.armings };
        }
    }
}

impl Host for MemoryHost<'_> {
    fn now(&mut self) -> Nanos {
        self.memory.now
    }

    fn wall_nanos(&mut self) -> u64 {
        self.memory.wall_nanos
    }

    fn header(&mut self, name: &str) -> Option<Vec<u8>> {
        self.memory.fact_reads += 1;
        self.headers.iter().find(|(known, _)| *known == name).map(|(_, value)| value.to_vec())
    }

    fn response_header(&mut self, name: &str) -> Option<Vec<u8>> {
        self.answer.iter().find(|(known, _)| *known == name).map(|(_, value)| value.to_vec())
    }

    fn property(&mut self, path: &str) -> Result<Option<Vec<u8>>, Unreadable> {
        self.memory.fact_reads += 1;
        self.memory.properties.get(path).cloned().transpose()
    }

    fn shared_get(&mut self, key: &str) -> Option<(Vec<u8>, u32)> {
        self.memory.accesses += 1;
        self.memory.shared.get(key).cloned()
    }

    fn shared_set(&mut self, key: &str, value: &[u8], expected: Expected) -> Result<(), StoreError> {
        self.memory.accesses += 1;
        if self.memory.broken {
            return Err(StoreError::Failed);
        }
        let mark = self.memory.shared.get(key).map(|(_, mark)| *mark);
        let fits = match (expected, mark) {
            (Expected::Anything, _) | (Expected::Unchanged(_) | Expected::Absent, None) => true,
            (Expected::Unchanged(expected), Some(mark)) => expected == mark,
            (Expected::Absent, Some(_)) => false,
        };
        if !fits {
            return Err(StoreError::Conflict);
        }
        self.memory.last_mark = self.memory.last_mark.wrapping_add(1).max(1);
        self.memory.shared.insert(key.to_string(), (value.to_vec(), self.memory.last_mark));
        Ok(())
    }

    fn set_filter_state(&mut self, key: &str, value: &str) {
        self.memory.filter_state.push((key.to_string(), value.to_string()));
    }

    fn random(&mut self) -> [u64; 2] {
        self.memory.random
    }

    fn proxy_name(&mut self) -> Option<Vec<u8>> {
        Some(b"memory".to_vec())
    }
}
