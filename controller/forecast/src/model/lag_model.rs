//! The common frame of the learned regressions: history to rows, rows to a fitted regressor, regressor to points.
//!
//! A row is what [`lag_features`](super::lag_features) sees of one target step, and how many steps ahead that is. Because
//! the lead is a feature, one regressor serves many leads and a fit costs the same at any horizon: each origin gives rows
//! for a few leads only, spread by the golden ratio so that over the origins all leads are met equally often. A regressor
//! that can bend around the lead gets all leads in one group ([`Leads::Together`]); a linear one, whose weight of the last
//! value has to fall as the lead grows, gets groups that double in width ([`Leads::Doubling`]), so a week of hours takes
//! eight fits and not 168.
//!
//! Features and targets are rounded to `f32` before anything looks at them. A unit of measurement then changes no bit (a
//! tree would break a tie between two columns another way), and trees can keep `f32` thresholds and decide as trained.
//!
//! [`Recursive`] fits for one step ahead and feeds each forecast back as if it had happened. It is the cheaper fit and
//! follows a regular shape far out; its errors pile up, which the direct form's do not.
//!
//! What it does not do: estimate errors. No regressor here minimises a quantile loss; quantiles come from outside.

use serde::{Deserialize, Serialize};
use smartcore::linalg::basic::matrix::DenseMatrix;

use super::lag_features::{Features, Shape};
use super::{EXPLOSION_FACTOR, Model};
use crate::backtest::coprime_stride;
use crate::error::ModelError;
use crate::history::History;

/// Fewest training rows per feature; below, what is learned is noise.
const ROWS_PER_FEATURE: usize = 3;
/// Targets that vary less than this are one constant.
const MIN_DEVIATION: f64 = 1e-9;
/// 2^64 over the golden ratio: multiples of it, as shares of 2^64, fill the unit interval most evenly.
const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;

/// Which leads share a regressor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Leads {
    /// All of them.
    Together,
    /// 1, 2, 3-4, 5-8, 9-16 and so on.
    Doubling,
}

impl Leads {
    /// The longest lead of each group.
    fn ends(self, horizon_steps: usize) -> Vec<usize> {
        match self {
            Self::Together => vec![horizon_steps],
            Self::Doubling => {
                let shorter = (0..).map(|power| 1_usize << power).take_while(|&end| end < horizon_steps);
                shorter.chain([horizon_steps]).collect()
            }
        }
    }
}

/// What differs between the learned regressions.
pub(super) trait Regressor: Sized {
    /// Which leads share one regressor.
    const LEADS: Leads;
    /// Most training rows per regressor; bounds the cost of a fit.
    const MAX_ROWS: usize;

    /// Learns from rows whose targets have mean 0 and deviation 1 (or are all 0).
    fn fit(rows: Rows) -> Result<Self, String>;

    /// The standardised target for one row.
    fn at(&self, row: &[f64]) -> f64;
}

/// Training rows; every number is an `f32`.
#[derive(Debug, Clone)]
pub(super) struct Rows {
    /// Features per row.
    pub(super) width: usize,
    /// Row by row.
    pub(super) features: Vec<f64>,
    /// One per row.
    pub(super) targets: Vec<f64>,
}

impl Rows {
    /// As smartcore takes them; column by column, since trees sort columns.
    pub(super) fn matrix(&self) -> Result<DenseMatrix<f64>, String> {
        let columns = (0..self.width).flat_map(|column| self.features.iter().skip(column).step_by(self.width)).copied();
        DenseMatrix::new(self.targets.len(), self.width, columns.collect(), true).map_err(|error| error.to_string())
    }

    fn gather(history: &History, shape: &Shape, end: usize, leads: std::ops::Range<usize>, most: usize) -> Self {
        let first = shape.first_origin(history);
        let origins = (end + 1).saturating_sub(first + leads.start);
        let stride = coprime_stride(origins, most, history.day_steps());
        let taken = origins.div_ceil(stride).max(1);
        let per_origin = (most / taken).clamp(1, leads.len());
        let (mut features, mut targets) = (Vec::new(), Vec::new());
        let mut write = Features::of_many(*shape, history);
        for (turn, origin) in (first..first + origins).step_by(stride).enumerate() {
            let share = GOLDEN.wrapping_mul(turn as u64) as f64 / 2_f64.powi(64);
            let begin = (share * leads.len() as f64) as usize;
            for pass in 0..per_origin {
                let lead = leads.start + (begin + pass * leads.len() / per_origin) % leads.len();
                let target = origin + lead - 1;
                let Some(actual) = history.value(target).filter(|_| target < end && history.known(target)) else {
                    continue;
                };
                targets.push(rounded(shape.log(actual) - shape.level(history, origin)));
                push_row(&mut write, origin, lead, &mut features);
            }
        }
        Self { width: features.len() / targets.len().max(1), features, targets }
    }

    /// Brings the targets to mean 0 and deviation 1; a constant to 0.
    fn standardise_targets(&mut self) -> (f64, f64) {
        let count = self.targets.len() as f64;
        let mean = self.targets.iter().sum::<f64>() / count;
        let variance = self.targets.iter().map(|target| (target - mean).powi(2)).sum::<f64>() / count;
        let deviation = if variance.sqrt() > MIN_DEVIATION { variance.sqrt() } else { 1.0 };
        for target in &mut self.targets {
            *target = rounded((*target - mean) / deviation);
        }
        (mean, deviation)
    }
}

fn push_row(features: &mut Features, origin: usize, lead: usize, row: &mut Vec<f64>) {
    let begin = row.len();
    features.push_row(origin, lead, row);
    row.push((lead as f64).ln());
    for feature in &mut row[begin..] {
        *feature = rounded(*feature);
    }
}

fn rounded(value: f64) -> f64 {
    f64::from(value as f32)
}

/// Regressors by group of leads, each trained directly on what came that many steps later.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Direct<R> {
    shape: Shape,
    groups: Vec<Group<R>>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Group<R> {
    /// The longest lead that this group forecasts.
    last_lead: usize,
    mean: f64,
    deviation: f64,
    regressor: R,
}

impl<R: Regressor> Direct<R> {
    pub(super) fn fit(history: &History, end: usize, horizon_steps: usize) -> Result<Self, ModelError> {
        let shape = Shape::of(history, end);
        let mut first_lead = 1;
        let mut groups = Vec::new();
        for last_lead in R::LEADS.ends(horizon_steps) {
            let mut rows = Rows::gather(history, &shape, end, first_lead..last_lead + 1, R::MAX_ROWS);
            let (have, need) = (rows.targets.len(), (ROWS_PER_FEATURE * rows.width).max(1));
            if have < need {
                return Err(ModelError::TooFewRows { have, need });
            }
            let (mean, deviation) = rows.standardise_targets();
            let regressor = R::fit(rows).map_err(|message| ModelError::Solver { lead: first_lead, message })?;
            groups.push(Group { last_lead, mean, deviation, regressor });
            first_lead = last_lead + 1;
        }
        Ok(Self { shape, groups })
    }

    /// The forecast for the step `lead` steps ahead; `row` is scratch space.
    fn point(&self, history: &History, origin: usize, lead: usize, row: &mut Vec<f64>) -> f64 {
        let Some(group) = self.groups.iter().find(|group| lead <= group.last_lead) else {
            return f64::NAN;
        };
        row.clear();
        push_row(&mut Features::of_one(self.shape, history), origin, lead, row);
        let target = group.mean + group.deviation * group.regressor.at(row);
        self.shape.rate(self.shape.level(history, origin) + target)
    }
}

impl<R: Regressor> Model for Direct<R> {
    fn forecast(&self, history: &History, origin: usize, out: &mut [f64]) {
        let mut row = Vec::new();
        for (point, lead) in out.iter_mut().zip(1..) {
            *point = self.point(history, origin, lead, &mut row);
        }
    }
}

/// One regressor for the next step, which then takes its own forecast as the value that it looks back on.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Recursive<R>(Direct<R>);

impl<R: Regressor> Recursive<R> {
    pub(super) fn fit(history: &History, end: usize) -> Result<Self, ModelError> {
        Direct::fit(history, end, 1).map(Self)
    }
}

impl<R: Regressor> Model for Recursive<R> {
    fn forecast(&self, history: &History, origin: usize, out: &mut [f64]) {
        let steps = out.len();
        self.roll(history, &[origin], steps, &mut |_, points| out.copy_from_slice(points));
    }

    /// Copies the history once and appends to the copy what came, and for each origin for a while what is forecast.
    fn roll(&self, history: &History, origins: &[usize], steps: usize, visit: &mut dyn FnMut(usize, &mut [f64])) {
        let mut past = history.before(origins.first().copied().unwrap_or(0));
        let (mut points, mut row) = (vec![0.0; steps], Vec::new());
        for &origin in origins {
            past.extend_from(history, origin);
            let origin = past.len();
            let ceiling = EXPLOSION_FACTOR * past.max_before(origin);
            let last = origin.checked_sub(1).and_then(|index| past.value(index)).unwrap_or(0.0);
            for (point, ahead) in points.iter_mut().zip(0..) {
                *point = self.0.point(&past, origin + ahead, 1, &mut row);
                past.push(if point.is_finite() { point.clamp(0.0, ceiling) } else { last });
            }
            past.truncate(origin);
            visit(origin, &mut points);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::series::Series;

    /// Says what the first feature is: the last value.
    struct Last;

    impl Regressor for Last {
        const LEADS: Leads = Leads::Doubling;
        const MAX_ROWS: usize = 300;

        fn fit(_: Rows) -> Result<Self, String> {
            Ok(Self)
        }

        fn at(&self, row: &[f64]) -> f64 {
            row[0]
        }
    }

    fn ramp(steps: usize) -> History {
        History::new(&Series::new(0, 3600, (0..steps).map(|hour| 1.0 + hour as f64).collect()).unwrap())
    }

    #[test]
    fn groups_of_leads_double() {
        assert_eq!(Leads::Doubling.ends(48), [1, 2, 4, 8, 16, 32, 48]);
        assert_eq!(Leads::Doubling.ends(1), [1]);
        assert_eq!(Leads::Doubling.ends(8), [1, 2, 4, 8]);
        assert_eq!(Leads::Together.ends(48), [48]);
    }

    #[test]
    fn rows_are_bounded_and_meet_every_lead_within_the_training_part() {
        let history = ramp(900);
        let shape = Shape::of(&history, 700);
        for most in [100, 500, 4_000] {
            let rows = Rows::gather(&history, &shape, 700, 1..49, most);
            assert!(rows.targets.len() <= most && rows.targets.len() > most / 2, "{}", rows.targets.len());
            let mut leads: Vec<i64> =
                rows.features.chunks(rows.width).map(|row| row[rows.width - 1].exp().round() as i64).collect();
            leads.sort_unstable();
            leads.dedup();
            assert!(leads.len() > 44 && leads[0] >= 1 && *leads.last().unwrap() <= 48, "{leads:?}");
            // The ramp tells where a target lies: none at or after the end.
            assert!(rows.features.iter().chain(&rows.targets).all(|value| *value == rounded(*value)));
        }
        let none = Rows::gather(&history, &shape, 20, 1..2, 100);
        assert!(none.targets.is_empty());
    }

    #[test]
    fn nothing_after_the_end_is_learned_from() {
        let values: Vec<f64> = (0..900).map(|hour| f64::from(hour * 7 % 50)).collect();
        let mut changed = values.clone();
        changed[700..].fill(1e6);
        let rows = |values: Vec<f64>| {
            let history = History::new(&Series::new(0, 3600, values).unwrap());
            let rows = Rows::gather(&history, &Shape::of(&history, 700), 700, 1..49, 4_000);
            (rows.features, rows.targets)
        };
        assert_eq!(rows(values), rows(changed));
    }

    #[test]
    fn a_recursive_forecast_sees_its_own_values() {
        let history = ramp(600);
        let model = Recursive(Direct {
            shape: Shape::of(&history, 600),
            groups: vec![Group { last_lead: 1, mean: 0.0, deviation: 1.0, regressor: Last }],
        });
        // "As the last one" said again and again stays at the last one, but for the level, which moves on with it.
        let mut out = [0.0; 3];
        model.forecast(&history, 600, &mut out);
        for point in out {
            assert!((point - 600.0).abs() < 1e-3, "{out:?}");
        }
        assert_eq!(history.len(), 600);
    }
}
