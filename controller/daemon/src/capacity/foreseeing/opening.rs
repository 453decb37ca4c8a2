//! Opening books: from what was seen, and where that proves nothing, from a demand that is known from before.
//!
//! The intuition: a replay of some weeks and the tuning of what guards it are a moment's work at five-minute steps, and
//! seconds at steps of a minute; forecasting weeks of history again takes longer than a turn may. So what is short is opened
//! in the turn that needs it, and the rest on a thread of its own, one service after the other, while the loop goes on by the
//! books that there are.
//!
//! What a demand from before comes to ([`Retold`]) is stored as if it had been seen, and marked: books are opened from it like
//! from all else, also after a restart, and history is forecast again only where there is none of it.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};

use forebay_forecast::Series;
use forebay_plan::Key;
use forebay_plan::simulation::{Aim, Live, Retold, Scale, Sight};

use super::books::{Foreseen, unseen};
use super::{DAY_S, Known, SEEN_KEPT_S, Seen};
use crate::config::Config;
use crate::planning::capacity::Bounds;
use crate::store::StoreError;
use crate::store::capacity::CapacityStore;
use crate::store::sqlite::SqliteStore;

/// Steps that are replayed in the turn that needs them: five weeks of five minutes; with tuning less than half a second
/// (`cargo xtask bench books`). More go to the thread.
pub(super) const AT_ONCE: usize = 12_000;

/// Steps that are replayed in a turn before services that are left wait for the next one: about a second.
const REPLAYED_PER_TURN: usize = 30_000;

/// A step that is being decided, and what books are to be kept for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    pub(super) scale: Scale,
    pub(super) step: i64,
    /// Whether it has just begun, and is not stored yet.
    pub(super) is_next: bool,
}

/// Opens books within what a turn may take.
pub(super) struct Opener<'a> {
    known: &'a Known<'a>,
    beside: &'a mut Beside,
    left: usize,
}

impl<'a> Opener<'a> {
    pub(super) fn new(known: &'a Known<'a>, beside: &'a mut Beside) -> Self {
        Self { known, beside, left: REPLAYED_PER_TURN }
    }

    /// Opens a service's books where they are not open for what they are to be kept for, or due; looks for history where they
    /// prove nothing. Returns whether they were opened at once.
    pub(super) fn open(&mut self, service: &str, foreseen: &mut Foreseen, moment: Moment) -> bool {
        let Moment { scale, step, is_next } = moment;
        let must_open = !foreseen.is_open_for(scale, step);
        let is_due = must_open || (is_next && foreseen.is_due(scale, step));
        if foreseen.is_opening || !is_due {
            return false;
        }
        foreseen.live.take_if(|_| must_open);
        if self.left == 0 {
            // What is not replayed now is stored, and replayed in a later turn.
            return false;
        }
        let start_s = step * i64::from(scale.step_s);
        let until_s = if is_next { start_s } else { start_s + 1 };
        let seen = (self.known.seen)(service, until_s - SEEN_KEPT_S..until_s);
        let replay = Replay::of(scale, foreseen.short_steps_share, &seen);
        let is_long = replay.is_long();
        if is_long {
            foreseen.is_opening = self.beside.submit(Job::Open { service: service.to_owned(), replay });
        } else {
            self.left = self.left.saturating_sub(seen.len().max(1));
            foreseen.take_opened(replay.opened());
        }
        if foreseen.wants_history(step, scale) {
            let from_s = seen.first().map_or(start_s, |first| first.start_s);
            let history = History::of(self.known.config, service, from_s - SEEN_KEPT_S..from_s, scale);
            foreseen.is_opening = self.beside.submit(Job::Retell { service: service.to_owned(), history });
        }
        !is_long
    }
}

/// What books are opened with.
#[derive(Debug)]
pub(super) struct Replay {
    scale: Scale,
    aim: Aim,
    sights: Vec<Sight>,
    since_step: Option<i64>,
    last_step: Option<i64>,
    of_history: usize,
}

impl Replay {
    /// Of what was seen, ascending.
    pub(super) fn of(scale: Scale, allowed: f64, seen: &[Seen]) -> Self {
        let step_s = scale.step_s.max(1);
        let step = |one: &Seen| one.start_s.div_euclid(i64::from(step_s));
        let mut sights = Vec::with_capacity(seen.len());
        let mut last_step = None;
        for one in seen {
            sights.extend(unseen(last_step, step(one), scale));
            sights.push(one.sight);
            last_step = Some(step(one));
        }
        let aim = Aim { allowed, day_steps: (DAY_S / step_s).max(1) as usize };
        let of_history = seen.iter().filter(|one| one.is_retold && !one.sight.demand_per_s.is_nan()).count();
        Self { scale, aim, sights, since_step: seen.first().map(step), last_step, of_history }
    }

    /// Whether it takes longer than a turn may.
    pub(super) fn is_long(&self) -> bool {
        self.sights.len() > AT_ONCE
    }

    pub(super) fn opened(self) -> Opened {
        let Self { scale, aim, sights, since_step, last_step, of_history } = self;
        Opened { live: Live::replayed(scale, aim, &sights), since_step, last_step, of_history }
    }
}

/// Books with what they know.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) live: Live,
    /// The first and the last calendar step that they know.
    pub(super) since_step: Option<i64>,
    pub(super) last_step: Option<i64>,
    /// Steps that nobody followed, whose demand was known from before.
    pub(super) of_history: usize,
}

/// A demand that is known from before.
#[derive(Debug)]
pub(super) struct History {
    data_dir: PathBuf,
    keys: Vec<(Key, Bounds)>,
    /// In seconds of the calendar.
    span: Range<i64>,
    scale: Scale,
}

impl History {
    /// What is stored of a service's keys in a span of the calendar.
    pub(super) fn of(config: &Config, service: &str, span: Range<i64>, scale: Scale) -> Self {
        let mut settings = config.capacity.iter().flat_map(|capacity| &capacity.services);
        let share = settings.find(|one| one.service.name == service).map_or(1.0, |one| one.guaranteed_share);
        let contracts = config.contracts.iter().filter(|contract| contract.pool.as_deref() == Some(service));
        let keys = contracts.map(|contract| (contract.key.clone(), Bounds::of(contract, share))).collect();
        Self { data_dir: config.data_dir.clone(), keys, span, scale }
    }

    /// All keys' demand together, counted as forecasts are; `None` where less than a day is known.
    fn demand(&self) -> Result<Option<Series>, StoreError> {
        let store = SqliteStore::open_to_read(&self.data_dir)?;
        let least_per_s: f64 = self.keys.iter().map(|(_, bounds)| bounds.least_per_s).sum();
        // What a key asked for beyond what it is counted with at least.
        let mut beyond: BTreeMap<i64, f64> = BTreeMap::new();
        for (key, bounds) in &self.keys {
            for (start_s, per_s) in store.offered(std::slice::from_ref(key), self.span.start, self.span.end)? {
                *beyond.entry(start_s).or_insert(0.0) += bounds.hold(per_s) - bounds.least_per_s;
            }
        }
        let step_s = i64::from(self.scale.step_s.max(1));
        let (Some((first, _)), Some((last, _))) = (beyond.first_key_value(), beyond.last_key_value()) else {
            return Ok(None);
        };
        let steps = first.div_euclid(step_s)..=last.div_euclid(step_s);
        if (beyond.len() as i64) < i64::from(DAY_S) / step_s {
            return Ok(None);
        }
        let demand = |step: i64| beyond.get(&(step * step_s)).map_or(f64::NAN, |beyond| least_per_s + beyond);
        Ok(Series::new(steps.start() * step_s, self.scale.step_s, steps.map(demand).collect()).ok())
    }

    /// As it would have been seen, in steps of which none is known otherwise.
    fn retold(&self, service: &str) -> Result<Vec<Seen>, StoreError> {
        let Some(demand) = self.demand()? else { return Ok(Vec::new()) };
        let Retold { from, sights, .. } = Retold::of(&demand, self.scale.lead_steps);
        let seen = |(place, sight): (usize, Sight)| {
            let start_s = demand.start_s() + (from + place) as i64 * i64::from(demand.step_s());
            Seen { service: service.to_owned(), start_s, sight, is_retold: true }
        };
        Ok(sights.into_iter().enumerate().map(seen).filter(|one| one.start_s < self.span.end).collect())
    }
}

/// What is done beside the loop.
#[derive(Debug)]
pub(super) enum Job {
    Open { service: String, replay: Replay },
    Retell { service: String, history: History },
}

/// And what came of it.
#[derive(Debug)]
pub(super) enum Done {
    Opened { service: String, opened: Box<Opened> },
    Retold { service: String, seen: Result<Vec<Seen>, StoreError> },
}

impl Job {
    fn done(self) -> Done {
        match self {
            Self::Open { service, replay } => Done::Opened { service, opened: Box::new(replay.opened()) },
            Self::Retell { service, history } => Done::Retold { seen: history.retold(&service), service },
        }
    }
}

/// The thread beside the loop, begun with its first job; it ends when this is dropped, and is not waited for. A service has one
/// job in it at most.
#[derive(Debug, Default)]
pub(super) struct Beside {
    thread: Option<(Sender<Job>, Receiver<Done>)>,
}

impl Beside {
    /// Hands over a job; whether it is taken.
    pub(super) fn submit(&mut self, job: Job) -> bool {
        if self.thread.is_none() {
            self.thread =
                start().inspect_err(|error| tracing::error!(%error, "start the thread that opens books")).ok();
        }
        self.thread.as_ref().is_some_and(|(jobs, _)| jobs.send(job).is_ok())
    }

    /// What was done since the last call; `None` where the thread is lost, with what it was to do.
    pub(super) fn finished(&mut self) -> Option<Vec<Done>> {
        let Some((_, done)) = &self.thread else { return Some(Vec::new()) };
        let mut finished = Vec::new();
        loop {
            match done.try_recv() {
                Ok(one) => finished.push(one),
                Err(TryRecvError::Empty) => return Some(finished),
                Err(TryRecvError::Disconnected) => break,
            }
        }
        tracing::error!("the thread that opens books is lost; it is started again");
        self.thread = None;
        None
    }
}

fn start() -> std::io::Result<(Sender<Job>, Receiver<Done>)> {
    let (jobs, work) = channel::<Job>();
    let (finished, done) = channel();
    std::thread::Builder::new().name("opening".to_owned()).spawn(move || {
        for job in work {
            if finished.send(job.done()).is_err() {
                return;
            }
        }
    })?;
    Ok((jobs, done))
}

#[cfg(test)]
mod tests;
