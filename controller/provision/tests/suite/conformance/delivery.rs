//! A network loses, repeats, delays and reorders; the other side hangs and lies.

use anyhow::{Context, Result, ensure};

use crate::driver::{Driver, ready};
use crate::subject::{Fault, Remote, steady};

pub(crate) async fn lost_requests_and_answers_double_nothing<S: Remote>() -> Result<()> {
    for fault in [Fault::RequestLost, Fault::AnswerLost] {
        let mut driver = Driver::<S>::set_up().await?;
        for count in [2, 1, 3] {
            driver.decide(&[(steady(), count)]);
            driver.subject.fault_next(fault);
            // Whether the manager tries again by itself or says that it is unreachable is its own affair.
            let _ = driver.repeat().await;
            driver.settle().await.with_context(|| format!("{fault:?} on the way to {count}"))?;
        }
        ensure!(driver.subject.ever_started(&steady()) == 4, "{fault:?}: {}", driver.subject.ever_started(&steady()));
    }
    Ok(())
}

pub(crate) async fn a_request_that_arrives_twice_counts_once<S: Remote>() -> Result<()> {
    let mut driver = Driver::<S>::set_up().await?;
    driver.subject.fault_next(Fault::Twice);
    let applied = driver.order(&[(steady(), 2)]).await?;
    ensure!(applied.failures.is_empty(), "{applied:?}");
    driver.settle().await?;
    ensure!(driver.subject.ever_started(&steady()) == 2);
    Ok(())
}

pub(crate) async fn a_late_request_is_overtaken<S: Remote>() -> Result<()> {
    let mut driver = Driver::<S>::set_up().await?;
    driver.order(&[(steady(), 1)]).await?;
    driver.settle().await?;
    driver.decide(&[(steady(), 3)]);
    driver.subject.fault_next(Fault::Late);
    let _ = driver.repeat().await;
    driver.decide(&[(steady(), 1)]);
    let _ = driver.repeat().await;
    driver.settle().await?;
    ensure!(driver.subject.running(&steady()) == 1);
    let again = driver.repeat().await?;
    ensure!((again.started, again.stopped) == (0, 0), "{again:?}");
    Ok(())
}

pub(crate) async fn a_hanging_outside_does_no_harm<S: Remote>() -> Result<()> {
    let mut driver = Driver::<S>::set_up().await?;
    driver.decide(&[(steady(), 2)]);
    driver.subject.fault_next(Fault::Hangs);
    let _ = driver.repeat().await;
    driver.settle().await?;
    driver.subject.fault_next(Fault::Hangs);
    let _ = driver.observe().await;
    driver.settle().await?;
    ensure!(driver.subject.ever_started(&steady()) == 2);
    Ok(())
}

pub(crate) async fn a_lie_is_made_good<S: Remote>() -> Result<()> {
    let mut driver = Driver::<S>::set_up().await?;
    driver.decide(&[(steady(), 2)]);
    driver.subject.fault_next(Fault::Lies);
    let _ = driver.repeat().await;
    let observed = driver.observe().await?;
    ensure!(ready(&observed, &steady()).is_empty(), "nothing came, nothing is ready: {observed:?}");
    driver.settle().await?;
    ensure!(driver.subject.ever_started(&steady()) == 2);
    Ok(())
}

pub(crate) async fn an_old_view_undoes_nothing<S: Remote>() -> Result<()> {
    let mut driver = Driver::<S>::set_up().await?;
    driver.order(&[(steady(), 1)]).await?;
    driver.settle().await?;
    driver.subject.keep_view();
    driver.order(&[(steady(), 3)]).await?;
    driver.settle().await?;
    driver.subject.show_old_view();
    // Refused or seen through: what it may not do is to undo what was seen, or to start anything.
    let _ = driver.observe().await.or_else(|error| {
        if error.is::<forebay_provision::ProvisionError>() { Ok(Default::default()) } else { Err(error) }
    })?;
    driver.settle().await?;
    ensure!(driver.subject.ever_started(&steady()) == 3);

    driver.subject.keep_view();
    driver.order(&[(steady(), 1)]).await?;
    driver.settle().await?;
    driver.subject.show_old_view();
    let again = driver.repeat().await;
    ensure!(again.as_ref().map_or(true, |again| again.started == 0), "{again:?}");
    driver.settle().await?;
    ensure!(driver.subject.ever_started(&steady()) == 3);
    Ok(())
}
