//! What is watched on a real server stays true whatever happens to the watch and to the way there.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use forebay_plan::capacity::InstanceState;
use forebay_provision::{InstanceManager, ProvisionError};
use tokio::time::Instant;

use super::{BehindRelay, NOTICED_WITHIN, PAUSE, kubeconfig};
use crate::driver::{Driver, ready, state};
use crate::subject::{Subject, steady};

/// So short that a test can wait until there was no news for so long.
const NEWS_WITHIN: Duration = Duration::from_secs(4);

/// Three that serve, and are watched; `None` where there is no cluster.
async fn three(news_within: Duration) -> Result<Option<Driver<BehindRelay>>> {
    if kubeconfig().is_none() {
        return Ok(None);
    }
    let mut driver = Driver::of(BehindRelay::with(|settings| settings.news_within = news_within).await?);
    driver.order(&[(steady(), 3)]).await?;
    driver.settle().await?;
    Ok(Some(driver))
}

/// Ends the pod of one that is ready, and waits until the manager says so.
async fn one_ends_and_is_seen(driver: &mut Driver<BehindRelay>) -> Result<()> {
    let id = ready(&driver.observe().await?, &steady()).first().context("one is ready")?.clone();
    driver.subject.place.nodes.delete(&id)?;
    driver.until("it is gone", |observed| state(observed, &id) == Some(InstanceState::Gone)).await?;
    Ok(())
}

/// Lists so far, of each kind.
fn lists(driver: &Driver<BehindRelay>) -> Vec<u64> {
    driver.subject.manager().watching().iter().flat_map(|(_, watched)| watched).map(|one| one.lists).collect()
}

#[tokio::test]
async fn a_watch_that_is_cut_in_an_event_goes_on() -> Result<()> {
    let Some(mut driver) = three(10 * NEWS_WITHIN).await? else { return Ok(()) };
    for _ in 0..3 {
        driver.subject.place.relay().cut_watches();
        one_ends_and_is_seen(&mut driver).await?;
    }
    driver.settle().await?;
    ensure!(driver.subject.ever_started(&steady()) == 6, "each is replaced once");
    Ok(())
}

#[tokio::test]
async fn a_watch_that_says_nothing_is_not_trusted_for_long() -> Result<()> {
    let Some(mut driver) = three(NEWS_WITHIN).await? else { return Ok(()) };
    driver.subject.place.relay().hold_watches(true);
    one_ends_and_is_seen(&mut driver).await?;
    driver.subject.place.relay().hold_watches(false);
    driver.settle().await?;
    ensure!(driver.subject.ever_started(&steady()) == 4);
    Ok(())
}

/// The server says itself that it does not keep what is asked for (410).
#[tokio::test]
async fn versions_that_are_not_kept_any_more_are_listed_anew() -> Result<()> {
    let Some(mut driver) = three(10 * NEWS_WITHIN).await? else { return Ok(()) };
    let before = lists(&driver);
    {
        let relay = driver.subject.place.relay();
        relay.state().begin_long_ago = before.len();
        relay.cut_watches();
    }
    let deadline = Instant::now() + NOTICED_WITHIN;
    while driver.subject.place.relay().state().begin_long_ago > 0 {
        ensure!(Instant::now() < deadline, "each is asked for again");
        tokio::time::sleep(PAUSE).await;
    }
    while lists(&driver).iter().zip(&before).any(|(now, before)| now <= before) {
        ensure!(Instant::now() < deadline, "all begin anew: {before:?}, then {:?}", lists(&driver));
        tokio::time::sleep(PAUSE).await;
    }
    one_ends_and_is_seen(&mut driver).await?;
    driver.settle().await?;
    ensure!(driver.subject.manager().troubles().is_empty(), "{:?}", driver.subject.manager().troubles());
    Ok(())
}

#[tokio::test]
async fn a_server_that_refuses_connections_is_unreachable_until_it_is_back() -> Result<()> {
    let Some(mut driver) = three(NEWS_WITHIN).await? else { return Ok(()) };
    let serving = ready(&driver.observe().await?, &steady());
    driver.subject.place.relay().close();
    let deadline = Instant::now() + NOTICED_WITHIN;
    while driver.subject.manager().observe().await.is_ok() {
        ensure!(Instant::now() < deadline, "a server that is not there is noticed");
        tokio::time::sleep(PAUSE).await;
    }
    driver.decide(&[(steady(), 5)]);
    let refused = driver.repeat().await.err().context("nothing can be ordered")?;
    ensure!(matches!(refused.downcast_ref(), Some(ProvisionError::Unreachable { .. })), "{refused:?}");
    ensure!(driver.subject.running(&steady()) == 3, "what is there goes on");
    driver.subject.place.relay().open()?;
    let observed = driver.settle().await?;
    ensure!(serving.iter().all(|id| state(&observed, id) == Some(InstanceState::Ready)), "{observed:?}");
    ensure!(driver.subject.ever_started(&steady()) == 5, "two more, and none anew");
    Ok(())
}
