//! What holds for every plan, whatever the inputs.

use std::collections::BTreeMap;

use forebay_plan::{Contract, Demand, Finding, Inputs, Key, ReadyCapacity, Reason, SlotTime, check, plan, split};
use proptest::prelude::*;

fn demand() -> impl Strategy<Value = Demand> {
    let value = prop_oneof![
        8 => 0.0..5_000.0_f64,
        1 => Just(f64::NAN),
        1 => Just(f64::INFINITY),
        1 => Just(-3.0),
        1 => Just(1e300),
    ];
    prop_oneof![
        1 => Just(Demand::WorseThanNaive),
        1 => Just(Demand::Unknown { why: "too short".to_owned() }),
        6 => prop::collection::vec(value, 0..6).prop_map(|upper_per_s| Demand::Forecast { version: 3, upper_per_s }),
    ]
}

fn inputs() -> impl Strategy<Value = Inputs> {
    let contract = (0..2_000_000_u64, 0..500_u64, 0..4_000_000_u64, 0..3_usize, 0..5_u32, demand());
    (
        prop::collection::vec(contract, 1..12),
        0..10_000_000_u64,
        0..10_000_000_u64,
        1..5_u64,
        prop_oneof![Just(500_u32), Just(1000), Just(300_000)],
    )
        .prop_map(|(rows, first, second, slots, length_ms)| {
            let mut all = Inputs {
                pools: vec![
                    ReadyCapacity { name: "a".to_owned(), ready_milli_per_s: first },
                    ReadyCapacity { name: "b".to_owned(), ready_milli_per_s: second },
                ],
                slots: (0..slots).map(|i| SlotTime { id: 5_900_000 + i, length_ms }).collect(),
                reduced: [("a".to_owned(), vec![first, first / 2, 0])].into(),
                ..Inputs::default()
            };
            for (i, (rate_milli_per_s, burst, shadow_max_milli_per_s, pool, weight, demand)) in
                rows.into_iter().enumerate()
            {
                let key = Key::new(format!("t{i}"), "requests");
                let pool = [None, Some("a"), Some("b")][pool].map(str::to_owned);
                let contract =
                    Contract { key: key.clone(), rate_milli_per_s, burst, shadow_max_milli_per_s, pool, weight };
                all.contracts.push(contract);
                all.demand.insert(key, demand);
            }
            all
        })
}

proptest! {
    #[test]
    fn a_plan_never_violates_and_is_deterministic(inputs in inputs()) {
        let made = plan(&inputs);
        let violations: Vec<Finding> = check(&inputs, &made).into_iter().filter(Finding::is_violation).collect();
        prop_assert!(violations.is_empty(), "{violations:?}");
        prop_assert_eq!(&made, &plan(&inputs));
        prop_assert_eq!(made.report.keys.len(), inputs.contracts.len());
    }

    /// Nobody with unmet need has less per weight than somebody who could give.
    #[test]
    fn short_capacity_is_shared_max_min(inputs in inputs()) {
        let made = plan(&inputs);
        for slot in &inputs.slots {
            for pool in ["a", "b"] {
                let rows: Vec<(u64, u64, u64)> = inputs.contracts.iter().zip(&made.report.keys).zip(&made.grants)
                    .filter(|((contract, _), _)| contract.pool.as_deref() == Some(pool))
                    .map(|((contract, _), grant)| {
                        let got = grant.slots.iter().find(|s| s.id == slot.id).map_or(0, |s| s.pace.rate_milli_per_s);
                        (need(&inputs, contract, slot.id), got, u64::from(contract.weight.max(1)))
                    })
                    .collect();
                for &(need_a, got_a, weight_a) in &rows {
                    // A slot of less than one unit is left out; such a claim is not short of anything usable.
                    if got_a >= need_a || u128::from(got_a.max(need_a)) * u128::from(slot.length_ms) < 4_000_000 {
                        continue;
                    }
                    for &(_, got_b, weight_b) in &rows {
                        // Rounding costs less than one milli-unit per claim and level.
                        let level_a = (u128::from(got_a) + 13 + 2_000_000 / u128::from(slot.length_ms)) * u128::from(weight_b);
                        prop_assert!(level_a >= u128::from(got_b) * u128::from(weight_a), "{rows:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn the_proxies_never_get_more_than_the_plan(inputs in inputs(), proxies in 1..9_usize) {
        let made = plan(&inputs);
        let shares = split(&made, proxies);
        for (i, grant) in made.grants.iter().enumerate() {
            let rate: u64 = shares.iter().map(|s| s[i].standard.rate_milli_per_s).sum();
            let burst: u64 = shares.iter().map(|s| s[i].standard.burst).sum();
            prop_assert!(rate <= grant.standard.rate_milli_per_s);
            prop_assert_eq!(burst, grant.standard.burst);
            for slot in &grant.slots {
                let parts = || shares.iter().flat_map(|s| &s[i].slots).filter(|s| s.id == slot.id);
                prop_assert_eq!(parts().map(|s| s.amount).sum::<u64>(), slot.amount);
                prop_assert!(parts().map(|s| s.pace.rate_milli_per_s).sum::<u64>() <= slot.pace.rate_milli_per_s);
                prop_assert!(parts().map(|s| s.pace.burst).sum::<u64>() <= slot.pace.burst);
                prop_assert!(parts().all(|s| s.pace.burst >= 1));
            }
        }
    }
}

fn need(inputs: &Inputs, contract: &Contract, slot_id: u64) -> u64 {
    let slot = inputs.slots.iter().position(|s| s.id == slot_id);
    match (inputs.demand.get(&contract.key), slot) {
        (Some(Demand::Forecast { upper_per_s, .. }), Some(slot)) => match upper_per_s.get(slot) {
            Some(upper) if upper.is_finite() && *upper > 0.0 => ((upper * 1000.0).ceil() as u64)
                .saturating_sub(contract.rate_milli_per_s)
                .min(contract.shadow_max_milli_per_s),
            _ => 0,
        },
        _ => 0,
    }
}

fn two_tenants(upper_shop: f64, upper_feed: f64, ready_milli_per_s: u64) -> Inputs {
    let contract = |tenant: &str| Contract {
        key: Key::new(tenant, "requests"),
        rate_milli_per_s: 100_000,
        burst: 100,
        shadow_max_milli_per_s: 200_000,
        pool: Some("default".to_owned()),
        weight: 1,
    };
    let forecast = |upper| Demand::Forecast { version: 1, upper_per_s: vec![upper] };
    Inputs {
        contracts: vec![contract("shop"), contract("feed")],
        pools: vec![ReadyCapacity { name: "default".to_owned(), ready_milli_per_s }],
        reduced: BTreeMap::new(),
        slots: vec![SlotTime { id: 10, length_ms: 500 }],
        demand: BTreeMap::from([
            (Key::new("shop", "requests"), forecast(upper_shop)),
            (Key::new("feed", "requests"), forecast(upper_feed)),
        ]),
    }
}

#[test]
fn a_forecast_burst_gets_what_it_needs_above_its_standard_rate() {
    let made = plan(&two_tenants(180.0, 40.0, 400_000));
    let shop = &made.grants[0].slots[0];
    assert_eq!((shop.id, shop.amount, shop.pace.rate_milli_per_s, shop.pace.burst), (10, 40, 80_000, 40));
    assert!(made.grants[1].slots.is_empty());
    assert_eq!(made.report.keys[0].reason, Reason::Granted);
    assert_eq!(made.report.keys[1].reason, Reason::StandardSuffices);
    assert!(!made.report.keys.iter().any(|key| key.is_short_now));
}

#[test]
fn a_short_pool_is_shared_and_the_report_says_so() {
    let made = plan(&two_tenants(250.0, 130.0, 300_000));
    assert_eq!(made.grants[0].slots[0].pace.rate_milli_per_s, 70_000);
    assert_eq!(made.grants[1].slots[0].pace.rate_milli_per_s, 30_000);
    assert_eq!(made.report.keys[0].reason, Reason::PoolShort);
    assert_eq!(made.report.keys.iter().map(|key| key.is_short_now).collect::<Vec<_>>(), [true, false]);
}

#[test]
fn oversold_standards_are_a_finding_and_contracts_stay() {
    let inputs = two_tenants(250.0, 130.0, 150_000);
    let made = plan(&inputs);
    assert_eq!(made.grants[0].standard.rate_milli_per_s, 100_000);
    assert!(made.grants.iter().all(|grant| grant.slots.is_empty()));
    assert_eq!(made.report.keys[0].reason, Reason::PoolSoldOut);
    assert!(made.report.keys[0].is_short_now);
    let findings = check(&inputs, &made);
    assert!(matches!(findings[..], [Finding::StandardsExceedPool { .. }]), "{findings:?}");
}

#[test]
fn a_maintenance_window_lowers_what_is_lent_in_its_slots() {
    let mut inputs = two_tenants(250.0, 130.0, 400_000);
    inputs.slots = (10..13).map(|id| SlotTime { id, length_ms: 500 }).collect();
    for demand in inputs.demand.values_mut() {
        let Demand::Forecast { upper_per_s, .. } = demand else { panic!() };
        *upper_per_s = vec![upper_per_s[0]; 3];
    }
    inputs.reduced = BTreeMap::from([("default".to_owned(), vec![400_000, 240_000, 100_000])]);
    let made = plan(&inputs);
    let rates = |key: usize| made.grants[key].slots.iter().map(|slot| (slot.id, slot.pace.rate_milli_per_s));
    assert_eq!(rates(0).collect::<Vec<_>>(), [(10, 150_000), (11, 20_000)]);
    assert_eq!(rates(1).collect::<Vec<_>>(), [(10, 30_000), (11, 20_000)]);
    assert_eq!(made.report.keys[0].reason, Reason::PoolShort);
    assert!(!made.report.keys[0].is_short_now, "only in later slots");
    let findings = check(&inputs, &made);
    let remark = |finding: &Finding| matches!(finding, Finding::StandardsExceedPool { ready_milli_per_s: 100_000, .. });
    assert!(findings.len() == 1 && remark(&findings[0]), "{findings:?}");
    inputs.reduced = BTreeMap::from([("default".to_owned(), vec![100_000])]);
    let findings = check(&inputs, &made);
    assert!(findings.iter().any(|f| matches!(f, Finding::PoolExceeded { slot_id: 10, .. })), "{findings:?}");
}

#[test]
fn check_sees_a_plan_that_sells_too_much() {
    let inputs = two_tenants(180.0, 40.0, 400_000);
    let mut made = plan(&inputs);
    made.grants[0].slots[0].pace.rate_milli_per_s = 201_000;
    let findings = check(&inputs, &made);
    assert!(findings.iter().any(|f| matches!(f, Finding::PoolExceeded { .. })), "{findings:?}");
    assert!(findings.iter().any(|f| matches!(f, Finding::ShadowMaxExceeded { .. })), "{findings:?}");
}

#[test]
fn a_shut_gate_brings_no_shadow() {
    let mut inputs = two_tenants(180.0, 40.0, 400_000);
    inputs.demand.insert(Key::new("shop", "requests"), Demand::WorseThanNaive);
    let made = plan(&inputs);
    assert!(made.grants[0].slots.is_empty());
    assert_eq!(made.report.keys[0].reason, Reason::WorseThanNaive);
    assert_eq!(made.report.counts()["worse_than_naive"], 1);
}
