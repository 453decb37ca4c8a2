//! Objects as an earlier version of the manager wrote them go on: nothing is replaced because this one writes more.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use forebay_plan::capacity::Group;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::api::{self, Resize};
use super::{NAMESPACE, OnKubernetes};
use crate::driver::Driver;
use crate::subject::{Subject, steady};

const KIN: &str = "forebay.dev/kin";
const DIGEST: &str = "forebay.dev/digest";

/// The digest by which a Deployment that is as it is to be is known: of all of its `spec` but the number.
fn digest(deployment: &Value) -> String {
    let mut spec = deployment["spec"].clone();
    spec.as_object_mut().map(|spec| spec.remove("replicas"));
    let text = spec.to_string();
    let digest = Sha256::new().chain_update(text.len().to_le_bytes()).chain_update(&text).finalize();
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn of_group(driver: &Driver<OnKubernetes>) -> Result<(api::Key, Value)> {
    let all = api::objects(&driver.subject.api.world().store, "deployments");
    all.into_iter().find(|(_, object)| api::group_of(object) == Some(steady())).context("the group's Deployment")
}

fn pods(driver: &Driver<OnKubernetes>) -> Vec<Value> {
    driver.subject.api.world().store.of("pods").cloned().collect()
}

fn uids(driver: &Driver<OnKubernetes>) -> BTreeSet<String> {
    pods(driver).iter().map(api::uid).collect()
}

/// Three replicas that serve, in a Deployment without the mark of what its pods are made of.
async fn from_before() -> Result<Driver<OnKubernetes>> {
    let mut driver = Driver::<OnKubernetes>::set_up().await?;
    driver.order(&[(steady(), 3)]).await?;
    let (key, mut written) = of_group(&driver)?;
    ensure!(written["metadata"]["annotations"][DIGEST] == digest(&written), "the digest is of what is thought here");
    let annotations = written["spec"]["template"]["metadata"]["annotations"].as_object_mut().context("annotations")?;
    ensure!(annotations.remove(KIN).is_some(), "this version writes the mark");
    written["metadata"]["annotations"][DIGEST] = digest(&written).into();
    {
        let mut world = driver.subject.api.world();
        world.store.resize = Resize::Known;
        world.store.remove(&key);
        let api::World { store, cluster, .. } = &mut *world;
        cluster.control(store);
    }
    for _ in 0..2 {
        driver.subject.pause().await;
    }
    ensure!(pods(&driver).is_empty(), "nothing of this version is left");
    written["metadata"]["annotations"].as_object_mut().map(|all| all.remove("deployment.kubernetes.io/revision"));
    written["status"] = json!({});
    driver.subject.api.world().store.put(key, written);
    for _ in 0..5 {
        driver.subject.pause().await;
    }
    ensure!(pods(&driver).len() == 3 && pods(&driver).iter().all(|pod| pod["metadata"]["annotations"][KIN].is_null()));
    driver.forget_seen();
    driver.restart().await?;
    Ok(driver)
}

#[tokio::test]
async fn what_runs_is_not_replaced_for_a_mark() -> Result<()> {
    let mut driver = from_before().await?;
    let (_, before) = of_group(&driver)?;
    let running = uids(&driver);
    for _ in 0..3 {
        let again = driver.order(&[(steady(), 3)]).await?;
        ensure!((again.started, again.stopped) == (0, 0), "{again:?}");
        driver.subject.pause().await;
    }
    ensure!(uids(&driver) == running, "the same pods");
    ensure!(of_group(&driver)?.1["spec"] == before["spec"], "{before:#}");
    ensure!(pods(&driver).iter().all(|pod| pod["metadata"]["annotations"][KIN].is_string()), "each pod is marked");

    driver.order(&[(steady(), 4)]).await?;
    driver.settle().await?;
    driver.repeat().await?;
    ensure!(uids(&driver).is_superset(&running) && uids(&driver).len() == 4, "one more, and none anew");
    ensure!(pods(&driver).iter().all(|pod| pod["metadata"]["annotations"][KIN].is_string()), "later ones too");
    Ok(())
}

#[tokio::test]
async fn what_runs_can_move_in_place() -> Result<()> {
    let mut driver = from_before().await?;
    let running = uids(&driver);
    let bigger = Group { shape: "Large".to_owned(), ..steady() };
    driver.order(&[(bigger, 3)]).await?;
    driver.settle().await?;
    ensure!(uids(&driver) == running, "{running:?}, then {:?}", uids(&driver));
    Ok(())
}

#[tokio::test]
async fn the_next_change_of_a_template_brings_the_mark() -> Result<()> {
    let mut driver = from_before().await?;
    driver.order(&[(steady(), 3)]).await?;
    {
        let mut world = driver.subject.api.world();
        let key = ("apps".to_owned(), "deployments".to_owned(), NAMESPACE.to_owned(), "web-template".to_owned());
        let mut template = world.store.objects[&key].object.clone();
        template["spec"]["template"]["spec"]["containers"][0]["image"] = "registry.example/app:2".into();
        world.store.put(key, template);
    }
    driver.subject.caught_up().await;
    driver.repeat().await?;
    for _ in 0..40 {
        driver.subject.pause().await;
    }
    driver.settle().await?;
    let (_, written) = of_group(&driver)?;
    let mark = written["spec"]["template"]["metadata"]["annotations"][KIN].clone();
    ensure!(mark.is_string(), "{written:#}");
    let is_new = |pod: &Value| {
        pod["metadata"]["annotations"][KIN] == mark && pod["spec"]["containers"][0]["image"] == "registry.example/app:2"
    };
    ensure!(pods(&driver).len() == 3 && pods(&driver).iter().all(is_new), "{:#?}", pods(&driver));
    Ok(())
}
