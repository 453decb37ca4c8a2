//! A plan's totals, dealt out to the proxies of the mesh.
//!
//! Every proxy gets an equal share, because in this version nothing is known about who sees which tenant; shares that
//! follow demand come later (SPEC A9). The one difficulty is whole tokens: a bucket of less than one unit would admit
//! nothing at all. So where there are fewer units of burst than proxies, only as many proxies as there are units are
//! *holders*, and the holders rotate with the slot (and differ from key to key), so that no proxy is dry for ever.
//!
//! Invariant: over all proxies, rates, bursts and amounts sum to no more than the plan's total.

use crate::inputs::Key;
use crate::planning::{Grant, Limit, Plan, Slot};

/// What each of `proxies` proxies gets, by index.
pub fn split(plan: &Plan, proxies: usize) -> Vec<Vec<Grant>> {
    (0..proxies).map(|index| share(plan, index, proxies)).collect()
}

/// What proxy number `index` of `proxies` gets; the same grants in the same order as the plan.
pub fn share(plan: &Plan, index: usize, proxies: usize) -> Vec<Grant> {
    plan.grants
        .iter()
        .map(|grant| {
            let seed = key_seed(&grant.key);
            let holder = |id: u64, burst: u64| Holder::of(index, proxies, seed.wrapping_add(id), burst);
            let standard = holder(plan.first_slot_id, grant.standard.burst).map_or(Limit::default(), |h| Limit {
                rate_milli_per_s: h.part(grant.standard.rate_milli_per_s),
                burst: h.part(grant.standard.burst),
            });
            let slots = grant.slots.iter().filter_map(|slot| {
                let h = holder(slot.id, slot.pace.burst)?;
                let amount = h.part(slot.amount);
                let pace = Limit {
                    rate_milli_per_s: h.part(slot.pace.rate_milli_per_s),
                    burst: h.part(slot.pace.burst).min(amount),
                };
                (amount > 0).then_some(Slot { amount, pace, ..*slot })
            });
            Grant { key: grant.key.clone(), standard, forecast_version: grant.forecast_version, slots: slots.collect() }
        })
        .collect()
}

/// A proxy's place among those that get something.
struct Holder {
    place: u64,
    holders: u64,
}

impl Holder {
    /// `None` when there are fewer units than proxies and the rotation gives this one nothing.
    fn of(index: usize, proxies: usize, rotation: u64, units: u64) -> Option<Self> {
        let proxies = proxies.max(1) as u64;
        let holders = proxies.min(units);
        let place = (index as u64 + rotation % proxies) % proxies;
        (place < holders).then_some(Self { place, holders })
    }

    /// This holder's part of `total`; the parts of all holders sum to `total` exactly.
    fn part(&self, total: u64) -> u64 {
        total / self.holders + u64::from(self.place < total % self.holders)
    }
}

/// FNV-1a over the key: spreads the holders of different keys over the proxies, the same on every machine.
fn key_seed(key: &Key) -> u64 {
    let bytes = key.tenant.bytes().chain([0xff]).chain(key.resource.bytes());
    // The upper half only, so that adding a slot id cannot overflow into a jump of the rotation.
    bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)) >> 32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan_of(standard: Limit, slots: Vec<Slot>, first_slot_id: u64) -> Plan {
        let grant = Grant { key: Key::new("acme", "requests"), standard, forecast_version: 1, slots };
        Plan { first_slot_id, grants: vec![grant], ..Plan::default() }
    }

    #[test]
    fn one_proxy_gets_everything() {
        let pace = Limit { rate_milli_per_s: 50_000, burst: 50 };
        let slot = Slot { id: 7, length_ms: 1000, amount: 50, pace };
        let plan = plan_of(Limit { rate_milli_per_s: 100_000, burst: 200 }, vec![slot], 7);
        assert_eq!(split(&plan, 1), [plan.grants]);
    }

    #[test]
    fn three_proxies_share_to_the_unit() {
        let plan = plan_of(Limit { rate_milli_per_s: 100_000, burst: 200 }, vec![], 0);
        let mut bursts: Vec<u64> = split(&plan, 3).iter().map(|grants| grants[0].standard.burst).collect();
        bursts.sort_unstable();
        assert_eq!(bursts, [66, 67, 67]);
    }

    #[test]
    fn scarce_tokens_go_whole_to_holders_that_rotate() {
        let standard = Limit { rate_milli_per_s: 2_000, burst: 2 };
        let holders_at = |slot| -> Vec<usize> {
            let shares = split(&plan_of(standard, vec![], slot), 5);
            let full: Vec<usize> = (0..5).filter(|&i| shares[i][0].standard.burst > 0).collect();
            for &i in &full {
                assert_eq!(shares[i][0].standard, Limit { rate_milli_per_s: 1_000, burst: 1 });
            }
            full
        };
        assert_eq!(holders_at(0).len(), 2);
        let mut seen: Vec<usize> = (0..5).flat_map(holders_at).collect();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen, [0, 1, 2, 3, 4], "over five slots every proxy holds once");
    }
}
