//! The demo's second part: a burst that comes every day, with capacity started ahead of it and with capacity started when it
//! is there.
//!
//! Two stacks side by side get the same requests at the same instants. Each has a controller of its own that starts and ends
//! real processes, and a real Envoy with the Forebay filter whose endpoints are the file that this controller writes. They
//! differ in one line of configuration: what the service is scaled by, its forecast or, as Kubernetes' horizontal
//! autoscaler does, 70 % of what is used now. Both know the same past; nothing else announces the burst.
//!
//! An instance takes several steps of the calendar until it serves, and queues what is beyond its capacity, so whoever
//! starts when the burst is there is late by as much.

pub mod findings;
pub mod load;
pub mod play;
pub mod side;

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};

use crate::artefacts::Artefacts;
use findings::CapacityFindings;
use play::Play;
use side::{Scaling, Side};

/// From the start of the controllers to the first request: reading the past, fitting, starting two Envoys.
const LEAD_TIME: Duration = Duration::from_secs(15);

/// Plays the burst through both stacks. `say` hears what goes on.
///
/// # Errors
/// When a part of a stack does not start or ends early.
pub async fn run(seed: u64, forebay: &Path, folder: &Path, say: &dyn Fn(&str)) -> Result<CapacityFindings> {
    let artefacts = Artefacts::find()?;
    let play = Play::new(seed);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).context("the clock is before 1970")?;
    let begin_unix_ms = (now + LEAD_TIME).as_millis() as u64;
    let begin = tokio::time::Instant::now() + LEAD_TIME;
    say("capacity: two controllers with the same past, one scales by forecast, one by what is used now");
    let start = |scaling| Side::start(scaling, &play, begin_unix_ms, &artefacts, forebay, folder);
    let (predictive, reactive) = tokio::try_join!(start(Scaling::Forecast), start(Scaling::Reactive))?;
    let live = play.live.len() as f64 * play.real_step().as_secs_f64();
    say(&format!(
        "capacity: {} steps with the daily burst in {live:.0} s of real time, to both at once",
        play.live.len()
    ));
    let due = play.due();
    let (to_predictive, to_reactive) =
        tokio::try_join!(load::send(predictive.address()?, begin, &due), load::send(reactive.address()?, begin, &due))?;
    let end_unix_ms = begin_unix_ms + (1000.0 * live) as u64;
    let predictive = predictive.end(to_predictive, end_unix_ms).await?;
    let reactive = reactive.end(to_reactive, end_unix_ms).await?;
    Ok(CapacityFindings::of(&play, begin_unix_ms, &predictive, &reactive))
}
