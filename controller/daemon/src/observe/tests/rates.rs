//! Rates of the last seconds, whatever lengths of time the reports of a key tell of.

use std::time::Duration;

use forebay_plan::Key;
use proptest::prelude::*;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{Moment, Observer, report, shop};

/// Real seconds until nothing of the beginning is left: twelve half-lives of the mean.
const WARM_UP_S: f64 = 12.0;
const LASTS_S: f64 = 45.0;

fn at(real_s: f64) -> Moment {
    Moment { calendar_s: 3_000.0 + real_s, steady: Duration::from_secs_f64(real_s) }
}

/// A filter that is asked for so much, and reports in stretches between these lengths.
#[derive(Clone, Debug)]
struct Filter {
    rate_per_s: f64,
    shortest_s: f64,
    longest_s: f64,
    seed: u64,
}

fn filter() -> impl Strategy<Value = Filter> {
    let length = (-3.0_f64..1.0).prop_map(|exponent| 10.0_f64.powf(exponent));
    (500.0_f64..50_000.0, length.clone(), length, any::<u64>()).prop_map(|(rate_per_s, one, other, seed)| Filter {
        rate_per_s,
        shortest_s: one.min(other),
        longest_s: one.max(other),
        seed,
    })
}

impl Filter {
    /// When it reports.
    fn moments(&self) -> Vec<f64> {
        let mut random = ChaCha8Rng::seed_from_u64(self.seed);
        let mut moments = Vec::new();
        let mut now_s = 0.0;
        while now_s < LASTS_S {
            now_s += random.random_range(self.shortest_s..=self.longest_s);
            moments.push(now_s);
        }
        moments
    }
}

/// The observer, told by all filters in the order of time; `look` after each report.
fn told(filters: &[Filter], mut look: impl FnMut(&Observer, f64)) {
    let mut reports: Vec<(f64, usize)> = Vec::new();
    for (number, filter) in filters.iter().enumerate() {
        reports.extend(filter.moments().into_iter().map(|now_s| (now_s, number)));
    }
    reports.sort_by(|one, other| one.0.total_cmp(&other.0));
    let keys: Vec<Key> = vec![shop()];
    let mut observer = Observer::new(300, 1.0, Duration::from_secs(60), keys, Vec::new(), at(0.0));
    for (sequence, (now_s, number)) in reports.into_iter().enumerate() {
        let units = (filters[number].rate_per_s * now_s) as u64;
        let mut report = report(&format!("p{number}"), 1, sequence as u64 + 1, &[("shop", units)]);
        report.uptime_ms = (now_s * 1000.0).ceil() as u64;
        observer.report(&report, at(now_s));
        if now_s > WARM_UP_S {
            look(&observer, now_s);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn constant_demand_is_its_rate_however_reports_cut_it(filters in prop::collection::vec(filter(), 1..4)) {
        let rate_per_s: f64 = filters.iter().map(|filter| filter.rate_per_s).sum();
        told(&filters, |observer, now_s| {
            let now = at(now_s).steady;
            let mean_per_s = observer.offered_per_s(now)[&0];
            assert!((mean_per_s / rate_per_s - 1.0).abs() < 0.03, "{mean_per_s} of {rate_per_s} after {now_s} s");
            for (proxy, seen) in observer.recent(now) {
                let filter = &filters[proxy[1..].parse::<usize>().unwrap()];
                let peak_per_s = seen[0].offered_milli_per_s as f64 / 1000.0;
                // Of the shortest stretch that is a rate, a unit more or less is a few per mille.
                assert!((peak_per_s / filter.rate_per_s - 1.0).abs() < 0.03, "{peak_per_s} of {filter:?} after {now_s} s");
            }
        });
    }
}

#[test]
fn a_key_that_few_reports_mention_has_its_rate_over_time() {
    // A request every half a second, which one report of 50 ms in ten tells of.
    let mut observer = Observer::new(300, 1.0, Duration::from_secs(60), vec![shop()], Vec::new(), at(0.0));
    let (mut sum, mut count) = (0.0, 0);
    for number in 1..=800_u64 {
        let now_s = number as f64 * 0.05;
        let units = number / 10;
        let rows: &[(&str, u64)] = if number % 10 == 0 { &[("shop", units)] } else { &[] };
        let mut report = report("p", 1, number, rows);
        report.uptime_ms = number * 50;
        observer.report(&report, at(now_s));
        if number % 10 == 0 && now_s > WARM_UP_S {
            sum += observer.offered_per_s(at(now_s).steady)[&0];
            count += 1;
        }
    }
    let mean_per_s = sum / f64::from(count);
    assert!((1.9..2.5).contains(&mean_per_s), "2 a second, looked at when one came: {mean_per_s}");
}

#[test]
fn demand_that_begins_counts_at_once() {
    let mut observer = Observer::new(300, 1.0, Duration::from_secs(600), vec![shop()], Vec::new(), at(0.0));
    for (sequence, (now_s, units)) in [(1.0, 100), (2.0, 200), (300.0, 200), (301.0, 500)].into_iter().enumerate() {
        observer.report(&report("p", 1, sequence as u64 + 1, &[("shop", units)]), at(now_s));
    }
    let seen = observer.recent(at(301.0).steady);
    assert_eq!(seen["p"][0].offered_milli_per_s, 300_000);
    let mean_per_s = observer.offered_per_s(at(301.0).steady)[&0];
    assert!((149.0..=151.0).contains(&mean_per_s), "half of it is of the last second: {mean_per_s}");
}
