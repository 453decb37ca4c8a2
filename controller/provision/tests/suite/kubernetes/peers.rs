//! What others got wrong about the state of instances, as regression tests; each names the report.

use anyhow::{Context, Result, ensure};
use forebay_plan::capacity::InstanceState;
use forebay_provision::InstanceManager;
use serde_json::{Value, json};

use super::{NAMESPACE, OnKubernetes, api};
use crate::driver::{Driver, ready, state, wanted};
use crate::subject::{Subject, steady};

/// kubernetes #141298 and #55630: the autoscaler counted pods that had ended, well or not, as ones that do not report, and its
/// numbers stood still. What has ended is gone, however it ended: it is neither counted, nor chosen to go in place of one that
/// serves.
#[tokio::test]
async fn pods_that_ended_well_are_not_counted() -> Result<()> {
    for phase in ["Succeeded", "Failed"] {
        let mut driver = Driver::<OnKubernetes>::set_up().await?;
        driver.order(&[(steady(), 3)]).await?;
        let before = ready(&driver.settle().await?, &steady());
        let ended = before.first().context("three are ready")?.clone();
        // As an eviction by the kubelet leaves them.
        driver.subject.change_pod(&ended, |pod| {
            pod["status"]["phase"] = phase.into();
            pod["status"]["reason"] = "Evicted".into();
            api::set_condition(pod, "Ready", ("False", "PodCompleted", ""));
        });
        driver.subject.caught_up().await;
        let observed = driver.observe().await?;
        ensure!(state(&observed, &ended) == Some(InstanceState::Gone), "{phase}: {observed:?}");
        ensure!(wanted(&observed, &steady()).len() == 3, "{phase}: its successor is counted: {observed:?}");
        let applied = driver.order(&[(steady(), 2)]).await?;
        ensure!((applied.started, applied.stopped) == (0, 1), "{phase}: {applied:?}");
        let serving = ready(&driver.settle().await?, &steady());
        ensure!(serving.iter().all(|id| before.contains(id)), "{phase}: the one that starts went: {serving:?}");
    }
    Ok(())
}

/// karpenter #3176: an object that was deleted between its creation and the first event about it left the controller waiting for
/// that event for ever. Nothing here waits for an object, only for a version, and that for a limited time.
#[tokio::test]
async fn what_is_deleted_before_it_was_seen_holds_nothing_up() -> Result<()> {
    let mut driver = Driver::<OnKubernetes>::set_up().await?;
    driver.observe().await?;
    for is_slow in [false, true] {
        driver.subject.api.world().watches.are_slow = is_slow;
        driver.order(&[(steady(), 2)]).await?;
        {
            let mut world = driver.subject.api.world();
            let groups = api::objects(&world.store, "deployments");
            let (key, _) = groups.iter().find(|(_, found)| api::group_of(found) == Some(steady())).context("made")?;
            world.store.remove(key);
            let api::World { store, cluster, .. } = &mut *world;
            cluster.control(store);
        }
        driver.subject.api.world().watches.are_slow = false;
        driver.settle().await?;
    }
    ensure!(
        driver.subject.api.world().store.of("pods").filter(|pod| api::group_of(pod) == Some(steady())).count() == 2
    );
    Ok(())
}

/// kubernetes #30471: one pod without measurements kept an autoscaler from using those of all others.
#[tokio::test]
async fn one_that_is_not_measured_hides_no_other() -> Result<()> {
    let mut driver = Driver::<OnKubernetes>::set_up().await?;
    driver.order(&[(steady(), 3)]).await?;
    let serving = ready(&driver.settle().await?, &steady());
    {
        let mut world = driver.subject.api.world();
        let pods: Vec<Value> = world.store.of("pods").map(|pod| pod["metadata"].clone()).collect();
        // One is measured in full, one in part, one not at all.
        let usages = [json!({ "cpu": "250m", "memory": "1Gi" }), json!({ "memory": "1Gi" })];
        for (pod, usage) in pods.iter().zip(usages) {
            let name = pod["name"].as_str().context("a name")?.to_owned();
            let key = ("metrics.k8s.io".to_owned(), "pods".to_owned(), NAMESPACE.to_owned(), name);
            let metrics = json!({ "metadata": { "labels": pod["labels"] }, "containers": [{ "usage": usage }] });
            world.store.put(key, metrics);
        }
    }
    let observed = driver.subject.manager().observe().await?;
    ensure!(ready(&observed, &steady()) == serving, "measurements decide nothing about who serves: {observed:?}");
    let measured: Vec<f64> = observed.usage.iter().map(|usage| usage.cpu_milli).collect();
    ensure!(measured == [250.0], "what is measured in part would seem to use less than it does: {:?}", observed.usage);
    Ok(())
}
