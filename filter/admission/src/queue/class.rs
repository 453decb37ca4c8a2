//! Classes of waiting streams, and whose turn it is between them.
//!
//! A class is (lane, policy priority): a better lane goes before a worse one, inside a lane priority 0 goes before 7
//! (the direction of RFC 9218's urgency). Strict priority alone would starve the worse classes; ageing that lets waiting
//! time beat priority would let a flood in the worst class, whose heads are always the oldest, push aside the best one.
//! So ageing here is a bounded *share*: a class whose oldest ready head has waited `age_after_ns` is overdue, and overdue
//! classes together take one part in [`AGED_PART`] of the units released, in turn between them.
//!
//! The bound that follows: while a class is overdue, better classes release at most `(AGED_PART - 1) x c` units, plus
//! the one request that was on its way, between two aged releases, where `c` is the cost of the former; with `n` overdue
//! classes each gets every `n`-th aged release, and `n` is below [`CLASSES`]. Better classes in turn lose at most one part
//! in [`AGED_PART`] to all the others, whatever these send.

use crate::decision::Lane;

/// Lanes that a stream can wait in: reserved, standard, borrowed.
pub const LANES: usize = 3;

/// Policy priorities, 0 (first) to 7 (last), as many as RFC 9218 has urgencies.
pub const PRIORITIES: u8 = 8;

/// Classes there are.
pub const CLASSES: usize = LANES * PRIORITIES as usize;

/// Overdue classes get one unit of this many. 8: the best class keeps seven eighths of its speed under any flood, and a
/// single overdue class still moves at an eighth of the whole.
pub const AGED_PART: u64 = 8;

/// A class; the smaller goes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Class(u8);

impl Class {
    /// The class of `priority` (cut at 7) in `lane`. The lane of a stream that waits for tokens is `Reserved` when a
    /// shadow slot of its key is running, else the lane it would get.
    pub fn new(lane: Lane, priority: u8) -> Self {
        Self::at(lane as u8, priority)
    }

    /// The class of the lane with this rank (0 is the best; cut at the worst) and `priority` (cut at 7).
    pub fn at(lane_rank: u8, priority: u8) -> Self {
        let rank = lane_rank.min((LANES - 1) as u8);
        Self(rank * PRIORITIES + priority.min(PRIORITIES - 1))
    }

    /// 0 for the best class, to `CLASSES - 1`.
    pub fn index(self) -> usize {
        usize::from(self.0)
    }

    /// The rank of its lane, 0 for the best.
    pub fn lane_rank(self) -> usize {
        usize::from(self.0 / PRIORITIES)
    }

    /// The next worse class, `None` after the worst.
    pub(super) fn next(self) -> Option<Self> {
        (usize::from(self.0) + 1 < CLASSES).then_some(Self(self.0 + 1))
    }
}

/// Keeps the aged releases within their share.
#[derive(Clone, Debug, Default)]
pub(super) struct Turns {
    /// Units that must go by strict priority before the next aged release.
    owed: u64,
    last_aged: Option<Class>,
}

impl Turns {
    /// Which class releases next. `best` is the best one with something ready, `overdue` all worse overdue ones, ascending.
    pub(super) fn choose(&self, best: Class, overdue: impl Iterator<Item = Class>) -> Class {
        if self.owed > 0 {
            return best;
        }
        let mut first = None;
        for class in overdue {
            if self.last_aged.is_some_and(|last| class > last) {
                return class;
            }
            first = first.or(Some(class));
        }
        first.unwrap_or(best)
    }

    /// Whether an aged release may come next at all.
    pub(super) fn open(&self) -> bool {
        self.owed == 0
    }

    /// A request of `class` was released while `best` was the best class that had something ready.
    pub(super) fn released(&mut self, class: Class, best: Class, cost: u64) {
        // A request that costs nothing still takes a turn.
        let cost = cost.max(1);
        if class > best {
            self.owed = cost.saturating_mul(AGED_PART - 1);
            self.last_aged = Some(class);
        } else {
            self.owed = self.owed.saturating_sub(cost);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lanes_come_before_priorities_and_both_are_cut() {
        assert!(Class::new(Lane::Reserved, 7) < Class::new(Lane::Standard, 0));
        assert!(Class::new(Lane::Standard, 1) < Class::new(Lane::Standard, 2));
        assert_eq!(Class::at(9, 9).index(), CLASSES - 1);
        assert_eq!(Class::at(9, 9).next(), None);
        assert_eq!(Class::at(1, 3).lane_rank(), 1);
    }

    #[test]
    fn overdue_classes_take_one_part_in_eight_in_turn() {
        let (best, worse, worst) = (Class::at(0, 0), Class::at(1, 0), Class::at(2, 0));
        let mut turns = Turns::default();
        let mut seen = [0; 3];
        for _ in 0..800 {
            let class = turns.choose(best, [worse, worst].into_iter());
            seen[class.lane_rank()] += 1;
            turns.released(class, best, 3);
        }
        assert_eq!(seen, [700, 50, 50]);
    }
}
