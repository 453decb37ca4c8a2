//! The real controller binary, over the real protocol: what filters rely on, and what operators see.

#[path = "controller/capacity.rs"]
mod capacity;
#[path = "controller/contest.rs"]
mod contest;
#[path = "controller/daemon.rs"]
mod daemon;
#[path = "controller/forecasting.rs"]
mod forecasting;
#[path = "controller/hostile.rs"]
mod hostile;
#[path = "controller/policy.rs"]
mod policy;
#[path = "controller/refusals.rs"]
mod refusals;
#[path = "controller/rules.rs"]
mod rules;
#[path = "controller/simulate.rs"]
mod simulate;

use std::fmt::Write as _;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use daemon::{Daemon, answer_of, forebay, post, report, watch};
use forebay_protocol::extension::{AttributeNames, DETAILS, DetailRow, EXPECTATIONS, extension, find, trimmed};
use forebay_protocol::{Count, Details, Expectations, Extension, Further, Generation, GrantTable, Message, encode};

const CONTRACT: &str = "contracts: [ { tenant: shop, resource: requests, rate_per_s: 100 } ]";

fn table(message: Option<Message>) -> GrantTable {
    match message {
        Some(Message::GrantTable(table)) => table,
        other => panic!("a table was expected, not {other:?}"),
    }
}

/// Units of the shop's points, from the store itself.
fn stored_units(folder: &Path, step_s: f64) -> f64 {
    let store = rusqlite::Connection::open(folder.join("data/history.sqlite3")).unwrap();
    let rates: Option<f64> = store.query_row("SELECT SUM(value) FROM points", [], |row| row.get(0)).unwrap();
    (rates.unwrap_or(0.0) * step_s * 1000.0).round() / 1000.0
}

#[test]
fn counted_once_through_repeats_kill_and_restart() {
    let folder = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(folder.path(), CONTRACT);
    for _ in 0..2 {
        assert!(matches!(daemon.say(&Message::Report(report(1, 600))), Some(Message::ReportAck(_))));
    }
    assert_eq!(
        daemon.metric("forebay_units_total{tenant=\"shop\",resource=\"requests\",lane=\"refused\"}"),
        Some(600.0)
    );
    assert_eq!(daemon.metric("forebay_reports_total{outcome=\"stale\"}"), Some(1.0));
    daemon.eventually("write of the history", || (stored_units(folder.path(), 300.0) == 600.0).then_some(()));
    daemon.kill();

    let daemon = Daemon::start(folder.path(), CONTRACT);
    daemon.say(&Message::Report(report(1, 600)));
    daemon.say(&Message::Report(report(2, 900)));
    assert_eq!(daemon.terminate(), Some(0), "a stop writes what was observed last");
    assert_eq!(stored_units(folder.path(), 300.0), 900.0);
}

/// The report of [`report`] with these details for its only row.
fn detailed(sequence: u64, refused_units: u64, further: &Further, cells: &[(u16, u64)]) -> Message {
    let mut report = report(sequence, refused_units);
    let attributes = vec![AttributeNames { name: "region".to_owned(), values: vec!["eu".to_owned()] }];
    let rows = vec![DetailRow { counts: trimmed(&further.words()).to_vec(), cells: cells.to_vec() }];
    report.extensions =
        vec![Extension { tag: 60_000, bytes: vec![1, 2, 3] }, extension(DETAILS, &Details { attributes, rows })];
    Message::Report(report)
}

#[test]
fn details_reach_the_metrics_and_count_once_through_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(folder.path(), CONTRACT);
    let first = Further {
        borrowed: Count { requests: 10, units: 100 },
        refunded_units: 7,
        refused_by_plain: Count { requests: 30, units: 300 },
        burst_slots: 1,
        burst_units: 40,
        ..Further::default()
    };
    for _ in 0..2 {
        daemon.say(&detailed(1, 600, &first, &[(0, 3), (1, 4)]));
    }
    let key = "{tenant=\"shop\",resource=\"requests\"";
    let metric =
        |daemon: &Daemon, name: &str, labels: &str| daemon.metric(&format!("forebay_{name}_total{key}{labels}}}"));
    assert_eq!(metric(&daemon, "units", ",lane=\"borrowed\""), Some(100.0));
    assert_eq!(metric(&daemon, "settled_units", ",outcome=\"refunded\""), Some(7.0));
    assert_eq!(metric(&daemon, "would_have_requests", ",bucket=\"plain\",outcome=\"refused\""), Some(30.0));
    assert_eq!(metric(&daemon, "would_have_units", ",bucket=\"plain\",outcome=\"admitted\""), Some(400.0));
    assert_eq!(metric(&daemon, "proxy_burst_units", ""), Some(40.0));
    assert_eq!(metric(&daemon, "attribute_requests", ",attribute=\"region\",value=\"other\""), Some(4.0));
    daemon.eventually("write of the history", || (stored_units(folder.path(), 300.0) == 700.0).then_some(()));
    daemon.kill();

    let store = rusqlite::Connection::open(folder.path().join("data/history.sqlite3")).unwrap();
    let stored: Vec<u8> = store.query_row("SELECT further FROM counters", [], |row| row.get(0)).unwrap();
    assert_eq!(stored.len(), Further::CUMULATIVE * 8);
    drop(store);
    let daemon = Daemon::start(folder.path(), CONTRACT);
    let second = Further { borrowed: Count { requests: 12, units: 150 }, refunded_units: 9, ..first };
    daemon.say(&detailed(2, 600, &second, &[(0, 5), (1, 4)]));
    assert_eq!(metric(&daemon, "units", ",lane=\"borrowed\""), Some(50.0));
    assert_eq!(metric(&daemon, "settled_units", ",outcome=\"refunded\""), Some(2.0));
    daemon.say(&detailed(3, 600, &second, &[(0, 6), (1, 4)]));
    assert_eq!(metric(&daemon, "attribute_requests", ",attribute=\"region\",value=\"eu\""), Some(1.0));
    // An older filter takes over: no details, and none are lost or counted twice.
    daemon.say(&Message::Report(report(4, 700)));
    assert_eq!(metric(&daemon, "units", ",lane=\"borrowed\""), Some(50.0));
    // Details that do not fit to the rows are no details.
    let Message::Report(mut odd) = detailed(5, 710, &second, &[]) else { unreachable!() };
    odd.extensions = vec![extension(DETAILS, &Details { attributes: vec![], rows: vec![] })];
    daemon.say(&Message::Report(odd));
    assert_eq!(daemon.terminate(), Some(0));
    assert_eq!(stored_units(folder.path(), 300.0), 710.0 + 150.0);
}

#[test]
fn a_new_proxy_gets_its_table_and_the_next_watch_is_held_until_news() {
    let folder = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(folder.path(), CONTRACT);
    let first = table(daemon.say(&watch("one", Generation::default(), None)));
    assert_eq!((first.part, first.parts, first.valid_for_ms), (0, 1, 30_000));
    let grant = &first.grants[0];
    assert_eq!((grant.tenant.as_str(), grant.standard.rate_milli_per_s, grant.standard.burst), ("shop", 100_000, 100));
    assert_eq!(grant.safe, grant.standard);

    let (address, known) = (daemon.address.clone(), first.generation);
    let held = std::thread::spawn(move || {
        let news = table(answer_of(post(&address, &encode(&watch("one", known, None)))));
        // Only what the first says it has given up is the second's; the next watch says it, and is not waited for.
        let next = encode(&watch("one", news.generation, None));
        std::thread::spawn(move || post(&address, &next));
        news
    });
    // Whether the watch is held by now or comes later, the second proxy makes a table that is news to it.
    let second = table(daemon.say(&watch("two", Generation::default(), None)));
    assert_eq!(second.grants[0].standard.rate_milli_per_s, 50_000, "an equal share");
    let news = held.join().unwrap();
    assert!(news.generation > known);
    assert_eq!(news.grants[0].standard.rate_milli_per_s, 50_000);
}

#[test]
fn a_watch_without_news_ends_empty_and_a_stop_answers_the_held_ones() {
    let folder = tempfile::tempdir().unwrap();
    let config = format!("{CONTRACT}\nsync: {{ watch_hold_s: 0.2 }}");
    let daemon = Daemon::start(folder.path(), &config);
    let known = table(daemon.say(&watch("one", Generation::default(), None))).generation;
    assert_eq!(daemon.say(&watch("one", known, None)), None);
    drop(daemon);

    let daemon = Daemon::start(folder.path(), CONTRACT);
    let known = table(daemon.say(&watch("one", Generation::default(), None))).generation;
    let address = daemon.address.clone();
    let held = std::thread::spawn(move || answer_of(post(&address, &encode(&watch("one", known, None)))));
    // Only a watch that has arrived can be answered by the stop.
    daemon.eventually("held watch", || (daemon.metric("forebay_watches_held ") == Some(1.0)).then_some(()));
    assert_eq!(daemon.terminate(), Some(0));
    assert_eq!(held.join().unwrap(), None);
}

#[test]
fn a_restored_store_is_still_newer_than_what_filters_know() {
    let folder = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(folder.path(), CONTRACT);
    let before = table(daemon.say(&watch("one", Generation::default(), None))).generation;
    daemon.kill();
    // An older copy knows nothing of that epoch.
    let store = rusqlite::Connection::open(folder.path().join("data/history.sqlite3")).unwrap();
    store.execute("DELETE FROM meta WHERE name = 'epoch'", []).unwrap();
    drop(store);
    let daemon = Daemon::start(folder.path(), &format!("{CONTRACT}\nsync: {{ grant_validity_s: 1, watch_hold_s: 1 }}"));
    // The filter knows a table from a planner whose clock was ahead; it goes on with it for one validity.
    let ahead = Generation { shard: 0, epoch: before.epoch + 5000, sequence: 3 };
    let after = table(Some(daemon.eventually("table", || daemon.say(&watch("one", ahead, None)))));
    assert!(after.generation > ahead, "{:?} is newer than {ahead:?}", after.generation);
    // Nobody's epoch is ignored, and the watch is simply held.
    let absurd = Generation { shard: 0, epoch: u64::MAX, sequence: 0 };
    let mut forged = report(1, 0);
    forged.generation = absurd;
    let Some(Message::ReportAck(ack)) = daemon.say(&Message::Report(forged)) else { panic!("an acknowledgement") };
    assert!(ack.generation.epoch <= ahead.epoch + 1);
}

#[test]
fn garbage_is_refused_and_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(folder.path(), CONTRACT);
    let good = encode(&Message::Report(report(1, 600)));
    for body in [&b"garbage"[..], b"", &good[..good.len() - 1], &[good.clone(), vec![0]].concat()] {
        let (status, why) = daemon.post(body);
        assert_eq!(status, 400);
        assert!(!why.is_empty());
    }
    let (status, _) = daemon.post(&vec![0; 6 << 20]);
    assert_eq!(status, 413);
    let mut nameless = report(1, 600);
    nameless.proxy = String::new();
    assert_eq!(daemon.post(&encode(&Message::Report(nameless))).0, 400);
    assert_eq!(daemon.metric("forebay_decode_errors_total"), Some(4.0));
    assert_eq!(daemon.get("/healthz").0, 200);
    assert_eq!(daemon.get("/nothing").0, 404);
    assert!(daemon.text("/v1/plan").contains("\"proxies\":[]"));
}

#[test]
fn people_can_say_what_was_normal_and_read_who_said_so() {
    let folder = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(folder.path(), CONTRACT);
    let now_s = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let word = |tenant: &str, word: &str| {
        let span = format!("\"from_s\":{},\"to_s\":{now_s}", now_s - 900);
        format!(
            "{{\"tenant\":\"{tenant}\",\"resource\":\"requests\",{span},{word},\"by\":\"ana\",\"note\":\"a test\"}}"
        )
    };
    let say = |daemon: &Daemon, body: &str| daemon.post_json("/v1/anomalies", body);
    assert_eq!(say(&daemon, &word("shop", "\"word\":\"anomalous\"")), (200, "{\"id\":0}".to_owned()));
    assert_eq!(say(&daemon, &word("shop", "\"word\":\"hostile\",\"rate_per_s\":4.5")).0, 200);
    assert_eq!(say(&daemon, &word("nobody", "\"word\":\"normal\"")).0, 404);
    assert_eq!(say(&daemon, &word("shop", "\"word\":\"odd\"")).0, 400);
    assert_eq!(say(&daemon, &word("shop", &format!("\"word\":\"{}\"", "x".repeat(20_000)))).0, 413);
    daemon.kill();

    let daemon = Daemon::start(folder.path(), CONTRACT);
    let shown: serde_json::Value = serde_json::from_str(&daemon.text("/v1/anomalies")).unwrap();
    let [anomalous, hostile] = shown["keys"][0]["entries"].as_array().unwrap().as_slice() else { panic!("{shown}") };
    assert_eq!(
        (&anomalous["word"], &anomalous["by"], &anomalous["note"]),
        (&"anomalous".into(), &"ana".into(), &"a test".into())
    );
    assert!(anomalous["said_s"].as_u64().unwrap() >= now_s, "{anomalous}");
    assert_eq!((&hostile["word"], &hostile["rate_per_s"]), (&"hostile".into(), &4.5.into()));
    assert_eq!(shown["keys"][0]["now"], "normal");
}

#[test]
fn a_large_table_comes_in_parts() {
    let folder = tempfile::tempdir().unwrap();
    let mut contracts = String::from("contracts:\n");
    for i in 0..20_000 {
        writeln!(contracts, "  - {{ tenant: tenant-{i:05}, resource: requests, rate_per_s: 10 }}").unwrap();
    }
    let daemon = Daemon::start(folder.path(), &contracts);
    let (mut tenants, mut collecting, mut parts) = (Vec::new(), None, 1);
    let mut part = 0;
    while part < parts {
        let (status, body) = daemon.post(&encode(&watch("one", Generation::default(), collecting)));
        assert!(body.len() < 256 << 10, "a part has {} bytes", body.len());
        let next = table(answer_of((status, body)));
        assert_eq!(next.part, part);
        tenants.extend(next.grants.into_iter().map(|grant| grant.tenant));
        parts = next.parts;
        part += 1;
        collecting = Some((next.generation, part));
    }
    assert!(parts > 1);
    assert_eq!(tenants.len(), 20_000);
    assert!(tenants.is_sorted(), "every contract once, in order");
}

#[test]
fn a_wrong_configuration_ends_with_78_and_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("forebay.yaml");
    let path = file.to_str().unwrap();
    std::fs::write(&file, "contracts: [ { tenant: shop, resource: requests, rate_per_s: -1 } ]").unwrap();
    let output = forebay(&["controller", "--config", path]);
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(78));
    assert!(error.contains(path) && error.contains("contracts[0].rate_per_s") && error.contains("-1"), "{error}");
    assert_eq!(forebay(&["controller", "--config", "/does/not/exist.yaml"]).status.code(), Some(78));
    let checked = forebay(&["config", "check", path]);
    assert_eq!(checked.status.code(), Some(78));
    assert_eq!(String::from_utf8(checked.stderr).unwrap(), error, "the same without starting anything");
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/capacity/forebay.yaml");
    let checked = forebay(&["config", "check", example]);
    assert!(checked.status.success() && String::from_utf8(checked.stdout).unwrap().ends_with("fit for use\n"));
    assert!(!folder.path().join("data").exists());
}

#[test]
fn an_import_error_names_its_line_and_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let (data, file) = (folder.path().join("data"), folder.path().join("history.csv"));
    std::fs::write(&file, "timestamp,key,value\n0,shop/requests,5\n300,shop/requests,many\n").unwrap();
    let arguments = ["import", "--data-dir", data.to_str().unwrap(), file.to_str().unwrap()];
    let output = forebay(&arguments);
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(error.contains("history.csv: reading line 3, column \"value\""), "{error}");
    assert_eq!(stored_units(folder.path(), 300.0), 0.0);

    std::fs::write(&file, "timestamp,key,value\n0,shop/requests,5\n300,shop/requests,7\n300,shop/requests,8\n")
        .unwrap();
    let output = forebay(&arguments);
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && said.contains("1 duplicate"), "{said}");
    assert_eq!(stored_units(folder.path(), 300.0), 13.0 * 300.0);
}

/// Hourly history with a burst at noon, and a clock that begins at midnight and in which an hour takes 0.3 s: the burst
/// must be in a filter's table before it begins, and what came is compared with what was forecast.
#[test]
fn a_recurring_burst_is_granted_before_it_begins() {
    let folder = tempfile::tempdir().unwrap();
    let (start_s, weeks) = (1_767_225_600_i64, 3); // Thursday, 2026-01-01
    let mut history = String::from("timestamp,key,value\n");
    for hour in 0..weeks * 168 {
        let rate = if hour % 24 == 12 { 180.0 } else { 40.0 } + (hour % 5) as f64;
        writeln!(history, "{},shop/requests,{rate}", start_s + hour * 3600).unwrap();
    }
    let file = folder.path().join("history.csv");
    std::fs::write(&file, history).unwrap();
    let data = folder.path().join("data");
    let arguments = ["--data-dir", data.to_str().unwrap(), "--step-s", "3600", file.to_str().unwrap()];
    assert!(forebay(&[&["import"], &arguments[..]].concat()).status.success());

    let end_s = start_s + weeks * 168 * 3600;
    let config = format!(
        "step_s: 3600\nclock: {{ speed: 12000, calendar_start: \"{end_s}\" }}\n\
         pools: [ {{ name: default, capacity_per_s: 300 }} ]\n\
         contracts: [ {{ tenant: shop, resource: requests, rate_per_s: 100, pool: default }} ]"
    );
    let daemon = Daemon::start(folder.path(), &config);
    let mut known = Generation::default();
    let noon_id = u64::try_from(end_s / 3600 + 12).unwrap();
    let slot = daemon.eventually("slot for the burst", || {
        let Some(Message::GrantTable(table)) = daemon.say(&watch("one", known, None)) else { return None };
        known = table.generation;
        table.grants[0].slots.iter().find(|slot| slot.id % 24 == noon_id % 24).copied()
    });
    assert!(slot.starts_in_ms > 0, "the slot begins in {} ms", slot.starts_in_ms);
    assert_eq!(slot.length_ms, 300);
    let rate = slot.pace.rate_milli_per_s;
    assert!((70_000..=100_000).contains(&rate), "standard 100/s and shadow {rate} milli/s for about 182/s");
    assert!(daemon.text("/v1/plan").contains("\"reason\":\"granted\""));

    let (mut sequence, mut expected) = (0, None);
    let recorded = daemon.eventually("record of forecasts", || {
        sequence += 1;
        let Some(Message::ReportAck(ack)) = daemon.say(&Message::Report(report(sequence, sequence))) else {
            panic!("an acknowledgement")
        };
        expected = find::<Expectations>(&ack.extensions, EXPECTATIONS).or(expected.take());
        let answer: serde_json::Value = serde_json::from_slice(&daemon.get("/v1/forecasts").1).unwrap();
        answer["keys"][0]["records"].as_array().and_then(|records| records.last().cloned())
    });
    assert!(recorded["upper"].as_f64() >= recorded["point"].as_f64());
    assert!(recorded["lead"].as_u64() >= Some(1));
    let ratio = recorded["actual"].as_f64().unwrap() / recorded["point"].as_f64().unwrap();
    assert!((recorded["ratio"].as_f64().unwrap() - ratio).abs() < 1e-9 * ratio, "{recorded}");
    assert!(daemon.metric("forebay_demand_ratio{tenant=\"shop\",resource=\"requests\"}").is_some());
    let expected = expected.expect("what the forecasts expect");
    let (now, next) = (expected.slots[0], expected.slots[1]);
    assert_eq!((next.id, now.length_ms, next.length_ms), (now.id + 1, 300, 300));
    assert!(now.starts_in_ms <= 0 && next.starts_in_ms == now.starts_in_ms + 300, "{expected:?}");
    let (predicted, upper) = expected.rows[0][0];
    assert!(upper >= predicted && predicted > 0, "{expected:?}");
}

#[test]
fn the_configuration_in_the_readme_runs() {
    let readme = include_str!("../../../README.md");
    let blocks = readme.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next());
    // The test has a port and a folder of its own.
    let kept = |line: &&str| !["listen:", "data_dir:"].iter().any(|key| line.trim_start().starts_with(key));
    let lines: Vec<_> =
        blocks.flat_map(str::lines).filter(kept).map(|line| line.strip_prefix("   ").unwrap_or(line)).collect();
    assert!(lines.contains(&"pools:") && lines.contains(&"  events:"), "{lines:?}");
    let folder = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(folder.path(), &lines.join("\n"));
    let plan: serde_json::Value = serde_json::from_str(&daemon.text("/v1/plan")).unwrap();
    let tenants: Vec<_> = plan["grants"].as_array().unwrap().iter().map(|grant| grant["tenant"].clone()).collect();
    assert_eq!(tenants.len(), 2, "{plan}");
    let word = readme.split("/v1/anomalies -d '").nth(1).and_then(|rest| rest.split('\'').next()).expect("a word");
    assert_eq!(daemon.post_json("/v1/anomalies", word), (200, "{\"id\":0}".to_owned()));
    assert_eq!(daemon.terminate(), Some(0));
}
