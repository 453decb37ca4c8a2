//! CPU time of the calling thread, from the scheduler's own account in nanoseconds (`/proc/thread-self/schedstat`, see
//! Linux's `Documentation/scheduler/sched-stats.rst`), so that what else runs on the machine does not count.
//!
//! The account of a running thread is brought up to date every few milliseconds only: sums over many pieces of work are
//! right, a single short piece is not.

use anyhow::{Context, Result};

/// Adds up the CPU time of pieces of work.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct CpuTime {
    spent_ns: u64,
}

impl CpuTime {
    /// Does the work and adds its time.
    pub(crate) fn time<T>(&mut self, work: impl FnOnce() -> T) -> Result<T> {
        let before = thread_ns()?;
        let done = work();
        self.spent_ns += thread_ns()?.saturating_sub(before);
        Ok(done)
    }

    /// CPU seconds so far.
    pub(crate) fn seconds(self) -> f64 {
        self.spent_ns as f64 / 1e9
    }
}

fn thread_ns() -> Result<u64> {
    let path = "/proc/thread-self/schedstat";
    let text = std::fs::read_to_string(path).with_context(|| format!("read {path}: CPU time is told by Linux only"))?;
    let on_cpu_ns = text.split_ascii_whitespace().next().and_then(|field| field.parse().ok());
    on_cpu_ns.with_context(|| format!("{path} has no CPU time: {text}"))
}
