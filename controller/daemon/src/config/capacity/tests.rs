//! The part `capacity`, read and refused.

use std::path::Path;

use super::*;
use crate::config::Config;

const WHOLE: &str = "
step_s: 60
contracts: [ { tenant: acme, resource: requests, rate_per_s: 5, pool: shop } ]
capacity:
  manager: dry_run
  endpoints: eds
  xds: { listen: 127.0.0.1:0, port_file: xds.port }
  tiers: [ { name: spot, price_factor: 0.3, volatility_per_h: 0.05, cpu_performance: 0.8 } ]
  shapes: [ { name: Small, offers: { cpu: 2, memory_mib: 4096 }, price_per_h: 0.085 } ]
  pools:
    - { name: a, location: eu, max_instances: 9, lead_s: 30 }
    - { name: b, location: eu, class: spot, tier: spot, max_instances: 9, lead_s: 30, price_factor_max: 1.5 }
  services:
    - { name: shop, tenant: acme, need_per_unit: { cpu: 0.01 }, shortage_per_unit_h: 0.02,
        latency: { max_ms: 50, origins: { eu: 3, us: 1 } }, scaling: { reactive: { target: 0.7 } } }
  latencies: [ { from: us, to: eu, ms: 40 } ]
  budgets: [ { name: acme, tenant: acme, limit: 12.5, per: month } ]
  performance: { mode: watch, band: [ 0.5, 1.5 ], min_readings: 24 }
  generated_shapes: { mode: use, every_h: 12, most: 2, prices: { cpu_per_h: 0.03, memory_gib_per_h: 0.004 } }
";

fn parse(text: &str) -> Result<Config, String> {
    Config::parse(Path::new("forebay.yaml"), text).map_err(|error| error.to_string())
}

#[test]
fn everything_about_capacity_is_read() {
    let config = parse(WHOLE).unwrap();
    assert_eq!(config.contracts[0].pool.as_deref(), Some("shop"), "a service is a pool of contracts");
    let capacity = config.capacity.unwrap();
    assert_eq!(capacity.shapes[0].price_micros_per_h, 85_000);
    assert_eq!(capacity.shapes[0].offers.cpu_milli, 2_000.0);
    assert_eq!(capacity.tiers.len(), 2, "beside the standard one");
    assert_eq!(capacity.pools[1].pool.interruption_per_h, 0.05, "what its tier is known for");
    assert_eq!((capacity.pools[1].pool.price_milli, capacity.pools[1].price_max_milli), (1_000, 1_500));
    assert_eq!(capacity.services[0].scaling, Scaling::Reactive { target: 0.7 });
    assert_eq!(capacity.xds.unwrap().listen.port(), 0);
    assert_eq!(capacity.latencies.ms("us", "eu"), 40.0);
    assert_eq!(capacity.budgets[0].limit_micros, 12_500_000);
    let PerformanceSettings { mode, least, most, min_readings } = capacity.performance;
    assert_eq!((mode, least, most, min_readings), (LearningMode::Watch, 0.5, 1.5, 24.0));
    let shapes = capacity.generated_shapes;
    assert_eq!((shapes.mode, shapes.most, shapes.every.as_secs()), (ShapeMode::Use, 2, 43_200));
}

#[test]
fn clusters_are_read_and_held_against_what_is_declared() {
    let kubernetes = "{ kubernetes: { clusters: [ { location: eu, namespace: shop, kubeconfig: { context: eu-1 } } ],
        pools: { b: { node_selector: { capacity: spot }, node_pool: spot, tolerations: [ { key: spot } ],
          placeholders: { shape: Small, count: 2, priority_class: low, image: pause } } },
        services: { shop: { deployment: shop, port: 8080, warm_after_s: 5 } } } }";
    let with = |part: &str| WHOLE.replace("manager: dry_run", &format!("manager: {part}"));
    let settings = parse(&with(kubernetes)).unwrap().capacity.unwrap();
    let ManagerSettings::Kubernetes(settings) = settings.manager else { panic!() };
    assert_eq!((settings.clusters.len(), settings.pools.len(), settings.shapes.len()), (1, 2, 1));
    assert_eq!(settings.pools[1].node_pool.as_deref(), Some("spot"));
    for (right, wrong, part) in [
        ("location: eu", "location: us", "capacity.manager.kubernetes.clusters"),
        ("pools: { b:", "pools: { x:", "capacity.manager.kubernetes.pools"),
        ("services: { shop:", "services: { shot:", "capacity.manager.kubernetes.services"),
        ("shape: Small", "shape: Huge", "capacity.manager.kubernetes.pools.b.placeholders.shape"),
        ("warm_after_s: 5", "warm_after_s: -5", "capacity.manager.kubernetes.services.shop.warm_after_s"),
    ] {
        let error = parse(&with(&kubernetes.replacen(right, wrong, 1))).expect_err(wrong);
        assert!(error.contains(part), "{wrong}: {error}");
    }
}

#[test]
fn what_is_wrong_is_named_with_its_place_and_remedy() {
    for (right, wrong, parts) in [
        ("name: b,", "name: a,", ["capacity.pools[1].name", "capacity.pools[0]"]),
        ("tier: spot,", "tier: sport,", ["capacity.pools[1].tier", "capacity.tiers"]),
        ("price_factor_max: 1.5", "price_factor_max: 0.5", ["capacity.pools[1].price_factor_max", "highest"]),
        ("{ cpu: 0.01 }", "{}", ["capacity.services[0].need_per_unit", "at least one"]),
        ("{ cpu: 0.01 }", "{ cpu: -1 }", ["capacity.services[0].need_per_unit.cpu", "from 0"]),
        ("origins: { eu: 3, us: 1 }", "origins: {}", ["capacity.services[0].latency.origins", "shares"]),
        ("target: 0.7", "target: 7", ["capacity.services[0].scaling.reactive.target", "from 0.01"]),
        ("target: 0.7", "target: 0.7, every_s: -1", ["capacity.services[0].scaling.reactive.every_s", "from 0"]),
        ("tenant: acme, limit", "tenant: acne, limit", ["capacity.budgets[0].tenant", "capacity.services"]),
        ("limit: 12.5", "limit: -1", ["capacity.budgets[0].limit", "from 0"]),
        ("ms: 40", "ms: .nan", ["capacity.latencies[0].ms", "from 0"]),
        ("manager: dry_run", "manager: { process: { run: [] } }", ["capacity.manager.process.run", "shop"]),
        ("lead_s: 30 }", "lead_s: 3000 }", ["capacity.pools[0].lead_s", "forecast.horizon_steps"]),
        (
            "\ncapacity:",
            "\npools: [ { name: shop, capacity_per_s: 1 } ]\ncapacity:",
            ["capacity.services[0].name", "pools"],
        ),
        ("lead_s: 30 }", "lead_s: 30, shapes: [ Huge ] }", ["capacity.pools[0].shapes[0]", "capacity.shapes"]),
        ("{ cpu: 0.01 }", "{ cpu: 0.01, gpus: 1 }", ["capacity.services[0].need_per_unit", "compute: gpu"]),
        ("{ cpu: 2, memory_mib: 4096 }", "{ cpu: 2, gpus: 1 }", ["capacity.services[0].need_per_unit", "compute: gpu"]),
        ("tenant: acme, need", "locations: [ moon ], tenant: acme, need", ["capacity.services[0].locations", "moon"]),
        ("tenant: acme, need", "min_instances: 19, tenant: acme, need", ["capacity.services[0].min_instances", "18"]),
        (
            "manager: dry_run",
            "manager: { process: { run: [ { service: shop, program: /bin/true } ] } }",
            ["capacity.manager.process.run[0].arguments", "{port}"],
        ),
        ("listen: 127.0.0.1:0", "listen: here", ["capacity.xds.listen", "127.0.0.1:18000"]),
        ("max_instances: 9", "max_instance: 9", ["forebay.yaml:", "max_instance"]),
        ("band: [ 0.5, 1.5 ]", "band: [ 1.5, 0.5 ]", ["capacity.performance.band", "from 0.25 to 1"]),
        ("band: [ 0.5, 1.5 ]", "band: [ 0.5, .nan ]", ["capacity.performance.band", "need_per_unit"]),
        ("min_readings: 24", "min_readings: 0", ["capacity.performance.min_readings", "from 1"]),
        (
            "shortage_per_unit_h: 0.02",
            "shortage_per_unit_h: 0.02, tuning: { spot_shifts: [ 0, 0.25 ] }",
            ["capacity.services[0].tuning.spot_shifts", "spot_max_share"],
        ),
        (
            "shortage_per_unit_h: 0.02",
            "shortage_per_unit_h: 0.02, tuning: { spot_shifts: [ -0.25, 0 ] }",
            ["capacity.services[0].tuning.spot_shifts", "explored_share"],
        ),
        (
            "shortage_per_unit_h: 0.02",
            "shortage_per_unit_h: 0.02, tuning: { explored_share: 0.9 }",
            ["capacity.services[0].tuning.explored_share", "from 0"],
        ),
        ("every_h: 12", "every_h: 0", ["capacity.generated_shapes.every_h", "from 0.1"]),
        ("most: 2", "most: 0", ["capacity.generated_shapes.most", "from 1"]),
        ("cpu_per_h: 0.03", "cpu_per_h: -1", ["capacity.generated_shapes.prices.cpu_per_h", "from 0"]),
        (
            "manager: dry_run",
            "manager: { process: { run: [ { service: shop, program: /bin/true, arguments: [ '{port}' ] } ] } }",
            ["capacity.generated_shapes.mode", "write propose"],
        ),
        ("mode: watch", "mode: maybe", ["forebay.yaml:", "maybe"]),
    ] {
        assert!(WHOLE.contains(right), "{right}");
        let error = parse(&WHOLE.replacen(right, wrong, 1)).expect_err(wrong);
        for part in parts {
            assert!(error.contains(part), "{wrong}: {part:?} is not in {error:?}");
        }
    }
}

#[test]
fn a_service_says_what_being_short_costs_or_how_often_it_may_be() {
    let of = |part: &str| {
        let text = WHOLE.replace("scaling: { reactive: { target: 0.7 } } }", "}");
        parse(&text.replace("shortage_per_unit_h: 0.02,", part))
            .map(|config| config.capacity.unwrap().services.remove(0))
    };
    let one = of("short_steps_share: 0.01,").unwrap();
    assert_eq!((one.short_steps_share, one.is_shortage_implied), (Some(0.01), true));
    let both = of("short_steps_share: 0.01, shortage_per_unit_h: 0.5,").unwrap();
    assert_eq!((both.short_steps_share, both.is_shortage_implied), (Some(0.01), false));
    assert_eq!(both.service.shortage_micros_per_unit_h, 500_000);
    let refused = |part: &str, words: &str| {
        let error = of(part).map(|_| ()).unwrap_err();
        assert!(error.contains(words), "{error}");
    };
    refused("", "give shortage_per_unit_h");
    refused("short_steps_share: 0.5,", "capacity.services[0].short_steps_share");
    refused("short_steps_share: 0, ", "out of range");
    refused("short_steps_share: 0.01, scaling: { reactive: { target: 0.7 } },", "follows its target");
    refused("short_steps_share: 0.01, tuning: {},", "tuner of headroom");
    assert!(of("short_steps_share: 0.01, tuning: { headrooms: [ 1.0 ] },").is_ok());
}
