//! Columns brought to mean 0 and deviation 1, as every regression with a penalty or a kernel needs them.
//!
//! smartcore's own scaling refuses a constant column, and a constant column (a service that never changed) is an everyday
//! thing: here it becomes zeros, and so gets no weight.

use serde::{Deserialize, Serialize};

/// A column that varies less than this does not count as varying.
const MIN_DEVIATION: f64 = 1e-9;

/// Where a column lay.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) struct Column {
    pub(super) mean: f64,
    /// 1 for a constant column, which standardises to zeros and so gets no weight.
    pub(super) deviation: f64,
}

/// Brings each column of the row-wise matrix to mean 0 and deviation 1.
pub(super) fn standardise(rows: &mut [f64], width: usize) -> Vec<Column> {
    let count = (rows.len() / width) as f64;
    let mut means = vec![0.0; width];
    for row in rows.chunks_exact(width) {
        for (mean, feature) in means.iter_mut().zip(row) {
            *mean += feature / count;
        }
    }
    let mut variances = vec![0.0; width];
    for row in rows.chunks_exact(width) {
        for ((variance, mean), feature) in variances.iter_mut().zip(&means).zip(row) {
            *variance += (feature - mean).powi(2) / count;
        }
    }
    let columns: Vec<Column> = means
        .into_iter()
        .zip(variances)
        .map(|(mean, variance)| {
            let deviation = variance.sqrt();
            Column { mean, deviation: if deviation > MIN_DEVIATION { deviation } else { 1.0 } }
        })
        .collect();
    for row in rows.chunks_exact_mut(width) {
        for (feature, column) in row.iter_mut().zip(&columns) {
            *feature = (*feature - column.mean) / column.deviation;
        }
    }
    columns
}
