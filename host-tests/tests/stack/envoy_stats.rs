//! On the real Envoy: the shipped `stats_tags` take rule and lane out of the counters' names and make labels of them.

use std::fmt::Write;

use anyhow::Result;
use forebay_engine::metric_names::{Counted, LaneLabel, OTHER_RULES, RULES_WITH_METRICS_MAX, rule_counter};
use forebay_host_tests::artefacts::Artefacts;
use forebay_host_tests::bootstrap::{Bootstrap, Listener};
use forebay_host_tests::envoy::Envoy;
use forebay_host_tests::filters;
use forebay_host_tests::upstream::Upstream;
use serde_json::json;

use super::envoy_hosts::document;
use super::envoy_rig::{MAIN, listener, of, outcome, policy};

/// A module that defines these counters when it is configured, and adds 1 to each.
fn counting_module(names: &[String]) -> Result<Vec<u8>> {
    let (mut data, mut calls, mut at) = (String::new(), String::new(), 4096);
    for name in names {
        writeln!(data, "(data (i32.const {at}) \"{name}\")")?;
        writeln!(
            calls,
            "(drop (call $define (i32.const 0) (i32.const {at}) (i32.const {}) (i32.const 0)))
             (drop (call $increment (i32.load (i32.const 0)) (i64.const 1)))",
            name.len()
        )?;
        at += name.len();
    }
    Ok(wat::parse_str(format!(
        "(module
           (import \"env\" \"proxy_define_metric\" (func $define (param i32 i32 i32 i32) (result i32)))
           (import \"env\" \"proxy_increment_metric\" (func $increment (param i32 i64) (result i32)))
           (memory (export \"memory\") 4)
           {data}
           (func (export \"proxy_abi_version_0_2_1\"))
           (func (export \"proxy_on_memory_allocate\") (param i32) (result i32) (i32.const 65536))
           (func (export \"proxy_on_context_create\") (param i32 i32))
           (func (export \"proxy_on_vm_start\") (param i32 i32) (result i32) (i32.const 1))
           (func (export \"proxy_on_configure\") (param i32 i32) (result i32) {calls} (i32.const 1)))"
    ))?)
}

#[tokio::test]
async fn rule_and_lane_become_labels() -> Result<()> {
    let artefacts = Artefacts::find()?;
    let upstream = Upstream::start().await?;
    let folder = tempfile::tempdir()?;
    let rules = [(0, "api_v1"), (1, "big-uploads"), (2, "Odd Name.x"), (RULES_WITH_METRICS_MAX, "far down")];
    let labels = ["api_v1", "big-uploads", "odd_name_x", OTHER_RULES];
    let mut names = Vec::new();
    for (index, rule) in rules {
        for lane in LaneLabel::ALL {
            names.push(rule_counter(index, rule, lane, Counted::Requests));
            names.push(rule_counter(index, rule, lane, Counted::Units));
        }
    }
    let module = folder.path().join("counting.wasm");
    std::fs::write(&module, counting_module(&names)?)?;

    let mut policy = policy(&[("acme", 100, 100)]);
    policy["policy"]["resources"][0]["others"] = json!({ "rate_per_s": 0, "burst": 0 });
    policy["policy"]["rules"][0]["name"] = json!("real");
    policy["policy"]["attributes"] = json!([{ "name": "region", "header": "x-region", "values": ["eu"] }]);
    let bootstrap = Bootstrap::new("stats")
        .upstream(&[upstream.address()])
        .stats_config(document("envoy/standalone/envoy.yaml")?["stats_config"].clone())
        .listener(listener(&artefacts, &policy))
        .listener(Listener::new(
            "counting",
            vec![filters::wasm("counting", "counting", "counting", &module, &json!({}))],
        ));
    let envoy = Envoy::start(&artefacts, &bootstrap).await?;
    let mut connection = forebay_host_tests::client::Connection::open(envoy.address(MAIN)?).await?;
    assert_eq!(
        outcome(&connection.send(&of("acme").header("x-region", "eu").header("x-cost", "3")).await?),
        "standard"
    );
    assert_eq!(outcome(&connection.send(&of("nobody")).await?), "429");

    // The filter hands its counts to Envoy at the next tick.
    let text = forebay_host_tests::poll::until("counts in Envoy's stats", super::envoy_rig::DEADLINE, async || {
        let text = envoy.admin_get("/stats?format=prometheus").await?.text();
        let counted = |lane: &str| text.contains(&format!("forebay_requests{{forebay_lane=\"{lane}\"}} 1\n"));
        let line = |what: &str, labels: [String; 2], count: u64| {
            let [a, b] = labels;
            let wanted = [format!("{what}{{{a},{b}}} {count}\n"), format!("{what}{{{b},{a}}} {count}\n")];
            wanted.iter().any(|line| text.contains(line))
        };
        let of_rule = |what: &str, lane: &str, count| {
            line(what, ["forebay_rule=\"real\"".into(), format!("forebay_lane=\"{lane}\"")], count)
        };
        let of_value = |value: &str| {
            let labels = ["forebay_attribute=\"region\"".into(), format!("forebay_value=\"{value}\"")];
            line("forebay_attribute_requests", labels, 1)
        };
        let real = of_rule("forebay_rule_requests", "standard", 1)
            && of_rule("forebay_rule_units", "standard", 3)
            && of_rule("forebay_rule_requests", "refused", 1)
            && of_value("eu")
            && of_value("other");
        Ok((counted("standard") && counted("refused") && real).then_some(text))
    })
    .await?;
    for rule in labels {
        for lane in LaneLabel::ALL {
            for what in ["requests", "units"] {
                let line = format!("forebay_rule_{what}{{forebay_rule=\"{rule}\",forebay_lane=\"{}\"}}", lane.name());
                let other = format!("forebay_rule_{what}{{forebay_lane=\"{}\",forebay_rule=\"{rule}\"}}", lane.name());
                assert!(text.contains(&line) || text.contains(&other), "{line} is missing in\n{text}");
            }
        }
    }
    let unlabelled: Vec<_> =
        text.lines().filter(|line| line.starts_with("forebay_rule_") && line.contains("_lane_")).collect();
    assert!(unlabelled.is_empty(), "names that kept their parts: {unlabelled:?}");
    Ok(())
}

#[test]
fn all_configurations_ship_the_same_tags() -> Result<()> {
    let standalone = document("envoy/standalone/envoy.yaml")?["stats_config"].clone();
    let istio =
        document("envoy/istio/stats.yaml")?["spec"]["configPatches"][0]["patch"]["value"]["stats_config"].clone();
    let gateway = document("envoy/gateway/envoyproxy.yaml")?["spec"]["bootstrap"]["jsonPatches"][1]["value"].clone();
    assert_eq!(standalone["stats_tags"].as_array().map(Vec::len), Some(5));
    assert_eq!(istio, standalone);
    assert_eq!(gateway, standalone);
    Ok(())
}
