//! Plans that were made wrong by hand: the check says of each what is wrong, and nothing of the plan as it was made.

use forebay_plan::capacity::{
    Budget, BudgetScope, CapacityFinding, CapacityInputs, CapacityPlan, Fleet, Group, PlanningLimits, Target,
    check_capacity, plan_capacity,
};

use crate::worlds::plain;

fn group(shape: &str) -> Group {
    Group { service: "shop".to_owned(), pool: "od".to_owned(), shape: shape.to_owned() }
}

/// `count` of the large ones, of 40 units per second, and nothing else.
fn large(plan: &CapacityPlan, count: u32) -> CapacityPlan {
    CapacityPlan { targets: vec![Target { group: group("large"), count }], ..plan.clone() }
}

/// What is found of a plan after it was changed.
fn found(inputs: &CapacityInputs, change: impl Fn(&CapacityPlan) -> CapacityPlan) -> Vec<CapacityFinding> {
    let plan = plan_capacity(inputs, &PlanningLimits::default());
    assert_eq!(check_capacity(inputs, &plan), [], "the plan as it was made");
    let found = check_capacity(inputs, &change(&plan));
    assert!(found.iter().all(CapacityFinding::is_violation), "{found:?}");
    found
}

/// Nine large ones run, three would do.
fn ample() -> CapacityInputs {
    let mut inputs = plain();
    inputs.fleet.insert(group("large"), Fleet { ready: 9, ..Fleet::default() });
    inputs
}

#[test]
fn targets_are_in_order_known_and_named_once() {
    let bad = |change: fn(&mut Vec<Target>)| {
        let found = found(&ample(), |plan| {
            let mut plan = plan.clone();
            change(&mut plan.targets);
            plan
        });
        assert!(matches!(found[0], CapacityFinding::BadTarget { .. }), "{found:?}");
    };
    bad(|targets| targets.extend(targets.clone()));
    bad(|targets| targets.push(Target { group: Group { pool: "zoo".to_owned(), ..group("large") }, count: 1 }));
    bad(|targets| targets.push(Target { group: group("small"), count: 0 }));
}

#[test]
fn a_budget_that_could_be_exceeded_is_found_to_the_micro() {
    let mut inputs = plain();
    inputs.shapes.retain(|shape| shape.name == "large");
    let staying = |inputs: &CapacityInputs| {
        let plan = plan_capacity(inputs, &PlanningLimits::default());
        plan.report.budgets[0].committed_micros / u64::from(plan.targets[0].count)
    };
    let budget = |limit_micros| Budget {
        name: "all".to_owned(),
        scope: BudgetScope::Whole,
        limit_micros,
        spent_micros: 0,
        ends_s: inputs.now_s + 60,
    };
    inputs.budgets = vec![budget(1_000_000_000)];
    let all = 10 * staying(&inputs);
    inputs.budgets[0].limit_micros = all;
    assert_eq!(found(&inputs, |plan| large(plan, 10)), []);
    inputs.budgets[0].limit_micros = all - 1;
    let exceeded =
        CapacityFinding::BudgetExceeded { budget: "all".to_owned(), committed_micros: all, limit_micros: all - 1 };
    assert_eq!(found(&inputs, |plan| large(plan, 10)), [exceeded]);
}

#[test]
fn a_pool_has_no_more_than_its_size_and_starts_no_more_than_it_can() {
    let mut inputs = ample();
    inputs.pools[0].pool.max_instances = 12;
    assert_eq!(found(&inputs, |plan| large(plan, 12)), []);
    let exceeded = |targets| CapacityFinding::PoolExceeded { pool: "od".to_owned(), targets, size: 12 };
    assert_eq!(found(&inputs, |plan| large(plan, 13)), [exceeded(13)]);
    inputs.pools[0].startable = Some(2);
    assert_eq!(found(&inputs, |plan| large(plan, 11)), []);
    assert_eq!(found(&inputs, |plan| large(plan, 12)), [exceeded(12)]);
}

#[test]
fn what_is_needed_now_is_not_given_up() {
    let found = found(&ample(), |plan| large(plan, 2));
    let of_floor = |of: &CapacityFinding| matches!(of, CapacityFinding::FloorBroken { ready_per_s: 80.0, .. });
    assert!(found.iter().any(of_floor), "{found:?}");
}

#[test]
fn a_group_that_goes_down_too_early_is_found() {
    let mut inputs = ample();
    inputs.dwell.note(group("large"), inputs.now_s - 599);
    let broken = CapacityFinding::DwellBroken { group: group("large") };
    assert_eq!(found(&inputs, |plan| large(plan, 8)), [broken]);
    inputs.dwell.note(group("large"), inputs.now_s - 600);
    assert_eq!(found(&inputs, |plan| large(plan, 8)), []);
}

#[test]
fn what_the_schedule_asks_for_is_not_put_off() {
    let mut inputs = plain();
    inputs.fleet.insert(group("large"), Fleet { ready: 3, ..Fleet::default() });
    let outlook = crate::worlds::flat(&inputs, 400.0);
    inputs.outlooks.insert("shop".to_owned(), outlook);
    let delayed = CapacityFinding::ScaleUpDelayed { group: group("large") };
    assert_eq!(found(&inputs, |plan| large(plan, 9)), [delayed]);
    assert_eq!(found(&inputs, |plan| large(plan, 10)), []);
}

/// All of a pool's instances will be taken away, and it gives no others: what serves stays until then, and another pool makes
/// up for all of it.
#[test]
fn what_a_pool_will_lose_and_not_replace_comes_from_elsewhere() {
    let mut inputs = ample();
    let mut elsewhere = inputs.pools[0].clone();
    elsewhere.pool.name = "elsewhere".to_owned();
    elsewhere.price_max_milli *= 2;
    elsewhere.pool.price_milli *= 2;
    inputs.pools.push(elsewhere);
    let before = inputs.fleet[&group("large")].ready;
    inputs.fleet.insert(group("large"), Fleet { doomed: before, ..Fleet::default() });
    inputs.pools[0].startable = Some(0);
    let plan = plan_capacity(&inputs, &PlanningLimits::default());
    let of = |pool: &str| {
        plan.targets.iter().filter(|target| target.group.pool == pool).map(|target| target.count).sum::<u32>()
    };
    let (kept, new) = (of("od"), of("elsewhere"));
    let units: f64 = plan.report.services.iter().map(|line| line.short_per_s).sum();
    assert!(kept == before && new > 0 && units == 0.0, "{:?}", plan.targets);
}
