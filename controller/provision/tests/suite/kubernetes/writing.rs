//! What is written to a cluster: the user's template with shape and pool, nothing of anybody else's, nothing twice.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use forebay_plan::capacity::{Amounts, Generation, Group, Shape};
use forebay_provision::kubernetes::{Placeholders, Toleration};
use forebay_provision::{FailureKind, InstanceManager, Order, ProvisionError};
use serde_json::{Value, json};

use super::api::{Key, Store, Stored};
use super::{NAMESPACE, OnKubernetes, PATIENTLY, api, order, template};
use crate::driver::{Driver, ready};
use crate::subject::{Fault, Subject, other, steady};

fn deployment(name: &str) -> Key {
    ("apps".to_owned(), "deployments".to_owned(), NAMESPACE.to_owned(), name.to_owned())
}

/// The Deployment of a group.
fn of_group(store: &Store, group: &Group) -> Result<(Key, Value)> {
    let found = api::objects(store, "deployments");
    found.into_iter().find(|(_, object)| api::group_of(object).as_ref() == Some(group)).context("no Deployment")
}

fn versions(store: &Store) -> Vec<Value> {
    let kept = |((_, resource, ..), _): &(&Key, &Stored)| resource != "events";
    store.objects.iter().filter(kept).map(|(_, stored)| stored.object["metadata"]["resourceVersion"].clone()).collect()
}

#[tokio::test]
async fn a_group_is_the_template_with_shape_and_pool() -> Result<()> {
    let subject = OnKubernetes::with(|settings| {
        let spot = &mut settings.pools[1];
        spot.node_selector = BTreeMap::from([("topology.kubernetes.io/zone".to_owned(), "eu-1a".to_owned())]);
        spot.tolerations =
            vec![Toleration { key: "spot".to_owned(), value: None, effect: Some("NoSchedule".to_owned()) }];
        spot.node_pool = Some("spot-nodes".to_owned());
    })
    .await?;
    subject.manager().apply(&order(1, &[(other(), 2)])).await?;
    let world = subject.api.world();
    let (_, written) = of_group(&world.store, &other())?;
    let pod = &written["spec"]["template"];
    let requests = json!({ "cpu": "4000m", "memory": "8192Mi" });
    ensure!(
        pod["spec"]["containers"][0]["resources"] == json!({ "requests": requests, "limits": requests }),
        "{pod:#}"
    );
    ensure!(pod["spec"]["containers"][0]["env"] == json!([{ "name": "MODE", "value": "production" }]), "{pod:#}");
    ensure!(pod["spec"]["containers"][1] == json!({ "name": "proxy", "image": "registry.example/proxy:1" }), "{pod:#}");
    ensure!(pod["spec"]["serviceAccountName"] == "shop" && pod["metadata"]["annotations"]["team"] == "shop", "{pod:#}");
    // The user's Services find it; the user's Deployment does not select by what this one selects by.
    ensure!(pod["metadata"]["labels"]["app"] == "web-template", "{pod:#}");
    let selector = written["spec"]["selector"]["matchLabels"].as_object().context("a selector")?;
    ensure!(selector.keys().eq(["forebay.dev/group"]), "{selector:?}");
    let expected = json!({
        "topology.kubernetes.io/zone": "eu-1a",
        "karpenter.sh/nodepool": "spot-nodes",
        "karpenter.sh/capacity-type": "spot",
    });
    ensure!(pod["spec"]["nodeSelector"] == expected, "{pod:#}");
    ensure!(
        pod["spec"]["tolerations"] == json!([{ "key": "spot", "operator": "Exists", "effect": "NoSchedule" }]),
        "{pod:#}"
    );
    ensure!(written["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 0, "{written:#}");
    let users = &world.store.objects[&deployment("web-template")].object;
    ensure!(users["spec"] == template("web-template")["spec"], "the user's own is only read: {users:#}");
    Ok(())
}

#[tokio::test]
async fn a_size_that_only_the_order_describes_is_made_too() -> Result<()> {
    let subject = OnKubernetes::set_up().await?;
    let found = Group { shape: "g-500m-4096Mi".to_owned(), ..steady() };
    let unknown = subject.manager().apply(&order(1, &[(found.clone(), 1)])).await?;
    ensure!(unknown.failures.first().is_some_and(|failure| failure.kind == FailureKind::Unknown), "{unknown:?}");
    let offers = Amounts { cpu_milli: 500.0, memory_mib: 4096.0, ..Amounts::default() };
    let shape = Shape { name: found.shape.clone(), offers, price_micros_per_h: 1, performance: 1.0 };
    subject.manager().apply(&Order { shapes: vec![shape], ..order(2, &[(found.clone(), 1)]) }).await?;
    let world = subject.api.world();
    let (_, written) = of_group(&world.store, &found)?;
    let requests = &written["spec"]["template"]["spec"]["containers"][0]["resources"]["requests"];
    ensure!(*requests == json!({ "cpu": "500m", "memory": "4096Mi" }), "{requests:#}");
    Ok(())
}

#[tokio::test]
async fn the_same_order_writes_nothing() -> Result<()> {
    let mut driver = Driver::<OnKubernetes>::set_up().await?;
    driver.order(&[(steady(), 2), (other(), 1)]).await?;
    driver.settle().await?;
    let before = versions(&driver.subject.api.world().store);
    for _ in 0..3 {
        driver.repeat().await?;
    }
    ensure!(versions(&driver.subject.api.world().store) == before);
    Ok(())
}

#[tokio::test]
async fn a_changed_template_is_rolled_out_and_other_fields_are_left_alone() -> Result<()> {
    let mut driver = Driver::<OnKubernetes>::set_up().await?;
    driver.order(&[(steady(), 2)]).await?;
    driver.settle().await?;
    {
        let mut world = driver.subject.api.world();
        let mut changed = world.store.objects[&deployment("web-template")].object.clone();
        changed["spec"]["template"]["spec"]["containers"][0]["image"] = "registry.example/app:2".into();
        changed["spec"]["template"]["spec"]["containers"][0]["env"] = json!([{ "name": "LEVEL", "value": "info" }]);
        world.store.put(deployment("web-template"), changed);
        // Somebody else's label on this manager's own object.
        let (key, mut own) = of_group(&world.store, &steady())?;
        own["metadata"]["labels"]["somebody"] = "else".into();
        world.store.put(key, own);
    }
    driver.subject.caught_up().await;
    driver.repeat().await?;
    let image = |pod: &Value| pod["spec"]["containers"][0]["image"].clone();
    for _ in 0..40 {
        driver.subject.pause().await;
    }
    driver.settle().await?;
    let world = driver.subject.api.world();
    let pods: Vec<Value> = world.store.of("pods").map(image).collect();
    ensure!(pods == ["registry.example/app:2", "registry.example/app:2"], "{pods:?}");
    let (_, own) = of_group(&world.store, &steady())?;
    ensure!(own["metadata"]["labels"]["somebody"] == "else", "{own:#}");
    // What the template no longer has is gone: it was this manager's own.
    let env = &own["spec"]["template"]["spec"]["containers"][0]["env"];
    ensure!(*env == json!([{ "name": "LEVEL", "value": "info" }]), "{env:#}");
    Ok(())
}

#[tokio::test]
async fn a_deployment_of_somebody_else_is_not_taken() -> Result<()> {
    let subject = OnKubernetes::set_up().await?;
    let name = {
        // The name is the same each time: made once, then given to somebody else.
        subject.manager().apply(&order(1, &[(steady(), 1)])).await?;
        let mut world = subject.api.world();
        let (key, _) = of_group(&world.store, &steady())?;
        world.store.remove(&key);
        world.store.put(key.clone(), template("stranger"));
        key
    };
    subject.caught_up().await;
    let applied = subject.manager().apply(&order(2, &[(steady(), 1), (other(), 1)])).await?;
    let [failure] = applied.failures.as_slice() else { anyhow::bail!("one failure: {applied:?}") };
    ensure!(failure.group == steady() && failure.kind == FailureKind::Failed, "{failure:?}");
    ensure!(failure.detail.contains("rename or delete"), "{failure:?}");
    ensure!(applied.started == 1, "the other group came: {applied:?}");
    let world = subject.api.world();
    ensure!(world.store.objects[&name].object["metadata"]["labels"] == json!({ "app": "stranger" }));
    Ok(())
}

#[tokio::test]
async fn a_template_that_is_missing_is_named_and_capacity_can_still_be_given_back() -> Result<()> {
    let mut driver = Driver::<OnKubernetes>::set_up().await?;
    driver.order(&[(steady(), 2)]).await?;
    driver.settle().await?;
    driver.subject.api.world().store.remove(&deployment("web-template"));
    driver.subject.caught_up().await;
    let applied = driver.order(&[(steady(), 1), (other(), 1)]).await?;
    ensure!(applied.stopped == 1, "{applied:?}");
    let [failure] = applied.failures.as_slice() else { anyhow::bail!("one failure: {applied:?}") };
    ensure!(failure.group == other() && failure.kind == FailureKind::Unknown, "{failure:?}");
    ensure!(failure.detail.contains("web-template"), "{failure:?}");
    Ok(())
}

#[tokio::test]
async fn of_two_controllers_the_newer_wins_whatever_the_order_of_writes() -> Result<()> {
    for behind in 0..4 {
        let subject = OnKubernetes::set_up().await?;
        subject.manager().apply(&order(1, &[(steady(), 1)])).await?;
        // The older one's write is kept back and arrives after the newer one has begun.
        subject.api.world().faults = BTreeMap::from([(behind, Fault::Late)]);
        let older = order(2, &[(steady(), 5)]);
        let _ = subject.manager().apply(&older).await;
        let newer = order(3, &[(steady(), 2)]);
        // The late write may overtake the newer one's first try; the next says the same.
        for _ in 0..2 {
            let _ = subject.manager().apply(&newer).await;
        }
        let stale = subject.manager().apply(&older).await;
        let taken = Generation { epoch: 1, sequence: 3 };
        let expected = ProvisionError::StaleGeneration { asked: older.generation, taken };
        ensure!(stale == Err(expected), "{behind}: {stale:?}");
        let (_, written) = of_group(&subject.api.world().store, &steady())?;
        ensure!(written["spec"]["replicas"] == 2, "{behind}: {written:#}");
    }
    Ok(())
}

#[tokio::test]
async fn a_write_of_an_overtaken_order_is_refused_by_its_version() -> Result<()> {
    // The order itself, and the Deployment: kept back until the newer order is carried out.
    for behind in 0..2 {
        let subject = OnKubernetes::set_up().await?;
        subject.manager().apply(&order(1, &[(steady(), 1)])).await?;
        {
            let mut world = subject.api.world();
            world.faults = BTreeMap::from([(behind, Fault::Late)]);
            world.keeps_late = true;
        }
        let _ = subject.manager().apply(&order(2, &[(steady(), 5)])).await;
        subject.manager().apply(&order(3, &[(steady(), 2)])).await?;
        ensure!(subject.api.deliver_late(), "a write was kept back");
        let (_, written) = of_group(&subject.api.world().store, &steady())?;
        ensure!(written["spec"]["replicas"] == 2, "{behind}: {written:#}");
        let taken = subject.manager().observe().await?.generation;
        ensure!(taken == Some(Generation { epoch: 1, sequence: 3 }), "{behind}: {taken:?}");
    }
    Ok(())
}

#[tokio::test]
async fn a_fault_at_any_write_doubles_nothing() -> Result<()> {
    for fault in [Fault::RequestLost, Fault::AnswerLost, Fault::Twice, Fault::Late, Fault::Lies] {
        for after in 0..6 {
            let subject = OnKubernetes::with(|settings| settings.request_within = PATIENTLY).await?;
            let mut driver = Driver::of(subject);
            driver.order(&[(steady(), 3)]).await?;
            driver.settle().await?;
            driver.subject.api.world().faults = BTreeMap::from([(after, fault)]);
            driver.decide(&[(steady(), 1), (other(), 2)]);
            let _ = driver.repeat().await;
            driver.settle().await.with_context(|| format!("{fault:?} at write {after}"))?;
            let started = (driver.subject.ever_started(&steady()), driver.subject.ever_started(&other()));
            ensure!(started == (3, 2), "{fault:?} at write {after}: {started:?}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_shape_that_is_replaced_stays_until_the_other_is_ready() -> Result<()> {
    for is_named in [true, false] {
        stays_until_the_other_is_ready(is_named).await?;
    }
    Ok(())
}

async fn stays_until_the_other_is_ready(is_named: bool) -> Result<()> {
    let bigger = Group { shape: "Large".to_owned(), ..steady() };
    let mut driver = Driver::<OnKubernetes>::set_up().await?;
    driver.order(&[(steady(), 3)]).await?;
    driver.settle().await?;
    driver.subject.hold_starts(&bigger, true);
    // A planner leaves out what is to end; naming it with none says the same.
    let applied = driver
        .order(&if is_named { vec![(steady(), 0), (bigger.clone(), 1)] } else { vec![(bigger.clone(), 1)] })
        .await?;
    ensure!((applied.started, applied.stopped) == (1, 0), "{applied:?}");
    for _ in 0..10 {
        driver.subject.pause().await;
        let observed = driver.observe().await?;
        ensure!(ready(&observed, &steady()).len() == 3, "{observed:?}");
    }
    driver.subject.hold_starts(&bigger, false);
    // Looks alone end it; no new order is needed.
    driver
        .until("the old shape is gone", |observed| {
            ready(observed, &steady()).is_empty() && ready(observed, &bigger).len() == 1
        })
        .await?;
    driver.settle().await?;
    Ok(())
}

#[tokio::test]
async fn a_shape_stays_when_the_one_that_replaces_it_could_not_be_written() -> Result<()> {
    let bigger = Group { shape: "Large".to_owned(), ..steady() };
    for after in 0..4 {
        let mut driver = Driver::<OnKubernetes>::set_up().await?;
        driver.order(&[(steady(), 3)]).await?;
        driver.settle().await?;
        driver.subject.api.world().faults = BTreeMap::from([(after, Fault::RequestLost)]);
        driver.decide(&[(bigger.clone(), 2)]);
        let _ = driver.repeat().await;
        for _ in 0..3 {
            driver.subject.pause().await;
            let observed = driver.observe().await?;
            let serving = ready(&observed, &steady()).len() + ready(&observed, &bigger).len();
            ensure!(serving >= 2, "write {after} was lost: {observed:?}");
        }
        driver.settle().await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_replacement_that_never_comes_is_not_waited_for_for_ever() -> Result<()> {
    let bigger = Group { shape: "Large".to_owned(), ..steady() };
    let subject = OnKubernetes::with(|settings| settings.surge_within = std::time::Duration::ZERO).await?;
    subject.hold_starts(&bigger, true);
    subject.manager().apply(&order(1, &[(steady(), 3)])).await?;
    let applied = subject.manager().apply(&order(2, &[(steady(), 1), (bigger, 1)])).await?;
    ensure!((applied.started, applied.stopped) == (1, 2), "{applied:?}");
    Ok(())
}

#[tokio::test]
async fn room_is_kept_and_is_not_counted() -> Result<()> {
    let room = Placeholders {
        shape: "Large".to_owned(),
        count: 2,
        priority_class: "forebay-placeholder".to_owned(),
        image: "registry.k8s.io/pause:3.10".to_owned(),
    };
    let mut subject = OnKubernetes::with(|settings| settings.pools[0].placeholders = Some(room)).await?;
    subject.manager().apply(&order(1, &[])).await?;
    ensure!(subject.manager().troubles().is_empty(), "{:?}", subject.manager().troubles());
    for _ in 0..4 {
        subject.pause().await;
    }
    ensure!(subject.manager().observe().await?.instances.is_empty());
    {
        let world = subject.api.world();
        let pods: Vec<&Value> = world.store.of("pods").collect();
        let [pod, _] = pods.as_slice() else { anyhow::bail!("two placeholders: {pods:#?}") };
        ensure!(pod["spec"]["priorityClassName"] == "forebay-placeholder", "{pod:#}");
        ensure!(pod["spec"]["containers"][0]["resources"]["requests"]["cpu"] == "4000m", "{pod:#}");
    }
    subject.reconfigure(|settings| settings.pools[0].placeholders = None).await?;
    subject.manager().apply(&order(2, &[])).await?;
    subject.pause().await;
    ensure!(subject.api.world().store.of("pods").next().is_none(), "room that is not wanted any more is given back");
    Ok(())
}
