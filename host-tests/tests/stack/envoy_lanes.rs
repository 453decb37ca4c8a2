//! On the real Envoy: what upstreams and clients see of a decision, and what happens to a wrong configuration.

use anyhow::{Context, Result};
use forebay_host_tests::artefacts::{Artefacts, workspace_root};
use forebay_host_tests::bootstrap::Bootstrap;
use forebay_host_tests::envoy::{Envoy, validate};
use forebay_host_tests::poll;
use forebay_host_tests::upstream::Upstream;
use forebay_protocol::v1::{Limit, Slot};
use serde_json::json;

use super::envoy_rig::{DEADLINE, Rig, listener, of, outcome, policy};
use super::envoy_scripted::{Scripted, grant, table};

const WRONG_RATE: &str = "policy.resources[0].others.rate_per_s: the rate is out of range; choose 0 to";

#[tokio::test]
async fn admitted_requests_carry_their_lane_and_refused_ones_an_answer() -> Result<()> {
    let mut controller = Scripted::start().await?;
    let rig = Rig::start(policy(&[]), Some(controller.address())).await?;
    let pace = Limit { rate_milli_per_s: 3_000, burst: 3 };
    let mut gold = grant("gold", 0, 0);
    gold.slots = vec![Slot { id: 1, starts_in_ms: 0, length_ms: 600_000, amount: 3, pace }];
    controller.push(table(1, 600_000, vec![gold, grant("plain", 1, 1)])).await?;

    let mut connection = rig.connect().await?;
    let spoofed = of("gold").header("x-forebay-lane", "spoofed");
    poll::until("reserved lane", DEADLINE, async || {
        Ok((outcome(&connection.send(&spoofed).await?) == "reserved").then_some(()))
    })
    .await?;
    let own_priority = of("gold").header("priority", "u=5");
    assert_eq!(outcome(&connection.send(&own_priority).await?), "reserved");
    assert_eq!(outcome(&connection.send(&of("gold")).await?), "reserved");
    assert_eq!(outcome(&connection.send(&of("plain").header("x-forebay-lane", "reserved")).await?), "standard");

    let seen = rig.upstream.recent();
    let values = |index: usize, name: &str| -> Vec<String> {
        seen[index].headers.get_all(name).iter().map(|v| String::from_utf8_lossy(v.as_bytes()).into_owned()).collect()
    };
    let lanes: Vec<_> = (0..seen.len()).map(|index| values(index, "x-forebay-lane")).collect();
    assert_eq!(lanes, [["reserved"], ["reserved"], ["reserved"], ["standard"]], "one value each, a client's copy gone");
    let priorities: Vec<_> = (0..seen.len()).map(|index| values(index, "priority")).collect();
    assert_eq!(priorities, [vec!["u=1"], vec!["u=5"], vec!["u=1"], vec![]]);

    let spent = connection.send(&of("gold")).await?;
    assert_eq!((spent.status.as_u16(), spent.header("retry-after")), (429, None), "the slot's three are spent");
    let refused = poll::until("refusal", DEADLINE, async || {
        let answer = connection.send(&of("plain")).await?;
        Ok((answer.status == 429).then_some(answer))
    })
    .await?;
    let retry_after_s: u64 = refused.header("retry-after").context("no retry-after")?.parse()?;
    assert!((1..=2).contains(&retry_after_s), "one second, and a spread of one: {retry_after_s}");
    assert_eq!(refused.header("x-envoy-ratelimited"), Some("true"));
    assert_eq!(refused.header("content-type"), Some("application/problem+json"));
    let problem: serde_json::Value = serde_json::from_slice(&refused.body).context("the body is no JSON")?;
    assert_eq!((problem["status"].as_u64(), problem["violated-policies"][0].as_str()), (Some(429), Some("requests")));
    Ok(())
}

#[tokio::test]
async fn a_wrong_filter_configuration_is_refused_and_the_old_one_stays() -> Result<()> {
    let mut wrong = policy(&[]);
    wrong["policy"]["resources"][0]["others"]["rate_per_s"] = json!(-1);

    let artefacts = Artefacts::find()?;
    let upstream = Upstream::start().await?;
    let bootstrap = Bootstrap::new("wrong").upstream(&[upstream.address()]).listener(listener(&artefacts, &wrong));
    let error = Envoy::start(&artefacts, &bootstrap).await.err().context("Envoy started all the same")?;
    assert!(format!("{error:#}").contains(WRONG_RATE), "{error:#}");

    let mut rig = Rig::start(policy(&[("acme", 100, 100)]), None).await?;
    let error = rig.envoy.replace_listeners(&[listener(&artefacts, &wrong)]).await.err().context("taken")?;
    assert!(format!("{error:#}").contains(WRONG_RATE), "{error:#}");
    assert_eq!(outcome(&rig.connect().await?.send(&of("acme")).await?), "standard");
    Ok(())
}

#[test]
fn the_configuration_to_copy_is_valid_and_a_wrong_one_is_not() -> Result<()> {
    let artefacts = Artefacts::find()?;
    let text = std::fs::read_to_string(workspace_root()?.join("envoy/standalone/envoy.yaml"))?;
    let example = text.replace("/etc/forebay/forebay_filter.wasm", &artefacts.forebay_filter.to_string_lossy());
    assert_ne!(example, text, "the path of the filter is in it");
    validate(&artefacts, &example)?;
    let wrong = example.replace("\"rate_per_s\": 10,", "\"rate_per_s\": -1,");
    assert_ne!(wrong, example);
    let error = validate(&artefacts, &wrong).err().context("Envoy takes a wrong configuration")?;
    assert!(error.to_string().contains(WRONG_RATE), "{error}");
    Ok(())
}
