//! Reconciliation: figures of another implementation, agreement of sums and parts, and what is refused.

use forebay_forecast::{
    Forecast, Forecaster, Hierarchy, HierarchyError, MAX_MIN_TRACE_SUMS, Method, ModelKind, Paths, Series, Settings,
    fit_as,
};
use proptest::prelude::*;

use crate::generated::Random;

/// A pool of two resources, used by two and three tenants.
const PARENTS: [Option<usize>; 8] = [None, Some(0), Some(0), Some(1), Some(1), Some(2), Some(2), Some(2)];

/// Errors of eight nodes at 24 moments, some of them together: reproducible without chance.
fn errors() -> Vec<Vec<f64>> {
    let error = |node: usize, at: usize| {
        let own = ((at * (2 * node + 3) + node * node) % 11) as f64 - 5.0;
        let common = ((at * 7) % 13) as f64 - 6.0;
        own * (1.0 + node as f64 / 4.0) + common * (8 - node) as f64 / 5.0
    };
    (0..8).map(|node| (0..24).map(|at| error(node, at)).collect()).collect()
}

const BASE: [f64; 8] = [210.0, 95.0, 120.0, 40.0, 50.0, 30.0, 45.0, 38.0];

fn assert_near(found: &[f64], expected: &[f64], tolerance: f64) {
    assert_eq!(found.len(), expected.len());
    for (a, b) in found.iter().zip(expected) {
        assert!((a - b).abs() <= tolerance * b.abs().max(1.0), "{found:?} for {expected:?}");
    }
}

fn adds_up(hierarchy: &[Option<usize>], points: &[f64]) -> bool {
    (0..points.len()).all(|node| {
        let parts: Vec<f64> =
            (0..points.len()).filter(|&part| hierarchy[part] == Some(node)).map(|part| points[part]).collect();
        let sum: f64 = parts.iter().sum();
        points[node] >= 0.0 && (parts.is_empty() || (points[node] - sum).abs() <= 1e-9 * sum.max(1.0))
    })
}

/// `hierarchicalforecast` 1.5.3 (PyPI): `MinTrace(method).fit_predict(S, y_hat, y_insample, y_hat_insample)` with `ols`,
/// `wls_var` (which takes mean squares for variances) and `mint_shrink`, on these forecasts and errors.
#[test]
fn figures_are_those_of_hierarchicalforecast() {
    let hierarchy = Hierarchy::new(&PARENTS).unwrap();
    let ordinary = hierarchy.ordinary_least_squares(&BASE).unwrap();
    let expected = [
        210.655_172_413_793_14,
        92.896_551_724_137_94,
        117.758_620_689_655_17,
        41.448_275_862_068_97,
        51.448_275_862_068_97,
        31.586_206_896_551_726,
        46.586_206_896_551_715,
        39.586_206_896_551_73,
    ];
    assert_near(&ordinary.points, &expected, 1e-12);
    let mean_squares: Vec<f64> =
        errors().iter().map(|errors| errors.iter().map(|error| error * error).sum::<f64>() / 24.0).collect();
    let weighted = hierarchy.weighted_least_squares(&BASE, &mean_squares).unwrap();
    let expected = [
        211.280_593_928_560_96,
        92.989_226_950_331_13,
        118.291_366_978_229_82,
        42.559_997_907_403_83,
        50.429_229_042_927_3,
        31.613_953_012_557_77,
        46.739_433_040_899_215,
        39.937_980_924_772_83,
    ];
    assert_near(&weighted.points, &expected, 1e-9);
    let shrunk = hierarchy.min_trace(&BASE, &errors()).unwrap();
    let expected = [
        212.512_867_515_526_4,
        94.201_477_369_112_95,
        118.311_390_146_413_44,
        43.223_291_385_174_825,
        50.978_185_983_938_12,
        34.526_889_897_952_34,
        45.665_104_488_443_646,
        38.119_395_760_017_47,
    ];
    assert_near(&shrunk.points, &expected, 1e-8);
    let Method::MinTrace { shrinkage } = shrunk.method else { panic!("{:?}", shrunk.method) };
    assert!((shrinkage - 0.181_756_325_8).abs() < 1e-8, "{shrinkage}");
}

#[test]
fn parts_and_sums_agree_and_nothing_is_negative() {
    let hierarchy = Hierarchy::new(&PARENTS).unwrap();
    let mut base = BASE;
    base[3] = -20.0;
    base[7] = -400.0;
    let variances: Vec<f64> = (1..=8).map(f64::from).collect();
    let reconciled = [
        hierarchy.ordinary_least_squares(&base).unwrap(),
        hierarchy.weighted_least_squares(&base, &variances).unwrap(),
        hierarchy.min_trace(&base, &errors()).unwrap(),
    ];
    for reconciled in &reconciled {
        assert!(adds_up(&PARENTS, &reconciled.points), "{reconciled:?}");
        assert_eq!(reconciled.points[7], 0.0);
    }
    assert_eq!(hierarchy.leaves(1), [3, 4]);
    assert_eq!((hierarchy.leaves(0).len(), hierarchy.leaves(4), hierarchy.leaves(8)), (5, vec![4], vec![]));
}

#[test]
fn figures_that_agree_are_left_alone() {
    let hierarchy = Hierarchy::new(&PARENTS).unwrap();
    let base = [203.0, 90.0, 113.0, 40.0, 50.0, 30.0, 45.0, 38.0];
    assert_near(&hierarchy.min_trace(&base, &errors()).unwrap().points, &base, 1e-12);
    assert_near(&hierarchy.ordinary_least_squares(&base).unwrap().points, &base, 1e-12);
}

#[test]
fn covariance_makes_way_for_variances_and_these_for_none() {
    let hierarchy = Hierarchy::new(&PARENTS).unwrap();
    let method = |errors: Vec<Vec<f64>>| hierarchy.min_trace(&BASE, &errors).unwrap().method;
    assert!(matches!(method(errors()), Method::MinTrace { shrinkage } if shrinkage > 0.0 && shrinkage < 1.0));
    let few = errors().into_iter().map(|errors| errors[..19].to_vec()).collect();
    assert_eq!(method(few), Method::WeightedLeastSquares);
    assert_eq!(method(vec![vec![]; 8]), Method::OrdinaryLeastSquares);
    assert_eq!(method(vec![vec![0.0; 24]; 8]), Method::OrdinaryLeastSquares, "nothing ever erred");
    let mut broken = errors();
    broken[2][3] = f64::NAN;
    assert_eq!(method(broken), Method::OrdinaryLeastSquares);
    let mut still = errors();
    still[4].fill(2.0);
    assert!(matches!(method(still), Method::MinTrace { .. }), "one node never erred but by the same");

    // One sum more than covariances are used for.
    let sums = MAX_MIN_TRACE_SUMS + 1;
    let parents: Vec<_> = (0..2 * sums).map(|node| if node < sums { None } else { Some(node - sums) }).collect();
    let many = Hierarchy::new(&parents).unwrap();
    let mut random = Random(1);
    let errors: Vec<Vec<f64>> = (0..2 * sums).map(|_| (0..20).map(|_| random.normal()).collect()).collect();
    let reconciled = many.min_trace(&vec![1.0; 2 * sums], &errors).unwrap();
    assert_eq!(reconciled.method, Method::WeightedLeastSquares);
}

#[test]
fn what_is_no_hierarchy_is_refused() {
    let refused = HierarchyError::NoSuchParent { node: 1, parent: 5, nodes: 2 };
    assert_eq!(Hierarchy::new(&[None, Some(5)]), Err(refused));
    assert_eq!(Hierarchy::new(&[None, Some(2), Some(1)]), Err(HierarchyError::Cycle { node: 1 }));
    assert_eq!(Hierarchy::new(&[Some(0)]), Err(HierarchyError::Cycle { node: 0 }));
    let hierarchy = Hierarchy::new(&[None, Some(0)]).unwrap();
    let refused = hierarchy.ordinary_least_squares(&[1.0]);
    assert_eq!(refused, Err(HierarchyError::Count { what: "forecasts", have: 1, need: 2 }));
    let refused = hierarchy.ordinary_least_squares(&[1.0, f64::INFINITY]);
    assert_eq!(refused, Err(HierarchyError::NotFinite { node: 1, value: f64::INFINITY }));
    let refused = hierarchy.min_trace(&[1.0, 1.0], &[vec![1.0], vec![]]);
    assert_eq!(refused, Err(HierarchyError::Mismatch { node: 1 }));
    assert_eq!(Hierarchy::new(&[]).unwrap().ordinary_least_squares(&[]).unwrap().points, [0.0; 0]);
}

#[test]
fn sums_of_noisy_parts_teach_the_parts() {
    // Ten parts with noise of deviation 1 in their forecasts, their sum with 1 as well: the sum is ten times as sure.
    let parents: Vec<_> = std::iter::once(None).chain([Some(0); 10]).collect();
    let hierarchy = Hierarchy::new(&parents).unwrap();
    let mut random = Random(4);
    let mut draw = || -> Vec<f64> { (0..11).map(|_| random.normal()).collect() };
    let seen: Vec<Vec<f64>> = (0..200).map(|_| draw()).collect();
    let errors: Vec<Vec<f64>> = (0..11).map(|node| seen.iter().map(|row| row[node]).collect()).collect();
    let (mut before, mut after) = (0.0, 0.0);
    for _ in 0..200 {
        let truth: Vec<f64> = std::iter::once(1000.0).chain([100.0; 10]).collect();
        let base: Vec<f64> = truth.iter().zip(draw()).map(|(truth, error)| truth - error).collect();
        let points = hierarchy.min_trace(&base, &errors).unwrap().points;
        let loss = |points: &[f64]| points.iter().zip(&truth).map(|(a, b)| (a - b).powi(2)).sum::<f64>();
        before += loss(&base);
        after += loss(&points);
    }
    // Exactly, each of 11 squared errors falls by an eleventh.
    assert!((after / before - 10.0 / 11.0).abs() < 0.02, "{}", after / before);
}

/// Five days of hours of three tenants of one resource, and of the resource: noise around another level for each.
fn forecasts() -> Vec<(Forecaster, Forecast)> {
    let mut random = Random(8);
    let tenants: Vec<Vec<f64>> = [20.0, 50.0, 80.0]
        .map(|level| (0..1152).map(|_| level * (1.0 + 0.1 * random.normal()).max(0.0)).collect())
        .to_vec();
    let sum: Vec<f64> = (0..1152).map(|at| tenants.iter().map(|tenant| tenant[at]).sum()).collect();
    let fit = |values: &Vec<f64>| {
        let series = Series::new(0, 300, values.clone()).unwrap();
        let forecaster = fit_as(ModelKind::SeasonalProfile, &series, &Settings::default()).unwrap();
        let forecast = forecaster.predict(&series).unwrap();
        (forecaster, forecast)
    };
    std::iter::once(&sum).chain(&tenants).map(fit).collect()
}

#[test]
fn distributions_follow_their_means_and_the_sum_is_that_of_the_paths() {
    let nodes = forecasts();
    let nodes: Vec<_> = nodes.iter().map(|(forecaster, forecast)| (forecaster, forecast)).collect();
    let hierarchy = Hierarchy::new(&[None, Some(0), Some(0), Some(0)]).unwrap();
    let coherent = hierarchy.reconcile(&nodes).unwrap();
    assert!(coherent.methods.iter().all(|method| matches!(method, Method::MinTrace { .. })), "{:?}", coherent.methods);
    let leaves: Vec<_> =
        hierarchy.leaves(0).into_iter().map(|node| (nodes[node].0, &coherent.forecasts[node])).collect();
    let paths = Paths::of_pool(&leaves, 1_000, 3).unwrap();
    for lead in 0..4 {
        let mean = |node: usize| coherent.forecasts[node].steps[lead].mean();
        assert!((mean(0) - mean(1) - mean(2) - mean(3)).abs() < 1e-6 * mean(0));
        let of_paths = paths.at(lead).iter().sum::<f64>() / 1_000.0;
        assert!((of_paths / mean(0) - 1.0).abs() < 1e-3, "{of_paths} for {}", mean(0));
        for (node, (_, before)) in nodes.iter().enumerate() {
            let (before, after) = (&before.steps[lead], &coherent.forecasts[node].steps[lead]);
            let width = |step: &forebay_forecast::StepForecast| step.quantile(0.95) - step.quantile(0.05);
            assert!(width(after) <= width(before) + 1e-9 && after.quantile(0.001) >= 0.0);
        }
        // Tenants are independent, so the pool needs less than each tenant's own upper quantile, and what paths say of it is
        // what its own forecast says.
        let upper = paths.mean_quantile(lead..lead + 1, 0.95).unwrap();
        let of_parts: f64 = (1..4).map(|node| coherent.forecasts[node].steps[lead].quantile(0.95)).sum();
        assert!(upper < of_parts);
        let of_sum = coherent.forecasts[0].steps[lead].quantile(0.95);
        assert!((upper / of_sum - 1.0).abs() < 0.02, "{upper} for {of_sum}");
    }
    let refused = hierarchy.reconcile(&nodes[1..]).unwrap_err();
    assert_eq!(refused, HierarchyError::Count { what: "forecasts", have: 3, need: 4 });
    let later = Forecast { first_s: 7, ..nodes[2].1.clone() };
    let refused = hierarchy.reconcile(&[nodes[0], nodes[1], (nodes[2].0, &later), nodes[3]]).unwrap_err();
    assert_eq!(refused, HierarchyError::Mismatch { node: 2 });
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    /// Any forest: with no negative result, weighted least squares leaves no better sum of weighted squares nearby.
    #[test]
    fn weighted_least_squares_is_the_least(
        above in prop::collection::vec(0..1000_usize, 2..30),
        seed in 0..1000_u64,
    ) {
        let nodes = above.len();
        let parents: Vec<Option<usize>> =
            above.iter().enumerate().map(|(node, pick)| pick.checked_rem(node).filter(|_| pick % 5 > 0)).collect();
        let hierarchy = Hierarchy::new(&parents).unwrap();
        let mut random = Random(seed);
        // Each node some of its own and nearly what its parts have, so that nothing comes near zero.
        let mut base = vec![0.0; nodes];
        for node in (0..nodes).rev() {
            base[node] += if base[node] == 0.0 { 1e4 } else { 0.0 } + 10.0 * random.normal();
            if let Some(parent) = parents[node] {
                base[parent] += base[node];
            }
        }
        let variances: Vec<f64> = (0..nodes).map(|_| 0.1 + random.uniform()).collect();
        let points = hierarchy.weighted_least_squares(&base, &variances).unwrap().points;
        prop_assert!(adds_up(&parents, &points));
        let loss = |points: &[f64]| -> f64 {
            points.iter().zip(&base).zip(&variances).map(|((a, b), variance)| (a - b).powi(2) / variance).sum()
        };
        for leaf in (0..nodes).filter(|&leaf| hierarchy.leaves(leaf) == [leaf]) {
            for step in [-0.1, 0.1] {
                let mut moved = points.clone();
                let mut node = Some(leaf);
                while let Some(at) = node {
                    moved[at] += step;
                    node = parents[at];
                }
                prop_assert!(points[leaf] > 1.0 && loss(&moved) >= loss(&points));
            }
        }
    }
}

/// The bound is that of a release build; a test build is little slower.
#[test]
fn a_thousand_leaves_take_well_below_a_second() {
    // A pool of ten resources with a hundred tenants each.
    let parents: Vec<_> = (0..1_011)
        .map(|node| match node {
            0 => None,
            1..=10 => Some(0),
            _ => Some(1 + node % 10),
        })
        .collect();
    let hierarchy = Hierarchy::new(&parents).unwrap();
    let mut random = Random(6);
    let errors: Vec<Vec<f64>> = parents.iter().map(|_| (0..256).map(|_| random.normal()).collect()).collect();
    let base: Vec<f64> = parents.iter().map(|_| 100.0 + random.normal()).collect();
    let begin = std::time::Instant::now();
    let reconciled = hierarchy.min_trace(&base, &errors).unwrap();
    let took = begin.elapsed();
    assert!(matches!(reconciled.method, Method::MinTrace { .. }) && adds_up(&parents, &reconciled.points));
    assert!(took.as_secs_f64() < 1.0, "{took:?}");
}
