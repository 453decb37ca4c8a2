//! The row of `dry_run`. It keeps nothing real, so that of the suite only what is about orders and their answers applies:
//! it starts nothing that could become ready, be slow, be taken away or be drained, and stores nothing that a restart
//! could bring back. What it is held to instead stands here.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use forebay_plan::capacity::{Amounts, Generation, Group, InstanceState, Shape, Target};
use forebay_provision::{DryRun, FailureKind, InstanceManager, MAX_STEPS, Order, ProvisionError};

use crate::subject::{LIMIT, limited, other, steady, unknown};

const NOW_MS: u64 = 1_800_000_000_000;

fn dry_run() -> DryRun {
    DryRun::new(BTreeMap::from([(steady(), 5_000), (other(), 100), (limited(), LIMIT)]), || NOW_MS)
}

fn order(sequence: u64, targets: &[(Group, u32)]) -> Order {
    let target = |(group, count): &(Group, u32)| Target { group: group.clone(), count: *count };
    Order {
        generation: Generation { epoch: 1, sequence },
        targets: targets.iter().map(target).collect(),
        ..Order::default()
    }
}

#[tokio::test]
async fn it_says_what_it_would_do_and_why() -> Result<()> {
    let manager = dry_run();
    let first = manager.apply(&order(1, &[(steady(), 3), (limited(), LIMIT + 2), (unknown(), 1)])).await?;
    ensure!((first.started, first.stopped) == (5, 0), "{first:?}");
    let kinds: Vec<FailureKind> = first.failures.iter().map(|failure| failure.kind).collect();
    ensure!(kinds == [FailureKind::QuotaExceeded, FailureKind::Unknown], "{first:?}");
    let down = manager.apply(&order(2, &[(steady(), 1)])).await?;
    ensure!((down.started, down.stopped) == (0, 4), "{down:?}");

    let lines: Vec<String> = manager.steps().iter().map(ToString::to_string).collect();
    ensure!(
        lines
            == [
                "would start 2 of batch/reserved/Small: it has 0, order 1.1 asks for 4",
                "could not bring batch/reserved/Small to its number (quota_exceeded): it has 0, order 1.1 asks for 4",
                "could not bring nobody/nowhere/Small to its number (unknown): it has 0, order 1.1 asks for 1",
                "would start 3 of web/reserved/Small: it has 0, order 1.1 asks for 3",
                "would stop 2 of batch/reserved/Small: it has 2, order 1.2 asks for 0",
                "would stop 2 of web/reserved/Small: it has 3, order 1.2 asks for 1",
            ],
        "{lines:#?}"
    );
    Ok(())
}

#[tokio::test]
async fn saying_it_twice_changes_nothing_and_older_orders_are_refused() -> Result<()> {
    let manager = dry_run();
    let newest = order(2, &[(steady(), 3), (unknown(), 1)]);
    manager.apply(&newest).await?;
    let (seen, steps) = (manager.observe().await?, manager.steps());
    let again = manager.apply(&newest).await?;
    ensure!((again.started, again.stopped, again.failures.len()) == (0, 0, 1), "{again:?}");
    let refused = manager.apply(&order(1, &[])).await;
    let expected = ProvisionError::StaleGeneration { asked: order(1, &[]).generation, taken: newest.generation };
    ensure!(refused == Err(expected), "{refused:?}");
    ensure!(manager.observe().await? == seen && manager.steps() == steps);
    Ok(())
}

#[tokio::test]
async fn a_size_that_only_the_order_describes_is_possible_where_its_service_is() -> Result<()> {
    let manager = dry_run();
    let found = Group { shape: "found".to_owned(), ..steady() };
    let nowhere = Group { pool: "nowhere".to_owned(), ..found.clone() };
    let shape =
        Shape { name: found.shape.clone(), offers: Amounts::default(), price_micros_per_h: 1, performance: 1.0 };
    let described = Order { shapes: vec![shape], ..order(1, &[(found.clone(), 2), (nowhere.clone(), 1)]) };
    let applied = manager.apply(&described).await?;
    ensure!(applied.started == 2 && applied.failures.len() == 1, "{applied:?}");
    ensure!(applied.failures.first().is_some_and(|failure| failure.group == nowhere), "{applied:?}");
    let undescribed = manager.apply(&order(2, &[(found, 3)])).await?;
    ensure!((undescribed.started, undescribed.failures.len()) == (0, 1), "{undescribed:?}");
    Ok(())
}

#[tokio::test]
async fn nothing_ever_serves() -> Result<()> {
    let manager = dry_run();
    manager.apply(&order(1, &[(steady(), 3), (other(), 1)])).await?;
    for _ in 0..10 {
        let observed = manager.observe().await?;
        ensure!(observed.instances.len() == 4, "they count: {observed:?}");
        for instance in observed.instances {
            ensure!(instance.state == InstanceState::Requested && instance.address.is_none(), "{instance:?}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn what_is_listed_is_bounded() -> Result<()> {
    let manager = dry_run();
    for sequence in 0..MAX_STEPS as u64 + 10 {
        manager.apply(&order(sequence, &[(steady(), sequence as u32 + 1)])).await?;
    }
    let steps = manager.steps();
    ensure!(steps.len() == MAX_STEPS && steps.last().is_some_and(|step| step.had + 1 == step.asked));
    Ok(())
}
