//! Counting, and the shapes that it is printed in.

use super::super::report::{steps_csv, table};
use super::*;

fn layout() -> Layout {
    Layout { tenants: vec!["a".into(), "b".into()], steps: 2, start_s: 600, step_s: 300, bucket_ms: 100 }
}

fn finished(tenant: usize, step: usize, outcome: Outcome, answered_ms: u64) -> Finished {
    let (lateness, latency) = (Duration::from_millis(1), Duration::from_millis(20));
    Finished { tenant, step, outcome, lateness, latency, answered: Duration::from_millis(answered_ms) }
}

#[test]
fn the_status_and_the_echoed_lane_give_the_outcome() {
    let of = |status, lane: Option<&'static str>| Outcome::of(status, lane.map(HeaderValue::from_static).as_ref());
    assert_eq!(of(StatusCode::OK, Some("reserved")), Outcome::Admitted(Lane::Reserved));
    assert_eq!(of(StatusCode::OK, Some("standard")), Outcome::Admitted(Lane::Standard));
    assert_eq!(of(StatusCode::NO_CONTENT, Some("borrowed")), Outcome::Admitted(Lane::Borrowed));
    assert_eq!(of(StatusCode::OK, None), Outcome::Admitted(Lane::None));
    assert_eq!(of(StatusCode::OK, Some("express")), Outcome::Admitted(Lane::None));
    assert_eq!(of(StatusCode::TOO_MANY_REQUESTS, Some("reserved")), Outcome::Refused);
    assert_eq!(of(StatusCode::SERVICE_UNAVAILABLE, None), Outcome::Error);
}

#[test]
fn every_request_is_counted_once_by_outcome_step_and_interval() {
    let mut tally = Tally::new(&layout());
    for (tenant, step) in [(0, 0), (0, 0), (0, 1), (0, 1), (1, 1), (1, 1)] {
        tally.offer(tenant, step);
    }
    tally.finish(&finished(0, 0, Outcome::Admitted(Lane::Reserved), 99));
    tally.finish(&finished(0, 0, Outcome::Admitted(Lane::Standard), 100));
    tally.finish(&finished(0, 1, Outcome::Refused, 310));
    tally.finish(&finished(1, 1, Outcome::Admitted(Lane::None), 150));
    tally.finish(&Finished { lateness: Duration::from_millis(11), ..finished(1, 1, Outcome::Failed, 400) });
    let report = tally.report("t", "http://t", 3, &layout());
    let [a, b] = &report.tenants[..] else { panic!("two tenants") };
    assert_eq!(
        a.totals,
        Counts { offered: 4, admitted: 2, reserved: 1, standard: 1, refused: 1, unanswered: 1, ..Counts::default() }
    );
    assert_eq!(b.totals, Counts { offered: 2, admitted: 1, none: 1, failed: 1, ..Counts::default() });
    assert_eq!((a.steps[0].step_start_s, a.steps[0].counts.offered), (600, 2));
    assert_eq!((a.steps[1].step_start_s, a.steps[1].counts.unanswered), (900, 1));
    assert_eq!(
        (a.admitted_per_bucket.as_slice(), b.admitted_per_bucket.as_slice()),
        ([1, 1].as_slice(), [0, 1].as_slice())
    );
    assert_eq!(report.admitted_per_bucket, [1, 2]);
    assert_eq!((a.late, b.late, report.late), (0, 1, 1));
    assert!((report.lateness_ms.max - 11.0).abs() < 0.01);
    assert!((a.latency_ms.p50 - 20.0).abs() < 0.3 && b.latency_ms.max < 21.0);
    assert_eq!(report.totals.offered, report.tenants.iter().map(|t| t.totals.offered).sum::<u64>());
}

#[test]
fn csv_and_table_hold_one_line_per_target_tenant_and_step() {
    let mut tally = Tally::new(&layout());
    tally.offer(0, 1);
    tally.finish(&finished(0, 1, Outcome::Admitted(Lane::Reserved), 5));
    let reports =
        [tally.report("x", "http://x", 1, &layout()), Tally::new(&layout()).report("y", "http://y", 1, &layout())];
    let csv = String::from_utf8(steps_csv(&reports).unwrap()).unwrap();
    assert_eq!(csv.lines().count(), 1 + 2 * 2 * 2);
    assert!(csv.contains("\n1970-01-01 00:15:00,x,a,1,1,1,0,0,0,0,0,0,0\n"), "{csv}");
    assert_eq!(table(&reports).lines().count(), 1 + 2 * 2 + 2);
}

#[test]
fn a_long_run_has_longer_intervals_instead_of_more() {
    assert_eq!(Layout::bucket_ms_for(Duration::from_secs(60)), 100);
    assert_eq!(Layout::bucket_ms_for(Duration::from_secs(3500)), 100);
    assert_eq!(Layout::bucket_ms_for(Duration::from_secs(36_000)), 1100);
}
