//! The controller is killed anywhere, and its calls are cut anywhere: nothing is started twice, nothing is left unowned.

use anyhow::{Context, Result, ensure};
use forebay_plan::capacity::InstanceState;

use crate::driver::{Driver, ready, state};
use crate::subject::{Subject, other, steady};

/// A call that was polled so often has ended, at the latest; later cuts would be the same.
const MOST_POLLS: usize = 64;

pub(crate) async fn killed_anywhere_nothing_is_doubled_or_orphaned<S: Subject>() -> Result<()> {
    for polls in 0..MOST_POLLS {
        let mut driver = Driver::<S>::set_up().await?;
        driver.decide(&[(steady(), 2), (other(), 1)]);
        let has_ended = driver.apply_in_part(polls).await;
        driver.restart().await?;
        driver.settle().await.with_context(|| format!("cut after {polls} polls"))?;
        let started = (driver.subject.ever_started(&steady()), driver.subject.ever_started(&other()));
        ensure!(started == (2, 1), "cut after {polls} polls: {started:?} were started");

        driver.decide(&[]);
        driver.apply_in_part(polls).await;
        driver.restart().await?;
        driver.settle().await.with_context(|| format!("ended, cut after {polls} polls"))?;
        ensure!(driver.subject.running(&steady()) + driver.subject.running(&other()) == 0, "cut after {polls} polls");
        if has_ended {
            return Ok(());
        }
    }
    anyhow::bail!("an order takes more than {MOST_POLLS} polls")
}

pub(crate) async fn a_call_that_is_dropped_does_no_harm<S: Subject>() -> Result<()> {
    let mut driver = Driver::<S>::set_up().await?;
    for polls in [1, 2, 3, 5, 8, 13] {
        driver.decide(&[(steady(), 2)]);
        driver.apply_in_part(polls).await;
        driver.observe_in_part(polls).await;
        driver.settle().await.with_context(|| format!("up, cut after {polls} polls"))?;
        driver.decide(&[]);
        driver.apply_in_part(polls).await;
        driver.observe_in_part(polls).await;
        driver.settle().await.with_context(|| format!("down, cut after {polls} polls"))?;
    }
    ensure!(driver.subject.ever_started(&steady()) == 12, "{} started", driver.subject.ever_started(&steady()));
    ensure!(driver.subject.running(&steady()) == 0);
    Ok(())
}

pub(crate) async fn a_restart_forgets_nothing<S: Subject>() -> Result<()> {
    let mut driver = Driver::<S>::set_up().await?;
    driver.order(&[(steady(), 2), (other(), 1)]).await?;
    let before = driver.settle().await?;
    driver.restart().await?;
    let after = driver.settle().await?;
    ensure!(ready(&after, &steady()) == ready(&before, &steady()), "{before:?} {after:?}");
    ensure!(driver.subject.ever_started(&steady()) == 2 && driver.subject.ever_started(&other()) == 1);

    driver.restart().await?;
    driver.order(&[]).await?;
    driver.settle().await?;
    ensure!(driver.subject.running(&steady()) == 0 && driver.subject.running(&other()) == 0);
    Ok(())
}

pub(crate) async fn what_ended_meanwhile_is_seen_after_a_restart<S: Subject>() -> Result<()> {
    let mut driver = Driver::<S>::set_up().await?;
    driver.order(&[(steady(), 2)]).await?;
    let before = ready(&driver.settle().await?, &steady());
    let taken = before.first().context("two are ready")?.clone();
    driver.subject.take_away(&taken);
    driver.restart().await?;
    driver.until("it is seen as gone", |observed| state(observed, &taken) == Some(InstanceState::Gone)).await?;
    driver.settle().await?;
    ensure!(driver.subject.ever_started(&steady()) == 3);
    Ok(())
}
