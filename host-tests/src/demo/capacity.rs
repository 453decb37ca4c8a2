//! The demo's second part: a burst that comes every day, with capacity started ahead of it and with capacity started when it
//! is there.
//!
//! Two stacks side by side get the same requests at the same instants. Each has a controller of its own that starts and ends
//! real processes, and a real Envoy with the Forebay filter whose endpoints are the file that this controller writes. They
//! differ in one line of configuration: what the service is scaled by, its forecast or, as Kubernetes' horizontal
//! autoscaler does, 70 % of what is used now. Both know the same past; nothing else announces the burst.
//!
//! The reactive side of the comparison looks in every turn, four times a second, and is stronger for it than the autoscaler is:
//! that looks every 15 s by default. So that nobody has to guess what this is worth, the burst is then played once more, to a
//! stack that looks as seldom; what must hold is held against the stronger one.
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
use findings::{CapacityFindings, SideFindings};
use load::Sample;
use play::Play;
use side::{Record, Scaling, Side};

/// From the start of the controllers to the first request: reading the past, fitting, starting two Envoys.
const LEAD_TIME: Duration = Duration::from_secs(15);

/// Plays the burst through both stacks. `say` hears what goes on.
///
/// # Errors
/// When a part of a stack does not start or ends early.
pub async fn run(seed: u64, forebay: &Path, folder: &Path, say: &dyn Fn(&str)) -> Result<CapacityFindings> {
    let stage = Stage { artefacts: Artefacts::find()?, play: Play::new(seed), forebay, folder };
    let (play, steps) = (&stage.play, stage.play.live.len());
    say("capacity: two controllers with the same past, one scales by forecast, one by what is used now");
    let begin = Begin::soon()?;
    let start = |scaling| stage.side(scaling, begin);
    let (predictive, reactive) = tokio::try_join!(start(Scaling::Forecast), start(Scaling::Reactive))?;
    say(&format!(
        "capacity: {steps} steps with the daily burst in {:.0} s of real time, to both at once",
        stage.live_s()
    ));
    let (to_predictive, to_reactive) = tokio::try_join!(stage.send(&predictive, begin), stage.send(&reactive, begin))?;
    let predictive = SideFindings::of(play, begin.unix_ms, &stage.end(predictive, to_predictive, begin).await?);
    let reactive = SideFindings::of(play, begin.unix_ms, &stage.end(reactive, to_reactive, begin).await?);
    say("capacity: once more, to one that looks every 15 s at what is used, as Kubernetes' autoscaler does by default");
    let begin = Begin::soon()?;
    let seldom = stage.side(Scaling::ReactiveSeldom, begin).await?;
    let to_seldom = stage.send(&seldom, begin).await?;
    let seldom = SideFindings::of(play, begin.unix_ms, &stage.end(seldom, to_seldom, begin).await?);
    Ok(CapacityFindings::of(predictive, reactive, seldom))
}

/// When requests begin, in both times.
#[derive(Clone, Copy)]
struct Begin {
    unix_ms: u64,
    at: tokio::time::Instant,
}

impl Begin {
    fn soon() -> Result<Self> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).context("the clock is before 1970")?;
        Ok(Self { unix_ms: (now + LEAD_TIME).as_millis() as u64, at: tokio::time::Instant::now() + LEAD_TIME })
    }
}

/// What all sides are of.
struct Stage<'a> {
    artefacts: Artefacts,
    play: Play,
    forebay: &'a Path,
    folder: &'a Path,
}

impl Stage<'_> {
    fn live_s(&self) -> f64 {
        self.play.live.len() as f64 * self.play.real_step().as_secs_f64()
    }

    async fn side(&self, scaling: Scaling, begin: Begin) -> Result<Side> {
        Side::start(scaling, &self.play, begin.unix_ms, &self.artefacts, self.forebay, self.folder).await
    }

    async fn send(&self, side: &Side, begin: Begin) -> Result<Vec<Sample>> {
        load::send(side.address()?, begin.at, &self.play.due()).await
    }

    async fn end(&self, side: Side, samples: Vec<Sample>, begin: Begin) -> Result<Record> {
        side.end(samples, begin.unix_ms + (1000.0 * self.live_s()) as u64).await
    }
}
