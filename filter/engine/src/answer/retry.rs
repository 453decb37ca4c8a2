//! When a client shall come back.
//!
//! The instant is exact: at it the same request succeeds, when nobody else takes. If every refused client came at it,
//! one would succeed; so each is told a little more, by a spread that grows with the wait, because a client that waits a
//! minute does not mind ten seconds more and one that waits 20 ms does. It is never told less.
//!
//! Where the pool behind a key is short, the bucket's next token is one for very many, and to come back for it is futile for
//! nearly all of them. If it is known when more capacity is ready, clients are told that instant, when it is the later
//! one. What the bucket promises stays exact, and is what the rate limit fields say.
//!
//! The spread is computed from a seed and not drawn, so the same request in a replay gets the same answer.

use forebay_admission::{Nanos, Wait};

use super::{Reason, Refused, Settings};

/// The usual spread, in per cent of the wait.
pub const JITTER_PERCENT: u8 = 25;

/// The widest spread in seconds. A quarter of four minutes; a client with an hour to wait is not told to take a quarter
/// of an hour more, for within a minute the requests of 60 clients per second of rate are spread well enough.
pub const MAX_JITTER_S: u64 = 60;

/// The narrowest spread in nanoseconds for clients that can wait for less than a second: 50 ms, about a round trip,
/// below which it would not part them.
pub const MIN_JITTER_NANOS: u64 = 50 * Nanos::MILLI;

/// How far retries are spread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Jitter {
    /// Up to so many per cent of the wait, within [`MIN_JITTER_NANOS`] and [`MAX_JITTER_S`]; 0 spreads nothing.
    Percent(u8),
    /// Up to so many seconds, whatever the wait.
    Seconds(u32),
}

/// When to come back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retry {
    /// From the decision to the exact instant, in nanoseconds.
    pub exact_nanos: u64,
    /// The same in whole seconds, rounded up, at least 1: the earliest that whole seconds can say.
    pub exact_s: u64,
    /// For `Retry-After`: the later of `exact_s` and what is left until more capacity is ready, and the spread of that, in
    /// seconds. The spread is whole seconds too.
    pub after_s: u64,
    /// For gRPC's RetryInfo: the same of `exact_nanos`, in nanoseconds.
    pub after_nanos: u64,
}

impl Retry {
    /// When the client of a refused request shall come back; `None` when that would not help.
    pub fn of(refused: &Refused<'_>, settings: &Settings) -> Option<Self> {
        if matches!(refused.reason, Reason::MissingTenant(_)) {
            return None;
        }
        let Wait::Until(at) = refused.wait else { return None };
        let exact_nanos = at.since(refused.now);
        let whole_s = |nanos: u64| nanos.div_ceil(Nanos::SECOND).max(1);
        let least_nanos = exact_nanos.max(refused.more_at.since(refused.now));
        let least_s = whole_s(least_nanos);
        let (spread_s, spread_nanos) = match settings.jitter {
            Jitter::Percent(0) => (0, 0),
            Jitter::Percent(percent) => {
                let percent = u64::from(percent);
                let nanos = (least_nanos / 100).saturating_mul(percent);
                (
                    least_s.saturating_mul(percent).div_ceil(100).clamp(1, MAX_JITTER_S),
                    nanos.clamp(MIN_JITTER_NANOS, MAX_JITTER_S * Nanos::SECOND),
                )
            }
            Jitter::Seconds(seconds) => (u64::from(seconds), u64::from(seconds) * Nanos::SECOND),
        };
        Some(Self {
            exact_nanos,
            exact_s: whole_s(exact_nanos),
            after_s: least_s.saturating_add(up_to(spread_s, refused.seed)),
            after_nanos: least_nanos.saturating_add(up_to(spread_nanos, refused.seed)),
        })
    }
}

/// A number from 0 to `most`, evenly, out of a seed that need not be random.
fn up_to(most: u64, seed: u64) -> u64 {
    let product = u128::from(scramble(seed)) * (u128::from(most) + 1);
    u64::try_from(product >> 64).unwrap_or(most)
}

/// The finaliser of SplitMix64 (Steele, Lea and Flood 2014): neighbouring seeds give unrelated numbers.
fn scramble(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    const NOW: Nanos = Nanos(1_000);

    fn spread_until(more_at: Nanos, wait: Wait, seed: u64, jitter: Jitter) -> Option<Retry> {
        let refused = Refused { reason: Reason::OverLimit, quotas: &[], wait, more_at, now: NOW, seed };
        Retry::of(&refused, &Settings { jitter, ..Settings::default() })
    }

    fn spread(wait: Wait, seed: u64, jitter: Jitter) -> Option<Retry> {
        spread_until(Nanos::default(), wait, seed, jitter)
    }

    fn retry(wait: Wait, seed: u64, percent: u8) -> Option<Retry> {
        spread(wait, seed, Jitter::Percent(percent))
    }

    #[test]
    fn whole_seconds_are_rounded_up_and_never_zero() {
        for (nanos, seconds) in [(0, 1), (1, 1), (Nanos::SECOND, 1), (Nanos::SECOND + 1, 2)] {
            let retry = retry(Wait::Until(Nanos(1_000 + nanos)), 7, 0).unwrap();
            assert_eq!((retry.exact_nanos, retry.after_s, retry.after_nanos), (nanos, seconds, nanos));
        }
        assert_eq!(retry(Wait::Until(Nanos(0)), 7, 0).unwrap().exact_nanos, 0, "the clock stepped back");
    }

    #[test]
    fn a_spread_in_seconds_does_not_depend_on_the_wait() {
        for wait_s in [1, 3_600] {
            let wait = Wait::Until(Nanos(1_000 + wait_s * Nanos::SECOND));
            let after: Vec<_> =
                (0..100).map(|seed| spread(wait, seed, Jitter::Seconds(3)).unwrap().after_s - wait_s).collect();
            assert!((0..=3).all(|more| after.contains(&more)) && after.iter().all(|more| *more <= 3), "{after:?}");
            assert_eq!(spread(wait, 1, Jitter::Seconds(0)).unwrap().after_s, wait_s);
        }
        assert_eq!(spread(Wait::Never, 1, Jitter::Seconds(3)), None);
    }

    #[test]
    fn a_thousand_neighbouring_seeds_are_spread_evenly() {
        let mut seen = [0u32; 6];
        for seed in 0..1_000 {
            let retry = retry(Wait::Until(Nanos(1_000 + 20 * Nanos::SECOND)), seed, 25).unwrap();
            seen[usize::try_from(retry.after_s - 20).unwrap()] += 1;
        }
        assert!(seen.iter().all(|&count| (120..=220).contains(&count)), "{seen:?}");
    }

    proptest! {
        #[test]
        fn never_early_and_never_later_than_the_spread(nanos: u64, seed: u64, percent in 0u8..=100) {
            let retry = retry(Wait::Until(Nanos(nanos)), seed, percent).unwrap();
            let exact = nanos.saturating_sub(1_000);
            prop_assert!(retry.after_nanos >= exact);
            prop_assert!(u128::from(retry.after_s) * u128::from(Nanos::SECOND) >= u128::from(exact));
            prop_assert!(retry.after_s - retry.exact_s <= MAX_JITTER_S.min(retry.exact_s));
            prop_assert!(retry.after_nanos - exact <= (MAX_JITTER_S * Nanos::SECOND).min(exact.max(MIN_JITTER_NANOS)));
            prop_assert_eq!(retry, super::tests::retry(Wait::Until(Nanos(nanos)), seed, percent).unwrap());
        }

        /// As if the bucket had promised the later instant, but for the promise itself.
        #[test]
        fn more_capacity_to_come_delays_the_retry_and_not_the_promise(nanos: u64, more: u64, seed: u64, percent in 0u8..=100) {
            let (bucket, more) = (Nanos(nanos), Nanos(more));
            let told = spread_until(more, Wait::Until(bucket), seed, Jitter::Percent(percent)).unwrap();
            let [promised, later] = [bucket, bucket.max(more)].map(|at| retry(Wait::Until(at), seed, percent).unwrap());
            prop_assert_eq!((told.exact_nanos, told.exact_s), (promised.exact_nanos, promised.exact_s));
            prop_assert_eq!((told.after_nanos, told.after_s), (later.after_nanos, later.after_s));
        }
    }
}
