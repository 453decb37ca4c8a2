//! Weighted max-min fairness: the smallest claims are met in full, the rest share what is left by weight.
//!
//! The intuition is water filling: raise one level for all claims at once, each claim taking level x weight; a claim
//! that has all it asked for stops, the others go on until the capacity is gone. Nobody whose claim stays open could
//! get more without taking from somebody who has less per weight. Proportional sharing was refused: there, whoever asks
//! for more gets more, which rewards exaggerated forecasts.
//!
//! Integers only. Rounding goes down, so up to one unit per open claim stays unused.

/// One claim on a shared capacity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    /// What is asked for.
    pub need: u64,
    /// Its weight; 0 counts as 1.
    pub weight: u32,
}

/// What each claim gets, in the order of `claims`; never more than its need, and never more than `capacity` together.
pub fn max_min_shares(claims: &[Claim], capacity: u64) -> Vec<u64> {
    let weight_of = |claim: &Claim| u128::from(claim.weight.max(1));
    let mut by_need_per_weight: Vec<usize> = (0..claims.len()).collect();
    // a.need / a.weight < b.need / b.weight, without division.
    by_need_per_weight.sort_by(|&a, &b| {
        let left = u128::from(claims[a].need) * weight_of(&claims[b]);
        let right = u128::from(claims[b].need) * weight_of(&claims[a]);
        left.cmp(&right)
    });

    let mut shares = vec![0_u64; claims.len()];
    let mut left = u128::from(capacity);
    let mut weight_left: u128 = claims.iter().map(weight_of).sum();
    for (position, &i) in by_need_per_weight.iter().enumerate() {
        let weight = weight_of(&claims[i]);
        let level_share = left * weight / weight_left;
        if u128::from(claims[i].need) > level_share {
            // From here on every claim stays open: all of them share what is left at one level.
            for &open in &by_need_per_weight[position..] {
                let share = left * weight_of(&claims[open]) / weight_left;
                // Lossless: a share is at most `capacity`, a u64.
                shares[open] = share as u64;
            }
            return shares;
        }
        shares[i] = claims[i].need;
        left -= u128::from(claims[i].need);
        weight_left -= weight;
    }
    shares
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claims(rows: &[(u64, u32)]) -> Vec<Claim> {
        rows.iter().map(|&(need, weight)| Claim { need, weight }).collect()
    }

    #[test]
    fn enough_for_all_gives_each_its_need() {
        assert_eq!(max_min_shares(&claims(&[(10, 1), (0, 1), (30, 5)]), 40), [10, 0, 30]);
    }

    #[test]
    fn the_small_claim_is_met_and_the_rest_share_evenly() {
        assert_eq!(max_min_shares(&claims(&[(500, 1), (10, 1), (90, 1)]), 100), [45, 10, 45]);
    }

    #[test]
    fn weights_set_the_level() {
        assert_eq!(max_min_shares(&claims(&[(1000, 3), (1000, 1)]), 100), [75, 25]);
    }

    #[test]
    fn asking_for_more_brings_nothing_once_short() {
        let modest = max_min_shares(&claims(&[(60, 1), (60, 1)]), 100);
        let greedy = max_min_shares(&claims(&[(60, 1), (u64::MAX, 1)]), 100);
        assert_eq!(modest, greedy);
    }

    #[test]
    fn no_claims_and_no_capacity() {
        assert!(max_min_shares(&[], 5).is_empty());
        assert_eq!(max_min_shares(&claims(&[(5, 1)]), 0), [0]);
    }
}
