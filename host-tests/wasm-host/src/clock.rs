//! The two virtual clocks of a process, in nanoseconds.
//!
//! The steady clock is what `clock_time_get(1)` answers and what ticks run on; the wall clock is what
//! `proxy_get_current_time_nanoseconds` and `clock_time_get(0)` answer. Both move together in
//! [`crate::Process::advance`]; the wall clock can also be stepped, as an NTP correction does. Both stand still
//! while a callback runs.

/// Both clocks at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clock {
    /// Monotonic time since some start, ns.
    pub steady_ns: u64,
    /// Unix time, ns.
    pub wall_ns: u64,
}

impl Clock {
    /// Moves the steady clock forward to `steady_ns` and the wall clock by the same distance.
    pub(crate) fn move_to(&mut self, steady_ns: u64) {
        let step_ns = steady_ns.saturating_sub(self.steady_ns);
        self.steady_ns += step_ns;
        self.wall_ns = self.wall_ns.saturating_add(step_ns);
    }
}
