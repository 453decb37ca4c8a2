//! Running replicas get another shape: in place where the cluster can, and whatever goes wrong, none that serves is lost.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use forebay_plan::capacity::Group;
use forebay_provision::InstanceManager;
use forebay_provision::kubernetes::KubernetesSettings;
use futures_util::future::try_join_all;
use serde_json::{Value, json};

use super::api::{self, Resize, Resizing};
use super::{NAMESPACE, OnKubernetes, PATIENTLY};
use crate::driver::{Driver, ready};
use crate::subject::{Fault, Subject, steady};

/// A call that was polled so often has ended, at the latest.
const MOST_POLLS: usize = 96;
/// Turns within which an order comes true, whatever happened.
const MOST_TURNS: usize = 60;
/// Lives that are lived at once.
const SIDE_BY_SIDE: usize = 4;
/// And for so many turns it stays so.
const STAYS_FOR: usize = 3;

fn bigger() -> Group {
    Group { shape: "Large".to_owned(), ..steady() }
}

/// Three replicas that serve, on a cluster that can resize them.
async fn three(change: impl FnOnce(&mut KubernetesSettings)) -> Result<Driver<OnKubernetes>> {
    let subject = OnKubernetes::with(change).await?;
    subject.api.world().store.resize = Resize::Known;
    let mut driver = Driver::of(subject);
    driver.order(&[(steady(), 3)]).await?;
    driver.settle().await?;
    Ok(driver)
}

/// Uids of pods that serve, with the shape that they have by their resources and by their Deployment's ReplicaSet.
fn serving(driver: &Driver<OnKubernetes>) -> BTreeMap<String, (String, String)> {
    let world = driver.subject.api.world();
    let sets: BTreeMap<String, String> =
        world.store.of("replicasets").map(|set| (api::uid(set), shape_of(&set["spec"]["template"]))).collect();
    let is_ready = |pod: &&Value| {
        let conditions = pod["status"]["conditions"].as_array();
        let is_true = |condition: &Value| condition["type"] == "Ready" && condition["status"] == "True";
        pod["metadata"]["deletionTimestamp"].is_null() && conditions.is_some_and(|all| all.iter().any(is_true))
    };
    let named = |pod: &Value| {
        let owned = api::owner(pod).and_then(|owner| sets.get(owner)).cloned().unwrap_or_default();
        (api::uid(pod), (shape_of(pod), owned))
    };
    world.store.of("pods").filter(is_ready).map(named).collect()
}

fn shape_of(object: &Value) -> String {
    match object["spec"]["containers"][0]["resources"]["requests"]["cpu"].as_str() {
        Some("1000m") => "Small".to_owned(),
        Some("4000m") => "Large".to_owned(),
        other => format!("{other:?}"),
    }
}

fn all(shape: &str) -> (String, String) {
    (shape.to_owned(), shape.to_owned())
}

/// Goes on until the order is true, and a little longer; at no moment do fewer serve than `least`.
async fn settle(driver: &mut Driver<OnKubernetes>, least: usize) -> Result<()> {
    let mut true_for = 0;
    for _ in 0..MOST_TURNS {
        let _ = driver.repeat().await;
        ensure!(serving(driver).len() >= least, "fewer than {least} serve after an order: {:?}", serving(driver));
        driver.subject.pause().await;
        let observed = driver.observe().await?;
        ensure!(serving(driver).len() >= least, "fewer than {least} serve after a look: {:?}", serving(driver));
        true_for = if driver.is_true(&observed) { true_for + 1 } else { 0 };
        if true_for == STAYS_FOR {
            return Ok(());
        }
    }
    anyhow::bail!("not true after {MOST_TURNS} turns: {:?}", serving(driver))
}

#[tokio::test]
async fn what_serves_gets_its_new_shape_and_goes_on_serving() -> Result<()> {
    let mut driver = three(|_| {}).await?;
    let before = serving(&driver);
    let applied = driver.order(&[(bigger(), 3)]).await?;
    ensure!((applied.started, applied.stopped) == (0, 0), "nothing starts or stops: {applied:?}");
    let observed = driver.observe().await?;
    ensure!(ready(&observed, &steady()).len() == 3, "it counts as what it was until it is done: {observed:?}");
    settle(&mut driver, 3).await?;
    let after = serving(&driver);
    ensure!(after.keys().eq(before.keys()), "the same pods: {before:?} {after:?}");
    ensure!(after.values().all(|of| *of == all("Large")), "with their Deployment's shape: {after:?}");
    let world = driver.subject.api.world();
    let pods: Vec<&Value> = world.store.of("pods").collect();
    ensure!(pods.len() == 3, "nothing is left over: {pods:#?}");
    let marks = ["forebay.dev/moves-to", "forebay.dev/moves-since-ms", "forebay.dev/not-moved-to"];
    ensure!(pods.iter().all(|pod| marks.iter().all(|mark| pod["metadata"]["annotations"][mark].is_null())));
    let said = api::objects(&world.store, "events");
    ensure!(said.iter().any(|(_, event)| event["reason"] == "MovedInPlace"), "{said:#?}");
    Ok(())
}

#[tokio::test]
async fn a_replica_that_is_replaced_later_has_the_new_shape() -> Result<()> {
    let mut driver = three(|_| {}).await?;
    driver.order(&[(bigger(), 3)]).await?;
    settle(&mut driver, 3).await?;
    let (taken, _) = serving(&driver).pop_first().context("three serve")?;
    driver.subject.take_away(&taken);
    driver.subject.caught_up().await;
    driver.settle().await?;
    let after = serving(&driver);
    ensure!(after.len() == 3 && after.values().all(|of| *of == all("Large")), "{after:?}");
    Ok(())
}

#[tokio::test]
async fn some_move_and_the_rest_drains_or_starts() -> Result<()> {
    let mut driver = three(|_| {}).await?;
    let before = serving(&driver);
    driver.order(&[(steady(), 1), (bigger(), 1)]).await?;
    settle(&mut driver, 2).await?;
    let after = serving(&driver);
    ensure!(after.len() == 2 && after.keys().all(|uid| before.contains_key(uid)), "{before:?} {after:?}");

    let applied = driver.order(&[(bigger(), 4)]).await?;
    ensure!(applied.started == 2, "one moves, two start: {applied:?}");
    settle(&mut driver, 2).await?;
    let grown = serving(&driver);
    ensure!(grown.len() == 4 && after.keys().all(|uid| grown.contains_key(uid)), "{after:?} {grown:?}");
    Ok(())
}

#[tokio::test]
async fn where_it_cannot_be_new_ones_take_over() -> Result<()> {
    // The server has no resizing; it may not lower memory; the node has no room, now or ever; the kubelet is older.
    let cases = [
        (Resize::Unknown, Resizing::Done, Duration::from_secs(30)),
        (Resize::Known, Resizing::Infeasible, Duration::from_secs(30)),
        (Resize::Known, Resizing::Deferred, Duration::from_millis(1)),
        (Resize::Known, Resizing::Ignored, Duration::from_millis(1)),
        (Resize::Known, Resizing::Done, Duration::ZERO),
    ];
    for (resize, resizing, within) in cases {
        let case = format!("{resize:?}, {resizing:?} within {within:?}");
        let mut driver = three(|settings| settings.resize_within = within).await?;
        {
            let mut world = driver.subject.api.world();
            world.store.resize = resize;
            world.cluster.resizing = resizing;
        }
        let before = serving(&driver);
        driver.order(&[(bigger(), 3)]).await?;
        settle(&mut driver, 3).await.with_context(|| case.clone())?;
        let after = serving(&driver);
        ensure!(after.keys().all(|uid| !before.contains_key(uid)), "{case}: {before:?} {after:?}");
        ensure!(after.len() == 3 && after.values().all(|of| *of == all("Large")), "{case}: {after:?}");
    }
    Ok(())
}

#[tokio::test]
async fn a_server_that_takes_no_memory_back_is_not_asked_twice() -> Result<()> {
    let mut driver = three(|_| {}).await?;
    driver.order(&[(bigger(), 3)]).await?;
    settle(&mut driver, 3).await?;
    driver.subject.api.world().store.resize = Resize::LimitsRise;
    let before = serving(&driver);
    driver.order(&[(steady(), 3)]).await?;
    settle(&mut driver, 3).await?;
    let after = serving(&driver);
    ensure!(after.len() == 3 && after.keys().all(|uid| !before.contains_key(uid)), "{before:?} {after:?}");
    ensure!(after.values().all(|of| *of == all("Small")), "{after:?}");
    let world = driver.subject.api.world();
    let said = api::objects(&world.store, "events");
    let refused: Vec<&str> = said
        .iter()
        .filter(|(_, event)| event["reason"] == "NotResized")
        .filter_map(|(_, event)| event["message"].as_str())
        .collect();
    ensure!(refused.len() == 3 && refused.iter().all(|said| said.contains("cannot be decreased")), "{refused:?}");
    Ok(())
}

#[tokio::test]
async fn what_would_be_restarted_is_not_resized() -> Result<()> {
    let subject = OnKubernetes::set_up().await?;
    {
        let mut world = subject.api.world();
        world.store.resize = Resize::Known;
        let key = ("apps".to_owned(), "deployments".to_owned(), NAMESPACE.to_owned(), "web-template".to_owned());
        let mut template = world.store.objects[&key].object.clone();
        let policy = json!([{ "resourceName": "memory", "restartPolicy": "RestartContainer" }]);
        template["spec"]["template"]["spec"]["containers"][0]["resizePolicy"] = policy;
        world.store.put(key, template);
    }
    let mut driver = Driver::of(subject);
    driver.order(&[(steady(), 2)]).await?;
    driver.settle().await?;
    let before = serving(&driver);
    let applied = driver.order(&[(bigger(), 2)]).await?;
    ensure!(applied.started == 2, "{applied:?}");
    settle(&mut driver, 2).await?;
    ensure!(serving(&driver).keys().all(|uid| !before.contains_key(uid)));
    Ok(())
}

#[tokio::test]
async fn an_order_that_is_taken_back_leaves_what_was() -> Result<()> {
    for resizing in [Resizing::Done, Resizing::Deferred] {
        let mut driver = three(|_| {}).await?;
        driver.subject.api.world().cluster.resizing = resizing;
        let before = serving(&driver);
        driver.order(&[(bigger(), 3)]).await?;
        driver.subject.pause().await;
        driver.order(&[(steady(), 3)]).await?;
        settle(&mut driver, 3).await?;
        let after = serving(&driver);
        ensure!(after.keys().eq(before.keys()), "{resizing:?}: {before:?} {after:?}");
        ensure!(after.values().all(|of| *of == all("Small")), "{resizing:?}: {after:?}");
    }
    Ok(())
}

/// The ReplicaSet controllers see a pod's labels at once, and the Deployment's number late: none that serves may end.
#[tokio::test]
async fn controllers_that_lag_end_nothing_that_serves() -> Result<()> {
    for lag in 1..12 {
        let mut driver = three(|_| {}).await?;
        driver.subject.api.world().cluster.lag = lag;
        let before = serving(&driver);
        driver.order(&[(bigger(), 3)]).await?;
        settle(&mut driver, 3).await.with_context(|| format!("lag {lag}"))?;
        ensure!(serving(&driver).keys().eq(before.keys()), "lag {lag}: {before:?} {:?}", serving(&driver));
    }
    Ok(())
}

#[tokio::test]
async fn a_template_that_changes_meanwhile_is_rolled_out_and_loses_nothing() -> Result<()> {
    let mut driver = three(|_| {}).await?;
    driver.order(&[(bigger(), 3)]).await?;
    {
        let mut world = driver.subject.api.world();
        let key = ("apps".to_owned(), "deployments".to_owned(), NAMESPACE.to_owned(), "web-template".to_owned());
        let mut template = world.store.objects[&key].object.clone();
        template["spec"]["template"]["spec"]["containers"][0]["image"] = "registry.example/app:2".into();
        world.store.put(key, template);
    }
    settle(&mut driver, 3).await?;
    let world = driver.subject.api.world();
    let pods: Vec<&Value> = world.store.of("pods").collect();
    let is_new = |pod: &&Value| pod["spec"]["containers"][0]["image"] == "registry.example/app:2";
    ensure!(pods.len() == 3 && pods.iter().all(is_new), "{pods:#?}");
    ensure!(pods.iter().all(|pod| shape_of(pod) == "Large"), "{pods:#?}");
    Ok(())
}

#[tokio::test]
async fn an_orphan_that_nobody_adopts_is_owned_again() -> Result<()> {
    let mut driver = three(|_| {}).await?;
    let (stray, _) = serving(&driver).pop_first().context("three serve")?;
    driver.subject.change_pod(&stray, |pod| pod["metadata"]["labels"]["pod-template-hash"] = "of-nobody".into());
    let is_owned = |driver: &Driver<OnKubernetes>| {
        let world = driver.subject.api.world();
        world.store.of("pods").all(|pod| api::owner(pod).is_some())
    };
    ensure!(!is_owned(&driver), "it was released");
    driver.subject.caught_up().await;
    driver.observe().await?;
    ensure!(is_owned(&driver), "it is owned again, or ends as one too many");
    driver.settle().await?;
    Ok(())
}

#[tokio::test]
async fn killed_anywhere_a_move_goes_on_and_nothing_is_left_over() -> Result<()> {
    for polls in 0..MOST_POLLS {
        let mut driver = three(|_| {}).await?;
        driver.decide(&[(bigger(), 2), (steady(), 1)]);
        // Cut once at the start of the move, and once in the middle of it.
        let has_ended = driver.apply_in_part(polls).await;
        driver.restart().await?;
        driver.subject.pause().await;
        driver.subject.pause().await;
        let has_looked = driver.observe_in_part(polls).await;
        driver.restart().await?;
        settle(&mut driver, 3).await.with_context(|| format!("cut after {polls} polls"))?;
        let after: Vec<_> = serving(&driver).into_values().collect();
        let large = after.iter().filter(|of| **of == all("Large")).count();
        ensure!(after.len() == 3 && large == 2, "cut after {polls} polls: {after:?}");
        ensure!(driver.subject.api.world().store.of("pods").count() == 3, "cut after {polls} polls");
        if has_ended && has_looked {
            return Ok(());
        }
    }
    anyhow::bail!("an order takes more than {MOST_POLLS} polls")
}

#[tokio::test]
async fn a_fault_at_any_write_of_a_move_ends_nothing_that_serves() -> Result<()> {
    let live = async |fault: Fault, after: usize| -> Result<()> {
        let mut driver = three(|settings| settings.request_within = PATIENTLY).await?;
        driver.subject.api.world().faults = BTreeMap::from([(after, fault)]);
        driver.decide(&[(bigger(), 3)]);
        settle(&mut driver, 3).await?;
        let pods = serving(&driver);
        ensure!(pods.values().all(|of| *of == all("Large")), "{pods:?}");
        Ok(())
    };
    for fault in [Fault::RequestLost, Fault::AnswerLost, Fault::Twice, Fault::Late, Fault::Lies] {
        // Some side by side: each waits most of the time.
        for first in (0..16).step_by(SIDE_BY_SIDE) {
            let lives = (first..first + SIDE_BY_SIDE)
                .map(async |after| live(fault, after).await.with_context(|| format!("{fault:?} at write {after}")));
            try_join_all(lives).await?;
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_restarted_manager_knows_who_moves() -> Result<()> {
    let mut driver = three(|_| {}).await?;
    driver.subject.api.world().cluster.resizing = Resizing::Deferred;
    let before = serving(&driver);
    driver.order(&[(bigger(), 3)]).await?;
    driver.restart().await?;
    driver.repeat().await?;
    ensure!(driver.subject.manager().observe().await?.instances.len() == 3, "nothing was started beside them");
    driver.subject.api.world().cluster.resizing = Resizing::Done;
    settle(&mut driver, 3).await?;
    ensure!(serving(&driver).keys().eq(before.keys()));
    Ok(())
}
