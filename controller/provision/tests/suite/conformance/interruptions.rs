//! Instances are taken away at any time: seen as gone, and replaced by the next order, which may be the same again.

use anyhow::{Context, Result, ensure};
use forebay_plan::capacity::InstanceState;

use crate::driver::{Driver, ready, state};
use crate::subject::{Noticed, Subject, other, steady};

pub(crate) async fn what_was_taken_away_is_replaced<S: Subject>() -> Result<()> {
    let mut driver = Driver::<S>::set_up().await?;
    driver.order(&[(steady(), 2)]).await?;
    let before = ready(&driver.settle().await?, &steady());
    let taken = before.first().context("two are ready")?.clone();
    driver.subject.take_away(&taken);
    driver.until("it is seen as gone", |observed| state(observed, &taken) == Some(InstanceState::Gone)).await?;

    let after = driver.settle().await?;
    ensure!(state(&after, &taken) == Some(InstanceState::Gone), "gone for good: {after:?}");
    ensure!(before.iter().skip(1).all(|id| state(&after, id) == Some(InstanceState::Ready)), "{after:?}");
    ensure!(driver.subject.ever_started(&steady()) == 3);
    Ok(())
}

pub(crate) async fn all_can_be_taken_away_at_once<S: Subject>() -> Result<()> {
    let mut driver = Driver::<S>::set_up().await?;
    driver.order(&[(steady(), 3), (other(), 1)]).await?;
    let before = driver.settle().await?;
    for id in ready(&before, &steady()) {
        driver.subject.take_away(&id);
    }
    driver.until("all are gone", |observed| ready(observed, &steady()).is_empty()).await?;
    let after = driver.settle().await?;
    ensure!(ready(&after, &other()) == ready(&before, &other()));
    ensure!(driver.subject.ever_started(&steady()) == 6);
    Ok(())
}

pub(crate) async fn a_notice_is_seen<S: Noticed>() -> Result<()> {
    let mut driver = Driver::<S>::set_up().await?;
    driver.order(&[(steady(), 1)]).await?;
    let id = ready(&driver.settle().await?, &steady()).first().context("one is ready")?.clone();
    driver.subject.announce(&id);
    driver
        .until("the notice is seen", |observed| {
            observed.instances.iter().any(|instance| instance.id == id && instance.is_interrupted)
        })
        .await?;
    Ok(())
}
