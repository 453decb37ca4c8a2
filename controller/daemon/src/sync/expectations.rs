//! What the forecasts expect of the running slot and the next, told to a proxy with each acknowledgement, as its part.
//!
//! With it the filter knows a burst when it happens, and its reports say of each slot what came beside what was expected.

use forebay_protocol::extension::{EXPECTATIONS, SlotTime, extension};
use forebay_protocol::{Expectations, Extension, Report};

use crate::observe::Moment;
use crate::state::{Shared, lock};
use crate::sync::parts::milliseconds;

/// Slots that are told: the running one and the next.
const TOLD: usize = 2;

/// Steps that an [`Outlook`] covers: those that are told, and one more for when the planner is a step behind.
pub(crate) const OUTLOOK_STEPS: usize = TOLD + 1;

/// The newest forecasts for all proxies together.
#[derive(Debug, Default)]
pub(crate) struct Outlook {
    /// The step of the first.
    pub(crate) first_step: i64,
    /// By the contract's place: middle and upper bound of each step, in units per real second, where there is a forecast;
    /// empty where there is none at all.
    pub(crate) rows: Vec<[Option<(f64, f64)>; OUTLOOK_STEPS]>,
}

impl Outlook {
    fn at(&self, place: usize, step: i64) -> Option<(f64, f64)> {
        let ahead = usize::try_from(step - self.first_step).ok()?;
        *self.rows.get(place)?.get(ahead)?
    }
}

impl Shared {
    /// The extension for the acknowledgement of `report`; none while nothing is forecast.
    pub(super) fn expectations(&self, report: &Report, now: Moment) -> Option<Extension> {
        let outlook = lock(&self.outlook);
        if outlook.rows.is_empty() {
            return None;
        }
        let step_s = f64::from(self.config.step_s);
        let (speed, length) = (self.clock.speed(), self.clock.to_real(step_s));
        let step = (now.calendar_s / step_s).floor() as i64;
        let steps = [step, step + 1];
        let slots = steps.map(|step| SlotTime {
            id: step.unsigned_abs(),
            starts_in_ms: ((step as f64 * step_s - now.calendar_s) / speed * 1000.0).round() as i64,
            length_ms: milliseconds(length).max(1),
        });
        let observer = self.observer();
        let proxies = observer.live(now.steady).len();
        let row = |row: &forebay_protocol::Row| {
            let key = forebay_plan::Key::new(row.tenant.clone(), row.resource.clone());
            let bounds = observer.place(&key).map(|place| steps.map(|step| outlook.at(place, step)));
            let parts = observer.parts(&report.proxy, &key, slots.map(|slot| slot.id), proxies);
            let (Some(bounds), Some(parts)) = (bounds, parts) else { return Vec::new() };
            if bounds.iter().all(Option::is_none) {
                return Vec::new();
            }
            let units = |per_s: f64, part: f64| per_s.max(0.0) * length.as_secs_f64() * part;
            bounds
                .iter()
                .zip(parts)
                .map(|(bound, part)| match bound {
                    // A bound of nothing would say that there is no forecast.
                    Some((point, upper)) => {
                        (units(*point, part).round() as u64, (units(*upper, part).ceil() as u64).max(1))
                    }
                    None => (0, 0),
                })
                .collect()
        };
        let rows = report.rows.iter().map(row).collect();
        Some(extension(EXPECTATIONS, &Expectations { slots: slots.to_vec(), rows }))
    }
}
