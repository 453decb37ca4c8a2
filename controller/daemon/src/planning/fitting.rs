//! Fits forecasters beside the planning loop, one after the other on a thread of their own.
//!
//! A fit takes up to a second of computing; plans must not wait for it. Jobs go in, forecasters come out and ring the
//! bell. The thread ends when the jobs' sender is dropped; a fit under way then is simply not waited for.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use forebay_forecast::{EventCalendar, EventModel, Forecaster, Series, Settings, fit};

use crate::events;
use crate::state::Shared;

/// A key's believed history, to be fitted.
pub(super) struct Job {
    pub(super) index: usize,
    pub(super) version: u64,
    pub(super) history: Series,
    /// The events that concern the key, by which the history is cleared first.
    pub(super) calendar: EventCalendar,
    pub(super) settings: Settings,
}

/// What came of it: a forecaster, or the reason in words.
pub(super) struct Done {
    pub(super) index: usize,
    pub(super) version: u64,
    pub(super) events: Option<EventModel>,
    pub(super) outcome: Result<Forecaster, String>,
}

/// The two ends of the fitting thread.
pub(super) struct Fitting {
    jobs: Sender<Job>,
    done: Receiver<Done>,
    waiting: usize,
}

impl Fitting {
    /// Starts the thread.
    pub(super) fn start(shared: &Arc<Shared>) -> std::io::Result<Self> {
        let (jobs, work) = channel::<Job>();
        let (finished, done) = channel();
        let shared = Arc::clone(shared);
        std::thread::Builder::new().name("fitting".to_owned()).spawn(move || {
            for job in work {
                let (events, history) = events::learned(job.history, &job.calendar);
                let outcome = fit(&history, &job.settings).map_err(|error| error.to_string());
                if finished.send(Done { index: job.index, version: job.version, events, outcome }).is_err() {
                    return;
                }
                shared.bell.ring();
            }
        })?;
        Ok(Self { jobs, done, waiting: 0 })
    }

    /// Whether every job is done.
    pub(super) fn is_idle(&self) -> bool {
        self.waiting == 0
    }

    /// Hands over a job. A thread that is gone takes none; keys then keep the forecasters that they have.
    pub(super) fn submit(&mut self, job: Job) {
        if self.jobs.send(job).is_ok() {
            self.waiting += 1;
        }
    }

    /// What was finished since the last call.
    pub(super) fn finished(&mut self) -> Vec<Done> {
        let done: Vec<Done> = self.done.try_iter().collect();
        self.waiting -= done.len();
        done
    }
}
