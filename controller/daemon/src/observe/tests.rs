//! What the observer counts, by explicit times: steps of 300 s, a calendar that runs 300 times as fast, so a step is one
//! real second.

mod rates;

use std::time::Duration;

use forebay_plan::Key;
use forebay_protocol::extension::{DETAILS, DetailRow, extension, trimmed};
use forebay_protocol::{Count, Counters, Details, Further, Generation, Report, Row, SyncStats};

use super::{Moment, Observer, Outcome};
use crate::store::Flush;

const STALE_AFTER: Duration = Duration::from_secs(10);

fn shop() -> Key {
    Key::new("shop", "requests")
}

fn at(real_s: f64) -> Moment {
    Moment { calendar_s: 3_000.0 + real_s * 300.0, steady: Duration::from_secs_f64(real_s) }
}

fn observer() -> Observer {
    let keys = vec![shop(), Key::new("feed", "requests")];
    Observer::new(300, 300.0, STALE_AFTER, keys, Vec::new(), at(0.0))
}

fn report(proxy: &str, boot_id: u64, sequence: u64, rows: &[(&str, u64)]) -> Report {
    let row = |&(tenant, refused_units): &(&str, u64)| Row {
        tenant: tenant.to_owned(),
        resource: "requests".to_owned(),
        counters: Counters { refused_requests: refused_units, refused_units, ..Counters::default() },
    };
    Report {
        proxy: proxy.to_owned(),
        boot_id,
        sequence,
        uptime_ms: sequence * 1_000,
        generation: Generation::default(),
        speaks: vec![1],
        rows: rows.iter().map(row).collect(),
        stats: SyncStats::default(),
        extensions: Vec::new(),
    }
}

/// Value per step index for `tenant`.
fn points(flush: &Flush, tenant: &str) -> Vec<(i64, f64)> {
    let of_tenant = flush.points.iter().filter(|point| point.key.tenant == tenant);
    of_tenant.map(|point| (point.start_s / 300, (point.value * 1e6).round() / 1e6)).collect()
}

#[test]
fn a_report_twice_is_counted_once() {
    let mut observer = observer();
    let first = report("p", 1, 1, &[("shop", 40)]);
    assert!(matches!(observer.report(&first, at(1.0)), Outcome::Counted { .. }));
    assert_eq!(observer.report(&first, at(1.5)), Outcome::Stale);
    let flush = observer.take_flush();
    assert_eq!(points(&flush, "shop"), [(10, 40.0)], "40 units in a step of one real second");
    assert_eq!(points(&flush, "feed"), [(10, 0.0)], "nothing was offered, and that is known");
    assert!(observer.take_flush().is_empty());
}

#[test]
fn a_difference_is_spread_over_the_steps_since_the_last_report() {
    let mut observer = observer();
    observer.report(&report("p", 1, 1, &[("shop", 10)]), at(1.0));
    observer.take_flush();
    // Half of step 11, all of 12, half of 13; the counters are cumulative.
    observer.report(&report("p", 1, 2, &[]), at(1.5));
    observer.report(&report("p", 1, 3, &[("shop", 50)]), at(3.5));
    let flush = observer.take_flush();
    assert_eq!(points(&flush, "shop"), [(11, 10.0), (12, 20.0), (13, 10.0)]);
    assert_eq!(points(&flush, "feed"), [(11, 0.0), (12, 0.0), (13, 0.0)]);
}

#[test]
fn a_restart_goes_on_from_the_stored_cursors() {
    let mut before = observer();
    before.report(&report("p", 1, 1, &[("shop", 10)]), at(1.0));
    let stored = before.take_flush();
    before.report(&report("p", 1, 2, &[("shop", 25)]), at(1.5));
    // Killed here: the second report was counted in memory only, and counts again with the third.
    let mut after = Observer::new(300, 300.0, STALE_AFTER, vec![shop()], stored.cursors, at(2.5));
    assert_eq!(after.live(Duration::from_secs_f64(2.5)), ["p"], "a proxy heard of lately keeps its share");
    after.report(&report("p", 1, 3, &[("shop", 50)]), at(3.0));
    assert_eq!(points(&after.take_flush(), "shop"), [(11, 20.0), (12, 20.0)]);
}

#[test]
fn a_new_boot_counts_from_zero_and_backwards_counters_are_skipped() {
    let mut observer = observer();
    observer.report(&report("p", 1, 7, &[("shop", 70)]), at(7.0));
    observer.take_flush();
    observer.report(&report("p", 2, 1, &[("shop", 5)]), at(9.0));
    assert_eq!(points(&observer.take_flush(), "shop"), [(18, 5.0)], "its first second");
    let Outcome::Counted { news, backwards, .. } = observer.report(&report("p", 2, 2, &[("shop", 4)]), at(10.0)) else {
        panic!("the report is newer");
    };
    assert_eq!((news.len(), backwards), (0, 1));
    assert_eq!(points(&observer.take_flush(), "shop"), [(19, 0.0)]);
}

#[test]
fn proxies_add_up_and_unknown_tenants_do_not() {
    let mut observer = observer();
    observer.report(&report("a", 1, 1, &[("shop", 10), ("stranger", 99)]), at(1.0));
    let outcome = observer.report(&report("b", 1, 1, &[("shop", 5), ("*", 3)]), at(1.0));
    assert!(matches!(outcome, Outcome::Counted { unknown: 0, .. }));
    let flush = observer.take_flush();
    assert_eq!(points(&flush, "shop"), [(10, 15.0)]);
    assert_eq!(points(&flush, "*"), [(10, 3.0)]);
    assert!(points(&flush, "stranger").is_empty());
}

/// The report of [`report`] of a filter that counts `hostile` units of the first row apart.
fn marked(sequence: u64, shop: u64, hostile: u64) -> Report {
    let further = Further { hostile: Count { requests: hostile, units: hostile }, ..Further::default() };
    let rows = vec![DetailRow { counts: trimmed(&further.words()).to_vec(), cells: vec![] }];
    let details = extension(DETAILS, &Details { attributes: vec![], rows });
    Report { extensions: vec![details], ..report("p", 1, sequence, &[("shop", shop)]) }
}

/// Hostile units per step.
fn hostile(flush: &Flush) -> Vec<(i64, f64)> {
    points(&Flush { points: flush.hostile.clone(), ..Flush::default() }, "shop")
}

#[test]
fn what_is_hostile_is_spread_as_demand_is_and_counts_once_through_loss_repetition_and_restart() {
    let mut before = observer();
    before.report(&marked(1, 10, 4), at(1.0));
    before.report(&marked(1, 10, 4), at(1.2));
    let stored = before.take_flush();
    assert_eq!((points(&stored, "shop"), hostile(&stored)), (vec![(10, 10.0)], vec![(10, 4.0)]));
    before.put_back(stored.clone());
    assert_eq!(before.take_flush(), stored, "what could not be stored is kept");
    // Counted in memory only, then killed; the report after it is lost.
    before.report(&marked(2, 20, 9), at(1.5));
    let mut after = Observer::new(300, 300.0, STALE_AFTER, vec![shop()], stored.cursors, at(2.0));
    after.report(&marked(4, 70, 34), at(3.0));
    let flush = after.take_flush();
    assert_eq!((points(&flush, "shop"), hostile(&flush)), (vec![(11, 30.0), (12, 30.0)], vec![(11, 15.0), (12, 15.0)]));
}

#[test]
fn what_is_hostile_goes_on_where_it_was_after_a_policy_without_marks_and_an_older_filter() {
    let mut observer = observer();
    observer.report(&marked(1, 10, 4), at(1.0));
    for unmarked in [marked(2, 20, 0), report("p", 1, 3, &[("shop", 30)])] {
        observer.take_flush();
        let Outcome::Counted { news, .. } = observer.report(&unmarked, at(unmarked.sequence as f64)) else {
            panic!("the report is newer");
        };
        assert_eq!(news[0].counted.demand(), Count { requests: 10, units: 10 }, "all of it is demand");
        assert_eq!(hostile(&observer.take_flush()), []);
    }
    observer.report(&marked(4, 40, 6), at(4.0));
    assert_eq!(hostile(&observer.take_flush()), [(13, 2.0)]);
}

#[test]
fn a_silent_proxy_stops_being_live_and_what_was_not_stored_is_kept() {
    let mut observer = observer();
    observer.report(&report("a", 1, 1, &[("shop", 10)]), at(1.0));
    observer.report(&report("b", 1, 1, &[]), at(5.0));
    assert_eq!(observer.live(at(5.0).steady), ["a", "b"]);
    assert_eq!(observer.reported_until_s(at(5.0).steady), Some(at(1.0).calendar_s));
    assert_eq!(observer.live(at(12.0).steady), ["b"]);
    assert_eq!(observer.reported_until_s(at(12.0).steady), Some(at(5.0).calendar_s));
    let flush = observer.take_flush();
    observer.put_back(flush.clone());
    assert_eq!(observer.take_flush(), flush);
    assert!(!observer.see(&"x".repeat(300), Duration::ZERO), "names are bounded");
}
