//! An instance's way through its states: what the process, the checks and the time make of it.

use forebay_plan::capacity::InstanceState;
use rustix::process::Signal;

use super::health::{Check, CheckResult};
use super::record::Record;
use super::settings::{Drain, ProcessSettings, Template};
use super::{State, alive};
use crate::ProvisionError;

/// How long what is gone is still shown.
const SHOWN_GONE_MS: u64 = 24 * 60 * 60 * 1_000;
/// How many of them at most: of a crash loop at its slowest pace, days.
const MAX_GONE: usize = 4_096;

/// How what is not configured any more is ended.
const UNKNOWN_DRAIN: Drain = Drain { serve_ms: 0, end_within_ms: 5_000 };

impl Record {
    /// Gets nothing new from now on.
    pub(super) fn drain(&mut self, now_ms: u64) {
        self.state = InstanceState::Draining;
        self.draining_ms = Some(now_ms);
    }
}

impl State {
    /// Sees which processes have ended, and ends those that are due.
    pub(super) fn move_on(&mut self, settings: &ProcessSettings, now_ms: u64) -> Result<(), ProvisionError> {
        let ids: Vec<String> = self.records.values().filter(|record| record.is_alive()).map(|r| r.id.clone()).collect();
        for id in ids {
            let Some(record) = self.records.get(&id) else { continue };
            self.folder.bound_output(record, settings.max_output_bytes);
            if !record.process.is_some_and(alive::Identity::lives) {
                self.bury(&id, settings, now_ms)?;
            } else if record.state == InstanceState::Draining {
                self.press(&id, settings, now_ms);
            } else if record.state < InstanceState::Ready {
                self.give_up_late(&id, settings, now_ms)?;
            }
        }
        self.forget_gone(now_ms);
        Ok(())
    }

    /// Notes that a process has ended, asked to or not, and ends what it left of its group.
    fn bury(&mut self, id: &str, settings: &ProcessSettings, now_ms: u64) -> Result<(), ProvisionError> {
        let mut end = String::new();
        if let Some(mut child) = self.children.remove(id) {
            // Its end has not been fetched, so the group's id cannot be another's.
            alive::end_group(child.id());
            end = child.try_wait().ok().flatten().map(|status| format!(" with {status}")).unwrap_or_default();
        }
        let Some(record) = self.records.get_mut(id) else { return Ok(()) };
        if record.state != InstanceState::Draining {
            let detail = format!("{id} ended by itself{end} while it was {}", record.state.name());
            self.failing.entry(record.group.clone()).or_default().note(&detail, &settings.backoff, now_ms);
        }
        record.state = InstanceState::Gone;
        record.gone_ms = Some(now_ms);
        self.folder.write(record)
    }

    /// Asks what drains to end once its time is over, and ends it when it does not.
    fn press(&mut self, id: &str, settings: &ProcessSettings, now_ms: u64) {
        let Some(record) = self.records.get_mut(id) else { return };
        let drain = settings.template(&record.group).map_or(&UNKNOWN_DRAIN, |template| &template.drain);
        let Drain { serve_ms, end_within_ms } = *drain;
        // What never served has nothing to finish.
        let serve_ms = if record.ready_ms.is_some() { serve_ms } else { 0 };
        let drained_ms = now_ms.saturating_sub(record.draining_ms.unwrap_or(0));
        let Some(process) = record.process else { return };
        if drained_ms >= serve_ms.saturating_add(end_within_ms) {
            process.signal(Signal::KILL);
        } else if drained_ms >= serve_ms && !record.is_asked_to_end {
            record.is_asked_to_end = true;
            process.signal(Signal::TERM);
        }
    }

    /// Ends what takes too long to become ready.
    fn give_up_late(&mut self, id: &str, settings: &ProcessSettings, now_ms: u64) -> Result<(), ProvisionError> {
        let Some(record) = self.records.get_mut(id) else { return Ok(()) };
        let bound_ms = settings.template(&record.group).map(|template| template.start_within_ms);
        match bound_ms.filter(|bound_ms| now_ms.saturating_sub(record.watched_since_ms) > *bound_ms) {
            Some(bound_ms) => {
                let detail = format!("{id} was not ready within {bound_ms} ms");
                self.end_failed(id, &detail, settings, now_ms)
            }
            None => Ok(()),
        }
    }

    fn end_failed(
        &mut self,
        id: &str,
        detail: &str,
        settings: &ProcessSettings,
        now_ms: u64,
    ) -> Result<(), ProvisionError> {
        let Some(record) = self.records.get_mut(id) else { return Ok(()) };
        self.failing.entry(record.group.clone()).or_default().note(detail, &settings.backoff, now_ms);
        record.drain(now_ms);
        self.folder.write(record)
    }

    /// What there is to ask of instances that are not draining.
    pub(super) fn checks(&self, settings: &ProcessSettings) -> Vec<Check> {
        let records = self.records.values().filter(|record| record.state.is_wanted());
        records
            .filter_map(|record| {
                let template = settings.template(&record.group)?;
                Some(Check { id: record.id.clone(), address: record.address(), health: template.health.clone() })
            })
            .collect()
    }

    /// Begins the warming of instances that are old enough for it.
    pub(super) fn warm(&mut self, settings: &ProcessSettings, now_ms: u64) {
        let Self { records, warmings, .. } = self;
        warmings.keep(|id| records.get(id).is_some_and(|record| record.state == InstanceState::Warming));
        for record in records.values().filter(|record| record.state == InstanceState::Warming) {
            let Some(Template { warming, .. }) = settings.template(&record.group) else { continue };
            let age_ms = now_ms.saturating_sub(record.answered_ms.unwrap_or(now_ms));
            if age_ms >= warming.minimum_age_ms {
                warmings.begin(&record.id, record.address(), warming, settings.check_within_ms);
            }
        }
    }

    /// What a check makes of its instance.
    pub(super) fn note(
        &mut self,
        id: &str,
        result: CheckResult,
        settings: &ProcessSettings,
        now_ms: u64,
    ) -> Result<(), ProvisionError> {
        let Some(record) = self.records.get_mut(id) else { return Ok(()) };
        let before = record.state;
        match (record.state, result) {
            (InstanceState::Starting, CheckResult::Answers) => {
                record.state = InstanceState::Warming;
                record.answered_ms = Some(now_ms);
            }
            (InstanceState::Warming, CheckResult::Answers) if self.warmings.is_done(id) => {
                record.state = InstanceState::Ready;
                record.ready_ms = Some(now_ms);
            }
            (InstanceState::Ready, CheckResult::Fails(detail)) => {
                record.failed_checks += 1;
                if record.failed_checks >= settings.unhealthy_after {
                    let detail = format!("{id} does not answer any more: {detail}");
                    return self.end_failed(id, &detail, settings, now_ms);
                }
            }
            _ => record.failed_checks = 0,
        }
        if record.state == before { Ok(()) } else { self.folder.write(record) }
    }

    fn forget_gone(&mut self, now_ms: u64) {
        let gone = self.records.values().filter(|record| !record.is_alive());
        let mut gone: Vec<(u64, String)> =
            gone.map(|record| (record.gone_ms.unwrap_or(0), record.id.clone())).collect();
        gone.sort_unstable();
        let too_many = gone.len().saturating_sub(MAX_GONE);
        for (place, (gone_ms, id)) in gone.into_iter().enumerate() {
            if (place < too_many || now_ms.saturating_sub(gone_ms) > SHOWN_GONE_MS)
                && let Some(record) = self.records.remove(&id)
            {
                self.folder.forget(&record);
            }
        }
    }
}
