//! What cannot be done is named with its group and kind, and holds nobody else up.

use anyhow::{Result, bail, ensure};
use forebay_provision::{Applied, FailureKind, GroupFailure};

use crate::driver::{Driver, ready};
use crate::subject::{LIMIT, Subject, limited, other, steady};

pub(crate) async fn others_come_when_one_group_fails<S: Subject>() -> Result<()> {
    let mut driver = Driver::<S>::set_up().await?;
    driver.subject.refuse_starts(&steady(), true);
    let failure = only_failure(driver.order(&[(steady(), 2), (other(), 2)]).await?)?;
    ensure!(failure.group == steady() && failure.kind == FailureKind::Failed, "{failure:?}");
    ensure!(!failure.detail.is_empty());
    driver.until("the other group is ready", |observed| ready(observed, &other()).len() == 2).await?;
    ensure!(driver.subject.running(&steady()) == 0);
    // It is said as long as it is so.
    let failure = only_failure(driver.repeat().await?)?;
    ensure!(failure.group == steady(), "{failure:?}");

    driver.subject.refuse_starts(&steady(), false);
    driver.settle().await?;
    ensure!(driver.subject.ever_started(&other()) == 2);
    Ok(())
}

pub(crate) async fn a_limit_is_named<S: Subject>() -> Result<()> {
    let mut driver = Driver::<S>::set_up().await?;
    for _ in 0..2 {
        let failure = only_failure(driver.order(&[(limited(), LIMIT + 3), (steady(), 1)]).await?)?;
        ensure!(failure.group == limited() && failure.kind == FailureKind::QuotaExceeded, "{failure:?}");
        let both = "what the limit leaves, and the other group, are ready";
        driver
            .until(both, |seen| ready(seen, &limited()).len() == LIMIT as usize && ready(seen, &steady()).len() == 1)
            .await?;
        ensure!(driver.subject.running(&limited()) == LIMIT as usize);
    }
    let within = driver.order(&[(limited(), LIMIT), (steady(), 1)]).await?;
    ensure!(within == Applied::default(), "{within:?}");
    Ok(())
}

fn only_failure(applied: Applied) -> Result<GroupFailure> {
    let [failure] = applied.failures.as_slice() else { bail!("one failure: {applied:?}") };
    Ok(failure.clone())
}
