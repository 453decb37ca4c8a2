//! What the policy document says of shadow is what the plan does; a document that is wrong, or that `forebay.yaml`
//! contradicts, is no start.

use std::fmt::Write as _;

use serde_json::Value;

use crate::daemon::{Daemon, forebay};

/// Thursday, 2026-01-01; the clock stands at 11 o'clock three weeks later.
const START_S: i64 = 1_767_225_600;
const NOW_H: i64 = 21 * 24 + 11;
const TENANTS: [&str; 4] = ["plain", "capped", "middle", "off"];
const POLICY: &str = "
resources:
  - { name: requests, others: { rate_per_s: 1 }, contract: { rate_per_s: 100, burst: 50 } }
contracts:
  - { tenant: plain, resource: requests }
  - { tenant: capped, resource: requests, shadow: { max_per_s: 30 } }
  - { tenant: middle, resource: requests, shadow: { quantile: 0.5 } }
  - { tenant: off, resource: requests, shadow: { enabled: false } }
";

/// The same for each tenant: about 40 per second, and about 180 for an hour at noon.
fn history() -> String {
    let mut history = String::from("timestamp,key,value\n");
    for hour in 0..NOW_H {
        let usual = if hour % 24 == 12 { 180.0 } else { 40.0 };
        let rate = usual * (1.0 + 0.1 * (hour as f64 * 12.9898).sin());
        for tenant in TENANTS {
            writeln!(history, "{},{tenant}/requests,{rate}", START_S + hour * 3600).unwrap();
        }
    }
    history
}

#[test]
fn slots_obey_the_policy() {
    let folder = tempfile::tempdir().unwrap();
    let (file, data) = (folder.path().join("history.csv"), folder.path().join("data"));
    std::fs::write(&file, history()).unwrap();
    let arguments = ["import", "--data-dir", data.to_str().unwrap(), "--step-s", "3600", file.to_str().unwrap()];
    assert!(forebay(&arguments).status.success());
    std::fs::write(folder.path().join("shop.yaml"), POLICY).unwrap();
    let now_s = START_S + NOW_H * 3600;
    let config = format!("policy: shop.yaml\nstep_s: 3600\nclock: {{ calendar_start: \"{now_s}\" }}");
    let daemon = Daemon::start(folder.path(), &config);
    let plan: Value = daemon.eventually("forecasts of all", || {
        let text = daemon.text("/v1/plan");
        (!text.contains("no_forecast")).then(|| serde_json::from_str(&text).unwrap())
    });

    let of = |list: &str, tenant: &str| -> Value {
        let rows = plan[list].as_array().unwrap();
        rows.iter().find(|row| row["tenant"] == tenant).unwrap_or_else(|| panic!("{tenant} in {plan}")).clone()
    };
    let noon = (now_s / 3600 + 1) as u64;
    let at_noon = |tenant: &str| -> Option<f64> {
        let grant = of("grants", tenant);
        assert!(grant["standard"]["rate_per_s"] == 100.0 && grant["standard"]["burst"] == 50, "{grant}");
        let mut slots = grant["slots"].as_array().unwrap().iter();
        slots.find(|slot| slot["id"] == noon)?["rate_per_s"].as_f64()
    };
    let (plain, middle) = (at_noon("plain").unwrap(), at_noon("middle").unwrap());
    assert!(plain > 60.0 && plain <= 100.0, "{plain} above the standard rate of 100 for about 180");
    assert!(middle > 40.0 && middle < plain - 1.0, "{middle} for the middle, {plain} for the upper quantile");
    assert_eq!(at_noon("capped"), Some(30.0));
    assert_eq!(of("grants", "off")["slots"], Value::Array(Vec::new()));
    let off = of("report", "off");
    assert!(off["reason"] == "limited_by_shadow_max" && off["peak_need_per_s"].as_f64() > Some(60.0), "{off}");

    let forecasts: Value = serde_json::from_str(&daemon.text("/v1/forecasts")).unwrap();
    let quantiles = |row: &Value| (row["shadow_quantile"].as_f64(), row["upper_quantile"].as_f64());
    let told: Vec<_> = forecasts["keys"].as_array().unwrap().iter().map(quantiles).collect();
    let usual = (Some(0.95), Some(0.95));
    assert_eq!(told, [usual, usual, (Some(0.5), Some(0.95)), usual]);
    let metric = |name: &str, tenant: &str| {
        daemon.metric(&format!("forebay_{name}_per_s{{tenant=\"{tenant}\",resource=\"requests\"}}"))
    };
    assert_eq!(metric("forecast_bought", "middle"), metric("forecast_point", "middle"));
    assert_eq!(metric("forecast_bought", "plain"), metric("forecast_upper", "plain"));
}

#[test]
fn a_wrong_policy_ends_with_78_and_both_places() {
    let folder = tempfile::tempdir().unwrap();
    let (file, policy) = (folder.path().join("forebay.yaml"), folder.path().join("shop.yaml"));
    let (at, of_policy) = (file.display().to_string(), policy.display().to_string());
    let refused = |document: &str, contracts: &str, parts: &[&str]| {
        std::fs::write(&policy, document).unwrap();
        std::fs::write(&file, format!("policy: shop.yaml\n{contracts}")).unwrap();
        let output = forebay(&["controller", "--config", &at]);
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(78), "{error}");
        for part in parts.iter().chain(&[at.as_str(), of_policy.as_str()]) {
            assert!(error.contains(part), "{part:?} is not in {error}");
        }
    };
    let wrong = POLICY.replace("quantile: 0.5", "quantile: 50").replace("max_per_s: 30", "max_per_s: -30");
    std::fs::write(&policy, &wrong).unwrap();
    let checked = forebay(&["policy", "check", &of_policy]);
    let findings = String::from_utf8(checked.stdout).unwrap();
    assert_eq!(findings.lines().count(), 2, "{findings}");
    refused(&wrong, "", &findings.lines().collect::<Vec<_>>());
    let other = "contracts: [ { tenant: plain, resource: requests, rate_per_s: 200 } ]";
    refused(POLICY, other, &["contracts[0].rate_per_s: 200 here, but 100 by", "contracts[0]; leave it out here"]);
}
