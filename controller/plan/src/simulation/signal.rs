//! One way to say how much is needed, always on the books: a source, how long its highest is kept, and how far it is followed.
//!
//! The intuition: two things besides the source decide what a signal costs at a factor. *Dwell*: a replica that is given back
//! is gone for a lead time, so of a signal that trembles what counts is its least in each lead time, and keeping its highest
//! for as long may be the cheaper way. *Following*: a factor times the demand keeps most spare replicas at the peak, while
//! noise grows slower than demand does, by its root for independent arrivals; a signal that goes only half the way from its
//! mean of the last week spreads what is spare evenly, and keeps some for what comes back after a silence. Neither is known
//! beforehand to be better, so all ways are on the books.
//!
//! What is ready is what was asked for all the time since the lead time, so the least factor that would have served a step is
//! known once its demand is. Deliberately not here: mixing a forecast with the last value, which was no cheaper as a maximum, a
//! mean or a product; a tolerance like the autoscaler's, within which nothing is changed, which was no cheaper either.

use std::collections::VecDeque;
use std::fmt;

use super::World;
use super::enough::Enough;
use super::outlook::QUANTILES;

/// How far the way from its mean a signal is followed.
const FOLLOWED: [f64; 2] = [1.0, 0.5];

/// What a policy may go by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// What was needed last.
    LastValue,
    /// A quantile of the forecast, by its place among [`QUANTILES`].
    Forecast(usize),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LastValue => f.write_str("last value"),
            Self::Forecast(place) => match QUANTILES.get(*place) {
                Some(p) => write!(f, "forecast {:.1} %", 100.0 * p),
                None => f.write_str("forecast"),
            },
        }
    }
}

/// See the module's text. Levels are demands, in units per second.
#[derive(Clone, Debug)]
pub(super) struct Signal {
    pub(super) source: Source,
    pub(super) enough: Enough,
    dwell_steps: usize,
    followed: f64,
    /// What the source said in the dwell time, and since the lead time what came of it each.
    said: VecDeque<f64>,
    levels: VecDeque<f64>,
}

impl Signal {
    /// Every way to go by the last value and by so many quantiles of forecasts; the last value itself is the first.
    pub(super) fn all(world: &World<'_>, forecasts: usize, half_life_steps: f64) -> Vec<Self> {
        let sources = std::iter::once(Source::LastValue).chain((0..forecasts).map(Source::Forecast));
        let mut dwells = vec![0, world.lead_steps / 2, world.lead_steps, 2 * world.lead_steps];
        dwells.dedup();
        let ways = sources.flat_map(|source| dwells.iter().map(move |&dwell_steps| (source, dwell_steps)));
        ways.flat_map(|(source, dwell_steps)| {
            FOLLOWED.map(|followed| Self {
                source,
                enough: Enough::new(half_life_steps),
                dwell_steps,
                followed,
                said: VecDeque::new(),
                levels: VecDeque::new(),
            })
        })
        .collect()
    }

    /// What is asked for now, at a factor of one.
    pub(super) fn level(&self) -> f64 {
        self.levels.back().copied().unwrap_or(0.0)
    }

    /// Takes in what the source says of the step that is being decided.
    pub(super) fn say(&mut self, world: &World<'_>, demand: f64) {
        self.said.push_back(demand);
        if self.said.len() > self.dwell_steps + 1 {
            self.said.pop_front();
        }
        let highest = self.said.iter().copied().fold(0.0, f64::max);
        self.levels.push_back(self.followed(world, highest));
        if self.levels.len() > world.lead_steps + 1 {
            self.levels.pop_front();
        }
    }

    /// What is asked for at a factor of one where the source says `demand`.
    pub(super) fn followed(&self, world: &World<'_>, demand: f64) -> f64 {
        let mean = self.enough.mean_asked().map_or(demand, |replicas| replicas * world.per_replica);
        mean + self.followed * (demand - mean)
    }

    /// Takes in the demand of the step that was decided last.
    pub(super) fn observe(&mut self, world: &World<'_>, demand: f64) {
        if !self.levels.is_empty() {
            self.enough.observe(self.needed(world, demand), self.level() / world.per_replica);
        }
    }

    /// The factor up to which that step would have gone unserved.
    fn needed(&self, world: &World<'_>, demand: f64) -> f64 {
        let least = self.levels.iter().copied().fold(f64::INFINITY, f64::min);
        match world.replicas(demand) {
            0 => 0.0,
            _ if least <= 0.0 => f64::INFINITY,
            replicas => (replicas - 1) as f64 * world.per_replica / least,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::simulation::{Moment, Policy, simulate};

    fn world(demand: &[f64], lead_steps: usize) -> World<'_> {
        World { demand, step_s: 60, per_replica: 10.0, lead_steps }
    }

    /// Goes by a signal of the last value at a fixed factor, and notes by the books what went unserved.
    #[derive(Debug)]
    struct Fixed {
        signal: Signal,
        factor: f64,
        unserved: Vec<bool>,
    }

    impl Policy for Fixed {
        fn wanted(&mut self, world: &World<'_>, moment: &Moment<'_>) -> usize {
            let last = moment.seen.last().copied().unwrap_or(0.0);
            if !self.signal.levels.is_empty() {
                self.unserved.push(self.signal.needed(world, last) >= self.factor);
                assert_eq!(moment.served, Some(!self.unserved[self.unserved.len() - 1]), "step {}", moment.step - 1);
            }
            self.signal.observe(world, last);
            self.signal.say(world, last);
            world.replicas(self.factor * self.signal.level())
        }
    }

    proptest! {
        #[test]
        fn the_books_tell_what_a_signal_would_have_left_unserved(
            demand in prop::collection::vec(0.0_f64..500.0, 20..120),
            lead_steps in 1_usize..6,
            way in 0_usize..6,
            factor in 0.3_f64..3.0,
        ) {
            let world = world(&demand, lead_steps);
            let mut all = Signal::all(&world, 0, 50.0);
            let signal = all.swap_remove(way % all.len());
            let mut policy = Fixed { signal, factor, unserved: Vec::new() };
            simulate(&world, 1..demand.len(), &mut policy);
            prop_assert_eq!(policy.unserved.len(), demand.len() - 2);
        }
    }

    #[test]
    fn the_highest_is_kept_for_the_dwell_time_and_followed_half_way_from_the_mean() {
        let demand = [100.0; 4];
        let world = world(&demand, 2);
        let mut all = Signal::all(&world, 1, 1e9);
        let ways: Vec<_> = all.iter().map(|signal| (signal.source, signal.dwell_steps, signal.followed)).collect();
        assert_eq!(ways.len(), 2 * 4 * 2);
        assert_eq!(ways[0], (Source::LastValue, 0, 1.0));
        let mut kept = all.swap_remove(ways.iter().position(|way| *way == (Source::LastValue, 1, 1.0)).unwrap());
        let levels = [300.0, 100.0, 100.0].map(|said| {
            kept.say(&world, said);
            kept.level()
        });
        assert_eq!(levels, [300.0, 300.0, 100.0]);
        let mut halfway = Signal::all(&world, 0, 1e9).swap_remove(1);
        (0..50).for_each(|_| {
            halfway.say(&world, 100.0);
            halfway.observe(&world, 100.0);
        });
        halfway.say(&world, 300.0);
        assert!((halfway.level() - 200.0).abs() < 1e-6, "{}", halfway.level());
        halfway.say(&world, 0.0);
        assert!((halfway.level() - 50.0).abs() < 1e-6, "{}", halfway.level());
    }
}
