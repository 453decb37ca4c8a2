//! Hostile traffic as filters count it: shown, subtracted, and no demand.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::Instant;

use forebay_protocol::extension::{DETAILS, DetailRow, extension, trimmed};
use forebay_protocol::{Count, Details, Further, Message};
use serde_json::Value;

use crate::daemon::{Daemon, forebay, report};

/// Thursday, 2026-01-01 0:00 UTC.
const START_S: i64 = 1_767_225_600;
const WEEKS: i64 = 3;
/// An hour takes 0.3 s.
const SPEED: i64 = 12_000;
/// Units of the scan in each report.
const SCANNED: u64 = 2_000;

/// Six hours of a scan, many times the usual 40 units per second, which come all the while: the highest middle of the
/// forecasts and the highest demand that they are compared with, and the key's part of `/v1/anomalies`.
fn after_a_scan(is_marked: bool) -> ([f64; 2], Value) {
    let folder = tempfile::tempdir().unwrap();
    let mut history = String::from("timestamp,key,value\n");
    for hour in 0..WEEKS * 168 {
        writeln!(history, "{},shop/requests,{}", START_S + hour * 3600, 40 + hour % 5).unwrap();
    }
    let file = folder.path().join("history.csv");
    std::fs::write(&file, history).unwrap();
    let data = folder.path().join("data");
    let arguments = ["--data-dir", data.to_str().unwrap(), "--step-s", "3600", file.to_str().unwrap()];
    assert!(forebay(&[&["import"], &arguments[..]].concat()).status.success());
    let end_s = START_S + WEEKS * 168 * 3600;
    let config = format!(
        "step_s: 3600\nclock: {{ speed: {SPEED}, calendar_start: \"{end_s}\" }}\n\
         contracts: [ {{ tenant: shop, resource: requests, rate_per_s: 100 }} ]"
    );
    let daemon = Daemon::start(folder.path(), &config);
    let (mut sequence, began) = (0, Instant::now());
    let records = daemon.eventually("records of six hours of the scan", || {
        sequence += 1;
        let (usual, hostile) = ((40.0 * began.elapsed().as_secs_f64()) as u64, sequence * SCANNED);
        let mut scan = report(sequence, usual + hostile);
        if is_marked {
            let further = Further { hostile: Count { requests: hostile, units: hostile }, ..Further::default() };
            let rows = vec![DetailRow { counts: trimmed(&further.words()).to_vec(), cells: vec![] }];
            scan.extensions = vec![extension(DETAILS, &Details { attributes: vec![], rows })];
        }
        assert!(matches!(daemon.say(&Message::Report(scan)), Some(Message::ReportAck(_))));
        let answer: Value = serde_json::from_str(&daemon.text("/v1/forecasts")).unwrap();
        let records = answer["keys"][0]["records"].as_array()?.clone();
        let hours: BTreeSet<_> = records.iter().map(|record| record["step"].as_i64()).collect();
        (hours.len() >= 6).then_some(records)
    });
    let highest = |of: &str| records.iter().map(|record| record[of].as_f64().unwrap()).fold(0.0, f64::max);
    let shown: Value = serde_json::from_str(&daemon.text("/v1/anomalies")).unwrap();
    let hostile = daemon.metric("forebay_hostile_units_total{tenant=\"shop\",resource=\"requests\"}").unwrap_or(0.0);
    assert_eq!(hostile > 0.0, is_marked);
    ([highest("point"), highest("actual")], shown["keys"][0].clone())
}

#[test]
fn what_filters_count_as_hostile_raises_no_forecast_and_is_shown() {
    let ([forecast, demand], shown) = after_a_scan(true);
    assert!(forecast < 60.0 && demand < 200.0, "usual are 40 to 44: {forecast}, {demand}");
    let (unmarked, _) = after_a_scan(false);
    assert!(unmarked[1] > 1_000.0, "it is the mark that makes the difference: {unmarked:?}");
    let stretch = shown["hostile"].as_array().unwrap().last().unwrap_or_else(|| panic!("{shown}")).clone();
    assert_eq!((&stretch["by"], &stretch["word"]), (&"filter".into(), &"hostile".into()));
    assert!(stretch["rate_per_s"].as_f64().unwrap() > 1_000.0, "{stretch}");
    assert_eq!(shown["now"], "normal", "what is known to be hostile is no riddle");
}
