//! What is watched is as true as a list would be, whatever happens to the watch, and costs nothing where nothing changes.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use forebay_plan::capacity::{Instance, InstanceState};
use forebay_provision::{InstanceManager, ProvisionError};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{OnKubernetes, api};
use crate::driver::{Driver, ready, state, wanted};
use crate::subject::{Subject, other, steady};

/// So short that a test can wait until there was no news for so long.
const NEWS_WITHIN: Duration = Duration::from_secs(1);
const COMES_WITHIN: Duration = Duration::from_secs(10);

/// So many of a group, ready and watched.
async fn with(count: u32) -> Result<Driver<OnKubernetes>> {
    let mut driver = Driver::of(OnKubernetes::with(|settings| settings.news_within = 10 * NEWS_WITHIN).await?);
    driver.order(&[(steady(), count)]).await?;
    driver.settle().await?;
    driver.subject.caught_up().await;
    Ok(driver)
}

fn lists(driver: &Driver<OnKubernetes>) -> u64 {
    driver.subject.manager().watching().iter().flat_map(|(_, watched)| watched).map(|one| one.lists).sum()
}

/// Ends the pod of an instance that is ready, with no controller to notice, and returns its id.
fn delete_one(driver: &Driver<OnKubernetes>, ready: &[String]) -> Result<String> {
    let id = ready.first().context("one is ready")?.clone();
    driver.subject.api.world().cluster.rests = true;
    driver.subject.delete_pod(&id);
    Ok(id)
}

async fn until_gone(driver: &mut Driver<OnKubernetes>, id: &str) -> Result<()> {
    let gone = driver.until("it is gone", |observed| state(observed, id) == Some(InstanceState::Gone)).await;
    gone.map(drop)
}

#[tokio::test]
async fn where_nothing_changes_nothing_is_listed() -> Result<()> {
    let mut driver = with(20).await?;
    let before = (lists(&driver), driver.subject.api.world().store.listed.clone());
    for _ in 0..5 {
        driver.observe().await?;
        let again = driver.repeat().await?;
        ensure!((again.started, again.stopped) == (0, 0), "{again:?}");
    }
    let watched = ["pods", "nodes", "deployments"];
    let listed = driver.subject.api.world().store.listed.clone();
    ensure!(lists(&driver) == before.0, "{:?}", driver.subject.manager().watching());
    ensure!(watched.iter().all(|of| listed.get(*of) == before.1.get(*of)), "{before:?}, then {listed:?}");
    // What changes comes by itself.
    driver.order(&[(steady(), 18)]).await?;
    driver.settle().await?;
    ensure!(driver.subject.ever_started(&steady()) == 20);
    Ok(())
}

#[tokio::test]
async fn an_own_write_is_seen_though_events_are_slow() -> Result<()> {
    let mut driver = with(1).await?;
    driver.subject.api.world().watches.are_slow = true;
    for count in [3, 2, 5] {
        driver.order(&[(steady(), count)]).await?;
        let observed = driver.observe().await?;
        ensure!(wanted(&observed, &steady()).len() == count as usize, "{count}: {observed:?}");
    }
    driver.subject.api.world().watches.are_slow = false;
    driver.settle().await?;
    ensure!(driver.subject.ever_started(&steady()) == 6, "one, two more, one fewer, three more");
    Ok(())
}

#[tokio::test]
async fn a_watch_that_is_cut_in_an_event_goes_on_where_it_was() -> Result<()> {
    let mut driver = with(3).await?;
    let before = lists(&driver);
    driver.subject.api.world().watches.cut();
    let ready = ready(&driver.observe().await?, &steady());
    let deleted = delete_one(&driver, &ready)?;
    until_gone(&mut driver, &deleted).await?;
    // It is resumed; a list is read only for looks that come before anything else does.
    ensure!(lists(&driver) <= before + 6, "{before}, then {:?}", driver.subject.manager().watching());
    driver.subject.api.world().cluster.rests = false;
    driver.settle().await?;
    Ok(())
}

#[tokio::test]
async fn a_deletion_that_nobody_told_is_seen_at_once() -> Result<()> {
    let mut driver = with(3).await?;
    {
        let mut world = driver.subject.api.world();
        world.watches.are_refused = true;
        world.watches.cut();
    }
    let deadline = Instant::now() + COMES_WITHIN;
    while driver.subject.manager().troubles().is_empty() {
        ensure!(Instant::now() < deadline, "a watch that is refused is told");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    for _ in 0..2 {
        let ready = ready(&driver.observe().await?, &steady());
        let deleted = delete_one(&driver, &ready)?;
        ensure!(state(&driver.observe().await?, &deleted) == Some(InstanceState::Gone), "each look lists");
    }
    driver.subject.api.world().watches.are_refused = false;
    driver.subject.api.world().cluster.rests = false;
    driver.settle().await?;
    Ok(())
}

#[tokio::test]
async fn versions_that_are_not_kept_any_more_are_listed_anew() -> Result<()> {
    let mut driver = with(3).await?;
    let ready = ready(&driver.observe().await?, &steady());
    let before = lists(&driver);
    {
        let mut world = driver.subject.api.world();
        world.watches.cut();
        // So that there is something between what is known and what is kept.
        let pods = api::objects(&world.store, "pods");
        let (key, pod) = pods.into_iter().next().context("a pod")?;
        world.store.put(key, pod);
    }
    let deleted = delete_one(&driver, &ready)?;
    driver.subject.api.world().store.forget_history();
    until_gone(&mut driver, &deleted).await?;
    let deadline = Instant::now() + COMES_WITHIN;
    while lists(&driver) < before + 3 {
        ensure!(Instant::now() < deadline, "all three begin anew: {:?}", driver.subject.manager().watching());
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    driver.subject.api.world().cluster.rests = false;
    driver.settle().await?;
    Ok(())
}

#[tokio::test]
async fn events_that_come_again_or_late_change_nothing() -> Result<()> {
    let mut driver = with(3).await?;
    let early: Vec<Value> = driver.subject.api.world().store.of("pods").cloned().collect();
    driver.order(&[(steady(), 2)]).await?;
    driver.settle().await?;
    driver.subject.caught_up().await;
    let before = driver.observe().await?;
    {
        let mut world = driver.subject.api.world();
        let nodes: Vec<Value> = world.store.of("nodes").cloned().collect();
        let now: Vec<Value> = world.store.of("pods").cloned().collect();
        // One that is gone is there again, others as they were and as they are, ended and begun.
        for (resource, objects) in [("pods", early), ("pods", now), ("nodes", nodes)] {
            for object in objects {
                for kind in ["MODIFIED", "ADDED", "DELETED", "ADDED"] {
                    world.watches.also.push((resource.to_owned(), json!({ "type": kind, "object": object })));
                }
            }
        }
    }
    driver.subject.caught_up().await;
    let after = driver.observe().await?;
    ensure!(after.instances == before.instances, "{before:#?} {after:#?}");
    let again = driver.repeat().await?;
    ensure!((again.started, again.stopped) == (0, 0), "{again:?}");
    Ok(())
}

#[tokio::test]
async fn a_server_that_begins_with_other_versions_is_followed_again() -> Result<()> {
    for is_lower in [false, true] {
        let subject = OnKubernetes::with(|settings| settings.news_within = NEWS_WITHIN).await?;
        let mut driver = Driver::of(subject);
        driver.order(&[(steady(), 3)]).await?;
        let before: BTreeSet<String> = ready(&driver.settle().await?, &steady()).into_iter().collect();
        {
            let mut world = driver.subject.api.world();
            let version = if is_lower { 1 } else { world.store.version() + 1_000_000 };
            world.store.restore_at(version);
            world.watches.cut();
        }
        let deadline = Instant::now() + COMES_WITHIN;
        let mut was_unreachable = false;
        let observed = loop {
            tokio::time::sleep(Duration::from_millis(20)).await;
            let is_new = driver.subject.manager().watching().iter().flat_map(|(_, all)| all).all(|one| {
                let version = one.version.parse::<u64>().unwrap_or_default();
                version <= driver.subject.api.world().store.version() && (is_lower || version > 1_000_000)
            });
            match driver.subject.manager().observe().await {
                Ok(observed) if is_new => break observed,
                Ok(_) => {}
                Err(ProvisionError::Unreachable { .. }) => was_unreachable = true,
                Err(error) => return Err(error.into()),
            }
            ensure!(Instant::now() < deadline, "lower: {is_lower}: {:?}", driver.subject.manager().watching());
        };
        ensure!(was_unreachable == is_lower, "older lists are not believed at first: {is_lower} {was_unreachable}");
        let after: BTreeSet<String> = ready(&observed, &steady()).into_iter().collect();
        ensure!(after == before, "{before:?} {after:?}");
        // And what is written there is seen there.
        driver.order(&[(steady(), 3), (other(), 1)]).await?;
        driver.settle().await?;
        ensure!(driver.subject.ever_started(&steady()) == 3);
    }
    Ok(())
}

#[tokio::test]
async fn a_watch_that_says_nothing_is_not_trusted_for_long() -> Result<()> {
    let subject = OnKubernetes::with(|settings| settings.news_within = NEWS_WITHIN).await?;
    let mut driver = Driver::of(subject);
    driver.order(&[(steady(), 2)]).await?;
    let ready = ready(&driver.settle().await?, &steady());
    driver.subject.api.world().watches.are_slow = true;
    let deleted = delete_one(&driver, &ready)?;
    let begun = Instant::now();
    until_gone(&mut driver, &deleted).await?;
    ensure!(begun.elapsed() < 5 * NEWS_WITHIN, "{:?}", begun.elapsed());
    // Nothing is told and nothing can be listed: what was known stands, and its pools are said to be out of sight.
    driver.subject.api.world().is_lost = true;
    let lost = driver.subject.manager().observe().await;
    ensure!(matches!(lost, Err(ProvisionError::Unreachable { .. })), "{lost:?}");
    driver.subject.api.world().is_lost = false;
    driver.subject.api.world().watches.are_slow = false;
    driver.subject.api.world().cluster.rests = false;
    driver.settle().await?;
    Ok(())
}

#[tokio::test]
async fn without_the_right_to_watch_each_look_lists_and_that_is_said() -> Result<()> {
    let mut driver = Driver::<OnKubernetes>::set_up().await?;
    if let Some(rights) = &mut driver.subject.api.world().rights {
        rights.0.retain(|(_, _, verb, _), _| verb != "watch");
    }
    driver.restart().await?;
    driver.order(&[(steady(), 2)]).await?;
    driver.settle().await?;
    let before = lists(&driver);
    let seen: Vec<Instance> = driver.observe().await?.instances;
    ensure!(seen.len() == 2 && lists(&driver) > before, "{seen:?}");
    let troubles = driver.subject.manager().troubles();
    let is_said = |what: &str| troubles.iter().any(|said| said.contains(what) && said.contains("not allowed"));
    ensure!(["list pods", "list nodes", "list Deployments"].iter().all(|what| is_said(what)), "{troubles:?}");
    Ok(())
}
