//! Instants, rates and limits.
//!
//! A unit is whatever the resource counts (requests, bytes, CPU-ms). Costs, bursts and amounts are whole units (`u64`);
//! inside buckets a level is kept in nano-units, so that refilling every microsecond at a few units per second still
//! loses less than a billionth of a unit each time.

/// Nano-units in a unit.
pub const NANO: u64 = 1_000_000_000;

/// Largest burst in units: its level in nano-units still fits 64 bits.
pub const MAX_BURST_UNITS: u64 = u64::MAX / NANO;

/// Largest rate in units per second, the same bound as for a burst.
pub const MAX_RATE_UNITS_PER_S: u64 = MAX_BURST_UNITS / 1_000;

/// An instant of the steady clock, in nanoseconds since an origin that all workers of a proxy share.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Nanos(pub u64);

impl Nanos {
    /// One second.
    pub const SECOND: u64 = 1_000_000_000;
    /// One millisecond.
    pub const MILLI: u64 = 1_000_000;

    /// Nanoseconds since `earlier`; 0 when `earlier` is later, because a clock that steps back must not refill.
    pub fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// This instant `nanos` later.
    pub fn plus(self, nanos: u64) -> Self {
        Self(self.0.saturating_add(nanos))
    }

    /// This instant `nanos` earlier, not before the origin.
    pub fn minus(self, nanos: u64) -> Self {
        Self(self.0.saturating_sub(nanos))
    }
}

/// Units per second, in thousandths.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rate {
    milli_per_s: u64,
}

impl Rate {
    /// A rate in milli-units per second, cut at [`MAX_RATE_UNITS_PER_S`].
    pub fn from_milli_per_s(milli_per_s: u64) -> Self {
        Self { milli_per_s: milli_per_s.min(MAX_RATE_UNITS_PER_S * 1_000) }
    }

    /// A rate in whole units per second.
    pub fn per_s(units: u64) -> Self {
        Self::from_milli_per_s(units.saturating_mul(1_000))
    }

    /// In milli-units per second.
    pub fn milli_per_s(self) -> u64 {
        self.milli_per_s
    }

    /// Nano-units that arrive in `nanos` nanoseconds, rounded down.
    pub fn nano_units_in(self, nanos: u64) -> u64 {
        // milli-units/s x ns = 1e-12 units = a thousandth of a nano-unit. The wide division is slow and seldom needed.
        match self.milli_per_s.checked_mul(nanos) {
            Some(thousandths) => thousandths / 1_000,
            None => {
                let thousandths = u128::from(self.milli_per_s) * u128::from(nanos);
                u64::try_from(thousandths / 1_000).unwrap_or(u64::MAX)
            }
        }
    }

    /// Nanoseconds until `nano_units` have arrived, rounded up; `None` when the rate is zero.
    pub fn nanos_for(self, nano_units: u64) -> Option<u64> {
        if self.milli_per_s == 0 {
            return None;
        }
        let thousandths = u128::from(nano_units) * 1_000;
        Some(u64::try_from(thousandths.div_ceil(u128::from(self.milli_per_s))).unwrap_or(u64::MAX))
    }
}

/// A token bucket's parameters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limit {
    /// Refill.
    pub rate: Rate,
    /// Depth in units, at most [`MAX_BURST_UNITS`].
    pub burst: u64,
}

impl Limit {
    /// A limit; the burst is cut at [`MAX_BURST_UNITS`].
    pub fn new(rate: Rate, burst: u64) -> Self {
        Self { rate, burst: burst.min(MAX_BURST_UNITS) }
    }

    /// The depth in nano-units.
    pub fn burst_nano(self) -> u64 {
        self.burst.saturating_mul(NANO)
    }
}
