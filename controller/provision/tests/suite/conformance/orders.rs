//! Orders are whole, taken in order, and idempotent.

use anyhow::{Result, ensure};
use forebay_plan::capacity::Generation;
use forebay_provision::{FailureKind, Order, ProvisionError};

use crate::driver::{Driver, ready};
use crate::subject::{Subject, other, steady, unknown};

pub(crate) async fn groups_are_brought_to_their_numbers<S: Subject>() -> Result<()> {
    let mut driver = Driver::<S>::set_up().await?;
    ensure!(driver.observe().await?.generation.is_none(), "no order was given yet");

    let applied = driver.order(&[(steady(), 2), (other(), 1)]).await?;
    ensure!((applied.started, applied.stopped) == (3, 0) && applied.failures.is_empty(), "{applied:?}");
    let order = driver.settle().await?.generation;
    ensure!(order == Some(Generation { epoch: 1, sequence: 1 }), "{order:?}");
    ensure!(driver.subject.ever_started(&steady()) == 2 && driver.subject.ever_started(&other()) == 1);

    let applied = driver.order(&[(steady(), 3), (other(), 1)]).await?;
    ensure!((applied.started, applied.stopped) == (1, 0), "{applied:?}");
    driver.settle().await?;
    ensure!(driver.subject.ever_started(&steady()) == 3 && driver.subject.ever_started(&other()) == 1);
    Ok(())
}

pub(crate) async fn saying_it_twice_changes_nothing<S: Subject>() -> Result<()> {
    let mut driver = Driver::<S>::set_up().await?;
    driver.order(&[(steady(), 2)]).await?;
    // While they start, and when they are ready.
    for _ in 0..2 {
        for _ in 0..3 {
            let again = driver.repeat().await?;
            ensure!((again.started, again.stopped) == (0, 0) && again.failures.is_empty(), "{again:?}");
        }
        driver.settle().await?;
    }
    ensure!(driver.subject.ever_started(&steady()) == 2);

    // A newer decision of the same says nothing new either.
    let newer = driver.order(&[(steady(), 2)]).await?;
    ensure!((newer.started, newer.stopped) == (0, 0), "{newer:?}");
    Ok(())
}

pub(crate) async fn older_orders_are_refused<S: Subject>() -> Result<()> {
    let mut driver = Driver::<S>::set_up().await?;
    let stale = driver.decide(&[(steady(), 0)]);
    driver.order(&[(steady(), 1)]).await?;
    let taken = Generation { epoch: 1, sequence: 2 };
    let before = ready(&driver.settle().await?, &steady());

    for _ in 0..2 {
        let refused = driver.apply(&stale).await;
        let expected = ProvisionError::StaleGeneration { asked: stale.generation, taken };
        ensure!(refused == Err(expected), "{refused:?}");
        let observed = driver.observe().await?;
        ensure!(observed.generation == Some(taken), "{observed:?}");
        // A manager made anew remembers what was taken before it.
        driver.restart().await?;
    }
    let older_epoch = Order { generation: Generation { epoch: 0, sequence: 99 }, ..stale };
    let refused = driver.apply(&older_epoch).await;
    ensure!(matches!(refused, Err(ProvisionError::StaleGeneration { .. })), "{refused:?}");
    ensure!(ready(&driver.settle().await?, &steady()) == before);

    let newer_epoch = Order { generation: Generation { epoch: 2, sequence: 0 }, ..Order::default() };
    ensure!(driver.apply(&newer_epoch).await.is_ok_and(|applied| applied.stopped == 1));
    Ok(())
}

pub(crate) async fn what_an_order_leaves_out_ends<S: Subject>() -> Result<()> {
    let mut driver = Driver::<S>::set_up().await?;
    driver.order(&[(steady(), 2), (other(), 1)]).await?;
    driver.settle().await?;
    let applied = driver.order(&[(other(), 1)]).await?;
    ensure!((applied.started, applied.stopped) == (0, 2), "{applied:?}");
    driver.settle().await?;
    ensure!(driver.subject.running(&steady()) == 0 && driver.subject.running(&other()) == 1);
    Ok(())
}

pub(crate) async fn unknown_groups_are_named<S: Subject>() -> Result<()> {
    let mut driver = Driver::<S>::set_up().await?;
    let applied = driver.order(&[(unknown(), 1), (steady(), 1)]).await?;
    let [failure] = applied.failures.as_slice() else { anyhow::bail!("one failure: {applied:?}") };
    ensure!(failure.group == unknown() && failure.kind == FailureKind::Unknown, "{failure:?}");
    ensure!(!failure.detail.is_empty() && applied.started == 1, "{applied:?}");
    driver.until("the known group is ready", |observed| ready(observed, &steady()).len() == 1).await?;
    Ok(())
}
