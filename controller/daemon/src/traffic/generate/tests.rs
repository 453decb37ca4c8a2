//! What the generator promises, over several seeds.

use super::*;

const STEPS_PER_DAY: usize = 288;

fn calendar(days: i64) -> Calendar {
    Calendar { start_s: 1_767_571_200, step_s: 300, days, flood_days: 1 }
}

fn args() -> GenerateArgs {
    let start = "2026-01-05 00:00:00".to_owned();
    GenerateArgs { seed: 1, days: 2, step_s: 300, start, flood_days: 1, out: None }
}

fn of(name: &str, days: i64, seed: u64) -> Vec<f64> {
    series(&calendar(days), seed).into_iter().find(|(tenant, _)| *tenant == name).unwrap().1
}

/// The mean from `from` to `to` hours of `day`.
fn mean(rates: &[f64], day: usize, from: f64, to: f64) -> f64 {
    let index = |hour: f64| day * STEPS_PER_DAY + (hour * 12.0).round() as usize;
    let part = &rates[index(from)..index(to)];
    part.iter().sum::<f64>() / part.len() as f64
}

#[test]
fn the_same_seed_writes_the_same_bytes() {
    let bytes = write_csv(&calendar(3), 7).unwrap();
    assert_eq!(bytes, write_csv(&calendar(3), 7).unwrap());
    assert_ne!(bytes, write_csv(&calendar(3), 8).unwrap());
    let text = String::from_utf8(bytes).unwrap();
    assert_eq!(text.lines().count(), 1 + 3 * STEPS_PER_DAY * 5);
    assert!(text.starts_with("timestamp,tenant,rate_per_s\n2026-01-05 00:00:00,shop,"));
}

#[test]
fn bursts_come_at_the_written_times() {
    for seed in 1..=5 {
        let (shop, feed, batch, api) =
            (of("shop", 7, seed), of("feed", 7, seed), of("batch", 7, seed), of("api", 7, seed));
        for day in 0..7 {
            assert!(mean(&shop, day, 12.1, 12.5) > 90.0, "seed {seed} day {day}: flash crowd");
            assert!(mean(&shop, day, 10.0, 11.5) < 42.0, "seed {seed} day {day}: calm before it");
            assert!(mean(&feed, day, 7.25, 7.75) > 65.0, "seed {seed} day {day}: morning");
            assert!(mean(&feed, day, 22.5, 23.0) > 80.0, "seed {seed} day {day}: late evening");
            let nightly = mean(&batch, day, 2.1, 2.9) / mean(&batch, day, 4.0, 8.0);
            assert!((3.0..4.2).contains(&nightly), "seed {seed} day {day}: nightly burst is {nightly} fold");
        }
        assert!(mean(&shop, 4, 12.1, 12.5) > 1.2 * mean(&shop, 3, 12.1, 12.5), "seed {seed}: Friday is bigger");
        assert!(mean(&api, 0, 10.0, 16.0) > 3.0 * mean(&api, 5, 10.0, 16.0), "seed {seed}: weekend");
    }
}

#[test]
fn bursts_of_the_tenants_come_at_different_times() {
    let peak_step = |name| {
        let rates = of(name, 1, 1);
        (0..STEPS_PER_DAY).max_by(|a, b| rates[*a].total_cmp(&rates[*b])).unwrap()
    };
    let mut peaks = [peak_step("shop"), peak_step("feed"), peak_step("batch")];
    peaks.sort_unstable();
    assert!(peaks[1] - peaks[0] > 36 && peaks[2] - peaks[1] > 36, "three hours apart: {peaks:?}");
}

#[test]
fn the_intruder_floods_on_the_last_day_only() {
    for seed in 1..=20 {
        let rates = of("intruder", 4, seed);
        let (calm, last) = rates.split_at(3 * STEPS_PER_DAY);
        assert!(calm.iter().all(|rate| *rate < 1.0), "seed {seed}: calm until the last day");
        let flooded = last.iter().filter(|rate| **rate > 40.0).count();
        assert!((4..=15).contains(&flooded), "seed {seed}: {flooded} steps of flood");
    }
}

#[test]
fn noise_is_five_percent_and_remembers_itself() {
    let mut chances = Chances::new(3, 0);
    let noise: Vec<f64> = (0..50_000).map(|_| chances.next_noise(300) - 1.0).collect();
    let mean = noise.iter().sum::<f64>() / noise.len() as f64;
    let variance = noise.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / noise.len() as f64;
    let lagged = noise.windows(2).map(|w| (w[0] - mean) * (w[1] - mean)).sum::<f64>() / noise.len() as f64;
    assert!(mean.abs() < 0.005, "mean {mean}");
    assert!((variance.sqrt() - NOISE).abs() < 0.005, "deviation {}", variance.sqrt());
    assert!((lagged / variance - (-300.0 / NOISE_MEMORY_S).exp()).abs() < 0.03);
}

#[test]
fn arguments_out_of_range_are_refused_with_a_reason() {
    let reason = |args: GenerateArgs| Calendar::try_from(&args).unwrap_err().to_string();
    assert!(reason(GenerateArgs { step_s: 7, ..args() }).contains("does not divide a day"));
    assert!(reason(GenerateArgs { days: 0, ..args() }).contains("write a number from 1 to"));
    assert!(reason(GenerateArgs { start: "monday".into(), ..args() }).contains("is no time"));
    assert!(reason(GenerateArgs { start: "2026-01-05 01:00:00".into(), ..args() }).contains("not midnight"));
}
