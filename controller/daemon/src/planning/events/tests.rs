//! Feeds that are read, broken and scoped, and what they do to forecasts and plans.

use std::path::Path;
use std::time::Duration;

use forebay_forecast::Evidence;
use forebay_plan::{Key, SlotTime};

use super::super::tests::{FIRST_STEP, Loop};
use super::*;
use crate::config::Config;
use crate::store::sqlite::SqliteStore;
use crate::store::{HistoryStore, Point};

const STEP_S: i64 = 300;
const CONTRACTS: &str = "
pools: [ { name: near, capacity_per_s: 400 }, { name: far, capacity_per_s: 100 } ]
contracts:
  - { tenant: shop, resource: requests, rate_per_s: 100, shadow_max_per_s: 300, pool: near }
  - { tenant: feed, resource: requests, rate_per_s: 50, pool: far }
";

/// An event over these steps, with properties of its own.
fn event(kind: &str, steps: std::ops::Range<i64>, properties: &str) -> String {
    let at = |step: i64| jiff::Timestamp::from_second(step * STEP_S).unwrap().strftime("%Y%m%dT%H%M%SZ").to_string();
    let (begin, end) = (at(steps.start), at(steps.end));
    format!("BEGIN:VEVENT\nSUMMARY:{kind}\nDTSTART:{begin}\nDTEND:{end}\n{properties}END:VEVENT\n")
}

fn write(file: &Path, events: &[String]) {
    std::fs::write(file, format!("BEGIN:VCALENDAR\nVERSION:2.0\n{}END:VCALENDAR\n", events.concat())).unwrap();
}

fn config(folder: &Path, feeds: &str) -> Config {
    let text = format!("{CONTRACTS}\nforecast: {{ events: [ {feeds} ] }}\n");
    Config::parse(&folder.join("forebay.yaml"), &text).unwrap()
}

#[test]
fn a_broken_feed_keeps_its_last_good_events_and_is_counted() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("events.ics");
    let config = config(folder.path(), "{ file: events.ics }");
    let (mut feeds, metrics) = (Feeds::new(&config.forecast.events), Metrics::new());
    let label = feeds.feeds[0].label.clone();
    let now_s = FIRST_STEP * STEP_S;
    let refresh = |feeds: &mut Feeds, now_s: i64| {
        let is_changed = feeds.refresh(now_s, DAY_S, &metrics);
        let (errors, up) =
            (metrics.event_feed_errors.get_or_create(&label).get(), metrics.event_feed_up.get_or_create(&label).get());
        (is_changed, errors, up, feeds.feeds[0].calendar.events().len())
    };
    assert_eq!(refresh(&mut feeds, now_s), (false, 1, 0, 0), "there is no file yet");
    let sale = event("sale", FIRST_STEP + 3..FIRST_STEP + 9, "");
    write(&file, std::slice::from_ref(&sale));
    assert_eq!(refresh(&mut feeds, now_s), (true, 1, 1, 1));
    assert_eq!(refresh(&mut feeds, now_s), (false, 1, 1, 1), "nothing has changed");
    write(&file, &[sale.clone(), "BEGIN:VEVENT\nSUMMARY:launch\nDTSTART:soon\nEND:VEVENT\n".to_owned()]);
    assert_eq!(refresh(&mut feeds, now_s), (false, 2, 0, 1));
    assert_eq!(refresh(&mut feeds, now_s), (false, 2, 0, 1), "it is not read again before it changes");
    let far = event("sale", FIRST_STEP + 2000..FIRST_STEP + 2009, "");
    write(&file, &[sale, far]);
    assert_eq!(refresh(&mut feeds, now_s), (false, 2, 1, 1), "the second is too far off to matter");
    assert_eq!(refresh(&mut feeds, now_s + 5 * DAY_S), (true, 2, 1, 1), "and the first is over for long");
}

#[test]
fn feeds_and_events_concern_what_they_name() {
    let folder = tempfile::tempdir().unwrap();
    let (all, some) = (folder.path().join("all.ics"), folder.path().join("some.ics"));
    let soon = FIRST_STEP..FIRST_STEP + 1;
    let work = |key: &str| event("work", soon.clone(), &format!("X-FOREBAY-CAPACITY:0.5\n{key}"));
    write(&all, &[event("sale", soon.clone(), "X-FOREBAY-KEY:feed/requests\n"), work("X-FOREBAY-KEY:feed/requests\n")]);
    write(&some, &[event("launch", soon.clone(), ""), work("")]);
    let config = config(folder.path(), "{ file: all.ics }, { file: some.ics, keys: [ \"shop/*\" ], pools: [ near ] }");
    let mut feeds = Feeds::new(&config.forecast.events);
    assert!(feeds.refresh(FIRST_STEP * STEP_S, DAY_S, &Metrics::new()));
    let kinds = |contract: usize| {
        let calendar = feeds.of_key(&config.contracts[contract]).unwrap();
        calendar.events().iter().map(|event| event.kind.clone()).collect::<Vec<_>>()
    };
    // Work that says nothing of demand is none of theirs.
    assert_eq!((kinds(0), kinds(1)), (vec!["launch".to_owned()], vec!["sale".to_owned()]));
    let share = |pool: &str| feeds.of_pool(pool, &config.contracts).unwrap().capacity_factor(FIRST_STEP * STEP_S);
    assert_eq!((share("near"), share("far")), (0.5, 0.5), "each by the one that concerns it");

    feeds.pools = vec![("far".to_owned(), feeds.of_pool("far", &config.contracts).unwrap())];
    let slots = (0..2).map(|slot| SlotTime { id: FIRST_STEP as u64 + slot, length_ms: 1 }).collect();
    let mut inputs = Inputs { pools: config.pools.clone(), slots, ..Inputs::default() };
    feeds.lower(&mut inputs, STEP_S);
    assert_eq!(inputs.reduced, [("far".to_owned(), vec![50_000, 100_000])].into());
}

/// A planner whose tenant `shop` has ten days of history around 80 per second, and these events.
fn planning(events: &[String]) -> Loop {
    let folder = tempfile::tempdir().unwrap();
    write(&folder.path().join("events.ics"), events);
    let shop = Key::new("shop", "requests");
    let value = |step: i64| 80.0 * [0.95, 1.05, 1.0][step.rem_euclid(3) as usize];
    let steps = FIRST_STEP - 10 * 288..FIRST_STEP;
    let mut points = steps.map(|step| Point { key: shop.clone(), start_s: step * STEP_S, value: value(step) });
    SqliteStore::open(folder.path(), 300).unwrap().replace(&mut points).unwrap();
    let mut planning =
        Loop::with(folder, &format!("{CONTRACTS}\nforecast: {{ events: [ {{ file: events.ics }} ] }}\n"));
    planning.planner.wait_for_fits();
    planning.turn_after(Duration::ZERO);
    planning
}

#[test]
fn an_event_lifts_the_forecast_of_its_slots_and_a_window_lowers_their_capacity() {
    let slots = FIRST_STEP + 1..FIRST_STEP + 3;
    let launch = event(
        "launch",
        slots.clone(),
        "X-FOREBAY-KEY:shop/requests\nX-FOREBAY-UPLIFT:2\nX-FOREBAY-UPLIFT-DEVIATION:0.1\n",
    );
    let work = event("work", FIRST_STEP + 2..FIRST_STEP + 4, "X-FOREBAY-CAPACITY:0.5\n");
    let mut planning = planning(&[launch, work.clone()]);
    let shop = &planning.planner.keys[0];
    let middle = |step: i64| shop.bound(step).unwrap().0;
    assert!((76.0..84.5).contains(&middle(FIRST_STEP)), "{}", middle(FIRST_STEP));
    assert!(slots.clone().all(|slot| (150.0..170.0).contains(&middle(slot))), "{}", middle(FIRST_STEP + 1));
    let report = shop.record().events;
    assert_eq!((report.len(), report[0].kind.as_str(), report[0].evidence), (1, "launch", Evidence::Given));
    let inputs = planning.planner.inputs(FIRST_STEP);
    assert_eq!(inputs.reduced["near"], [400_000, 400_000, 200_000, 200_000]);
    let table = planning.shared.table.borrow().clone().unwrap();
    let shadow: Vec<_> = table.plan.grants[0].slots.iter().map(|slot| slot.id as i64 - FIRST_STEP).collect();
    assert_eq!(shadow, [1, 2], "shadow is bought for the launch and for nothing else");

    // The launch is called off between two steps.
    write(&planning.folder.path().join("events.ics"), &[work]);
    planning.turn_after(Duration::from_secs(1));
    let calm = planning.planner.keys[0].bound(FIRST_STEP + 2).unwrap().0;
    assert!((70.0..90.0).contains(&calm), "{calm}");
}

#[test]
fn what_instances_are_in_has_fewer_of_them_in_a_window_that_names_it() {
    let folder = tempfile::tempdir().unwrap();
    let rack = event("rack", FIRST_STEP + 2..FIRST_STEP + 4, "X-FOREBAY-CAPACITY:0.25\n");
    write(&folder.path().join("racks.ics"), &[rack]);
    let text = "
contracts: [ { tenant: shop, resource: requests, rate_per_s: 100, pool: web } ]
forecast: { events: [ { file: racks.ics, pools: [ near ] } ] }
capacity:
  manager: dry_run
  shapes: [ { name: Small, offers: { cpu: 1 }, price_per_h: 1 } ]
  pools: [ { name: near, location: here, max_instances: 8, lead_s: 60 }, { name: far, location: there, max_instances: 8, lead_s: 60 } ]
  services: [ { name: web, need_per_unit: { cpu: 0.1 }, shortage_per_unit_h: 1 } ]
";
    let planning = Loop::with(folder, text);
    let windows = lock(&planning.shared.capacity.maintenance).clone();
    assert_eq!(windows.len(), 1, "{windows:?}");
    assert_eq!((windows[0].pool.as_str(), windows[0].takes(8, windows[0].from_s, windows[0].to_s)), ("near", 6));
}
