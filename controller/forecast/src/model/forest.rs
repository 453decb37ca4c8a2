//! Forests: many trees on the same rows, each made different by chance, whose mean is steadier than any of them.
//!
//! A random forest (Breiman, 2001) draws rows with replacement and looks for the best split among a few features; extra
//! trees (Geurts, Ernst and Wehenkel, 2006) keep all rows and draw the thresholds by chance too, which is smoother. Both
//! find interactions ("at noon, but only on weekdays, and more if the morning was high") that a linear model has to be
//! told. Neither says anything outside the range of what it has seen; the rows are normalised by the level of the last
//! week, so growth over months is followed and growth within the horizon is not.
//!
//! Grown by smartcore within bounds, then flattened ([`FlatTrees`]): a naive forest of 100 trees is 4.5 MB, this is less
//! than a tenth of a megabyte.

use std::marker::PhantomData;

use serde::{Deserialize, Serialize};
use smartcore::ensemble::extra_trees_regressor::{ExtraTreesRegressor, ExtraTreesRegressorParameters};
use smartcore::ensemble::random_forest_regressor::{RandomForestRegressor, RandomForestRegressorParameters};

use super::flat_trees::FlatTrees;
use super::lag_model::{Leads, Regressor, Rows};

/// Trees. The error of a mean of `n` falls with 1/n towards its bound: from 40 on, doubling them is seen in the third
/// digit only.
const TREES: usize = 40;
/// Decisions on the way to a leaf.
const MAX_DEPTH: u16 = 9;
/// Fewest rows in a leaf. 40 trees x 2,000 rows / 5 x 2 nodes x 8 bytes is 256 kB at the very most.
const MIN_LEAF_ROWS: usize = 5;
/// One of how many features is looked at for a split: a third, as is usual for regression.
const FEATURES_PER_TRIED: usize = 3;
/// The seed of all chance: a fit is repeatable.
const SEED: u64 = 20_260_401;

/// How the trees of a forest are made different.
pub(super) trait Growth {
    /// Grows trees on the rows.
    fn grow(rows: &Rows) -> Result<FlatTrees, String>;
}

/// Rows drawn with replacement.
#[derive(Debug, Clone)]
pub(super) struct Bagged;

/// Thresholds drawn.
#[derive(Debug, Clone)]
pub(super) struct Extra;

impl Growth for Bagged {
    fn grow(rows: &Rows) -> Result<FlatTrees, String> {
        let parameters = RandomForestRegressorParameters::default()
            .with_n_trees(TREES)
            .with_max_depth(MAX_DEPTH)
            .with_min_samples_leaf(MIN_LEAF_ROWS)
            .with_m(rows.width.div_ceil(FEATURES_PER_TRIED))
            .with_seed(SEED);
        let forest = RandomForestRegressor::fit(&rows.matrix()?, &rows.targets, parameters);
        FlatTrees::of_forest(&forest.map_err(|error| error.to_string())?)
    }
}

impl Growth for Extra {
    fn grow(rows: &Rows) -> Result<FlatTrees, String> {
        let parameters = ExtraTreesRegressorParameters::default()
            .with_n_trees(TREES)
            .with_max_depth(MAX_DEPTH)
            .with_min_samples_leaf(MIN_LEAF_ROWS)
            .with_m(rows.width.div_ceil(FEATURES_PER_TRIED))
            .with_seed(SEED);
        let forest = ExtraTreesRegressor::fit(&rows.matrix()?, &rows.targets, parameters);
        FlatTrees::of_forest(&forest.map_err(|error| error.to_string())?)
    }
}

/// A fitted forest.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Forest<G> {
    trees: FlatTrees,
    growth: PhantomData<G>,
}

impl<G: Growth> Regressor for Forest<G> {
    const LEADS: Leads = Leads::Together;
    const MAX_ROWS: usize = 2_000;

    fn fit(rows: Rows) -> Result<Self, String> {
        Ok(Self { trees: G::grow(&rows)?, growth: PhantomData })
    }

    fn at(&self, row: &[f64]) -> f64 {
        self.trees.at(row)
    }
}
