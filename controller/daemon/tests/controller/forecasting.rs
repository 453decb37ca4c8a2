//! `forebay forecast` and `forebay backtest` as people call them: files, keys, models, pages, and what is refused.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::daemon::{Daemon, forebay};

/// Thursday, 2026-01-01 0:00 UTC.
const START_S: i64 = 1_767_225_600;
const DAYS: i64 = 21;

/// Hourly: `steady` has the same burst at noon of each day, `empty` has no value.
fn table(folder: &Path) -> PathBuf {
    let mut text = String::from("time,steady,empty,label\n");
    for hour in 0..DAYS * 24 {
        let rate = if hour % 24 == 12 { 180.0 } else { 40.0 } + (hour as f64 * 12.9898).sin();
        writeln!(text, "{},{rate},,0", START_S + hour * 3600).unwrap();
    }
    let file = folder.join("load.csv");
    std::fs::write(&file, text).unwrap();
    file
}

/// A store with hourly history of `shop/requests`: 10 at midnight, and one more each hour.
fn imported(folder: &Path) -> PathBuf {
    let (history, data) = (folder.join("history.csv"), folder.join("data"));
    let mut text = String::from("timestamp,key,value\n");
    for hour in 0..DAYS * 24 {
        writeln!(text, "{},shop/requests,{}", START_S + hour * 3600, 10 + hour % 24).unwrap();
    }
    std::fs::write(&history, text).unwrap();
    let (folder, file) = (data.to_str().unwrap(), history.to_str().unwrap());
    assert!(forebay(&["import", "--data-dir", folder, "--step-s", "3600", file]).status.success());
    data
}

/// Evenly between -0.5 and 0.5, the same for the same arguments.
fn noise(at: i64, seed: i64) -> f64 {
    let mut state = (at * 2_654_435_761 + seed * 40_503).unsigned_abs().wrapping_mul(0x9e37_79b9_7f4a_7c15);
    state ^= state >> 29;
    state = state.wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (state >> 11) as f64 / (1_u64 << 53) as f64 - 0.5
}

fn json(arguments: &[&str]) -> Value {
    let output = forebay(arguments);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn refused(arguments: &[&str]) -> String {
    let output = forebay(arguments);
    assert!(!output.status.success(), "{arguments:?} should be refused");
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn a_file_is_forecast_with_reasons_and_a_page() {
    let folder = tempfile::tempdir().unwrap();
    let (file, page) = (table(folder.path()), folder.path().join("fans.html"));
    let (file, page) = (file.to_str().unwrap(), page.to_str().unwrap());
    let ask = ["forecast", file, "--column", "steady", "--horizon", "2h,24h", "--quantiles", "0.5,0.95", "--explain"];
    let text = forebay(&[&ask[..], &["--plot", page]].concat());
    assert!(text.status.success(), "{}", String::from_utf8_lossy(&text.stderr));
    let text = String::from_utf8(text.stdout).unwrap();
    assert!(text.contains("steady: 24h ahead by") && text.contains("is chosen: "), "{text}");
    assert!(text.contains("verdict: ") && text.contains("% of the naive loss, standard error"), "{text}");
    let answer = json(&[&ask[..], &["--json"]].concat());
    let forecasts = answer["forecasts"].as_array().unwrap();
    let lengths: Vec<usize> = forecasts.iter().map(|forecast| forecast["steps"].as_array().unwrap().len()).collect();
    assert_eq!(lengths, [2, 24]);
    let noon = &forecasts[1]["steps"][12];
    assert_eq!(noon["start_s"], START_S + (DAYS * 24 + 12) * 3600);
    let (median, upper) = (noon["quantiles"][0].as_f64().unwrap(), noon["quantiles"][1].as_f64().unwrap());
    assert!((170.0..190.0).contains(&median) && upper >= median, "the burst is forecast: {noon}");
    assert!(!forecasts[1]["explain"]["candidates"].as_array().unwrap().is_empty());
    let (worth, gain) = (&forecasts[1]["worth"], forecasts[1]["explain"]["gain"].as_f64().unwrap());
    assert!(if gain > 0.0 { worth != "no-forecaster-helps" } else { worth == "no-forecaster-helps" }, "{worth} {gain}");

    let page_once = std::fs::read(page).unwrap();
    assert!(String::from_utf8_lossy(&page_once).contains("steady, 24h ahead by"));
    assert!(forebay(&[&ask[..], &["--plot", page]].concat()).status.success());
    assert_eq!(page_once, std::fs::read(page).unwrap(), "the same input gives the same bytes");
}

#[test]
fn events_of_a_feed_are_put_into_a_forecast_and_explained() {
    let folder = tempfile::tempdir().unwrap();
    let (file, feed) = (table(folder.path()), folder.path().join("events.ics"));
    let event = "BEGIN:VEVENT\nSUMMARY:Launch\nDTSTART;VALUE=DATE:20260122\nX-FOREBAY-UPLIFT:3\nEND:VEVENT";
    std::fs::write(&feed, format!("BEGIN:VCALENDAR\n{event}\nEND:VCALENDAR\n")).unwrap();
    let ask = [
        "forecast",
        file.to_str().unwrap(),
        "--column",
        "steady",
        "--horizon",
        "24h",
        "--quantiles",
        "0.5",
        "--explain",
    ];
    let events = ["--events", feed.to_str().unwrap(), "--zone", "Etc/GMT+12"];
    let (plain, with) = (json(&[&ask[..], &["--json"]].concat()), json(&[&ask[..], &events, &["--json"]].concat()));
    let steps = |answer: &Value| answer["forecasts"][0]["steps"].as_array().unwrap().clone();
    for (plain, with) in steps(&plain).iter().zip(&steps(&with)) {
        // Twelve hours west, the day of the launch begins at noon.
        let factor = if with["start_s"].as_i64().unwrap() < START_S + DAYS * 86_400 + 12 * 3600 { 1.0 } else { 3.0 };
        let lifted = with["quantiles"][0].as_f64().unwrap() / plain["quantiles"][0].as_f64().unwrap();
        assert!((lifted / factor - 1.0).abs() < 1e-9, "{with} for {plain}");
        assert_eq!(with["uplift"].is_null(), factor == 1.0);
    }
    let kinds = &with["forecasts"][0]["explain"]["events"];
    assert_eq!(
        (&kinds[0]["kind"], &kinds[0]["evidence"], &kinds[1]),
        (&"launch".into(), &"given".into(), &Value::Null)
    );
    let text = String::from_utf8(forebay(&[&ask[..], &events].concat()).stdout).unwrap();
    assert!(text.contains("never seen, as given in the feed: x 3.00"), "{text}");
    let refused = refused(&[&ask[..], &["--events", file.to_str().unwrap()]].concat());
    assert!(refused.contains("load.csv: reading a calendar feed"), "{refused}");
}

#[test]
fn a_backtest_compares_with_naive_forecasts() {
    let folder = tempfile::tempdir().unwrap();
    let (file, page) = (table(folder.path()), folder.path().join("lived.html"));
    let (file, page) = (file.to_str().unwrap(), page.to_str().unwrap());
    let ask = ["backtest", file, "--column", "steady", "--horizon", "2h", "--models", "seasonal-naive,last-value"];
    let answer = json(&[&ask[..], &["--json", "--plot", page]].concat());
    let [seasonal, last] = answer["backtests"].as_array().unwrap().as_slice() else { panic!("{answer}") };
    assert_eq!(seasonal["wql"], seasonal["wql_seasonal_naive"], "the same forecaster twice");
    assert_eq!((&seasonal["wql_ratio"], &seasonal["windows"]), (&1.0.into(), &76.into()));
    assert!(seasonal["worth"]["not-tried"].as_u64().unwrap() > 0, "{seasonal}");
    assert!(last["wql_ratio"].as_f64().unwrap() > 2.0, "the noon burst is missed: {last}");
    assert!(seasonal["coverage_p95"].as_f64().unwrap() > 0.9, "{seasonal}");
    assert!(std::fs::read_to_string(page).unwrap().matches("<svg").count() == 2);
    let table = String::from_utf8(forebay(&ask).stdout).unwrap();
    assert!(table.contains("seasonal-naive") && table.contains("ratio: weighted quantile loss"), "{table}");
}

#[test]
fn a_backtest_tells_what_a_calendar_is_worth() {
    let folder = tempfile::tempdir().unwrap();
    // Forty days of hours; on three of each kind demand is threefold or halved, and the last are in the judged part.
    let days = [(5, "sale"), (12, "strike"), (19, "sale"), (24, "strike"), (31, "sale"), (35, "strike")];
    let mut text = String::from("time,load\n");
    let mut feed = String::from("BEGIN:VCALENDAR\n");
    for hour in 0..40 * 24 {
        let factor = match days.iter().find(|(day, _)| *day == hour / 24) {
            Some((_, "sale")) => 3.0,
            Some(_) => 0.5,
            None => 1.0,
        };
        let rate = factor * (50.0 + (hour % 24) as f64 + (hour as f64 * 12.9898).sin());
        writeln!(text, "{},{rate}", START_S + hour * 3600).unwrap();
    }
    for (day, kind) in days {
        let date = if day < 31 { format!("202601{:02}", day + 1) } else { format!("202602{:02}", day - 30) };
        writeln!(feed, "BEGIN:VEVENT\nSUMMARY:{kind}\nDTSTART;VALUE=DATE:{date}\nEND:VEVENT").unwrap();
    }
    let [file, calendar, page, image] = ["load.csv", "events.ics", "lived.html", "lived.png"].map(|name| {
        let path = folder.path().join(name);
        path.to_str().unwrap().to_owned()
    });
    std::fs::write(&file, text).unwrap();
    std::fs::write(&calendar, feed + "END:VCALENDAR\n").unwrap();
    let ask = ["backtest", &file, "--horizon", "24h", "--models", "seasonal-profile"];
    let events = ["--events", &calendar, "--plot", &page, "--plot", &image];
    let plain = json(&[&ask[..], &["--json"]].concat())["backtests"][0].clone();
    let with = json(&[&ask[..], &events, &["--json"]].concat())["backtests"][0].clone();
    assert!(plain["events"].is_null());
    let worth = &with["events"];
    let figure = |part: &str, name: &str| worth[part][name].as_f64().unwrap();
    assert!(figure("in_events", "ratio") < 0.7, "{worth}");
    assert!(figure("elsewhere", "ratio") < 1.0, "yesterday's event is no pattern: {worth}");
    assert_eq!(worth["events"], 6);
    // Both lives are the same ones that are told elsewhere.
    let mean = |name: &str| {
        let (inside, all) = (worth["scored_steps"].as_f64().unwrap(), with["scored_steps"].as_f64().unwrap());
        assert!(inside > 0.0 && inside < all);
        (figure("in_events", name), figure("elsewhere", name))
    };
    for (name, all) in [("wql_without", &plain["wql"]), ("wql_with", &with["wql"])] {
        let (inside, elsewhere) = mean(name);
        let all = all.as_f64().unwrap();
        assert!((all - inside) * (all - elsewhere) <= 0.0, "{all} lies between {inside} and {elsewhere}");
    }
    let page = std::fs::read_to_string(&page).unwrap();
    assert!(page.contains("without the calendar") && page.contains("stroke-dasharray"), "{page}");
    assert!(std::fs::read(&image).unwrap().starts_with(b"\x89PNG"));
    let text = String::from_utf8(forebay(&[&ask[..], &events].concat()).stdout).unwrap();
    assert!(text.contains("loss on steps in events and elsewhere") && text.contains("inside"), "{text}");
    assert!(refused(&[&ask[..], &["--plot", "fans.gif"]].concat()).contains("must end in .html, .svg or .png"));
}

#[test]
fn a_key_of_the_store_is_a_source() {
    let folder = tempfile::tempdir().unwrap();
    let data = imported(folder.path());
    let config = folder.path().join("forebay.yaml");
    std::fs::write(&config, "step_s: 3600\n").unwrap();
    let (data, config) = (data.to_str().unwrap(), config.to_str().unwrap());
    let from = ["--data-dir", data, "--config", config, "--json"];
    let answer = json(&[&["forecast", "shop/requests"], &from[..]].concat());
    let forecast = &answer["forecasts"][0];
    assert_eq!((&forecast["series"], &forecast["known_steps"]), (&"shop/requests".into(), &(DAYS * 24).into()));
    assert_eq!(forecast["steps"][0]["quantiles"][1], 10.0, "midnight, as every day");

    let unknown = refused(&[&["forecast", "shop/bytes"], &from[..]].concat());
    assert!(unknown.contains("no points of this key"), "{unknown}");
    let nowhere = refused(&["forecast", "shop/requests", "--data-dir", folder.path().join("no").to_str().unwrap()]);
    assert!(nowhere.contains("there is no history in") && nowhere.contains("--data-dir"), "{nowhere}");
    assert!(!folder.path().join("no").exists(), "looking makes nothing");
}

#[test]
fn a_key_is_forecast_from_what_the_controller_believes_and_with_its_feeds() {
    let folder = tempfile::tempdir().unwrap();
    let data = imported(folder.path());
    let end_s = START_S + DAYS * 24 * 3600;
    let feed = "BEGIN:VCALENDAR\nBEGIN:VEVENT\nSUMMARY:Launch\nDTSTART;VALUE=DATE:20260122\nX-FOREBAY-UPLIFT:3\n\
                END:VEVENT\nEND:VCALENDAR\n";
    std::fs::write(folder.path().join("events.ics"), feed).unwrap();
    let config = |more: &str| {
        format!(
            "step_s: 3600\nclock: {{ calendar_start: \"{end_s}\" }}\n{more}\
             contracts: [ {{ tenant: shop, resource: requests, rate_per_s: 100 }} ]"
        )
    };
    // Two people say what they know: half of an hour's demand was an attack, and a whole day was odd.
    let daemon = Daemon::start(folder.path(), &config(""));
    let say = |from_s: i64, to_s: i64, word: &str| {
        let body = format!(
            r#"{{"tenant": "shop", "resource": "requests", "from_s": {from_s}, "to_s": {to_s}, "by": "ana", {word}}}"#
        );
        assert_eq!(daemon.post_json("/v1/anomalies", &body).0, 200, "{body}");
    };
    let (noon, day) = (end_s - 12 * 3600, end_s - 2 * 86_400);
    say(noon, noon + 3600, r#""word": "hostile", "rate_per_s": 11"#);
    say(day, day + 86_400, r#""word": "anomalous""#);
    assert_eq!(daemon.terminate(), Some(0));
    let file = folder.path().join("forebay.yaml");
    std::fs::write(&file, config("forecast: { events: [ { file: events.ics } ] }\n")).unwrap();
    let ask = ["forecast", "shop/requests", "--data-dir", data.to_str().unwrap(), "--config", file.to_str().unwrap()];
    let ask = [&ask[..], &["--horizon", "2h", "--explain"]].concat();
    let answer = json(&[&ask[..], &["--json"]].concat());
    let forecast = &answer["forecasts"][0];
    assert_eq!(forecast["known_steps"], (DAYS - 1) * 24, "the odd day is not learned");
    let uplift = forecast["steps"][0]["uplift"].as_f64().unwrap();
    assert!((uplift - 3.0).abs() < 1e-9, "the launch of the configured feed: {uplift}");
    let treatments: Vec<&str> = forecast["explain"]["left_out"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|one| one["treatment"].as_str())
        .collect();
    assert_eq!(treatments, ["excluded", "reduced"], "{forecast}");
    assert_eq!(forecast["explain"]["left_out"][1]["by_per_s"], 11.0);
    let text = String::from_utf8(forebay(&ask).stdout).unwrap();
    assert!(text.contains("not learned as measured, by the ledger: 2 stretches"), "{text}");
    assert!(text.contains("less 11.0000 a second, which were hostile"), "{text}");
}

#[test]
fn another_season_than_the_day_is_forecast_and_told_in_real_time() {
    let folder = tempfile::tempdir().unwrap();
    let mut text = String::from("time,shifts\n");
    for hour in 0..20 * 36 {
        let rate = if hour % 36 < 12 { 90 + hour % 36 } else { 10 };
        writeln!(text, "{},{rate}", START_S + hour * 3600).unwrap();
    }
    let file = folder.path().join("shifts.csv");
    std::fs::write(&file, text).unwrap();
    let file = file.to_str().unwrap();
    let ask = ["forecast", file, "--horizon", "36h", "--models", "seasonal-naive", "--quantiles", "0.5", "--json"];
    let forecast = |season: &[&str]| json(&[&ask[..], season].concat())["forecasts"][0].clone();
    let by_shift = forecast(&["--season", "36h"]);
    assert_eq!((&by_shift["step_s"], &by_shift["history_end_s"]), (&3600.into(), &(START_S + 20 * 36 * 3600).into()));
    for (hour, step) in by_shift["steps"].as_array().unwrap().iter().enumerate() {
        let rate = if hour < 12 { 90.0 + hour as f64 } else { 10.0 };
        assert_eq!(
            (&step["quantiles"][0], &step["start_s"]),
            (&rate.into(), &(START_S + (720 + hour as i64) * 3600).into())
        );
    }
    assert_eq!(forecast(&["--season", "36"]), by_shift, "in steps");
    assert_eq!(forecast(&["--season", "36h,252h"]), by_shift, "with the longer season that models know");
    assert_eq!(forecast(&["--season", "24h,7d"]), forecast(&[]), "the default");
    let judged =
        json(&["backtest", file, "--horizon", "36h", "--season", "36h", "--models", "seasonal-naive", "--json"]);
    assert_eq!(judged["backtests"][0]["wql"], 0.0);
    let error = |season: &str| refused(&["forecast", file, "--season", season]);
    assert!(error("36h,48h").contains("shifts: --season 36h with others: models know one season and one of 7 times"));
    assert!(error("168h").contains("168 steps cannot take the place of a day; choose at least 2 steps that divide"));
    assert!(error("90m").contains("90m is no whole number of the steps of 1h"));
    assert!(error("sometimes").contains("write lengths such as 24h, 7d or 90m"));
}

#[test]
fn leads_are_told_with_their_evidence() {
    let folder = tempfile::tempdir().unwrap();
    // What `shop` does, `mail` does half of five steps later.
    let mut text = String::from("time,shop,mail,other\n");
    for step in 0..20 * 48 {
        let wave = 100.0 + 40.0 * (step as f64 / 48.0 * std::f64::consts::TAU).sin();
        let (shop, other) = (wave + 30.0 * noise(step, 1), wave + 30.0 * noise(step, 2));
        let mail = wave + 24.0 * noise(step - 5, 1) + 24.0 * noise(step, 3);
        writeln!(text, "{},{shop},{mail},{other}", START_S + step * 1800).unwrap();
    }
    let file = folder.path().join("three.csv");
    std::fs::write(&file, text).unwrap();
    let ask = ["backtest", file.to_str().unwrap(), "--leads", "--models", "seasonal-naive"];
    let answer = json(&[&ask[..], &["--json"]].concat());
    let [lead] = answer["leads"]["found"].as_array().unwrap().as_slice() else { panic!("{}", answer["leads"]) };
    assert_eq!((&lead["leader"], &lead["follower"]), (&"shop".into(), &"mail".into()));
    assert_eq!((&lead["lag_steps"], &lead["lag_s"]), (&5.into(), &9000.into()));
    assert!(lead["q_value"].as_f64().unwrap() < 1e-6 && lead["held_out_gain"].as_f64().unwrap() > 0.3, "{lead}");
    let text = String::from_utf8(forebay(&ask).stdout).unwrap();
    assert!(text.contains("leads: 1 of 72 tests") && text.contains("saves of variance"), "{text}");
    let alone = refused(&[&ask[..], &["--column", "shop"]].concat());
    assert!(alone.contains("give a file with several columns") && alone.contains("2 to 256"), "{alone}");
}

#[test]
fn a_sum_is_less_uncertain_than_its_parts_added_up() {
    let folder = tempfile::tempdir().unwrap();
    // Four columns that vary each for itself.
    let mut text = String::from("time,a,b,c,d\n");
    for hour in 0..DAYS * 24 {
        write!(text, "{}", START_S + hour * 3600).unwrap();
        (0..4).for_each(|seed| write!(text, ",{}", 100.0 + 20.0 * noise(hour, seed)).unwrap());
        text.push('\n');
    }
    let file = folder.path().join("four.csv");
    std::fs::write(&file, text).unwrap();
    let file = file.to_str().unwrap();
    let ask = ["forecast", file, "--sum", "--models", "seasonal-profile", "--quantiles", "0.05,0.5,0.95"];
    let answer = json(&[&ask[..], &["--json"]].concat());
    let [sum] = answer["sums"].as_array().unwrap().as_slice() else { panic!("{answer}") };
    assert_eq!(sum["parts"], serde_json::json!(["a", "b", "c", "d"]));
    assert!(sum["moments"].as_u64().unwrap() >= 60, "{sum}");
    let step = &sum["steps"][0];
    let of = |name: &str, place: usize| step[name][place].as_f64().unwrap();
    assert!((of("quantiles", 1) / 400.0 - 1.0).abs() < 0.05, "{step}");
    let width = |name: &str| of(name, 2) - of(name, 0);
    let share = width("quantiles") / width("added_quantiles");
    assert!((0.35..0.7).contains(&share), "independent ones: one by the root of four, {share}");
    let added: f64 = (0..4).map(|part| answer["forecasts"][part]["steps"][0]["quantiles"][2].as_f64().unwrap()).sum();
    assert!((of("added_quantiles", 2) - added).abs() < 1e-9);
    let text = String::from_utf8(forebay(&ask).stdout).unwrap();
    assert!(text.contains("sum of 4 series, 1h ahead; dependence from") && text.contains("added p95"), "{text}");
}

#[test]
fn what_cannot_be_done_is_said_with_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let file = table(folder.path());
    let file = file.to_str().unwrap();
    let error = |arguments: &[&str]| refused(&[&["forecast", file], arguments].concat());
    let ragged = error(&["--column", "steady", "--horizon", "90m"]);
    assert!(
        ragged.contains("steady: --horizon 90m is no whole number of its steps of 1h; choose one such as 2h"),
        "{ragged}"
    );
    assert!(error(&["--column", "load"]).contains("there is no column \"load\"; there are steady, empty"));
    assert!(error(&["--models", "crystal-ball"]).contains("--models crystal-ball: there is no such model"));
    for wrong in ["0", "-1", "NaN", "inf", "1e300"] {
        let said = error(&["--cost-of-short", wrong]);
        assert!(said.contains("write a number above 0, at most 1000000"), "{wrong}: {said}");
    }
    assert!(error(&["--quantiles", "1"]).contains("--quantiles 1: a quantile lies between 0 and 1"));
    assert!(error(&["--horizon", "soon"]).contains("such as 30s, 5m, 24h"));
    assert!(error(&["--column", "steady", "--horizon", "400h"]).contains("choose a shorter --horizon"));
    let missing = refused(&["forecast", folder.path().join("no.csv").to_str().unwrap()]);
    assert!(missing.contains("check the path"), "{missing}");
    assert!(refused(&["backtest", "nonsense"]).contains("neither a file nor a key"));
}

#[test]
fn one_series_that_fails_does_not_keep_the_others() {
    let folder = tempfile::tempdir().unwrap();
    let mut text = String::from("time,known,rare\n");
    for hour in 0..DAYS * 24 {
        let rare = if hour < 30 { hour.to_string() } else { String::new() };
        writeln!(text, "{},{},{rare}", START_S + hour * 3600, hour % 24).unwrap();
    }
    let file = folder.path().join("two.csv");
    std::fs::write(&file, text).unwrap();
    let output = forebay(&["forecast", file.to_str().unwrap(), "--json"]);
    assert!(!output.status.success());
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(answer["forecasts"].as_array().unwrap().len(), 1);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(
        stderr.contains("rare, horizon 1h: fitting: 30 known steps of history, 48 are needed; give a longer"),
        "{stderr}"
    );
}

#[test]
fn what_the_controller_decided_is_explained_from_its_store() {
    let folder = tempfile::tempdir().unwrap();
    let data = imported(folder.path());
    let data = data.to_str().unwrap();
    let end_s = START_S + DAYS * 24 * 3600;
    let config = format!(
        "step_s: 3600\nclock: {{ calendar_start: \"{end_s}\" }}\n\
         contracts: [ {{ tenant: shop, resource: requests, rate_per_s: 100 }} ]"
    );
    let daemon = Daemon::start(folder.path(), &config);
    let choices = daemon.eventually("choice", || {
        let (status, body) = daemon.get("/v1/forecasts/choices?tenant=shop&resource=requests");
        assert_eq!(status, 200, "{}", String::from_utf8_lossy(&body));
        let answer: Value = serde_json::from_slice(&body).unwrap();
        answer["choices"].as_array().filter(|choices| !choices.is_empty()).cloned()
    });
    assert!((end_s..end_s + 60).contains(&choices[0]["at_s"].as_i64().unwrap()), "{choices:?}");
    assert_eq!(choices[0]["chosen"]["Fitted"]["place"], "First");
    assert_eq!(daemon.get("/v1/forecasts/choices?tenant=shop&resource=bytes").0, 404);
    assert_eq!(daemon.get("/v1/forecasts/choices?tenant=shop").0, 400);
    assert_eq!(daemon.terminate(), Some(0));

    let step = folder.path().join("step.yaml");
    std::fs::write(&step, "step_s: 3600\n").unwrap();
    let ask = ["forecast", "--explain", "shop/requests", "--data-dir", data, "--config", step.to_str().unwrap()];
    let text = String::from_utf8(forebay(&ask).stdout).unwrap();
    assert!(text.contains("shop/requests: what the controller decided, the newest 1 of 1"), "{text}");
    assert!(text.contains("fitted (there was no forecaster); it forecasts; held-out loss"), "{text}");
    assert!(text.contains("scores of the fit of 2026-01-22 00:00:00") && text.contains("is chosen: "), "{text}");
    let answer = json(&[&ask[..], &["--json"]].concat());
    assert_eq!(answer["choices"], Value::Array(choices));
}

#[test]
fn a_network_of_all_columns_and_searched_parameters_take_part_in_a_backtest() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("two.csv");
    let mut text = String::from("time,a,b\n");
    for hour in 0..DAYS * 24 {
        let wave = 40.0 + 20.0 * (hour as f64 / 24.0 * std::f64::consts::TAU).sin() + (hour * 7919 % 101) as f64 / 10.0;
        writeln!(text, "{},{wave},{}", START_S + hour * 3600, 3.0 * wave).unwrap();
    }
    std::fs::write(&file, text).unwrap();
    let file = file.to_str().unwrap();
    let ask = ["backtest", file, "--horizon", "2h", "--json"];
    let ratios = |more: &[&str]| {
        let answer = json(&[&ask[..], more].concat());
        let all = answer["backtests"].as_array().unwrap();
        all.iter().map(|one| one["wql_ratio"].as_f64().unwrap()).collect::<Vec<_>>()
    };
    let network = ratios(&["--network=1", "--search", "2"]);
    assert_eq!(network.len(), 2);
    let lstm = |more: &[&str]| ratios(&[&["--models", "lstm"], more].concat());
    assert_ne!(lstm(&[]), lstm(&["--network=1"]), "one of its own, and one of both columns");
    assert!(network.iter().all(|ratio| *ratio < 1.0), "{network:?}");
    let one = refused(&[&ask[..], &["--column", "a", "--network"]].concat());
    assert!(one.contains("--network: a is the only series"), "{one}");
    assert!(refused(&[&ask[..], &["--search", "1"]].concat()).contains("2..=64"));
}
