//! A contest of two models goes on over a stop and a kill of the real controller.

use std::fmt::Write as _;
use std::path::Path;

use forebay_forecast::{Lineup, ModelKind, ModelVersion};
use forebay_protocol::Message;
use serde_json::{Value, json};

use crate::daemon::{Daemon, forebay, report};

/// Thursday, 2026-01-01 0:00 UTC.
const START_S: i64 = 1_767_225_600;
const HOURS: i64 = 21 * 24;

fn stored(folder: &Path) -> Option<Value> {
    let store = rusqlite::Connection::open(folder.join("data/history.sqlite3")).unwrap();
    let text: Option<String> = store.query_row("SELECT contest FROM contests", [], |row| row.get(0)).ok();
    text.map(|text| serde_json::from_str(&text).unwrap())
}

/// Steps that both models of the stored contest were scored on.
fn steps(folder: &Path) -> u64 {
    stored(folder).map_or(0, |contest| contest["lineup"]["rival"]["steps"].as_u64().unwrap())
}

#[test]
fn the_evidence_of_a_contest_survives_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let mut history = String::from("timestamp,key,value\n");
    for hour in 0..HOURS {
        writeln!(history, "{},shop/requests,{}", START_S + hour * 3600, 40 + hour % 24).unwrap();
    }
    let file = folder.path().join("history.csv");
    std::fs::write(&file, history).unwrap();
    let data = folder.path().join("data");
    let arguments = ["--data-dir", data.to_str().unwrap(), "--step-s", "3600", file.to_str().unwrap()];
    assert!(forebay(&[&["import"], &arguments[..]].concat()).status.success());

    // A day of a contest, as a controller before this one left it.
    let now_s = START_S + HOURS * 3600;
    let mut lineup = Lineup::new(ModelVersion(1), 24);
    assert!(lineup.challenge(ModelVersion(2), now_s - 86_400));
    for hour in 0..24 {
        assert_eq!(lineup.observe(now_s - 86_400 + hour * 3600, 2.0 + (hour % 3) as f64, 1.0), None);
    }
    let contender = |model: ModelKind| json!({ "model": model, "since_s": null });
    let (champion, rival) = (contender(ModelKind::SeasonalNaive), contender(ModelKind::LastValue));
    let contest = json!({ "champion": champion, "rival": rival, "lineup": lineup }).to_string();
    let store = rusqlite::Connection::open(data.join("history.sqlite3")).unwrap();
    store.execute("INSERT INTO contests SELECT id, ?1 FROM keys", [contest]).unwrap();
    drop(store);

    let mut sequence = 0;
    for start_s in [now_s, now_s + 86_400] {
        let before = steps(folder.path());
        // An hour takes 0.3 s.
        let config = format!(
            "step_s: 3600\nclock: {{ speed: 12000, calendar_start: \"{start_s}\" }}\n\
             contracts: [ {{ tenant: shop, resource: requests, rate_per_s: 100 }} ]"
        );
        let daemon = Daemon::start(folder.path(), &config);
        let key = daemon.eventually("both models", || {
            let answer: Value = serde_json::from_str(&daemon.text("/v1/forecasts")).unwrap();
            answer["keys"][0]["rival"].is_string().then(|| answer["keys"][0].clone())
        });
        assert_eq!((&key["model"], &key["rival"]), (&"SeasonalNaive".into(), &"LastValue".into()));
        daemon.eventually("more evidence", || {
            sequence += 1;
            daemon.say(&Message::Report(report(sequence, sequence * 10)));
            (steps(folder.path()) > before + 1).then_some(())
        });
        assert!(before >= 24, "nothing was forgotten: {before}");
        daemon.kill();
    }
}
