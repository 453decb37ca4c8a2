//! `forebay simulate` as people call it: a table, JSON, a page, mishaps by seed, and what is refused.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::daemon::forebay;

/// Thursday, 2026-01-01 0:00 UTC.
const START_S: i64 = 1_767_225_600;
const DAYS: i64 = 28;

/// Hourly: `shop` has the same burst each afternoon, `idle` no demand at all.
fn table(folder: &Path) -> PathBuf {
    let mut text = String::from("time,shop,idle\n");
    for hour in 0..DAYS * 24 {
        let rate = if (14..17).contains(&(hour % 24)) { 400.0 } else { 100.0 } + 5.0 * (hour as f64 * 12.9898).sin();
        writeln!(text, "{},{rate},0", START_S + hour * 3600).unwrap();
    }
    let file = folder.join("demand.csv");
    std::fs::write(&file, text).unwrap();
    file
}

fn refused(arguments: &[&str]) -> String {
    let output = forebay(arguments);
    assert!(!output.status.success(), "{arguments:?} should be refused");
    String::from_utf8(output.stderr).unwrap()
}

fn figures<'a>(answer: &'a Value, policy: &str) -> &'a Value {
    let policies = answer["simulations"][0]["policies"].as_array().unwrap();
    policies.iter().find(|of| of["policy"] == policy).unwrap_or_else(|| panic!("{policy} in {answer}"))
}

#[test]
fn a_daily_burst_is_cheaper_by_forecast_and_all_say_so_alike() {
    let folder = tempfile::tempdir().unwrap();
    let (file, page) = (table(folder.path()), folder.path().join("report.html"));
    let (file, page) = (file.to_str().unwrap(), page.to_str().unwrap());
    let asked = ["simulate", file, "--column", "shop", "--lead", "1h", "--html", page];
    let output = forebay(&[&asked[..], &["--json"]].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    let number = |policy: &str, name: &str| figures(&answer, policy)[name].as_f64().unwrap();
    let (own, last) = (number("forebay", "cost_over_oracle"), number("last value", "cost_over_oracle"));
    assert!(own < 0.8 * last, "{own} beside {last}");
    assert!(number("forebay", "tau_u") < 0.05 && number("oracle", "tau_u") == 0.0, "{answer}");
    assert!(figures(&answer, "forebay")["gate"].as_str().unwrap().starts_with("by forecast"));
    // A day of 24 hours at a price of 1 costs as many as are paid for in the mean.
    let price = number("static peak", "price_per_day");
    assert!((price - 24.0 * 100.0).abs() < 24.0 * 3.0, "a static peak of about 100 replicas: {price}");
    assert_eq!(answer["simulations"][0]["frontiers"].as_array().unwrap().len(), 5, "those that can be set");

    let text = String::from_utf8(forebay(&asked).stdout).unwrap();
    let html = std::fs::read_to_string(page).unwrap();
    let cost = format!("{own:.3}");
    for shown in ["static peak", "autoscaler 70 %", "paced reactive", "forebay: by forecast", &cost] {
        assert!(text.contains(shown) && html.contains(shown), "{shown} in {text} and in the page");
    }
    assert_eq!(html.matches("<svg").count(), 2, "a frontier and a course");
    assert!(
        !html.contains("NaN") && !html.contains("<script") && !html.contains("http"),
        "the page needs nothing else"
    );
}

#[test]
fn mishaps_are_the_same_by_seed_and_cost_service() {
    let folder = tempfile::tempdir().unwrap();
    let file = table(folder.path());
    let file = file.to_str().unwrap();
    let run = |more: &[&str]| {
        let asked = ["simulate", file, "--column", "shop", "--lead", "1h", "--policies", "hpa,oracle", "--json"];
        let output = forebay(&[&asked[..], more].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    };
    let hard = ["--failures", "20%", "--startup-jitter", "2h", "--spot-share", "50%", "--interruption", "2"];
    let first = run(&[&hard[..], &["--seed", "7"]].concat());
    assert_eq!(first, run(&[&hard[..], &["--seed", "7"]].concat()));
    assert_ne!(first, run(&[&hard[..], &["--seed", "8"]].concat()));
    let (plain, hard): (Value, Value) =
        (serde_json::from_slice(&run(&[])).unwrap(), serde_json::from_slice(&first).unwrap());
    let unserved = |answer: &Value| figures(answer, "oracle")["tau_u"].as_f64().unwrap();
    assert!(unserved(&plain) == 0.0 && unserved(&hard) > 0.05, "{} and {}", unserved(&plain), unserved(&hard));
    let price = |answer: &Value| figures(answer, "oracle")["price_per_day"].as_f64().unwrap();
    assert!(price(&hard) < 0.9 * price(&plain), "half of the replicas are cheaper");
}

#[test]
fn what_makes_no_sense_is_refused_with_place_and_remedy() {
    let folder = tempfile::tempdir().unwrap();
    let file = table(folder.path());
    let file = file.to_str().unwrap();
    let of = |more: &[&str]| refused(&[&["simulate", file][..], more].concat());
    assert!(of(&["--column", "idle"]).contains("column idle: there is no demand above 0"));
    assert!(of(&["--column", "none"]).contains("there is no column \"none\"; there are shop, idle"));
    assert!(of(&["--target", "150%"]).contains("such as 0.01 or 1%"));
    assert!(of(&["--target", "0"]).contains("--target 0: write a share above 0"));
    assert!(of(&["--replica-units", "0.001"]).contains("choose larger --replica-units"));
    assert!(of(&["--html", "report.pdf"]).contains("report.pdf: a name must end in .html"));
    assert!(of(&["--price", "-1"]).contains("--price -1: write a price from 0 to"));
    let missing = refused(&["simulate", "missing.csv"]);
    assert!(missing.contains("open missing.csv: No such file or directory (os error 2); check the path"), "{missing}");
    assert!(missing.matches("No such file").count() == 1 && !missing.contains("TENANT/RESOURCE"), "{missing}");
    for (option, wrong, remedy) in [
        ("--failures", "100%", "nothing would ever start; write a share below 100%"),
        ("--failures", "NaN", "such as 0.01 or 1%"),
        ("--hpa-target", "1e-300", "write a share from 0.01 to 1"),
        ("--target", "1e-300", "at least 0.000001"),
        ("--interruption", "1e300", "from 0 to 1440"),
        ("--interruption", "-1", "from 0 to 1440"),
        ("--interruption", "inf", "from 0 to 1440"),
        ("--price", "1e300", "from 0 to 1000000"),
        ("--spot-price", "NaN", "from 0 to 1000000"),
        ("--peak-replicas", "0.5", "from 1 to 10000"),
        ("--peak-replicas", "-1", "from 1 to 10000"),
        ("--replica-units", "1e300", "at most 1e30"),
        ("--lead", "99999d", "at most 3660d"),
        ("--lead", "0", "such as 30s, 5m, 24h or 7d"),
    ] {
        let said = of(&[option, wrong]);
        assert!(said.contains(remedy) && said.contains(option), "{option} {wrong}: {said}");
    }
}
