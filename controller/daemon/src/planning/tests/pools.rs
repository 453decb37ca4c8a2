//! Pools that are provisioned: what they are to be ready for, and what filters are told of them.

use std::time::Duration;

use forebay_plan::Key;
use forebay_protocol::extension::{PROVISIONING, find};
use forebay_protocol::{Generation, Message, Provisioning, Watch, decode};

use super::{FIRST_STEP, Loop};
use crate::capacity::board::EnoughIn;
use crate::clock::Clock;
use crate::state::lock;
use crate::store::sqlite::SqliteStore;
use crate::store::{HistoryStore, Point};

/// A planner of hours for a pool that these share, with three weeks of history of each.
fn of_tenants(tenants: &[&str]) -> Loop {
    let folder = tempfile::tempdir().unwrap();
    let mut store = SqliteStore::open(folder.path(), 3600).unwrap();
    let now = FIRST_STEP * 300 / 3600;
    let mut text = "step_s: 3600
capacity:
  manager: dry_run
  shapes: [ { name: Small, offers: { cpu: 1 }, price_per_h: 1 } ]
  pools: [ { name: near, location: here, max_instances: 12, lead_s: 100 } ]
  services: [ { name: web, need_per_unit: { cpu: 0.1 }, shortage_per_unit_h: 10 } ]
contracts:
"
    .to_owned();
    for tenant in tenants {
        let points = (now - 21 * 24..now).map(|step| {
            let value = 10.0 * (1.0 + 0.5 * (step as f64 / 24.0 * std::f64::consts::TAU).sin());
            Point { key: Key::new(*tenant, "requests"), start_s: step * 3600, value }
        });
        store.replace(&mut points.collect::<Vec<_>>().into_iter()).unwrap();
        text += &format!(
            "  - {{ tenant: {tenant}, resource: requests, rate_per_s: 1, shadow_max_per_s: 50, pool: web }}\n"
        );
    }
    Loop::with(folder, &text)
}

/// Fits end one by one; what pools are to be ready for is drawn once for all that end within a while.
#[test]
fn the_demand_of_a_pool_is_drawn_for_many_fits_at_once() {
    let tenants = ["a", "b", "c"];
    let mut planning = of_tenants(&tenants);
    let text = |planning: &Loop, series: &str| {
        let text = planning.shared.metrics.text();
        let line =
            text.lines().find(|line| line.starts_with(series)).map(|line| line.rsplit(' ').next().unwrap().to_owned());
        line.map_or(0, |count| count.parse::<u32>().unwrap())
    };
    let drawn = |planning: &Loop| text(planning, "forebay_capacity_demand_duration_seconds_count");
    let unforecast = |planning: &Loop| lock(&planning.shared.capacity.demand).pools[0].unforecast_keys;
    // A step of twelve seconds has begun a second ago.
    planning.turn_after(Duration::from_secs(5));
    let begun = std::time::Instant::now();
    while text(&planning, "forebay_fits_total{outcome=\"fitted\"}") < tenants.len() as u32 {
        planning.turn_after(Duration::ZERO);
        planning.shared.bell.wait(Duration::from_millis(1));
        assert!(begun.elapsed() < Duration::from_secs(60), "three fits");
    }
    assert_eq!((drawn(&planning), unforecast(&planning)), (1, 3), "by the first step, before any fit");
    planning.turn_after(Duration::from_millis(9_900));
    assert_eq!(drawn(&planning), 1);
    planning.turn_after(Duration::from_millis(100));
    assert_eq!((drawn(&planning), unforecast(&planning)), (2, 0), "once for all three");
    planning.turn_after(Duration::from_millis(900));
    assert_eq!(drawn(&planning), 2, "nothing has changed since");
}

/// A pool has nothing until its instances are seen, and is not said to have nothing ever after.
#[test]
fn what_stood_against_a_plan_is_forgotten_when_it_is_over() {
    let mut planning = of_tenants(&["shop"]);
    planning.planner.wait_for_fits();
    let ready = |planning: &Loop, milli_per_s: u64| {
        let ready = std::collections::BTreeMap::from([("web".to_owned(), vec![milli_per_s; 13])]);
        planning.shared.capacity.set_ready(ready, &Default::default(), planning.clock.steady_now());
    };
    let before = planning.turn_after(Duration::ZERO);
    assert!(before.findings.iter().any(|finding| finding.to_string().contains("its capacity is 0")), "{before:?}");
    // Just what contracts are guaranteed: nothing is granted beyond that, as before.
    ready(&planning, 1_000);
    let after = planning.turn_after(Duration::from_millis(50));
    assert_eq!((after.findings.len(), after.generation), (0, before.generation), "nobody is woken for it");
}

/// A key that is short of its pool now: filters are told when there is more, once, and anew only when that moves.
#[test]
fn filters_are_told_when_a_short_pool_has_more_and_are_not_woken_while_that_stays() {
    let mut planning = of_tenants(&["shop"]);
    planning.planner.wait_for_fits();
    let expect = |planning: &Loop, ready_milli_per_s: u64, more_in_s: Option<u64>| {
        let more_in = more_in_s.map(|in_s| {
            let enough = Duration::from_secs(in_s);
            ("web".to_owned(), EnoughIn { enough, nearly: enough })
        });
        let more_in = more_in.into_iter().collect();
        let ready = std::collections::BTreeMap::from([("web".to_owned(), vec![ready_milli_per_s; 13])]);
        planning.shared.capacity.set_ready(ready, &more_in, planning.clock.steady_now());
    };
    // What the gateway is answered that knows a table, with the milliseconds until there is more.
    let asks = |planning: &mut Loop, known: Generation| {
        planning.report(known.sequence + 1, 5);
        planning.turn_after(Duration::from_millis(50));
        let watch = Watch {
            proxy: "gateway".to_owned(),
            boot_id: 1,
            known,
            collecting: None,
            speaks: vec![1],
            extensions: vec![],
        };
        planning.shared.take_watch(&watch).unwrap();
        let table = planning.turn_after(Duration::from_millis(250));
        let Message::GrantTable(part) = decode(&planning.shared.news(&watch, &table)?).unwrap() else { panic!() };
        let told = find::<Provisioning>(&part.extensions, PROVISIONING).unwrap_or_default();
        Some((part.generation, told.rows.first().map(|more| more.in_ms)))
    };
    expect(&planning, 2_000, Some(60));
    let (first, told) = asks(&mut planning, Generation::default()).unwrap();
    assert_eq!(told, Some(59_700), "from the moment of the answer");
    let line = planning.shared.table.borrow().as_ref().unwrap().plan.report.keys[0].clone();
    assert!(line.is_short_now, "{line:?}");
    let shown = |planning: &Loop| {
        let table = planning.shared.table.borrow().clone().unwrap();
        let asked = crate::http::paging::KeysAsked::default();
        let line = crate::http::table_json(&table, (300, planning.clock.steady_now()), &asked)["report"][0].clone();
        (line["is_short_now"].as_bool(), line["enough_ready_in_s"].as_f64())
    };
    assert_eq!(shown(&planning), (Some(true), Some(59.7)));
    for breath_s in [58, 61, 59] {
        expect(&planning, 2_000, Some(breath_s));
        assert_eq!(asks(&mut planning, first), None, "nothing new");
    }
    expect(&planning, 2_000, Some(120));
    let (second, told) = asks(&mut planning, first).unwrap();
    assert!(second > first);
    assert_eq!(told, Some(119_700));
    expect(&planning, 200_000, None);
    let (third, told) = asks(&mut planning, second).unwrap();
    assert!(third > second);
    assert_eq!(told, None, "it is there");
    assert_eq!(shown(&planning), (Some(false), None));
}
