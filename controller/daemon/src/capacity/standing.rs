//! Whether this controller's orders count, or those of a newer one.
//!
//! Two controllers may tell one manager what to do: for a moment in a rolling restart, for longer where a network is split or
//! somebody started a second one. The manager takes only the newest generation, so the one with the higher epoch, which is
//! the one that was started last, counts. The intuition: being refused means that somebody else is at work, and outbidding
//! them would have each undo what the other does, in every turn. So who is older *stands down*: it looks, plans and shows on,
//! orders nothing, promises nothing, and says that it stands by.
//!
//! Whoever is in charge raises its generation at least every [`RENEWED_AFTER`], also when it has nothing new to order. That is
//! what tells a controller that works from one that is gone. One that stands down bids again, above what was taken,
//! once it has looked for so long without seeing the generation move ([`Standing::still_for`]); a manager that cannot be seen
//! starts that time anew. So a newer controller that goes away is replaced without hand work, and one that came back
//! is obeyed.
//!
//! What was ordered under is stored before it is said: a successor on the same store begins above it, and never stands down
//! for what it said itself, whatever became of the clock. Epochs are milliseconds, and two controllers may be started in one; so
//! sequences begin [`anywhere`], and whoever began higher counts. What it deliberately does not do: elect. There is one
//! manager, and what it took is the only thing that all sides see.
//!
//! Source: fencing tokens (M. Kleppmann, "How to do distributed locking", 2016), which the generations of managers are.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use forebay_plan::capacity::Generation;
use forebay_provision::CALL_WITHIN;

/// A generation in charge moves at least so often, real time.
pub(super) const RENEWED_AFTER: Duration = Duration::from_secs(30);

/// Turns that whoever is in charge may take longer than usual, for a while, without being taken for gone.
const TURNS_MISSED: u32 = 6;

/// Sequences begin below this: two that begin in the same millisecond are told apart but for one time in a million, and a
/// sequence stays below 2^53, the largest whole number that every reader of JSON has.
const BEGINS_BELOW: u64 = 1 << 20;

/// Where the sequence of a controller begins: as the operating system's generator has it, from which the standard library
/// seeds its maps.
pub(super) fn anywhere() -> u64 {
    RandomState::new().hash_one(()) % BEGINS_BELOW
}

/// A newer controller is in charge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StoodDown {
    /// The newest generation that the manager is known to have taken.
    pub(crate) taken: Generation,
    /// Wall time of when this one stood down, unix milliseconds.
    pub(crate) since_ms: u64,
}

/// What a look at the manager has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// A newer order was taken.
    StandsDown,
    /// Whoever was newer is gone.
    BidsAgain,
}

/// See the module's text.
#[derive(Clone, Debug)]
pub(super) struct Standing {
    own: Generation,
    /// Steady time of when the own generation last moved.
    moved_at: Option<Duration>,
    newer: Option<Newer>,
    still_for: Duration,
}

#[derive(Clone, Copy, Debug)]
struct Newer {
    stood_down: StoodDown,
    /// Steady time since when its generation has been seen not to move.
    still_since: Option<Duration>,
}

/// The moment of a look, in both times.
#[derive(Clone, Copy, Debug)]
pub(super) struct Look {
    pub(super) steady: Duration,
    pub(super) wall_ms: u64,
}

impl Standing {
    /// Of a controller whose orders come after `before_first`, and the generation that was stored on its store before.
    pub(super) fn new(before_first: Generation, stored: Option<Generation>, decide_every: Duration) -> Self {
        let Generation { epoch, sequence } = before_first;
        let epoch = stored.map_or(epoch, |before| epoch.max(before.epoch.saturating_add(1)));
        // A renewal that was just due, two calls that take as long as they may, and turns that were missed.
        let still_for = RENEWED_AFTER + 2 * CALL_WITHIN + TURNS_MISSED * decide_every;
        Self { own: Generation { epoch, sequence }, moved_at: None, newer: None, still_for }
    }

    /// What orders are said under.
    pub(super) fn generation(&self) -> Generation {
        self.own
    }

    /// Who is in charge instead, if somebody is.
    pub(super) fn stood_down(&self) -> Option<StoodDown> {
        self.newer.map(|newer| newer.stood_down)
    }

    /// How long a newer generation has to stay the same until this one bids again.
    pub(super) fn still_for(&self) -> Duration {
        self.still_for
    }

    /// Takes in which generation the manager has taken.
    pub(super) fn see(&mut self, taken: Option<Generation>, now: Look) -> Option<Change> {
        let Some(taken) = taken.filter(|taken| *taken > self.own) else {
            // Nobody is newer; a manager that was restored may know less than before.
            return self.newer.take().map(|_| Change::BidsAgain);
        };
        let Some(newer) = &mut self.newer else {
            self.stand_down(taken, now);
            return Some(Change::StandsDown);
        };
        if newer.stood_down.taken != taken {
            (newer.stood_down.taken, newer.still_since) = (taken, None);
        }
        let still_since = *newer.still_since.get_or_insert(now.steady);
        if now.steady.saturating_sub(still_since) < self.still_for {
            return None;
        }
        self.own.epoch = taken.epoch.saturating_add(1).max(now.wall_ms);
        (self.newer, self.moved_at) = (None, None);
        Some(Change::BidsAgain)
    }

    /// The manager was not seen: nothing is known of whether the generation moved meanwhile.
    pub(super) fn not_seen(&mut self) {
        if let Some(newer) = &mut self.newer {
            newer.still_since = None;
        }
    }

    /// An order was refused for a newer one.
    pub(super) fn stand_down(&mut self, taken: Generation, now: Look) {
        let stood_down = StoodDown { taken, since_ms: now.wall_ms };
        self.newer = Some(Newer { stood_down, still_since: Some(now.steady) });
    }

    /// Whether the next order needs a generation of its own: it says something new, or the last was long ago.
    pub(super) fn is_due(&self, is_new: bool, now: Duration) -> bool {
        is_new || self.moved_at.is_none_or(|moved_at| now.saturating_sub(moved_at) >= RENEWED_AFTER)
    }

    /// The next generation.
    pub(super) fn next(&mut self, now: Duration) -> Generation {
        self.own.sequence += 1;
        self.moved_at = Some(now);
        self.own
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(s: u64) -> Look {
        Look { steady: Duration::from_secs(s), wall_ms: 1_000_000 + s * 1000 }
    }

    fn generation(epoch: u64, sequence: u64) -> Option<Generation> {
        Some(Generation { epoch, sequence })
    }

    #[test]
    fn who_is_newer_is_obeyed_for_as_long_as_it_moves() {
        let mut standing = Standing::new(generation(7, 0).unwrap(), None, Duration::from_secs(5));
        assert_eq!(standing.still_for(), Duration::from_secs(120));
        assert_eq!(standing.see(generation(6, 9), at(0)), None, "older");
        assert_eq!(standing.see(generation(8, 1), at(5)), Some(Change::StandsDown));
        for s in (10..1000).step_by(5) {
            assert_eq!(standing.see(generation(8, 1 + s / 30), at(s)), None, "{s}");
        }
        assert_eq!(standing.stood_down().map(|one| (one.taken.sequence, one.since_ms)), Some((34, 1_005_000)));
        // It moved last at 990.
        assert_eq!(standing.see(generation(8, 34), at(1109)), None);
        assert_eq!(standing.see(generation(8, 34), at(1110)), Some(Change::BidsAgain));
        assert!(standing.generation() > Generation { epoch: 8, sequence: 34 } && standing.stood_down().is_none());
    }

    #[test]
    fn a_manager_that_is_not_seen_says_nothing_of_who_is_in_charge() {
        let mut standing = Standing::new(generation(7, 0).unwrap(), None, Duration::from_secs(5));
        standing.see(generation(8, 1), at(0));
        standing.not_seen();
        assert_eq!(standing.see(generation(8, 1), at(500)), None, "both were cut off from it");
        assert_eq!(standing.see(generation(8, 1), at(620)), Some(Change::BidsAgain));
        standing.stand_down(Generation { epoch: u64::MAX, sequence: 0 }, at(630));
        assert_eq!(standing.see(None, at(635)), Some(Change::BidsAgain), "a manager that was emptied");
    }

    #[test]
    fn a_generation_moves_when_there_is_something_new_and_when_it_was_long_ago() {
        let mut standing = Standing::new(generation(7, 0).unwrap(), generation(9, 4), Duration::from_secs(5));
        assert!(standing.is_due(false, at(0).steady));
        assert_eq!(Some(standing.next(at(0).steady)), generation(10, 1), "above what its store knows");
        assert!(!standing.is_due(false, at(29).steady) && standing.is_due(false, at(30).steady));
        assert!(standing.is_due(true, at(1).steady));
    }
}
