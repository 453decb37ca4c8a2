//! One key's limit, dealt to the proxies that serve it, by what is asked of each.
//!
//! Water filling: every holder first gets a small *floor* ([`FLOOR_PERCENT`] of an equal share), so that a proxy where
//! nothing is asked can admit the first requests that come; then the rate rises for all at one level, and whoever has
//! what it asked for (with [`HEADROOM_PERCENT`] on top) stops. What nobody asked for is dealt equally. Shares in
//! proportion to demand were refused: there, whoever is refused most gets most, and a flood at one proxy would take the
//! tenant's limit away from all others.
//!
//! A burst of less than one request's cost admits nothing at all. So bursts are dealt in whole requests: where there are
//! fewer of them than proxies, only so many are *holders*, first those where something is asked, and among equals in an
//! order that turns with `rotation`, so that no proxy is dry for ever. A proxy that is no holder has no rate either.
//!
//! Invariant: rates and bursts sum to the total exactly, unless nobody can hold anything.

use crate::fairness::{Claim, max_min_shares};
use crate::planning::Limit;

/// What an idle proxy keeps, in percent of an equal share. All idle proxies together can keep 5 % of a limit from those
/// that are busy, and a request that comes out of nowhere finds its burst.
pub(crate) const FLOOR_PERCENT: u64 = 5;

/// How much above its recent demand a proxy is given, in percent, so that it may grow until the next deal.
pub(crate) const HEADROOM_PERCENT: u64 = 25;

/// What the shares of one key depend on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// Recent offered demand by proxy, in milli-units per second.
    pub milli_per_s: Vec<u64>,
    /// What one request costs, in units; 0 counts as 1.
    pub cost: u64,
    /// Turns the order of those that are equal.
    pub rotation: u64,
}

/// The shares of `total`, in the order of [`Asked::milli_per_s`].
pub fn fill(total: Limit, asked: &Asked) -> Vec<Limit> {
    let proxies = asked.milli_per_s.len();
    let mut shares = vec![Limit::default(); proxies];
    // A cost above the burst is never admitted, whoever holds it; then one proxy holds all.
    let cost = asked.cost.max(1).min(total.burst);
    let Some(whole) = total.burst.checked_div(cost) else { return shares };
    let holders = holders(asked, whole);
    let Some(&first) = holders.first() else { return shares };
    let rates = rates(total.rate_milli_per_s, asked, &holders);
    let count = holders.len() as u64;

    let spare = total.burst - cost * count;
    let mut left = spare;
    for (&proxy, &rate) in holders.iter().zip(&rates) {
        let part = match total.rate_milli_per_s {
            0 => spare / count,
            all => (u128::from(spare) * u128::from(rate) / u128::from(all)) as u64,
        };
        left -= part;
        shares[proxy] = Limit { rate_milli_per_s: rate, burst: cost + part };
    }
    // Rounding leaves less than one unit per holder; the first of the order takes them.
    shares[first].burst += left;
    shares
}

/// The proxies that hold something, in their order.
fn holders(asked: &Asked, whole_requests: u64) -> Vec<usize> {
    let proxies = asked.milli_per_s.len();
    let turn = (asked.rotation % proxies.max(1) as u64) as usize;
    let mut order: Vec<usize> = (0..proxies).collect();
    order.sort_by_key(|&proxy| (asked.milli_per_s[proxy] == 0, (proxy + turn) % proxies));
    order.truncate(usize::try_from(whole_requests).unwrap_or(usize::MAX));
    order
}

/// The rates of the holders, in their order; they sum to `total`.
fn rates(total: u64, asked: &Asked, holders: &[usize]) -> Vec<u64> {
    let count = holders.len() as u64;
    let floor = (u128::from(total) * u128::from(FLOOR_PERCENT) / 100 / u128::from(count)) as u64;
    let claims: Vec<Claim> = holders
        .iter()
        .map(|&proxy| {
            let wanted = u128::from(asked.milli_per_s[proxy]) * u128::from(100 + HEADROOM_PERCENT) / 100;
            let wanted = u64::try_from(wanted).unwrap_or(u64::MAX);
            Claim { need: wanted.saturating_sub(floor), weight: 1 }
        })
        .collect();
    let above = max_min_shares(&claims, total - floor * count);
    let rest = total - floor * count - above.iter().sum::<u64>();
    let place = |at: usize| rest / count + u64::from((at as u64) < rest % count);
    above.iter().enumerate().map(|(at, above)| floor + above + place(at)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(rate: u64, burst: u64, asked_per_s: &[u64]) -> Vec<(u64, u64)> {
        let milli_per_s = asked_per_s.iter().map(|per_s| per_s * 1_000).collect();
        let total = Limit { rate_milli_per_s: rate * 1_000, burst };
        let shares = fill(total, &Asked { milli_per_s, cost: 1, rotation: 0 });
        assert_eq!(shares.iter().map(|share| share.burst).sum::<u64>(), burst);
        assert_eq!(shares.iter().map(|share| share.rate_milli_per_s).sum::<u64>(), rate * 1_000);
        shares.iter().map(|share| (share.rate_milli_per_s, share.burst)).collect()
    }

    #[test]
    fn nobody_asks_and_all_are_equal() {
        assert_eq!(filled(100, 200, &[0; 4]), [(25_000, 50); 4]);
    }

    #[test]
    fn the_busy_get_all_but_the_floors() {
        let shares = filled(1_000, 1_000, &[5_000, 0, 0, 9_000, 0]);
        assert_eq!(shares[1], (10_000, 10), "5 % of an equal share");
        assert_eq!((shares[0].0, shares[3].0), (485_000, 485_000), "both ask for more than there is: one level");
    }

    #[test]
    fn a_modest_demand_is_met_with_headroom_and_the_rest_is_dealt_equally() {
        let shares = filled(100, 100, &[40, 0]);
        // 2.5 floor each, 47.5 above the floor for 40 x 1.25, and half of the other 47.5.
        assert_eq!((shares[0].0, shares[1].0), (73_750, 26_250));
    }

    #[test]
    fn scarce_requests_go_whole_to_those_that_ask_and_rotate_among_equals() {
        let total = Limit { rate_milli_per_s: 2_000, burst: 20 };
        let mut seen = vec![0; 5];
        for rotation in 0..5 {
            let asked = Asked { milli_per_s: vec![0, 9_000, 9_000, 9_000, 0], cost: 10, rotation };
            let shares = fill(total, &asked);
            let full: Vec<usize> = (0..5).filter(|&proxy| shares[proxy].burst > 0).collect();
            assert_eq!(full.len(), 2, "two requests of ten units");
            for proxy in full {
                assert_eq!(shares[proxy], Limit { rate_milli_per_s: 1_000, burst: 10 });
                seen[proxy] += 1;
            }
        }
        assert_eq!((seen[0], seen[4]), (0, 0), "nothing is asked there");
        assert!(seen[1..4].iter().all(|&times| times > 0), "{seen:?}");
    }

    #[test]
    fn nothing_to_deal_and_nobody_to_deal_to() {
        assert_eq!(filled(0, 0, &[1, 2]), [(0, 0), (0, 0)]);
        assert!(fill(Limit { rate_milli_per_s: 1, burst: 1 }, &Asked::default()).is_empty());
        let dear = Asked { milli_per_s: vec![1_000; 3], cost: 50, rotation: 1 };
        let shares = fill(Limit { rate_milli_per_s: 1_000, burst: 20 }, &dear);
        assert_eq!(shares.iter().filter(|share| share.burst == 20).count(), 1);
    }
}
