//! Giving capacity back: what does not serve yet goes first, what serves is drained.

use anyhow::{Result, ensure};
use forebay_plan::capacity::InstanceState;

use crate::driver::{Driver, ready, state};
use crate::subject::{Subject, steady};

pub(crate) async fn ready_ones_stay_while_others_can_go<S: Subject>() -> Result<()> {
    let mut driver = Driver::<S>::set_up().await?;
    driver.order(&[(steady(), 2)]).await?;
    let serving = ready(&driver.settle().await?, &steady());
    driver.subject.hold_starts(&steady(), true);
    driver.order(&[(steady(), 4)]).await?;
    driver.observe().await?;

    let applied = driver.order(&[(steady(), 2)]).await?;
    ensure!((applied.started, applied.stopped) == (0, 2), "{applied:?}");
    let after = driver.settle().await?;
    ensure!(ready(&after, &steady()) == serving, "{serving:?} served: {after:?}");
    Ok(())
}

pub(crate) async fn what_goes_is_drained<S: Subject>() -> Result<()> {
    let mut driver = Driver::<S>::set_up().await?;
    driver.order(&[(steady(), 3)]).await?;
    let before = ready(&driver.settle().await?, &steady());
    let applied = driver.order(&[(steady(), 1)]).await?;
    ensure!((applied.started, applied.stopped) == (0, 2), "{applied:?}");
    let again = driver.repeat().await?;
    ensure!((again.started, again.stopped) == (0, 0), "what drains is not stopped again: {again:?}");
    // As soon as they drain, nobody is to send them anything, and the one that stays serves all along.
    let observed = driver.observe().await?;
    ensure!(ready(&observed, &steady()).len() == 1, "{observed:?}");

    let gone = |id: &&String| state(&observed, id).is_some_and(|state| state >= InstanceState::Draining);
    let went: Vec<String> = before.iter().filter(gone).cloned().collect();
    ensure!(went.len() == 2, "{observed:?}");
    let after = driver.settle().await?;
    ensure!(went.iter().all(|id| state(&after, id) == Some(InstanceState::Gone)), "{went:?} went: {after:?}");
    ensure!(ready(&after, &steady()) == ready(&observed, &steady()));
    Ok(())
}
