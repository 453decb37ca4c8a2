//! A pool that cannot be seen keeps what is known of it: no order changes anything there until it is seen again.

use anyhow::{Result, ensure};
use forebay_plan::capacity::Group;
use forebay_provision::{FailureKind, Observed};

use crate::driver::{Driver, ready};
use crate::subject::{Scattered, other, steady};

pub(crate) async fn what_cannot_be_seen_stays<S: Scattered>() -> Result<()> {
    let mut driver = Driver::<S>::set_up().await?;
    driver.order(&[(steady(), 1), (other(), 2)]).await?;
    let before = driver.settle().await?;
    ensure!(before.unreachable.is_empty(), "{before:?}");
    driver.subject.lose(&other().pool, true);
    let lost = driver.until("it is said", |observed| observed.unreachable.contains(&other().pool)).await?;
    ensure!(lost.unreachable.len() == 1 && ready(&lost, &other()) == ready(&before, &other()), "{lost:?}");

    // More, fewer and none: nothing there is started or ended, and the other pool is served.
    for (count, elsewhere) in [(Some(4), 2), (Some(1), 3), (None, 2)] {
        let there: Option<(Group, u32)> = count.map(|count| (other(), count));
        let applied =
            driver.order(&[Some((steady(), elsewhere)), there].into_iter().flatten().collect::<Vec<_>>()).await?;
        let failed = |kind| applied.failures.iter().any(|failure| failure.group == other() && failure.kind == kind);
        ensure!(applied.failures.len() == usize::from(count.is_some()), "{applied:?}");
        ensure!(count.is_none() || failed(FailureKind::Failed), "{applied:?}");
        let comes = |observed: &Observed| ready(observed, &steady()).len() == elsewhere as usize;
        let observed = driver.until("the pool that is seen follows", comes).await?;
        ensure!(ready(&observed, &other()) == ready(&before, &other()), "{observed:?}");
        ensure!(driver.subject.running(&other()) == 2 && driver.subject.ever_started(&other()) == 2);
    }

    driver.subject.lose(&other().pool, false);
    driver.until("it is seen again", |observed| observed.unreachable.is_empty()).await?;
    driver.order(&[(steady(), 2), (other(), 1)]).await?;
    driver.settle().await?;
    ensure!(driver.subject.ever_started(&other()) == 2, "none was started beside those that were there");
    Ok(())
}
