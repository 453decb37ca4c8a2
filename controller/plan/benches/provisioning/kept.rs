//! Forecasts kept in files: making them takes minutes, judging policies on them seconds.

use std::ops::Range;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use forebay_forecast::Series;
use forebay_plan::simulation::{Outlook, QUANTILES};

/// What lies in `file`, made and written there first if nothing does.
pub(crate) fn outlook(file: Option<&Path>, series: &Series, part: Range<usize>, lead_steps: usize) -> Result<Outlook> {
    let Some(file) = file else { return Ok(Outlook::of(series, part, lead_steps)?) };
    let place = || format!("the kept forecasts {}: remove the file to make them again", file.display());
    let Ok(bytes) = std::fs::read(file) else {
        let made = Outlook::of(series, part, lead_steps)?;
        let bytes: Vec<u8> = made.upper.iter().flatten().flat_map(|value| value.to_le_bytes()).collect();
        std::fs::write(file, bytes).with_context(place)?;
        return Ok(made);
    };
    let values: Vec<f64> =
        bytes.chunks_exact(8).filter_map(|bytes| Some(f64::from_le_bytes(bytes.try_into().ok()?))).collect();
    ensure!(values.len() == QUANTILES.len() * part.len(), "{} they are of another part of the trace", place());
    Ok(Outlook { from: part.start, upper: values.chunks_exact(part.len()).map(<[f64]>::to_vec).collect() })
}
