use proptest::prelude::*;

use super::*;

fn parameters() -> Vec<Parameter> {
    let parameter = |name: &str, range, default| Parameter { name: name.into(), range, default };
    vec![
        parameter("ridge", ParameterRange::Logarithmic { low: 1e-6, high: 1e3 }, 1e3_f64.next_down()),
        parameter("decay", ParameterRange::Linear { low: 0.0, high: 1.0 }, 0.1),
        parameter("lags", ParameterRange::OneOf(5), 0.0),
    ]
}

/// Smallest, 0, at a ridge of 0.01, a decay of 0.7 and the third choice of lags; `unit` scales it.
fn loss(point: &[f64], unit: f64) -> Option<f64> {
    Some(unit * ((point[0].log10() + 2.0).abs() + 5.0 * (point[1] - 0.7).abs() + (point[2] - 2.0).abs()))
}

fn median(mut losses: Vec<f64>) -> f64 {
    losses.sort_by(f64::total_cmp);
    losses[losses.len() / 2]
}

fn best_of(search: &mut Search, budget: usize) -> f64 {
    search.run(budget, |point| loss(point, 1.0)).unwrap().and_then(|trial| trial.loss).unwrap()
}

#[test]
fn it_beats_random_points_and_what_similar_series_know_helps() {
    let (mut cold, mut warm, mut random) = (Vec::new(), Vec::new(), Vec::new());
    for seed in 0..21 {
        let mut search = Search::new(parameters(), seed, &[]).unwrap();
        cold.push(best_of(&mut search, 40));
        // Another series, a thousand times as large.
        let mut other = Search::new(parameters(), seed + 100, &[]).unwrap();
        other.run(40, |point| loss(point, 1e3)).unwrap();
        let mut search = Search::new(parameters(), seed, &[other.trials().to_vec()]).unwrap();
        warm.push(best_of(&mut search, 8));
        // As many points as the search had, evenly spread by Halton's sequence.
        let halton = |mut index: u64, base: u64| {
            let (mut value, mut share) = (0.0, 1.0);
            while index > 0 {
                share /= base as f64;
                value += share * (index % base) as f64;
                index /= base;
            }
            value
        };
        let at = |index: u64| {
            let point = [10_f64.powf(9.0 * halton(index, 2) - 6.0), halton(index, 3), (5.0 * halton(index, 5)).floor()];
            loss(&point, 1.0).unwrap()
        };
        random.push((seed * 40 + 1..=seed * 40 + 40).map(at).fold(f64::INFINITY, f64::min));
    }
    let (cold, warm, random) = (median(cold), median(warm), median(random));
    assert!(cold < random, "{cold} {random}");
    assert!(warm < random, "{warm} {random}");
}

#[test]
fn the_default_comes_first_and_failures_are_never_best() {
    let mut search = Search::new(parameters(), 1, &[]).unwrap();
    let default = search.propose().unwrap();
    assert_eq!(default, [1e3_f64.next_down(), 0.1, 0.0]);
    search.tell(default.clone(), Some(3.0)).unwrap();
    for _ in 0..5 {
        let point = search.propose().unwrap();
        search.tell(point, Some(f64::NAN)).unwrap();
    }
    assert_eq!(search.best(), Some(&Trial { point: default, loss: Some(3.0) }));
    assert!(Search::new(parameters(), 1, &[]).unwrap().run(3, |_| None).unwrap().is_none());
}

#[test]
fn what_is_no_range_and_no_point_is_refused() {
    let one = |range, default| Search::new(vec![Parameter { name: "x".into(), range, default }], 0, &[]);
    assert!(one(ParameterRange::Linear { low: 1.0, high: 1.0 }, 1.0).is_err());
    assert!(one(ParameterRange::Logarithmic { low: 0.0, high: 1.0 }, 0.5).is_err());
    assert!(one(ParameterRange::OneOf(0), 0.0).is_err());
    assert!(one(ParameterRange::OneOf(3), 3.0).is_err());
    assert!(one(ParameterRange::Linear { low: 0.0, high: f64::NAN }, 0.0).is_err());
    let mut search = one(ParameterRange::OneOf(3), 0.0).unwrap();
    for point in [vec![], vec![0.5], vec![3.0], vec![f64::NAN], vec![0.0, 0.0]] {
        assert!(search.tell(point, Some(1.0)).is_err());
    }
}

proptest! {
    #[test]
    fn proposals_lie_within_and_a_stored_search_goes_on_alike(seed in any::<u64>(), stop in 1_usize..12) {
        let mut search = Search::new(parameters(), seed, &[]).unwrap();
        search.run(stop, |point| loss(point, 1.0)).unwrap();
        let bytes = postcard::to_allocvec(&search).unwrap();
        let mut restored: Search = postcard::from_bytes(&bytes).unwrap();
        search.run(4, |point| loss(point, 1.0)).unwrap();
        restored.run(4, |point| loss(point, 1.0)).unwrap();
        prop_assert_eq!(&search, &restored);
        for trial in search.trials() {
            prop_assert!(search.check(&trial.point).is_ok());
        }
    }
}
