//! Gradient-boosted trees: each small tree is grown on what the trees before it have left over.
//!
//! smartcore's `XGRegressor` (second order, exact greedy splits; Chen and Guestrin, 2016) sorts every column at every
//! node, so rows, depth and number of trees are kept small. Flattened after training, see [`FlatTrees`].

use serde::{Deserialize, Serialize};
use smartcore::xgboost::xgb_regressor::{XGRegressor, XGRegressorParameters};

use super::flat_trees::FlatTrees;
use super::lag_model::{Leads, Regressor, Rows};

/// Trees; with [`RATE`] enough to take in what there is to learn: 0.9^60 = 0.2 % is left over.
const TREES: usize = 60;
/// How much of what is left over each tree takes away.
const RATE: f64 = 0.1;
/// Decisions on the way to a leaf: interactions of up to four features; at most 16 leaves.
const MAX_DEPTH: u16 = 4;
/// Fewest rows in a leaf.
const MIN_LEAF_ROWS: usize = 5;
/// Share of the rows that each tree sees.
const ROWS_SHARE: f64 = 0.5;
/// The seed of all chance: a fit is repeatable.
const SEED: u64 = 20_260_402;

/// Fitted trees.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct BoostedTrees(FlatTrees);

impl Regressor for BoostedTrees {
    const LEADS: Leads = Leads::Together;
    /// 60 trees x 4 levels x 50 columns x 500 rows (each tree sees half) to sort and scan: 6 million steps.
    const MAX_ROWS: usize = 1_000;

    fn fit(rows: Rows) -> Result<Self, String> {
        let parameters = XGRegressorParameters::default()
            .with_n_estimators(TREES)
            .with_learning_rate(RATE)
            .with_max_depth(MAX_DEPTH)
            .with_min_child_weight(MIN_LEAF_ROWS)
            .with_subsample(ROWS_SHARE)
            .with_base_score(0.0)
            .with_seed(SEED);
        let boosted =
            XGRegressor::fit(&rows.matrix()?, &rows.targets, parameters).map_err(|error| error.to_string())?;
        FlatTrees::of_boosted(&boosted, RATE).map(Self)
    }

    fn at(&self, row: &[f64]) -> f64 {
        self.0.at(row)
    }
}
