//! Where places are few: who gets them, and at which sizes.

use forebay_plan::capacity::{Fleet, PlanningLimits, Service, ServiceReason, plan_capacity};

use super::worlds::{flat, inputs, plain};
use super::{count, group, plan, violations};

#[test]
fn who_can_go_elsewhere_leaves_the_place_to_who_cannot() {
    let mut inputs = plain();
    inputs.shapes.retain(|shape| shape.name == "large");
    let pools = [("east", "east", 500, 3), ("od", "east", 1_000, 1_000), ("west", "west", 501, 3)];
    let template = inputs.pools.remove(0);
    inputs.pools.extend(pools.map(|(name, location, price_milli, max_instances)| {
        let mut offer = template.clone();
        offer.pool.name = name.to_owned();
        offer.pool.location = location.to_owned();
        offer.pool.price_milli = price_milli;
        offer.pool.max_instances = max_instances;
        offer
    }));
    let mut bound = inputs.services[0].clone();
    bound.name = "tied".to_owned();
    bound.locations = vec!["east".to_owned()];
    inputs.services.push(bound);
    inputs.outlooks.insert("tied".to_owned(), inputs.outlooks["shop"].clone());
    let made = plan(&inputs);
    let targets: Vec<String> = made.targets.iter().map(|of| format!("{} {}", of.group, of.count)).collect();
    let at = |service: &str, pool: &str| {
        let of = made.targets.iter().filter(|of| of.group.service == service && of.group.pool == pool);
        of.map(|of| of.count).sum::<u32>()
    };
    assert_eq!((at("shop", "west"), at("tied", "east")), (3, 3), "{targets:?}");
}

/// The integer programme as the judge: where a step is small enough to be solved as one, the choice that is made without
/// it costs little more, and never less than the bound.
#[test]
fn the_choice_is_close_to_that_of_an_integer_programme() {
    let (mut without, mut with, mut worlds, mut far_off) = (0.0, 0.0, 0, Vec::new());
    for seed in 0..400 {
        let mut inputs = inputs(seed);
        inputs.fleet.clear();
        inputs.budgets.clear();
        inputs.steps = 2;
        inputs.pools.iter_mut().for_each(|offer| offer.pool.lead_s = 0.0);
        let solved = plan_capacity(&inputs, &PlanningLimits { exact_variables: 60, ..PlanningLimits::default() });
        if solved.report.choice.exact_steps == 0 {
            continue;
        }
        let made = plan(&inputs);
        assert!(violations(&inputs, &solved).is_empty(), "seed {seed}");
        let least = solved.report.choice.cost_micros.min(made.report.choice.cost_micros);
        without += made.report.choice.cost_micros;
        with += least;
        worlds += 1;
        if made.report.choice.cost_micros > 2.0 * least {
            far_off.push(seed);
        }
    }
    assert!(worlds >= 200, "only {worlds} worlds were solved");
    assert!(without <= 1.05 * with, "{without} beside {with}");
    // Scarce places between services of different worth, which prices of places do not settle among so few.
    assert!(far_off.len() <= worlds / 40, "{far_off:?} of {worlds}");
}

#[test]
fn larger_instances_take_the_places_of_smaller_ones_where_a_pool_is_full() {
    let mut inputs = plain();
    inputs.shapes[1].price_micros_per_h += 40_000;
    inputs.pools[0].pool.max_instances = 10;
    assert_eq!(count(&plan(&inputs)), [("small", 10)].into(), "as long as the cheaper ones fit");
    inputs.pools[0].pool.max_instances = 6;
    let made = plan(&inputs);
    assert_eq!(made.report.services[0].short_per_s, 0.0, "{:?}", made.targets);
    let held: u32 =
        count(&made).iter().map(|(shape, count)| if *shape == "large" { 40 * count } else { 10 * count }).sum();
    assert!((100..140).contains(&held), "no more than it takes: {:?}", made.targets);
    // And where other services have the places.
    let other = inputs.services[0].clone();
    inputs.services.push(Service { name: "blog".to_owned(), ..other });
    inputs.outlooks.insert("blog".to_owned(), flat(&inputs, 100.0));
    let made = plan(&inputs);
    assert!(made.report.services.iter().all(|service| service.short_per_s == 0.0), "{:?}", made.targets);
}

#[test]
fn a_pool_that_is_too_full_for_larger_instances_is_told() {
    let mut inputs = plain();
    inputs.pools[0].pool.max_instances = 10;
    let outlook = flat(&inputs, 200.0);
    inputs.outlooks.insert("shop".to_owned(), outlook);
    inputs.fleet.insert(group("small"), Fleet { ready: 10, ..Fleet::default() });
    // All that is ready is needed now, so none gives its place to a larger one.
    let made = plan(&inputs);
    assert_eq!(count(&made), [("small", 10)].into());
    assert_eq!(made.report.services[0].reason, ServiceReason::PoolsExhausted { from_step: 0 });
}
