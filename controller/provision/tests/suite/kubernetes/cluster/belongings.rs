//! What belongs to capacity beside the groups, on a real server: room that placeholders keep, Karpenter's objects, events, and
//! that all of it takes the rights of the manifest to copy, and each of them.
//!
//! Karpenter's kinds are as short as they can be here. No scheduler runs: that a placeholder gives way to an instance is the
//! scheduler's, and what it goes by, the priority, is what the server's own admission made of the class.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::LazyLock;

use anyhow::{Context, Result, ensure};
use forebay_plan::capacity::Group;
use forebay_provision::kubernetes::Placeholders;
use forebay_provision::{FailureKind, InstanceManager};
use serde_json::{Value, json};

use super::super::rights::Rights;
use super::admin::{Admin, named};
use super::{BehindRelay, NOTICED_WITHIN, PAUSE, at_once, kubeconfig};
use crate::driver::{Driver, ready, wanted};
use crate::subject::{Subject, other, steady};

const KARPENTER: &str = "/apis/karpenter.sh/v1";
/// Of the whole cluster, which may have been here before.
static NODE_POOL: LazyLock<String> = LazyLock::new(|| format!("suite-nodes-{}", std::process::id()));

/// A kind of Karpenter's, without what nobody here reads.
fn kind(name: &str, plural: &str) -> Value {
    let mut definition =
        named("apiextensions.k8s.io/v1", "CustomResourceDefinition", &format!("{plural}.karpenter.sh"));
    let anything = json!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true });
    let amounts = json!({ "type": "object", "additionalProperties": { "x-kubernetes-int-or-string": true } });
    let spec = json!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true,
        "properties": { "limits": amounts, "weight": { "type": "integer", "minimum": 1, "maximum": 100 } } });
    let schema = json!({ "type": "object", "properties": { "spec": spec, "status": anything } });
    definition["spec"] = json!({ "group": "karpenter.sh", "scope": "Cluster",
        "names": { "kind": name, "plural": plural, "singular": name.to_lowercase(), "listKind": format!("{name}List") },
        "versions": [{ "name": "v1", "served": true, "storage": true, "schema": { "openAPIV3Schema": schema } }] });
    definition
}

/// Karpenter's kinds, a `NodePool` of the user's, and the class that placeholders have.
async fn provide(admin: Admin) -> Result<()> {
    for (name, plural) in [("NodePool", "nodepools"), ("NodeClaim", "nodeclaims")] {
        admin.provide("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", &kind(name, plural)).await?;
        let deadline = std::time::Instant::now() + NOTICED_WITHIN;
        while admin.list(&format!("{KARPENTER}/{plural}")).await.is_err() {
            ensure!(std::time::Instant::now() < deadline, "{plural} are not served");
            tokio::time::sleep(PAUSE).await;
        }
    }
    let mut pool = named("karpenter.sh/v1", "NodePool", &NODE_POOL);
    pool["spec"] = json!({ "template": { "spec": { "mine": true } } });
    admin.provide(&format!("{KARPENTER}/nodepools"), &pool).await?;
    admin.provide("/apis/scheduling.k8s.io/v1/priorityclasses", &priority_class()?).await
}

/// The one to copy.
fn priority_class() -> Result<Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../envoy/kubernetes/priorityclass.yaml");
    let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    Ok(serde_saphyr::from_str(&text)?)
}

async fn with_karpenter() -> Result<Driver<BehindRelay>> {
    let class = priority_class()?["metadata"]["name"].as_str().context("a name")?.to_owned();
    let subject = BehindRelay::with(|settings| {
        settings.pools[0].node_pool = Some(NODE_POOL.clone());
        settings.pools[0].placeholders = Some(Placeholders {
            shape: "Small".to_owned(),
            count: 2,
            priority_class: class,
            image: "registry.k8s.io/pause:3.10".to_owned(),
        });
    })
    .await?;
    let admin = subject.place.admin.clone();
    at_once(provide(admin))?;
    Ok(Driver::of(subject))
}

fn listed(driver: &Driver<BehindRelay>, resource: &str) -> Result<Vec<Value>> {
    let (admin, namespace) = (driver.subject.place.admin.clone(), driver.subject.place.namespace.clone());
    let path = format!("/api/v1/namespaces/{namespace}/{resource}");
    at_once(async move { admin.list(&path).await })
}

fn is_room(pod: &&Value) -> bool {
    pod["metadata"]["labels"]["forebay.dev/placeholder"].is_string()
}

fn node_pool(driver: &Driver<BehindRelay>) -> Result<Value> {
    let admin = driver.subject.place.admin.clone();
    Ok(at_once(async move { admin.get(&format!("{KARPENTER}/nodepools"), &NODE_POOL).await })?["spec"].clone())
}

/// One life, since Karpenter's objects belong to the whole cluster.
#[tokio::test]
async fn room_and_node_pools_and_events_are_kept_with_the_rights_to_copy() -> Result<()> {
    if kubeconfig().is_none() {
        return Ok(());
    }
    let mut driver = with_karpenter().await?;
    let applied = driver.order(&[(steady(), 2), (other(), 1)]).await?;
    ensure!(applied.failures.is_empty(), "{applied:?}");
    let observed = driver.settle().await?;
    ensure!(driver.subject.manager().troubles().is_empty(), "{:?}", driver.subject.manager().troubles());
    room_is_there_and_not_counted(&mut driver).await?;
    ensure!(wanted(&observed, &steady()).len() == 2, "{observed:?}");

    let spec = node_pool(&driver)?;
    // A hundred of the largest shape, 4 cores and 8 GiB each.
    ensure!(spec["limits"] == json!({ "cpu": "400000m", "memory": "819200Mi" }) && spec["weight"] == 100, "{spec:#}");
    ensure!(spec["template"]["spec"]["mine"] == true, "the user's own stays: {spec:#}");
    what_karpenter_lacks_is_said(&mut driver).await?;
    what_the_user_set_stays(&mut driver).await?;

    driver.order(&[(steady(), 1)]).await?;
    driver.settle().await?;
    for _ in 0..3 {
        driver.repeat().await?;
        driver.subject.pause().await;
    }
    let events = listed(&driver, "events")?;
    let said: BTreeSet<&str> = events
        .iter()
        .filter(|event| event["source"]["component"] == "forebay" && event["involvedObject"]["kind"] == "Deployment")
        .filter_map(|event| event["reason"].as_str())
        .collect();
    ensure!(said == BTreeSet::from(["ScaledUp", "ScaledDown", "CapacityMissing"]), "{said:?}");
    all_rights_are_used(&driver)
}

async fn room_is_there_and_not_counted(driver: &mut Driver<BehindRelay>) -> Result<()> {
    let deadline = std::time::Instant::now() + NOTICED_WITHIN;
    let pods = loop {
        let pods = listed(driver, "pods")?;
        if pods.iter().filter(is_room).count() == 2 {
            break pods;
        }
        ensure!(std::time::Instant::now() < deadline, "two placeholders: {pods:#?}");
        driver.subject.pause().await;
    };
    let class = priority_class()?;
    for pod in pods.iter().filter(is_room) {
        let spec = &pod["spec"];
        ensure!(
            spec["priorityClassName"] == class["metadata"]["name"] && spec["priority"] == class["value"],
            "{spec:#}"
        );
        // As much as an instance of the shape asks for, and in the same pool.
        ensure!(spec["containers"][0]["resources"]["requests"]["cpu"] == "1", "{spec:#}");
        ensure!(spec["nodeSelector"]["karpenter.sh/nodepool"] == NODE_POOL.as_str(), "{spec:#}");
    }
    let instance = pods.iter().find(|pod| super::super::api::group_of(pod) == Some(steady())).context("an instance")?;
    ensure!(instance["spec"]["priority"].as_i64() > class["value"].as_i64(), "{instance:#}");
    let observed = driver.observe().await?;
    ensure!(observed.instances.len() == 3, "{observed:?}");
    Ok(())
}

/// A claim that found no capacity, for a pod that waits for a node.
async fn what_karpenter_lacks_is_said(driver: &mut Driver<BehindRelay>) -> Result<()> {
    let claims = format!("{KARPENTER}/nodeclaims");
    let mut claim = named("karpenter.sh/v1", "NodeClaim", &NODE_POOL);
    claim["metadata"]["labels"] = json!({ "karpenter.sh/nodepool": *NODE_POOL });
    claim["status"] = json!({ "conditions": [{ "type": "Launched", "status": "False", "message": "none to be had",
        "reason": "InsufficientCapacityError", "lastTransitionTime": super::super::api::now() }] });
    let admin = driver.subject.place.admin.clone();
    at_once({
        let (admin, claims) = (admin.clone(), claims.clone());
        async move { admin.create(&claims, &claim).await }
    })?;
    driver.subject.place.nodes.leave_unplaced(&steady(), true);
    driver.order(&[(steady(), 3), (other(), 1)]).await?;
    let deadline = std::time::Instant::now() + NOTICED_WITHIN;
    loop {
        let applied = driver.repeat().await?;
        let lacks = |group: &Group| {
            let of = applied.failures.iter().find(|failure| failure.group == *group);
            of.is_some_and(|one| one.kind == FailureKind::OutOfCapacity && one.detail.contains("none to be had"))
        };
        if lacks(&steady()) && applied.failures.len() == 1 {
            break;
        }
        ensure!(std::time::Instant::now() < deadline, "{applied:?}");
        driver.subject.pause().await;
    }
    driver.subject.place.nodes.leave_unplaced(&steady(), false);
    at_once(async move { admin.delete(&claims, &NODE_POOL).await })?;
    let observed = driver.settle().await?;
    ensure!(ready(&observed, &steady()).len() == 3, "{observed:?}");
    Ok(())
}

async fn what_the_user_set_stays(driver: &mut Driver<BehindRelay>) -> Result<()> {
    let admin = driver.subject.place.admin.clone();
    at_once(async move {
        let change = json!({ "spec": { "weight": 7 } });
        admin.merge(&format!("{KARPENTER}/nodepools"), &NODE_POOL, &change).await
    })?;
    driver.repeat().await?;
    let troubles = driver.subject.manager().troubles();
    ensure!(troubles.iter().any(|said| said.contains("left as it is")), "{troubles:?}");
    ensure!(node_pool(driver)?["weight"] == 7);
    Ok(())
}

/// The server refuses what is not given; what is given and never asked for could be left out.
fn all_rights_are_used(driver: &Driver<BehindRelay>) -> Result<()> {
    let right =
        |group: &str, resource: &str, verb: &str| (group.to_owned(), resource.to_owned(), verb.to_owned(), true);
    let given: BTreeSet<_> = Rights::read()?.0.into_keys().collect();
    let asked = driver.subject.place.relay().state().asked.clone();
    let missing: Vec<_> = asked.difference(&given).collect();
    ensure!(missing.is_empty(), "asked for and not given: {missing:?}");
    let idle: BTreeSet<_> = given.difference(&asked).cloned().collect();
    let expected = BTreeSet::from([
        // Taken by an apply that makes an object, which is a patch by its verb.
        right("apps", "deployments", "create"),
        // Of servers since 1.33, where pods get another size in place.
        right("", "pods/resize", "patch"),
        right("apps", "replicasets", "list"),
    ]);
    ensure!(idle == expected, "given and not asked for: {idle:?}");
    Ok(())
}
