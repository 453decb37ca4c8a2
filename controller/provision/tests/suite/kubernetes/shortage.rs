//! What a cluster cannot or will not do, and clusters that are not there.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use forebay_plan::capacity::{Group, InstanceState};
use forebay_provision::{FailureKind, InstanceManager, ProvisionError};
use serde_json::{Value, json};

use super::api::{self, Api};
use super::regions::InTwoRegions;
use super::{NAMESPACE, OnKubernetes, order};
use crate::driver::{Driver, ready, state};
use crate::subject::{Noticed, Subject, other, steady};

fn put(subject: &OnKubernetes, (group, resource): (&str, &str), name: &str, object: Value) {
    let namespace = if resource == "pods" { NAMESPACE } else { "" };
    let key = (group.to_owned(), resource.to_owned(), namespace.to_owned(), name.to_owned());
    subject.api.world().store.put(key, object);
}

#[tokio::test]
async fn pods_that_find_no_node_are_a_pool_out_of_capacity() -> Result<()> {
    let subject = OnKubernetes::set_up().await?;
    subject.api.world().cluster.unschedulable.insert(steady());
    subject.manager().apply(&order(1, &[(steady(), 1), (other(), 1)])).await?;
    subject.pause().await;
    let applied = subject.manager().apply(&order(2, &[(steady(), 1), (other(), 1)])).await?;
    let [failure] = applied.failures.as_slice() else { anyhow::bail!("one failure: {applied:?}") };
    ensure!(failure.group == steady() && failure.kind == FailureKind::OutOfCapacity, "{failure:?}");
    ensure!(failure.detail.contains("Insufficient cpu"), "{failure:?}");
    let observed = subject.manager().observe().await?;
    let waiting: Vec<_> = observed.instances.iter().filter(|instance| instance.group == steady()).collect();
    ensure!(waiting.iter().all(|instance| instance.state == InstanceState::Requested), "{waiting:?}");
    Ok(())
}

#[tokio::test]
async fn an_autoscaler_is_given_its_time_unless_it_says_that_there_is_nothing() -> Result<()> {
    let subject = OnKubernetes::with(|settings| {
        settings.unschedulable_after = Duration::from_secs(600);
        settings.pools[0].node_pool = Some("steady-nodes".to_owned());
    })
    .await?;
    let node_pool = json!({ "apiVersion": "karpenter.sh/v1", "kind": "NodePool", "metadata": {},
        "spec": { "template": { "spec": {} } } });
    put(&subject, ("karpenter.sh", "nodepools"), "steady-nodes", node_pool);
    subject.api.world().cluster.unschedulable.insert(steady());
    subject.manager().apply(&order(1, &[(steady(), 1)])).await?;
    ensure!(subject.manager().troubles().is_empty(), "{:?}", subject.manager().troubles());
    let written = subject.api.world().store.of("nodepools").next().context("the NodePool")?["spec"].clone();
    // A hundred of the largest shape, 4 cores and 8 GiB each.
    ensure!(
        written["limits"] == json!({ "cpu": "400000m", "memory": "819200Mi" }) && written["weight"] == 100,
        "{written:#}"
    );
    ensure!(written["template"].is_object(), "the user's own stays: {written:#}");
    subject.pause().await;
    let applied = subject.manager().apply(&order(2, &[(steady(), 1)])).await?;
    ensure!(applied.failures.is_empty(), "{applied:?}");
    let claim = json!({
        "apiVersion": "karpenter.sh/v1", "kind": "NodeClaim",
        "metadata": { "labels": { "karpenter.sh/nodepool": "steady-nodes" } },
        "status": { "conditions": [{ "type": "Launched", "status": "False", "reason": "InsufficientCapacityError",
            "message": "all requested instance types were unavailable", "lastTransitionTime": api::now() }] },
    });
    put(&subject, ("karpenter.sh", "nodeclaims"), "steady-nodes-x1", claim);
    let applied = subject.manager().apply(&order(3, &[(steady(), 1)])).await?;
    let [failure] = applied.failures.as_slice() else { anyhow::bail!("one failure: {applied:?}") };
    ensure!(failure.kind == FailureKind::OutOfCapacity && failure.detail.contains("unavailable"), "{failure:?}");
    Ok(())
}

#[tokio::test]
async fn limits_that_the_user_set_stay_and_that_is_said() -> Result<()> {
    let subject = OnKubernetes::with(|settings| settings.pools[0].node_pool = Some("mine".to_owned())).await?;
    subject.manager().apply(&order(1, &[])).await?;
    ensure!(
        subject.manager().troubles().iter().any(|said| said.contains("create it")),
        "{:?}",
        subject.manager().troubles()
    );
    let node_pool =
        json!({ "apiVersion": "karpenter.sh/v1", "kind": "NodePool", "metadata": {}, "spec": { "weight": 7 } });
    put(&subject, ("karpenter.sh", "nodepools"), "mine", node_pool);
    {
        let mut world = subject.api.world();
        let stored = world.store.objects.values_mut().find(|stored| stored.object["kind"] == "NodePool");
        let owners = &mut stored.context("the NodePool")?.owners;
        owners.insert(("kubectl".to_owned(), true), [vec!["spec".to_owned(), "weight".to_owned()]].into());
    }
    subject.manager().apply(&order(2, &[])).await?;
    ensure!(
        subject.manager().troubles().iter().any(|said| said.contains("left as it is")),
        "{:?}",
        subject.manager().troubles()
    );
    ensure!(subject.api.world().store.of("nodepools").next().context("the NodePool")?["spec"]["weight"] == 7);
    Ok(())
}

#[tokio::test]
async fn a_busy_server_is_waited_for_within_limits() -> Result<()> {
    let subject = OnKubernetes::set_up().await?;
    subject.api.world().errors = vec![(429, 1), (429, 0)];
    let applied = subject.manager().apply(&order(1, &[(steady(), 1)])).await?;
    ensure!(applied.started == 1 && applied.failures.is_empty(), "{applied:?}");
    for error in [(429, 60), (500, 0), (503, 1)] {
        subject.api.world().errors = vec![error];
        let refused = subject.manager().observe().await;
        ensure!(matches!(refused, Err(ProvisionError::Unreachable { .. })), "{error:?}: {refused:?}");
        ensure!(subject.manager().observe().await?.instances.len() == 1, "after {error:?}");
    }
    Ok(())
}

#[tokio::test]
async fn long_lists_come_in_pages_also_when_pages_expire() -> Result<()> {
    let mut driver = Driver::<OnKubernetes>::set_up().await?;
    driver.order(&[(steady(), 1)]).await?;
    let id = ready(&driver.settle().await?, &steady()).first().context("one is ready")?.clone();
    // More than a page of 500, all before the node whose notice is looked for.
    for number in 0..620 {
        let node = json!({ "apiVersion": "v1", "kind": "Node", "metadata": {} });
        put(&driver.subject, ("", "nodes"), &format!("a-node-{number}"), node);
    }
    driver.subject.announce(&id);
    driver.subject.api.world().store.expiring = 1;
    driver.restart().await?;
    let observed = driver.observe().await?;
    ensure!(observed.instances.iter().all(|instance| instance.is_interrupted), "{observed:?}");
    ensure!(driver.subject.api.world().store.expiring == 0, "a page expired and the list was begun anew");
    Ok(())
}

#[tokio::test]
async fn a_pod_that_is_deleted_is_gone_and_one_that_is_told_to_go_drains() -> Result<()> {
    let mut driver = Driver::<OnKubernetes>::set_up().await?;
    driver.order(&[(steady(), 1)]).await?;
    let id = ready(&driver.settle().await?, &steady()).first().context("one is ready")?.clone();
    driver.subject.change_pod(&id, |pod| pod["metadata"]["deletionTimestamp"] = api::now().into());
    driver.subject.caught_up().await;
    ensure!(state(&driver.observe().await?, &id) == Some(InstanceState::Draining));
    driver.settle().await?;
    ensure!(state(&driver.observe().await?, &id) == Some(InstanceState::Gone));
    ensure!(driver.subject.ever_started(&steady()) == 2, "Kubernetes replaced it");
    Ok(())
}

#[tokio::test]
async fn a_pod_that_was_deleted_while_nobody_looked_is_gone() -> Result<()> {
    let mut driver = Driver::<OnKubernetes>::set_up().await?;
    driver.order(&[(steady(), 2)]).await?;
    let before = ready(&driver.settle().await?, &steady());
    let deleted = before.first().context("two are ready")?.clone();
    driver.subject.delete_pod(&deleted);
    driver.restart().await?;
    let observed = driver.observe().await?;
    let gone = observed.instances.iter().find(|one| one.id == deleted).context("it is told of")?;
    ensure!(gone.state == InstanceState::Gone && gone.ready_ms.is_some() && gone.group == steady(), "{gone:?}");
    driver.settle().await?;
    driver.restart().await?;
    ensure!(
        state(&driver.observe().await?, &deleted).is_none(),
        "of who is gone already nobody is told after a restart"
    );
    Ok(())
}

#[tokio::test]
async fn a_container_that_does_not_come_up_is_named() -> Result<()> {
    let subject = OnKubernetes::set_up().await?;
    subject.hold_starts(&steady(), true);
    subject.manager().apply(&order(1, &[(steady(), 1)])).await?;
    let id = subject.manager().observe().await?.instances.first().context("an instance")?.id.clone();
    let waiting = json!({ "waiting": { "reason": "ImagePullBackOff", "message": "no such image" } });
    subject.change_pod(&id, |pod| {
        pod["status"]["containerStatuses"] = json!([{ "name": "app", "state": waiting }]);
    });
    subject.caught_up().await;
    let applied = subject.manager().apply(&order(2, &[(steady(), 1)])).await?;
    let [failure] = applied.failures.as_slice() else { anyhow::bail!("one failure: {applied:?}") };
    ensure!(failure.kind == FailureKind::Failed && failure.detail.contains("no such image"), "{failure:?}");
    Ok(())
}

#[tokio::test]
async fn what_warms_is_not_ready_yet() -> Result<()> {
    let warm_after = Duration::from_secs(3600);
    let subject = OnKubernetes::with(|settings| settings.services[0].warm_after = warm_after).await?;
    subject.manager().apply(&order(1, &[(steady(), 1)])).await?;
    for _ in 0..5 {
        subject.pause().await;
    }
    let observed = subject.manager().observe().await?;
    let [instance] = observed.instances.as_slice() else { anyhow::bail!("one instance: {observed:?}") };
    ensure!(instance.state == InstanceState::Warming && instance.ready_ms.is_none(), "{instance:?}");
    ensure!(instance.address.is_some_and(|address| address.port() == 8080), "{instance:?}");
    Ok(())
}

#[tokio::test]
async fn usage_is_read_where_it_is_measured() -> Result<()> {
    let mut driver = Driver::<OnKubernetes>::set_up().await?;
    driver.order(&[(steady(), 1)]).await?;
    let id = ready(&driver.settle().await?, &steady()).first().context("one is ready")?.clone();
    ensure!(driver.subject.manager().observe().await?.usage.is_empty());
    let pod = driver.subject.api.world().store.of("pods").next().context("the pod")?["metadata"].clone();
    let metrics = json!({ "metadata": { "labels": pod["labels"] },
        "containers": [{ "usage": { "cpu": "250m", "memory": "1Gi" } }, { "usage": { "cpu": "50m", "memory": "24Mi" } }] });
    put(&driver.subject, ("metrics.k8s.io", "pods"), pod["name"].as_str().context("a name")?, metrics);
    let usage = driver.subject.manager().observe().await?.usage;
    let [usage] = usage.as_slice() else { anyhow::bail!("one: {usage:?}") };
    ensure!(
        usage.id == id && (usage.cpu_milli - 300.0).abs() < 1e-6 && (usage.memory_mib - 1048.0).abs() < 1e-6,
        "{usage:?}"
    );
    Ok(())
}

#[tokio::test]
async fn a_cluster_that_is_lost_holds_no_other_up() -> Result<()> {
    let subject = InTwoRegions::set_up().await?;
    let InTwoRegions { here, there, .. } = &subject;
    let manager = subject.manager();
    let running = |api: &Api, group: &Group| api.running(group);

    manager.apply(&order(1, &[(steady(), 2), (other(), 2)])).await?;
    ensure!(running(here, &steady()) == 2 && running(there, &other()) == 2);
    let before = manager.observe().await?;
    there.world().is_lost = true;
    let applied = manager.apply(&order(2, &[(steady(), 3), (other(), 4)])).await?;
    let [failure] = applied.failures.as_slice() else { anyhow::bail!("one failure: {applied:?}") };
    ensure!(failure.group == other() && failure.detail.contains("\"there\" is lost"), "{failure:?}");
    ensure!(applied.started == 1 && running(here, &steady()) == 3);
    let observed = manager.observe().await?;
    let of = |observed: &forebay_provision::Observed, group: &Group| {
        observed.instances.iter().filter(|instance| instance.group == *group).count()
    };
    ensure!(of(&observed, &other()) == of(&before, &other()), "what was known of it stands: {observed:?}");
    ensure!(of(&observed, &steady()) == 3, "{observed:?}");
    ensure!(observed.unreachable.iter().eq(["spot"]) && before.unreachable.is_empty(), "{:?}", observed.unreachable);
    let lost = manager.lost_locations();
    ensure!(lost.len() == 1 && lost.first().is_some_and(|(location, _)| location == "there"), "{lost:?}");

    // It is back, and an order that was made without seeing it does nothing there.
    there.world().is_lost = false;
    let blind = manager.apply(&order(2, &[(steady(), 3)])).await?;
    ensure!(blind == Default::default() && running(there, &other()) == 2, "{blind:?}");
    ensure!(manager.observe().await?.unreachable.is_empty());
    let applied = manager.apply(&order(2, &[(steady(), 3), (other(), 4)])).await?;
    ensure!(applied.started == 2 && applied.failures.is_empty(), "{applied:?}");
    manager.observe().await?;
    ensure!(manager.lost_locations().is_empty());
    for api in [here, there] {
        api.world().is_lost = true;
    }
    ensure!(manager.apply(&order(3, &[])).await.is_err() && manager.observe().await.is_err());
    Ok(())
}
