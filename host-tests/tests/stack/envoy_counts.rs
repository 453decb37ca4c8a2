//! What the filter counts reaches the controller's `/metrics`, on a real Envoy with two workers: the counterfactual of
//! a dry run, what was settled after the response, and attributes per tenant.

use anyhow::Result;
use forebay_host_tests::artefacts::Artefacts;
use forebay_host_tests::bootstrap::{Bootstrap, CONTROLLER_CLUSTER, Listener};
use forebay_host_tests::client::{Request, send_once};
use forebay_host_tests::controller::Controller;
use forebay_host_tests::envoy::Envoy;
use forebay_host_tests::filters::{self, FOREBAY_VM_ID};
use forebay_host_tests::poll;
use forebay_host_tests::upstream::{TRUE_COST, Upstream};
use serde_json::{Value, json};

use super::envoy_rig::{DEADLINE, MAIN, Rig};

const BURST: u64 = 10;
const DRY: u64 = 30;

/// Hardly any rate, so that a plain bucket admits its burst and nothing more. Requests below `/dry` are only counted.
fn policy() -> Value {
    json!({
        "proxy_id": "gateway",
        "controller": { "cluster": CONTROLLER_CLUSTER, "report_interval_ms": 100 },
        "policy": {
            "resources": [
                { "name": "requests", "others": { "rate_per_s": 0, "burst": 0 } },
                { "name": "tokens", "others": { "rate_per_s": 0, "burst": 0 } },
            ],
            "rules": [
                { "match": { "path": "/dry/**" }, "charges": [{ "resource": "requests" }], "dry_run": true },
                { "match": { "path": "/header" }, "charges": [{ "resource": "tokens", "cost": {
                    "settled": { "estimate": 5, "by": { "response_header": TRUE_COST } },
                }}]},
            ],
            "contracts": [
                { "tenant": "shop", "resource": "requests", "rate_per_s": 0.001, "burst": BURST },
                { "tenant": "shop", "resource": "tokens", "rate_per_s": 1000, "burst": 1000 },
            ],
            "attributes": [{ "name": "region", "header": "x-region", "values": ["eu", "us"] }],
        },
    })
}

#[tokio::test]
async fn counts_of_all_workers_arrive_at_the_controller() -> Result<()> {
    let controller = Controller::start(json!({
        "contracts": [
            { "tenant": "shop", "resource": "requests", "rate_per_s": 0.001, "burst": BURST },
            { "tenant": "shop", "resource": "tokens", "rate_per_s": 1000, "burst": 1000 },
        ],
    }))
    .await?;
    let artefacts = Artefacts::find()?;
    let upstream = Upstream::start().await?;
    let listener = Listener::new(MAIN, vec![filters::forebay_streams(&artefacts, FOREBAY_VM_ID, &policy())]);
    let bootstrap =
        Bootstrap::new("gateway").upstream(&[upstream.address()]).controller(controller.address()).listener(listener);
    let envoy = Envoy::start(&artefacts, &bootstrap).await?;
    let rig = Rig { artefacts, upstream, envoy };
    let metric = async |series: &str| -> Result<Option<f64>> {
        let text = send_once(controller.address(), &Request::get("/metrics")).await?.text();
        let line = text.lines().find(|line| line.starts_with(series));
        Ok(line.and_then(|line| line.rsplit(' ').next()?.parse().ok()))
    };
    poll::until("the table", DEADLINE, async || Ok((rig.filter_stat("sync.tables_applied").await? > 0).then_some(())))
        .await?;

    let mut workers = rig.connect_to_both().await?;
    let of = |path: &str| Request::get(path).header("x-tenant", "shop");
    for number in 0..DRY {
        let region = if number % 3 == 0 { "us" } else { "mars" };
        let answer = workers[number as usize % 2].send(&of("/dry/run").header("x-region", region)).await?;
        assert_eq!(answer.status, 200, "a dry run refuses nothing");
    }
    for (worker, cost) in [(0, "2"), (1, "9")] {
        let request = of("/header").header("x-region", "eu").header(TRUE_COST, cost);
        assert_eq!(workers[worker].send(&request).await?.status, 200);
    }

    let key = |resource: &str| format!("tenant=\"shop\",resource=\"{resource}\"");
    let (requests, tokens) = (key("requests"), key("tokens"));
    let exact = [
        (format!("forebay_settled_units_total{{{tokens},outcome=\"refunded\"}}"), 3),
        (format!("forebay_settled_units_total{{{tokens},outcome=\"charged\"}}"), 4),
        (format!("forebay_attribute_requests_total{{{requests},attribute=\"region\",value=\"us\"}}"), DRY / 3),
        (format!("forebay_attribute_requests_total{{{requests},attribute=\"region\",value=\"other\"}}"), DRY / 3 * 2),
        (format!("forebay_attribute_requests_total{{{tokens},attribute=\"region\",value=\"eu\"}}"), 2),
    ];
    for (series, count) in exact {
        poll::until(&series, DEADLINE, async || Ok((metric(&series).await? == Some(count as f64)).then_some(())))
            .await?;
        println!("{series} {count}");
    }
    let would = |outcome: &str| {
        format!("forebay_would_have_requests_total{{{requests},bucket=\"plain\",outcome=\"{outcome}\"}}")
    };
    let counted = poll::until("the counterfactual", DEADLINE, async || {
        let counts = [metric(&would("admitted")).await?, metric(&would("refused")).await?];
        Ok(match counts {
            [Some(admitted), Some(refused)] if admitted + refused == DRY as f64 => Some([admitted, refused]),
            _ => None,
        })
    })
    .await?;
    println!("of {DRY} in dry run a plain bucket of {BURST} would have admitted and refused {counted:?}");
    // Each worker simulates its part, or the whole before it knows of the other one.
    assert!((BURST as f64..=2.0 * BURST as f64).contains(&counted[0]), "{counted:?}");
    let refused = format!("forebay_requests_total{{{requests},lane=\"refused\"}}");
    let refused = metric(&refused).await?.unwrap_or_default();
    assert_eq!(refused, DRY as f64, "enforcing would have refused all: a proxy begins with a second of its rate");
    let worse = metric(&format!("forebay_worse_than_plain_requests_total{{{requests}}}")).await?;
    assert_eq!(worse, Some(counted[0]));
    Ok(())
}
