//! Reads a demand trace from CSV and lays it on a regular grid.
//!
//! Two shapes, told apart by the header. *Long*: the second column is called `tenant` and the third is the
//! value; one file holds many tenants. *Single*: the second column is the value, further columns are ignored
//! and the caller names the tenant. Rows and times are read as in every table ([`TableRows`]); a time without an offset is UTC.
//!
//! Invariants: the points of a tenant are in order of time, with one point per time; a value is finite and not
//! negative. Rows out of order are sorted, rows with the same time are averaged, blank values are left out; each
//! is counted, so that a caller can say so.
//!
//! What it does not do: fill gaps. A step that the file says nothing about stays missing (NaN), because a rate of
//! zero would be a claim about demand that nobody made.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

use forebay_forecast::{TableError, TableRows, Zone};
use thiserror::Error;

use crate::calendar;

/// The most steps that one grid may have: ten million steps are 80 MB per tenant, and 95 years of 5 minutes.
/// More than that is a stray time stamp, not a trace.
const MAX_GRID_STEPS: i64 = 10_000_000;

/// What stopped a trace from being read.
#[derive(Debug, Error)]
#[allow(missing_docs, reason = "each variant's message says what it is")]
pub enum TraceError {
    #[error("reading trace {file}: {source}; check the path and that the file is readable")]
    Open { file: String, source: std::io::Error },
    #[error("reading trace {file}: {error}")]
    Table { file: String, error: TableError },
    #[error("reading trace {file}: reading line 1: there is no column for the values; add one, such as rate_per_s")]
    NoValues { file: String },
    #[error("reading trace {file}: reading line {line}: the tenant is empty; name it or delete the line")]
    Tenant { file: String, line: u64 },
    #[error("reading trace {file}: no tenant has two values at different times, so the step is unknown; add rows")]
    StepUnknown { file: String },
    #[error(
        "laying the trace on a grid: {steps} steps of {step_s} s, at most {MAX_GRID_STEPS} are possible; choose a shorter part or look for a stray time"
    )]
    TooLong { steps: i64, step_s: i64 },
    #[error("laying the trace on a grid: the chosen part is empty; the trace runs from {first} to {end}")]
    EmptyWindow { first: String, end: String },
}

/// A trace as it stands in its file.
#[derive(Debug, Clone, PartialEq)]
pub struct Trace {
    /// The most frequent distance between neighbouring times of a tenant, in seconds.
    pub step_s: i64,
    /// Per tenant (unix seconds at which the step begins, value), in order of time.
    pub tenants: BTreeMap<String, Vec<(i64, f64)>>,
    /// Rows that shared the time of another row of their tenant and were averaged with it.
    pub duplicates: u64,
    /// Rows that stood behind a later row of their tenant.
    pub out_of_order: u64,
    /// Rows whose value was blank or NaN.
    pub blanks: u64,
}

/// The part of a trace that is wanted, and how finely.
#[derive(Debug, Clone, Copy, Default)]
pub struct Window {
    /// First calendar second; default: where the trace begins. Moved back to the step that holds it.
    pub from_s: Option<i64>,
    /// The calendar second to stop before; default: where the trace ends.
    pub to_s: Option<i64>,
    /// Length of a step in seconds; default: the trace's own.
    pub step_s: Option<i64>,
}

/// A trace on a regular grid: value `i` of a tenant covers `[start_s + i * step_s, start_s + (i + 1) * step_s)`.
#[derive(Debug, Clone, PartialEq)]
pub struct RegularTrace {
    /// Unix seconds at which step 0 begins.
    pub start_s: i64,
    /// Calendar seconds per step.
    pub step_s: i64,
    /// Steps in every series.
    pub steps: usize,
    /// Tenant names and their values, all of length `steps`; NaN where the file says nothing.
    pub series: Vec<(String, Vec<f64>)>,
}

impl Trace {
    /// Reads `path`. A file of the single shape belongs to `tenant`, by default to the file's name without `.csv`.
    pub fn read(path: &Path, tenant: Option<&str>) -> Result<Self, TraceError> {
        let name = path.display().to_string();
        let file = std::fs::File::open(path).map_err(|source| TraceError::Open { file: name.clone(), source })?;
        let stem = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
        Self::parse(&name, file, tenant.unwrap_or(&stem))
    }

    fn parse(file: &str, input: impl Read, single_tenant: &str) -> Result<Self, TraceError> {
        let no_table = |error| TraceError::Table { file: file.to_owned(), error };
        let utc = Zone::utc();
        let mut table = TableRows::open(input, &utc).map_err(no_table)?;
        let is_long = table.header().get(1).is_some_and(|name| name.eq_ignore_ascii_case("tenant"));
        if is_long && table.header().len() < 3 {
            return Err(TraceError::NoValues { file: file.to_owned() });
        }
        let mut rows = Rows::default();
        while let Some(row) = table.next_row().map_err(no_table)? {
            let (tenant, column) = if is_long { (row.text(1), 2) } else { (single_tenant, 1) };
            if tenant.is_empty() {
                return Err(TraceError::Tenant { file: file.to_owned(), line: row.line });
            }
            rows.add(tenant, calendar::second(row.at_ns), row.demand(column).map_err(no_table)?);
        }
        rows.finish(file)
    }

    /// The trace on a grid that begins where its first row does. A step's value is the mean of what covers it:
    /// a coarser step averages, a finer one holds. A step of which less than half is covered is missing.
    pub fn regularise(&self, window: Window) -> Result<RegularTrace, TraceError> {
        let step_s = window.step_s.unwrap_or(self.step_s).max(1);
        let first_s = self.tenants.values().filter_map(|points| points.first()).map(|p| p.0).min().unwrap_or_default();
        let end_s = self.tenants.values().filter_map(|p| p.last()).map(|p| p.0 + self.step_s).max().unwrap_or_default();
        let from_s = window.from_s.unwrap_or(first_s).max(first_s);
        let to_s = window.to_s.unwrap_or(end_s).min(end_s);
        if from_s >= to_s {
            return Err(TraceError::EmptyWindow { first: calendar::print(first_s), end: calendar::print(end_s) });
        }
        let start_s = first_s + (from_s - first_s) / step_s * step_s;
        let steps = (to_s - start_s + step_s - 1) / step_s;
        if steps > MAX_GRID_STEPS {
            return Err(TraceError::TooLong { steps, step_s });
        }
        let grid = Grid { start_s, step_s, steps: usize::try_from(steps).unwrap_or_default() };
        let series = self.tenants.iter().map(|(name, points)| (name.clone(), grid.lay(points, self.step_s)));
        Ok(RegularTrace { start_s, step_s, steps: grid.steps, series: series.collect() })
    }
}

/// Rows on their way to becoming a [`Trace`].
#[derive(Default)]
struct Rows {
    tenants: BTreeMap<String, Vec<(i64, f64)>>,
    out_of_order: u64,
    blanks: u64,
}

impl Rows {
    fn add(&mut self, tenant: &str, at_s: i64, value: f64) {
        if value.is_nan() {
            self.blanks += 1;
            return;
        }
        if !self.tenants.contains_key(tenant) {
            self.tenants.insert(tenant.to_owned(), Vec::new());
        }
        if let Some(points) = self.tenants.get_mut(tenant) {
            self.out_of_order += u64::from(points.last().is_some_and(|last| at_s < last.0));
            points.push((at_s, value));
        }
    }

    fn finish(mut self, file: &str) -> Result<Trace, TraceError> {
        let mut duplicates = 0;
        let mut distances: BTreeMap<i64, u64> = BTreeMap::new();
        for points in self.tenants.values_mut() {
            points.sort_by_key(|point| point.0);
            let merged: Vec<_> = points
                .chunk_by(|a, b| a.0 == b.0)
                .map(|same| (same[0].0, same.iter().map(|point| point.1).sum::<f64>() / same.len() as f64))
                .collect();
            duplicates += (points.len() - merged.len()) as u64;
            for pair in merged.windows(2) {
                *distances.entry(pair[1].0 - pair[0].0).or_default() += 1;
            }
            *points = merged;
        }
        // Of equally frequent distances the shortest is the step: the others are then gaps.
        let step =
            distances.iter().max_by_key(|(distance, count)| (**count, -**distance)).map(|(distance, _)| *distance);
        let step_s = step.ok_or_else(|| TraceError::StepUnknown { file: file.to_owned() })?;
        let Rows { tenants, out_of_order, blanks } = self;
        Ok(Trace { step_s, tenants, duplicates, out_of_order, blanks })
    }
}

/// Where the steps of a [`RegularTrace`] lie.
struct Grid {
    start_s: i64,
    step_s: i64,
    steps: usize,
}

impl Grid {
    /// The mean of `points` over each step; a point holds for `held_s`, or until the next one if that is sooner.
    fn lay(&self, points: &[(i64, f64)], held_s: i64) -> Vec<f64> {
        let mut sum = vec![0.0; self.steps];
        let mut covered_s = vec![0_i64; self.steps];
        for (index, &(begin, value)) in points.iter().enumerate() {
            let next = points.get(index + 1).map_or(i64::MAX, |point| point.0);
            let end = (begin + held_s).min(next).min(self.start_s + self.steps as i64 * self.step_s);
            let mut at = begin.max(self.start_s);
            while at < end {
                let step = (at - self.start_s) / self.step_s;
                let until = end.min(self.start_s + (step + 1) * self.step_s);
                sum[step as usize] += value * (until - at) as f64;
                covered_s[step as usize] += until - at;
                at = until;
            }
        }
        let mean = |(sum, covered): (&f64, &i64)| {
            if covered * 2 < self.step_s { f64::NAN } else { sum / *covered as f64 }
        };
        sum.iter().zip(&covered_s).map(mean).collect()
    }
}

#[cfg(test)]
mod tests;
