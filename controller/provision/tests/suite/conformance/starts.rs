//! Starting takes time, and what starts is neither forgotten nor started again.

use anyhow::{Result, ensure};
use forebay_plan::capacity::InstanceState;

use crate::driver::{Driver, ready, wanted};
use crate::subject::{Subject, other, steady};

/// Looks that a slow start lasts for.
const LOOKS: usize = 5;

pub(crate) async fn what_starts_counts<S: Subject>() -> Result<()> {
    let mut driver = Driver::<S>::set_up().await?;
    driver.subject.hold_starts(&steady(), true);
    driver.order(&[(steady(), 2), (other(), 1)]).await?;
    driver.until("the other group is ready", |observed| ready(observed, &other()).len() == 1).await?;
    for look in 0..LOOKS {
        let observed = driver.observe().await?;
        ensure!(wanted(&observed, &steady()).len() == 2 && ready(&observed, &steady()).is_empty(), "{observed:?}");
        let again = driver.repeat().await?;
        ensure!((again.started, again.stopped) == (0, 0), "look {look}: {again:?}");
        driver.subject.pause().await;
    }
    driver.restart().await?;
    let again = driver.repeat().await?;
    ensure!((again.started, again.stopped) == (0, 0), "after a restart: {again:?}");
    ensure!(driver.subject.ever_started(&steady()) == 2);

    driver.subject.hold_starts(&steady(), false);
    driver.settle().await?;
    ensure!(driver.subject.ever_started(&steady()) == 2);
    Ok(())
}

pub(crate) async fn what_starts_can_be_given_up<S: Subject>() -> Result<()> {
    let mut driver = Driver::<S>::set_up().await?;
    driver.subject.hold_starts(&steady(), true);
    driver.order(&[(steady(), 2)]).await?;
    let started = wanted(&driver.observe().await?, &steady());
    ensure!(started.len() == 2, "{started:?}");
    let applied = driver.order(&[(steady(), 0)]).await?;
    ensure!((applied.started, applied.stopped) == (0, 2), "{applied:?}");
    let observed = driver.settle().await?;
    for instance in &observed.instances {
        ensure!(instance.state == InstanceState::Gone && instance.ready_ms.is_none(), "{instance:?}");
    }
    Ok(())
}
