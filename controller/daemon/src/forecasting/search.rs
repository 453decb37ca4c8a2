//! `forebay backtest --search`: parameters that are searched for each series before it is judged, and kept.
//!
//! The search sees what the first fit sees, without its newest fold.

use forebay_forecast::{ModelKind, Rolling, SearchBudget, SeriesError, tune};
use rayon::iter::{IntoParallelRefMutIterator, ParallelIterator};

use super::Task;

/// Searches with so many fits for every task that combines; where nothing can be searched the defaults stay.
pub(super) fn tune_all(tasks: &mut [Task<'_>], trials: usize) -> Result<(), SeriesError> {
    tasks.par_iter_mut().filter(|task| matches!(task.model, None | Some(ModelKind::Combination))).try_for_each(|task| {
        let series = &task.named.series;
        let first_part = Rolling::over(series, task.steps).first_history(series)?;
        if let Ok(tuned) = tune(&task.globals, &first_part, &task.settings, SearchBudget { trials, seed: 1 }, &[]) {
            task.globals.tuning = tuned.tuning;
        }
        Ok(())
    })
}
