//! Orders and mishaps in any order: whatever came before, once they stop the last order comes true.

use anyhow::{Context, Result, ensure};
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::driver::{Driver, ready};
use crate::subject::{LIMIT, Subject, limited, other, steady};

/// Sequences, each of another seed, and steps in each.
const SEEDS: u64 = 4;
const STEPS: usize = 24;
const MOST_OF_A_GROUP: u32 = 3;

pub(crate) async fn whatever_happens_it_settles<S: Subject>() -> Result<()> {
    for seed in 0..SEEDS {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let mut driver = Driver::<S>::set_up().await?;
        for step in 0..STEPS {
            mishap(&mut driver, &mut random).await.with_context(|| format!("seed {seed}, step {step}"))?;
        }
        for group in [steady(), other()] {
            driver.subject.hold_starts(&group, false);
            driver.subject.refuse_starts(&group, false);
        }
        driver.settle().await.with_context(|| format!("seed {seed}"))?;
        driver.order(&[]).await?;
        driver.settle().await.with_context(|| format!("seed {seed}, at the end"))?;
        for group in [steady(), other(), limited()] {
            ensure!(driver.subject.running(&group) == 0, "seed {seed}: {group} is left");
        }
    }
    Ok(())
}

async fn mishap<S: Subject>(driver: &mut Driver<S>, random: &mut impl Rng) -> Result<()> {
    let group = if random.random_bool(0.5) { steady() } else { other() };
    match random.random_range(0..8) {
        0 | 1 => {
            let mut count = |most| random.random_range(0..=most);
            let order =
                [(steady(), count(MOST_OF_A_GROUP)), (other(), count(MOST_OF_A_GROUP)), (limited(), count(LIMIT))];
            driver.order(&order).await?;
        }
        2 => {
            driver.repeat().await?;
        }
        3 => {
            let ids = ready(&driver.observe().await?, &group);
            if let Some(id) = ids.get(random.random_range(0..ids.len().max(1))) {
                driver.subject.take_away(id);
            }
        }
        4 => driver.subject.hold_starts(&group, random.random_bool(0.5)),
        5 => driver.subject.refuse_starts(&group, random.random_bool(0.5)),
        6 => {
            driver.apply_in_part(random.random_range(0..6)).await;
            driver.restart().await?;
        }
        _ => {
            driver.observe().await?;
            driver.subject.pause().await;
        }
    }
    Ok(())
}
