//! Regression trees as they are kept and asked after training: one array of eight-byte nodes.
//!
//! smartcore grows the trees, but its grown forest takes 80 bytes a node beside its training parameters and walks from
//! matrix cell to matrix cell. Here a node is a feature, an `f32` and the way to its second child; the first child is the
//! next node. Since rows hold `f32` only, a threshold rounded *down* to `f32` decides exactly as the one that was trained.
//!
//! smartcore does not show its nodes, but it serialises them by name: they are read from there ([`serde_json`] values, no
//! text). A release that renames a field is an error of the fit and a failing test, never a wrong forecast.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// The feature of a leaf.
const LEAF: u8 = u8::MAX;

/// Trees whose leaves are summed up.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct FlatTrees {
    nodes: Vec<Node>,
    /// Where each tree begins.
    roots: Vec<u32>,
    /// What the sum of the leaves is multiplied with.
    rate: f64,
}

/// 7 bytes of content; at most 9 bytes stored.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Node {
    /// The threshold up to which a row goes on with the next node; what a leaf says.
    value: f32,
    /// How many nodes on the other child is.
    other: u16,
    feature: u8,
}

#[derive(Deserialize)]
struct Forest {
    forest_regressor: Grown,
}

#[derive(Deserialize)]
struct Grown {
    trees: Vec<GrownTree>,
}

#[derive(Deserialize)]
struct GrownTree {
    nodes: Vec<GrownNode>,
}

#[derive(Deserialize)]
struct GrownNode {
    output: f64,
    split_feature: usize,
    split_value: Option<f64>,
    true_child: Option<usize>,
    false_child: Option<usize>,
}

#[derive(Deserialize)]
struct Boosted {
    regressors: Vec<BoostedNode>,
}

#[derive(Deserialize)]
struct BoostedNode {
    left: Option<Box<BoostedNode>>,
    right: Option<Box<BoostedNode>>,
    value: f64,
    threshold: f64,
    split_feature_idx: usize,
}

/// Reads what a smartcore estimator has learned out of its serialised form.
pub(super) fn learned<T: DeserializeOwned>(estimator: &impl Serialize) -> Result<T, String> {
    let value = serde_json::to_value(estimator).map_err(|error| error.to_string())?;
    serde_json::from_value(value).map_err(|error| format!("reading what smartcore has learned: {error}"))
}

impl FlatTrees {
    /// The mean of the trees of a smartcore forest.
    pub(super) fn of_forest(forest: &impl Serialize) -> Result<Self, String> {
        let Forest { forest_regressor: Grown { trees } } = learned(forest)?;
        let mut flat = Self { rate: 1.0 / trees.len() as f64, ..Self::default() };
        for tree in &trees {
            flat.roots.push(flat.nodes.len() as u32);
            flat.push_grown(&tree.nodes, 0)?;
        }
        Ok(flat)
    }

    /// The sum of the trees of a smartcore `XGRegressor`, each of which counts `rate`; without its base score.
    pub(super) fn of_boosted(boosted: &impl Serialize, rate: f64) -> Result<Self, String> {
        let Boosted { regressors } = learned(boosted)?;
        let mut flat = Self { rate, ..Self::default() };
        for tree in &regressors {
            flat.roots.push(flat.nodes.len() as u32);
            flat.push_boosted(tree)?;
        }
        Ok(flat)
    }

    /// The sum of the leaves that a row of `f32` values falls into, times the rate.
    pub(super) fn at(&self, row: &[f64]) -> f64 {
        self.roots.iter().map(|&root| self.leaf(root as usize, row)).sum::<f64>() * self.rate
    }

    fn leaf(&self, root: usize, row: &[f64]) -> f64 {
        let mut at = root;
        while let Some(node) = self.nodes.get(at) {
            match row.get(usize::from(node.feature)) {
                Some(&feature) if feature <= f64::from(node.value) => at += 1,
                // At least one node on, so that this ends whatever was read from a store.
                Some(_) => at += usize::from(node.other).max(1),
                None => return f64::from(node.value),
            }
        }
        0.0
    }

    fn push_grown(&mut self, nodes: &[GrownNode], index: usize) -> Result<(), String> {
        let node = nodes.get(index).ok_or("a child that is not there")?;
        let (Some(threshold), Some(first), Some(second)) = (node.split_value, node.true_child, node.false_child) else {
            self.push_leaf(node.output);
            return Ok(());
        };
        let at = self.push_split(node.split_feature, threshold)?;
        self.push_grown(nodes, first)?;
        self.close_split(at)?;
        self.push_grown(nodes, second)
    }

    fn push_boosted(&mut self, node: &BoostedNode) -> Result<(), String> {
        let (Some(first), Some(second)) = (&node.left, &node.right) else {
            self.push_leaf(node.value);
            return Ok(());
        };
        let at = self.push_split(node.split_feature_idx, node.threshold)?;
        self.push_boosted(first)?;
        self.close_split(at)?;
        self.push_boosted(second)
    }

    fn push_leaf(&mut self, value: f64) {
        self.nodes.push(Node { value: value as f32, other: 0, feature: LEAF });
    }

    /// Pushes a split without its children and says where it is.
    fn push_split(&mut self, feature: usize, threshold: f64) -> Result<usize, String> {
        let feature = u8::try_from(feature).ok().filter(|&feature| feature != LEAF).ok_or("too many features")?;
        self.nodes.push(Node { value: not_above(threshold), other: 0, feature });
        Ok(self.nodes.len() - 1)
    }

    /// What is pushed next is the second child of the split at `at`.
    fn close_split(&mut self, at: usize) -> Result<(), String> {
        let other = u16::try_from(self.nodes.len() - at).map_err(|_| "too large a tree")?;
        if let Some(split) = self.nodes.get_mut(at) {
            split.other = other;
        }
        Ok(())
    }
}

/// The largest `f32` that is not above `value`.
fn not_above(value: f64) -> f32 {
    let nearest = value as f32;
    if f64::from(nearest) > value { nearest.next_down() } else { nearest }
}

#[cfg(test)]
mod tests {
    use super::*;
    use smartcore::ensemble::random_forest_regressor::{RandomForestRegressor, RandomForestRegressorParameters};
    use smartcore::linalg::basic::matrix::DenseMatrix;
    use smartcore::xgboost::xgb_regressor::{XGRegressor, XGRegressorParameters};

    /// Rows whose values lie so close together that a threshold rounded the wrong way changes sides.
    fn rows() -> (Vec<Vec<f64>>, DenseMatrix<f64>, Vec<f64>) {
        let value = |row: usize, column: usize| {
            let steps = (row * (2 * column + 7) % 101) as f32;
            f64::from(1.0 + steps * f32::EPSILON)
        };
        let rows: Vec<Vec<f64>> = (0..400).map(|row| (0..5).map(|column| value(row, column)).collect()).collect();
        let targets = rows.iter().map(|row| ((row[0] - 1.0) * 1e8).sin() + (row[3] - 1.0) * 1e6).collect();
        let matrix = DenseMatrix::from_2d_vec(&rows).unwrap();
        (rows, matrix, targets)
    }

    #[test]
    fn a_flat_forest_decides_as_the_one_it_was_made_from() {
        let (rows, matrix, targets) = rows();
        let parameters = RandomForestRegressorParameters::default().with_n_trees(7).with_max_depth(9);
        let forest = RandomForestRegressor::fit(&matrix, &targets, parameters).unwrap();
        let flat = FlatTrees::of_forest(&forest).unwrap();
        for (row, expected) in rows.iter().zip(forest.predict(&matrix).unwrap()) {
            assert!((flat.at(row) - expected).abs() < 1e-5, "{} for {expected}", flat.at(row));
        }
    }

    #[test]
    fn flat_boosted_trees_decide_as_those_they_were_made_from() {
        let (rows, matrix, targets) = rows();
        let parameters =
            XGRegressorParameters::default().with_n_estimators(9).with_learning_rate(0.4).with_base_score(0.0);
        let boosted = XGRegressor::fit(&matrix, &targets, parameters).unwrap();
        let flat = FlatTrees::of_boosted(&boosted, 0.4).unwrap();
        for (row, expected) in rows.iter().zip(boosted.predict(&matrix).unwrap()) {
            assert!((flat.at(row) - expected).abs() < 1e-5, "{} for {expected}", flat.at(row));
        }
    }

    #[test]
    fn damaged_trees_end() {
        let node = Node { value: 0.0, other: 0, feature: 0 };
        let flat = FlatTrees { nodes: vec![node; 3], roots: vec![0, 9], rate: 1.0 };
        assert_eq!((flat.at(&[1.0]), flat.at(&[-1.0])), (0.0, 0.0));
    }
}
