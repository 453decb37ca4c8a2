//! How often was this name seen lately? A count-min sketch that forgets.
//!
//! Intuition: four counters per name, shared with others by chance; the smallest of the four is the least disturbed, and
//! it never reads too low. Only counters equal to the smallest are raised (conservative update), which keeps a flood of
//! invented names from lifting everybody.
//!
//! Forgetting is a sweep that halves every counter once in [`HALF_LIFE`], or once in half as many records as there are
//! columns, whichever comes first: the first makes the estimate comparable with the heat in a
//! [`SlotSet`](crate::slot_set::SlotSet), which is halved by time; the second keeps the sketch sparse under a flood. The
//! sweep moves a little with every call, so that no request pays for the whole.
//!
//! Error: a row of `w` columns under a flood of names that are all different holds on average `w / 4` ones (every column
//! is between 0 and `w / 2` records old), so a name never seen before reads as seen with a probability of about
//! `(1 - e^(-1/4))^4`, 0.24 %. A test measures it.
//!
//! Refused: Space-Saving, because a stranger always takes the smallest counter there, and a flood turns the table over;
//! TinyLFU's 4-bit counters, because the estimate also orders heavy names among themselves.
//!
//! Sources: G. Cormode, S. Muthukrishnan, "An improved data stream summary: the count-min sketch", 2005; G. Einziger,
//! R. Friedman, B. Manes, "TinyLFU: a highly efficient cache admission policy", 2017.

use alloc::vec;
use alloc::vec::Vec;

use crate::fingerprint::Fingerprint;
use crate::units::Nanos;

/// After so many nanoseconds a count is worth half.
pub const HALF_LIFE: u64 = 60 * Nanos::SECOND;

/// Columns by default: 2^19 x 4 rows x 2 bytes are 4 MiB.
pub const DEFAULT_COLUMNS: usize = 1 << 19;

/// Most columns: 16 MiB.
pub const MAX_COLUMNS: usize = 1 << 21;

const ROWS: usize = 4;

/// Columns that one record sweeps: the whole sketch in half as many records as there are columns.
const SWEPT_PER_RECORD: usize = 2;

/// A frequency sketch; fixed size.
#[derive(Clone, Debug)]
pub struct Sketch {
    columns: Vec<[u16; ROWS]>,
    cursor: usize,
    swept: usize,
    aged: Nanos,
}

impl Sketch {
    /// A sketch of `columns` columns, rounded up to a power of two, at most [`MAX_COLUMNS`]; 8 bytes each.
    pub fn new(columns: usize, now: Nanos) -> Self {
        let columns = columns.clamp(1, MAX_COLUMNS).next_power_of_two();
        Self { columns: vec![[0; ROWS]; columns], cursor: 0, swept: 0, aged: now }
    }

    /// Counts one sighting of a name, and estimates how many there were lately, this one included; saturates at
    /// [`u16::MAX`].
    pub fn record(&mut self, name: Fingerprint) -> u16 {
        self.sweep(SWEPT_PER_RECORD);
        let least = self.least(name);
        let more = least.saturating_add(1);
        for (row, column) in self.places(name).into_iter().enumerate() {
            if let Some(cell) = self.columns.get_mut(column).and_then(|column| column.get_mut(row)) {
                *cell = (*cell).max(more);
            }
        }
        more
    }

    /// How many sightings there were lately; never too low but for what was forgotten.
    pub fn estimate(&self, name: Fingerprint) -> u16 {
        self.least(name)
    }

    /// Forgets what time demands; to be called on every tick.
    pub fn age(&mut self, now: Nanos) {
        let columns = self.columns.len() as u128;
        let elapsed = now.since(self.aged);
        let due = (columns * u128::from(elapsed) / u128::from(HALF_LIFE)).min(columns);
        if due == 0 {
            return;
        }
        self.sweep((due as usize).saturating_sub(self.swept));
        self.swept = 0;
        // Only the time of whole columns has been used up, unless the pause was longer than a whole sweep.
        let used = due * u128::from(HALF_LIFE) / columns;
        self.aged = if elapsed > HALF_LIFE { now } else { self.aged.plus(used as u64) };
    }

    /// Bytes on the heap.
    pub fn heap_bytes(&self) -> usize {
        self.columns.capacity() * size_of::<[u16; ROWS]>()
    }

    fn least(&self, name: Fingerprint) -> u16 {
        let cells = self.places(name).into_iter().enumerate();
        cells.filter_map(|(row, column)| self.columns.get(column)?.get(row)).copied().min().unwrap_or(0)
    }

    /// Double hashing out of the two halves of the fingerprint, which is random as a whole.
    fn places(&self, name: Fingerprint) -> [usize; ROWS] {
        let (low, high) = (name.bits() as u32, (name.bits() >> 32) as u32 | 1);
        let mask = self.columns.len() - 1;
        let mut at = low;
        [(); ROWS].map(|()| {
            at = at.wrapping_add(high);
            at as usize & mask
        })
    }

    fn sweep(&mut self, columns: usize) {
        for _ in 0..columns.min(self.columns.len()) {
            if let Some(column) = self.columns.get_mut(self.cursor) {
                *column = column.map(|cell| cell >> 1);
            }
            self.cursor = (self.cursor + 1) & (self.columns.len() - 1);
        }
        self.swept = self.swept.saturating_add(columns);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fingerprint::Seed;

    fn name(n: u64) -> Fingerprint {
        Seed([7, 8]).fingerprint(b"r", &n.to_le_bytes())
    }

    #[test]
    fn counts_a_name_and_halves_it_with_time() {
        let mut sketch = Sketch::new(1 << 12, Nanos(0));
        for expected in 1..=100 {
            assert_eq!(sketch.record(name(1)), expected);
        }
        assert_eq!(sketch.estimate(name(2)), 0);
        // Ticks of 50 ms; 100 records have swept a little already.
        for tick in 1..=1_200 {
            sketch.age(Nanos(tick * 50 * Nanos::MILLI));
        }
        assert_eq!(sketch.estimate(name(1)), 50);
        sketch.age(Nanos(10 * HALF_LIFE));
        assert_eq!(sketch.estimate(name(1)), 25, "a long pause halves once, not for each life missed");
        sketch.age(Nanos(HALF_LIFE));
        assert_eq!(sketch.estimate(name(1)), 25, "time that steps back forgets nothing");
    }

    #[test]
    fn a_million_different_names_are_mostly_known_as_new() {
        let mut sketch = Sketch::new(DEFAULT_COLUMNS, Nanos(0));
        let seen = (0..1_000_000).filter(|n| sketch.record(name(*n)) > 1).count();
        assert!(seen < 5_000, "{seen} of 1,000,000 were taken for known; 2,400 expected");
        assert!(seen > 0, "the error that the documentation derives is not there at all");
    }

    #[test]
    fn a_flood_does_not_hide_a_name_that_comes_back() {
        let mut sketch = Sketch::new(DEFAULT_COLUMNS, Nanos(0));
        let mut highest = 0;
        for n in 0..1_000_000 {
            sketch.record(name(n));
            if n % 50_000 == 0 {
                highest = highest.max(sketch.record(name(u64::MAX)));
            }
        }
        assert!(highest >= 3, "seen every 50,000 records: {highest}");
    }
}
