//! What a calendar is worth to a forecaster: its losses with and without, on steps in events and on the others.
//!
//! Both lives have the same origins and the same model or selection; only the one knows the calendar. The steps are told
//! apart by the calendar for both. On the other steps a calendar may help, too: yesterday's event then is no pattern.

use comfy_table::{CellAlignment, Table, presets};
use forebay_forecast::EventCalendar;
use serde_json::{Value, json};

use super::super::Task;
use super::super::plot::Fan;
use super::{Lived, Losses, MEDIAN};

/// See the module's text.
pub(super) struct WithEvents {
    steps: u32,
    events: usize,
    /// Weighted quantile losses, without and with the calendar; `None` where no demand came.
    inside: Option<[f64; 2]>,
    elsewhere: Option<[f64; 2]>,
    /// What the middle would have been without.
    pub(super) medians: Vec<(i64, f64)>,
    /// Begin and end of each event.
    pub(super) spans: Vec<(i64, i64)>,
}

impl WithEvents {
    pub(super) fn of(with: &Lived, without: &Lived, calendar: &EventCalendar) -> Self {
        let pair = |place: usize| {
            let pair = [without.losses[place], with.losses[place]];
            (pair[0].actuals > 0.0).then(|| pair.map(Losses::wql))
        };
        let median = |fan: &Fan| (fan.start_s, fan.quantiles[MEDIAN]);
        let spans: Vec<_> = calendar.events().iter().map(|event| (event.from_s, event.to_s)).collect();
        let (steps, medians) = (with.losses[1].steps, without.fans.iter().map(median).collect());
        Self { steps, events: spans.len(), inside: pair(1), elsewhere: pair(0), medians, spans }
    }

    /// One line under a plot.
    pub(super) fn in_words(&self) -> String {
        let saved = |pair: Option<[f64; 2]>| match pair {
            Some([without, with]) => format!("WQL {without:.4} without the calendar, {with:.4} with it"),
            None => "nothing to measure".to_owned(),
        };
        let (inside, elsewhere) = (saved(self.inside), saved(self.elsewhere));
        format!("In events (shaded; {} scored steps): {inside}. On other steps: {elsewhere}.", self.steps)
    }

    pub(super) fn as_json(&self) -> Value {
        let pair = |pair: Option<[f64; 2]>| {
            pair.map(
                |[without, with]| json!({ "wql_without": without, "wql_with": with, "ratio": ratio(without, with) }),
            )
        };
        json!({
            "events": self.events, "scored_steps": self.steps, "in_events": pair(self.inside),
            "elsewhere": pair(self.elsewhere),
        })
    }
}

/// `None` where nothing was lost without.
fn ratio(without: f64, with: f64) -> Option<f64> {
    (without > 0.0).then(|| with / without)
}

/// A table of all tasks that a calendar concerns; empty if none is.
pub(super) fn table<'a>(all: impl Iterator<Item = (&'a Task<'a>, &'a WithEvents)>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(["series", "horizon", "steps", "events", "without calendar", "with", "ratio"]);
    for (task, worth) in all {
        for (place, pair, steps) in
            [("inside", worth.inside, worth.steps.to_string()), ("elsewhere", worth.elsewhere, String::new())]
        {
            let figure = |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{value:.4}"));
            table.add_row([
                task.place(),
                task.horizon.to_string(),
                steps,
                place.to_owned(),
                figure(pair.map(|pair| pair[0])),
                figure(pair.map(|pair| pair[1])),
                pair.and_then(|[without, with]| ratio(without, with))
                    .map_or("-".to_owned(), |ratio| format!("{ratio:.3}")),
            ]);
        }
    }
    if table.is_empty() {
        return String::new();
    }
    for column in table.column_iter_mut().skip(2).filter(|column| column.index != 3) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    format!("\nweighted quantile loss on steps in events and elsewhere:\n{table}\n")
}
