//! What a proxy knows of one key, as it lies in shared data: 96 bytes, fixed.
//!
//! Fixed size and its own version byte, so that a module upgrade that shares the data with its predecessor either
//! understands the state or starts the key as after a boot; it is never misread. The layouts before this one (72 bytes,
//! without claims; 56 bytes, without debts too) are read as well, so that an upgrade does not refill anything.
//!
//! The standard bucket is never looked at without what is claimed of it ([`claims`](crate::claims)): its room is the burst
//! less the claims, and changes when claims end. [`KeyState::refill`] goes through these instants one by one.

use crate::bucket::{Bucket, Wait};
use crate::claims::{Claimed, Claims};
use crate::shadow::ShadowState;
use crate::units::{Limit, Nanos};

/// Size of an encoded state in bytes.
pub const KEY_STATE_BYTES: usize = 96;

const LAYOUT: u64 = 3;

/// The layout without claims: the last three words were not there.
const LAYOUT_WITHOUT_CLAIMS: (u64, usize) = (2, 72);

/// The layout before that: words 3 and 8, the debts, were not there either.
const LAYOUT_WITHOUT_DEBTS: (u64, usize) = (1, 56);

/// The standard bucket and the shadow bucket of one key in one proxy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeyState {
    /// The contract's bucket.
    pub standard: Bucket,
    /// The forecast's bucket.
    pub shadow: ShadowState,
    /// What is claimed of the standard bucket; `None` where there is no place to keep it, which keeps leases small.
    pub claims: Option<Claims>,
}

impl KeyState {
    /// A key that nobody has used since the proxy booted at `born`.
    pub fn at_boot(standard: Limit, born: Nanos) -> Self {
        Self {
            standard: Bucket::at_boot(standard, born),
            shadow: ShadowState::default(),
            claims: Some(Claims::default()),
        }
    }

    /// Brings the standard bucket up to `now`. To be called before it is looked at or changed.
    pub fn refill(&mut self, limit: Limit, now: Nanos) {
        if let Some(mut claims) = self.claims {
            // There are two windows.
            for _ in 0..2 {
                let Some(end) = claims.next_end().filter(|end| *end <= now) else { break };
                self.standard.give_back(self.room(limit), 0, end);
                claims.expire(end);
                self.claims = Some(claims);
            }
            claims.expire(now);
            self.claims = Some(claims);
        }
        self.standard.give_back(self.room(limit), 0, now);
    }

    /// When `units` will be there if nobody settles or draws meanwhile, as seen from a state that was just refilled.
    pub fn wait_for(&self, limit: Limit, units: u64) -> Wait {
        let mut state = *self;
        for _ in 0..2 {
            let wait = state.standard.wait_for(limit, units);
            let Some(end) = state.claims.as_ref().and_then(Claims::next_end) else { return wait };
            match wait {
                Wait::Until(at) if at > end || units > state.room(limit).burst => state.refill(limit, end),
                _ => return wait,
            }
        }
        state.standard.wait_for(limit, units)
    }

    /// Takes a worker's lease back: `units` that were not spent, and what was claimed for them.
    pub fn give_back(&mut self, limit: Limit, units: u64, claimed: Claimed, now: Nanos) {
        self.refill(limit, now);
        // After its claim has ended a lease is void: the bucket has refilled in its place.
        if self.claims.as_mut().is_none_or(|claims| claims.settle(claimed)) {
            self.standard.give_back(self.room(limit), units, now);
        }
    }

    /// The limit with the depth that the claims leave.
    fn room(&self, limit: Limit) -> Limit {
        let claimed = self.claims.as_ref().map_or(0, Claims::units);
        Limit { burst: limit.burst.saturating_sub(claimed), ..limit }
    }

    /// The bytes, little endian.
    pub fn encode(&self) -> [u8; KEY_STATE_BYTES] {
        let claims = self.claims.unwrap_or_default();
        let words = [
            LAYOUT,
            self.standard.level_nano(),
            self.standard.owed_nano(),
            self.standard.at().0,
            self.shadow.slot_id,
            self.shadow.spent,
            self.shadow.pace.level_nano(),
            self.shadow.pace.owed_nano(),
            self.shadow.pace.at().0,
            claims.window,
            claims.recent,
            claims.former,
        ];
        let mut bytes = [0; KEY_STATE_BYTES];
        for (chunk, word) in bytes.chunks_exact_mut(8).zip(words) {
            chunk.copy_from_slice(&word.to_le_bytes());
        }
        bytes
    }

    /// Reads a state; `None` for anything that [`KeyState::encode`] of this layout or one before did not write.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let mut words = bytes.chunks_exact(8).filter_map(|chunk| chunk.try_into().ok()).map(u64::from_le_bytes);
        let mut next = || words.next();
        let (owing, claiming) = match (next()?, bytes.len()) {
            (LAYOUT, KEY_STATE_BYTES) => (true, true),
            LAYOUT_WITHOUT_CLAIMS => (true, false),
            LAYOUT_WITHOUT_DEBTS => (false, false),
            _ => return None,
        };
        let bucket = |next: &mut dyn FnMut() -> Option<u64>| {
            let level = next()?;
            let owed = if owing { next()? } else { 0 };
            Some(Bucket::owing(level, owed, Nanos(next()?)))
        };
        let standard = bucket(&mut next)?;
        let (slot_id, spent) = (next()?, next()?);
        let pace = bucket(&mut next)?;
        let claims = match claiming {
            true => Claims { window: next()?, recent: next()?, former: next()? },
            false => Claims::default(),
        };
        Some(Self { standard, shadow: ShadowState { slot_id, spent, pace }, claims: Some(claims) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::claims::CLAIM_LASTS;
    use crate::units::{NANO, Rate};
    use alloc::vec::Vec;
    use proptest::prelude::*;

    fn bytes_of(words: &[u64]) -> Vec<u8> {
        words.iter().flat_map(|word| word.to_le_bytes()).collect()
    }

    #[test]
    fn encodes_and_refuses_what_it_did_not_write() {
        let state = KeyState {
            standard: Bucket::new(1, Nanos(2)),
            shadow: ShadowState { slot_id: 3, spent: 4, pace: Bucket::owing(0, 5, Nanos(6)) },
            claims: Some(Claims { window: 7, recent: 8, former: 9 }),
        };
        let bytes = state.encode();
        assert_eq!(KeyState::decode(&bytes), Some(state));
        assert_eq!(KeyState::decode(&bytes[..95]), None);
        assert_eq!(KeyState::decode(&bytes[..72]), None, "the length of another layout");
        let mut other = bytes;
        other[0] = 9;
        assert_eq!(KeyState::decode(&other), None);
    }

    #[test]
    fn the_layouts_before_are_read_with_nothing_claimed() {
        let before = KeyState::decode(&bytes_of(&[2, 0, 11, 20, 3, 4, 50, 0, 60])).unwrap();
        assert_eq!((before.standard, before.shadow.spent), (Bucket::owing(0, 11, Nanos(20)), 4));
        assert_eq!((before.shadow.pace, before.claims), (Bucket::new(50, Nanos(60)), Some(Claims::default())));
        let oldest = KeyState::decode(&bytes_of(&[1, 10, 20, 3, 4, 50, 60])).unwrap();
        assert_eq!((oldest.standard, oldest.shadow.spent), (Bucket::new(10, Nanos(20)), 4));
        assert_eq!((oldest.shadow.pace, oldest.claims), (Bucket::new(50, Nanos(60)), Some(Claims::default())));
        assert_eq!(KeyState::decode(&bytes_of(&[3, 1, 2, 3, 4, 5, 6, 7, 8])), None, "the length must fit the layout");
    }

    #[test]
    fn a_bucket_refills_up_to_what_is_not_claimed_and_to_its_brim_when_claims_end() {
        let limit = Limit::new(Rate::per_s(100), 100);
        let mut state = KeyState::at_boot(limit, Nanos(0));
        state.standard = Bucket::new(0, Nanos(0));
        let claimed = state.claims.as_mut().unwrap().claim(30);
        let at = |ms: u64| {
            let mut later = state;
            later.refill(limit, Nanos(ms * Nanos::MILLI));
            later.standard.level_nano() / NANO
        };
        assert_eq!([at(500), at(700), at(900), at(1_999), at(2_000)], [50, 70, 70, 70, 70]);
        assert_eq!([at(2_100), at(2_300), at(9_000)], [80, 100, 100], "from the end of the claim at the rate");
        let mut settled = state;
        settled.give_back(limit, 10, claimed, Nanos(900 * Nanos::MILLI));
        assert_eq!((settled.standard.level_nano(), settled.claims.unwrap().units()), (80 * NANO, 0));
        let mut late = state;
        late.give_back(limit, 10, claimed, Nanos(2 * CLAIM_LASTS));
        assert_eq!(late.standard.level_nano(), 70 * NANO, "void");
    }

    proptest! {
        /// The promised wait is exact, whatever is claimed and whenever it ends.
        #[test]
        fn the_promised_wait_is_exact(
            milli in 1u64..500_000, burst in 1u64..1_000, level in 0u64..1_000, owed in 0u64..100,
            recent in 0u64..600, former in 0u64..600, units in 1u64..1_000, later in 0u64..3_000_000_000,
        ) {
            let limit = Limit::new(Rate::from_milli_per_s(milli), burst);
            let now = Nanos(5 * CLAIM_LASTS).plus(later);
            let claims = Some(Claims { window: 5, recent, former });
            let standard = Bucket::owing(level * NANO / 3, owed * NANO / 7, Nanos(5 * CLAIM_LASTS));
            let mut state = KeyState { standard, claims, ..KeyState::default() };
            state.refill(limit, now);
            let has = |at: Nanos| {
                let mut state = state;
                state.refill(limit, at);
                state.standard.level_nano() >= units * NANO
            };
            match state.wait_for(limit, units) {
                Wait::Never => prop_assert!(units > burst),
                Wait::Until(at) if has(now) => prop_assert!(at <= now),
                Wait::Until(at) => {
                    prop_assert!(at > now);
                    prop_assert!(!has(at.minus(1)));
                    prop_assert!(has(at));
                }
            }
        }

        /// Looking often or seldom makes no difference beyond rounding.
        #[test]
        fn refilling_in_steps_is_refilling_at_once(
            milli in 1u64..5_000_000, burst in 1u64..10_000, recent in 0u64..3_000, former in 0u64..3_000,
            steps in proptest::collection::vec(0u64..700_000_000, 1..12),
        ) {
            let limit = Limit::new(Rate::from_milli_per_s(milli), burst);
            let claims = Some(Claims { window: 0, recent, former });
            let start = KeyState { standard: Bucket::new(0, Nanos(0)), claims, ..KeyState::default() };
            let (mut stepwise, mut at_once, mut now) = (start, start, Nanos(0));
            for step in &steps {
                now = now.plus(*step);
                stepwise.refill(limit, now);
            }
            at_once.refill(limit, now);
            prop_assert_eq!(stepwise.claims, at_once.claims);
            let (one, other) = (stepwise.standard.level_nano(), at_once.standard.level_nano());
            prop_assert!(one.abs_diff(other) <= steps.len() as u64 + 2, "{} and {}", one, other);
        }
    }
}
