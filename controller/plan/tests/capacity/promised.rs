//! What is promised within a pool or a location comes there, and what may be had where.

use forebay_plan::capacity::{
    Amounts, Asked, CapacityInputs, ComputeType, CostClass, Fleet, Group, Outlook, PlanningLimits, Pool, PoolOffer,
    Reservation, Service, ServiceReason, Shape, Tier, Within, check_capacity, plan_capacity,
};

use crate::worlds::NOW_S;

/// A service of which an instance serves 10 a second; `near` costs 1, `far` 2, `spot` 0.3.
fn world(service: Service, asked: Asked, within: Within) -> CapacityInputs {
    let tier = |name: &str| Tier {
        name: name.to_owned(),
        cpu_performance: 1.0,
        memory_performance: 1.0,
        volatility_per_h: 0.0,
        price_milli: 1_000,
    };
    let pool = |name: &str, class, price_milli| {
        PoolOffer::from(Pool {
            name: name.to_owned(),
            compute: ComputeType::Cpu,
            location: if name == "far" { "there" } else { "here" }.to_owned(),
            class,
            tier: "t".to_owned(),
            max_instances: 10,
            price_milli,
            lead_s: 60.0,
            interruption_per_h: 0.0,
        })
    };
    let offers = Amounts { cpu_milli: 1_000.0, ..Amounts::default() };
    let shape = Shape { name: "small".to_owned(), offers, price_micros_per_h: 1_000_000, performance: 1.0 };
    let reservation = Reservation {
        id: "r".to_owned(),
        service: "s".to_owned(),
        asked,
        within,
        is_on_top: true,
        from_s: NOW_S,
        to_s: NOW_S + 3_600,
    };
    let nothing = Outlook { observed_per_s: 0.0, first_step_s: NOW_S, levels: vec![0.5], steps: vec![vec![0.0]; 6] };
    CapacityInputs {
        outlooks: [("s".to_owned(), nothing)].into(),
        now_s: NOW_S,
        step_s: 300,
        steps: 6,
        decide_every_s: 60,
        tiers: vec![tier("t")],
        shapes: vec![shape],
        pools: vec![
            pool("near", CostClass::OnDemand, 1_000),
            pool("far", CostClass::OnDemand, 2_000),
            pool("spot", CostClass::Spot, 300),
        ],
        services: vec![service],
        reservations: vec![reservation],
        ..CapacityInputs::default()
    }
}

fn service(spot_max_share: f64) -> Service {
    let need_per_unit = Amounts { cpu_milli: 100.0, ..Amounts::default() };
    Service {
        name: "s".to_owned(),
        need_per_unit,
        spot_max_share,
        shortage_micros_per_unit_h: 10_000_000,
        ..Service::default()
    }
}

/// Pool and number of what is planned.
fn planned(inputs: &CapacityInputs) -> Vec<(String, u32)> {
    let plan = plan_capacity(inputs, &PlanningLimits::default());
    assert!(check_capacity(inputs, &plan).iter().all(|finding| !finding.is_violation()));
    plan.targets.into_iter().filter(|one| one.count > 0).map(|one| (one.group.pool, one.count)).collect()
}

fn in_location(name: &str) -> Within {
    Within { location: Some(name.to_owned()), ..Within::default() }
}

#[test]
fn units_within_a_location_are_instances_there() {
    let there = world(service(0.0), Asked::UnitsPerS(35.0), in_location("there"));
    assert_eq!(planned(&there), [("far".to_owned(), 4)]);
    let anywhere = world(service(0.0), Asked::UnitsPerS(35.0), Within::default());
    assert_eq!(planned(&anywhere), [("near".to_owned(), 4)]);
    let moon = world(service(0.0), Asked::UnitsPerS(35.0), in_location("moon"));
    let plan = plan_capacity(&moon, &PlanningLimits::default());
    assert!(matches!(plan.report.services[0].reason, ServiceReason::ReservationUnmet { .. }), "{:?}", plan.report);
}

#[test]
fn instances_are_on_spot_only_where_all_may_be_or_it_is_asked_for() {
    let spot = Within { pool: Some("spot".to_owned()), ..Within::default() };
    for (share, within, expected) in [
        (0.0, Within::default(), vec![("near".to_owned(), 2)]),
        (1.0, Within::default(), vec![("spot".to_owned(), 2)]),
        (0.0, spot, vec![("near".to_owned(), 2), ("spot".to_owned(), 2)]),
    ] {
        assert_eq!(planned(&world(service(share), Asked::Instances(2), within)), expected, "{share}");
    }
}

/// What runs beside what is wanted is let go, even where it alone would do.
#[test]
fn what_is_ready_is_kept_of_what_is_wanted_first() {
    let mut inputs = world(service(0.5), Asked::UnitsPerS(14.0), Within::default());
    for (pool, ready) in [("near", 1), ("spot", 3)] {
        let group = Group { service: "s".to_owned(), pool: pool.to_owned(), shape: "small".to_owned() };
        inputs.fleet.insert(group, Fleet { ready, ..Fleet::default() });
    }
    assert_eq!(planned(&inputs), [("near".to_owned(), 1), ("spot".to_owned(), 1)]);
}

/// A shape with a GPU is where GPUs are, and a pool that names its shapes has no others.
#[test]
fn a_pool_has_the_shapes_that_its_compute_type_and_its_list_say() {
    let mut inputs = world(service(0.0), Asked::UnitsPerS(35.0), Within::default());
    inputs.shapes[0].offers.gpus = 1.0;
    inputs.services[0].need_per_unit.gpus = 0.1;
    let plan = plan_capacity(&inputs, &PlanningLimits::default());
    assert!(plan.targets.iter().all(|target| target.count == 0), "{:?}", plan.targets);
    inputs.pools[1].pool.compute = ComputeType::Gpu;
    assert_eq!(planned(&inputs), [("far".to_owned(), 4)]);

    let mut inputs = world(service(0.0), Asked::UnitsPerS(35.0), Within::default());
    let large = Shape { name: "large".to_owned(), price_micros_per_h: 1_500_000, ..inputs.shapes[0].clone() };
    inputs.shapes.push(large);
    inputs.pools[0].shapes.insert("large".to_owned());
    let plan = plan_capacity(&inputs, &PlanningLimits::default());
    let near = Group { service: "s".to_owned(), pool: "near".to_owned(), shape: "large".to_owned() };
    let bought: Vec<_> = plan.targets.iter().filter(|target| target.count > 0).collect();
    assert_eq!((bought.len(), &bought[0].group, bought[0].count), (1, &near, 4));
}
