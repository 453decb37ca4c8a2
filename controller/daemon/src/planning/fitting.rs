//! Fits forecasters beside the planning loop, one after the other on a thread of their own.
//!
//! A fit takes up to a second of computing; plans must not wait for it. Jobs go in, forecasters come out and ring the
//! bell. The thread ends when the jobs' sender is dropped; a fit under way then is simply not waited for.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use forebay_forecast::{
    ColdStart, EventCalendar, EventModel, Forecaster, Globals, RefitTrigger, Series, Settings, fit_as_with, fit_with,
};

use super::lifecycle::Order;
use super::refits::{MAX_SCHEDULED_WAITING, MAX_TRIGGERED_WAITING};
use crate::events;
use crate::state::Shared;

/// A key's believed history, to be fitted.
pub(super) struct Job {
    pub(super) index: usize,
    pub(super) version: u64,
    pub(super) order: Order,
    pub(super) history: Series,
    /// The events that concern the key, by which the history is cleared first.
    pub(super) calendar: EventCalendar,
    pub(super) settings: Settings,
    /// What models draw on beside the history.
    pub(super) globals: Globals,
    /// Histories of keys like it, to borrow from where its own is too short.
    pub(super) donors: Arc<[Series]>,
}

/// What came of it: a forecaster, or the reason in words.
pub(super) struct Done {
    pub(super) index: usize,
    pub(super) version: u64,
    pub(super) events: Option<EventModel>,
    pub(super) order: Order,
    pub(super) outcome: Result<Forecaster, String>,
    /// What can be had in place of a forecaster, with its horizon.
    pub(super) borrowed: Option<(ColdStart, usize)>,
}

/// The two ends of the fitting thread.
pub(super) struct Fitting {
    jobs: Sender<Job>,
    done: Receiver<Done>,
    /// Jobs by the schedule, and for another reason.
    scheduled: usize,
    triggered: usize,
}

impl Fitting {
    /// Starts the thread.
    pub(super) fn start(shared: &Arc<Shared>) -> std::io::Result<Self> {
        let (jobs, work) = channel::<Job>();
        let (finished, done) = channel();
        let shared = Arc::clone(shared);
        std::thread::Builder::new().name("fitting".to_owned()).spawn(move || {
            for job in work {
                let Job { index, version, order, history, calendar, settings, globals, donors } = job;
                let (events, history) = events::learned(history, &calendar);
                let fitted = match order.model {
                    None => fit_with(&globals, &history, &settings),
                    Some(model) => fit_as_with(&globals, model, &history, &settings),
                };
                let outcome = fitted.map_err(|error| error.to_string());
                let borrowed = match outcome {
                    Ok(_) => None,
                    Err(_) => ColdStart::fit(&donors, &history).ok().map(|start| (start, settings.horizon_steps)),
                };
                if finished.send(Done { index, version, order, events, outcome, borrowed }).is_err() {
                    return;
                }
                shared.bell.ring();
            }
        })?;
        Ok(Self { jobs, done, scheduled: 0, triggered: 0 })
    }

    /// Whether every job is done.
    pub(super) fn is_idle(&self) -> bool {
        self.scheduled + self.triggered == 0
    }

    /// Whether another fit for this reason may wait.
    pub(super) fn has_room(&self, why: RefitTrigger) -> bool {
        if is_scheduled(why) { self.scheduled < MAX_SCHEDULED_WAITING } else { self.triggered < MAX_TRIGGERED_WAITING }
    }

    fn waiting(&mut self, why: RefitTrigger) -> &mut usize {
        if is_scheduled(why) { &mut self.scheduled } else { &mut self.triggered }
    }

    /// Hands over a job. A thread that is gone takes none; keys then keep the forecasters that they have.
    pub(super) fn submit(&mut self, job: Job) {
        let why = job.order.refit.why;
        if self.jobs.send(job).is_ok() {
            *self.waiting(why) += 1;
        }
    }

    /// What was finished since the last call.
    pub(super) fn finished(&mut self) -> Vec<Done> {
        let done: Vec<Done> = self.done.try_iter().collect();
        for done in &done {
            *self.waiting(done.order.refit.why) -= 1;
        }
        done
    }
}

fn is_scheduled(why: RefitTrigger) -> bool {
    matches!(why, RefitTrigger::First | RefitTrigger::Scheduled)
}
