//! A client-invented name as 64 bits.
//!
//! Names without contract are never stored: a fingerprint stands for them, in the sketch, in this worker's seats and in
//! shared data. Two names with one fingerprint share one bucket, so a collision admits less, never more; but the one who
//! found a collision could use up somebody else's bucket. Hence a keyed pseudo-random function, SipHash-1-3, the one
//! that the standard library defends its maps with, under a secret seed: without the seed nobody can search collisions,
//! nor names that fall into a chosen set of slots. (foldhash, which our own maps use, is quicker and says itself that it
//! does not withstand somebody who watches its effects.) Among `n` names some two collide with a probability below
//! `n^2 / 2^65`: 3e-8 for a million.
//!
//! All workers of a proxy must use one seed, because they meet in shared data under fingerprints; two proxies should not.
//!
//! Source: J.-P. Aumasson, D. J. Bernstein, "SipHash: a fast short-input PRF", 2012.

use core::hash::Hasher;
use core::num::NonZeroU64;

use siphasher::sip::SipHasher13;

/// The secret of a proxy: 128 random bits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Seed(pub [u64; 2]);

impl core::fmt::Debug for Seed {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Seed(..)")
    }
}

/// A name in a name space; never zero, which stands for nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint(pub NonZeroU64);

impl Fingerprint {
    /// From its 64 bits; `None` for zero.
    pub fn new(bits: u64) -> Option<Self> {
        NonZeroU64::new(bits).map(Self)
    }

    /// Its 64 bits.
    pub fn bits(self) -> u64 {
        self.0.get()
    }
}

impl Seed {
    /// The fingerprint of `name` in `space` (the resource, so that a tenant has one slot for each).
    pub fn fingerprint(&self, space: &[u8], name: &[u8]) -> Fingerprint {
        let mut hasher = SipHasher13::new_with_keys(self.0[0], self.0[1]);
        // The length keeps ("ab", "c") apart from ("a", "bc").
        hasher.write(&(space.len() as u64).to_le_bytes());
        hasher.write(space);
        hasher.write(name);
        Fingerprint(NonZeroU64::new(hasher.finish()).unwrap_or(NonZeroU64::MIN))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;

    #[test]
    fn names_spaces_and_seeds_all_count() {
        let seed = Seed([1, 2]);
        let of = |space: &str, name: &str| seed.fingerprint(space.as_bytes(), name.as_bytes());
        assert_eq!(of("requests", "a"), of("requests", "a"));
        assert_ne!(of("requests", "a"), of("requests", "b"));
        assert_ne!(of("requests", "a"), of("bytes", "a"));
        assert_ne!(of("ab", "c"), of("a", "bc"));
        assert_ne!(of("requests", "a"), Seed([1, 3]).fingerprint(b"requests", b"a"));
    }

    #[test]
    fn a_seed_is_not_printed() {
        assert_eq!(format!("{:?}", Seed([0xdead_beef, 77])), "Seed(..)");
    }
}
