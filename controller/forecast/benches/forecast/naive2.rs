//! Naive2, the benchmark that the M4 competition's OWA divides by: the last value of the seasonally adjusted series, and
//! the season put back on, if there is one.
//!
//! There is one if the autocorrelation at the season's lag leaves its 90 % band; the adjustment is the classical
//! multiplicative decomposition (a centred moving average over a season, then the mean ratio per place in the season).
//! Written after the competition's own description of its benchmarks; where the official forecasts are there, the bench
//! prints by how much these differ from them.

/// Steps in the season: the competition's for hourly series.
pub(crate) const SEASON: usize = 24;
/// Standard errors of the 90 % band.
const BAND: f64 = 1.645;

/// The `steps` values after `train`.
pub(crate) fn forecast(train: &[f64], steps: usize) -> Vec<f64> {
    let last = train.last().copied().unwrap_or(0.0);
    let factors = if is_seasonal(train) { factors(train) } else { [1.0; SEASON] };
    let at = |index: usize| factors[index % SEASON];
    let level = last / at(train.len().saturating_sub(1));
    (0..steps).map(|ahead| level * at(train.len() + ahead)).collect()
}

fn is_seasonal(train: &[f64]) -> bool {
    if train.len() < 3 * SEASON {
        return false;
    }
    let mean = train.iter().sum::<f64>() / train.len() as f64;
    let around: Vec<f64> = train.iter().map(|value| value - mean).collect();
    let product = |lag: usize| around.iter().zip(&around[lag..]).map(|(a, b)| a * b).sum::<f64>();
    let variance = product(0);
    let correlations: Vec<f64> = (1..=SEASON).map(|lag| product(lag) / variance).collect();
    let before: f64 = correlations[..SEASON - 1].iter().map(|r| r * r).sum();
    let band = BAND * ((1.0 + 2.0 * before) / train.len() as f64).sqrt();
    correlations[SEASON - 1].abs() > band
}

/// How much each place in the season, counted from the first value, lies above the level.
fn factors(train: &[f64]) -> [f64; SEASON] {
    let half = SEASON / 2;
    let (mut sums, mut counts) = ([0.0; SEASON], [0.0_f64; SEASON]);
    for centre in half..train.len() - half {
        let window = &train[centre - half..=centre + half];
        // The two ends are the same place in the season and count half.
        let ends = (window[0] + window[SEASON]) / 2.0;
        let level = (window[1..SEASON].iter().sum::<f64>() + ends) / SEASON as f64;
        let ratio = train[centre] / level;
        if ratio.is_finite() {
            sums[centre % SEASON] += ratio;
            counts[centre % SEASON] += 1.0;
        }
    }
    let means: [f64; SEASON] = std::array::from_fn(|place| sums[place] / counts[place].max(1.0));
    let mean = means.iter().sum::<f64>() / SEASON as f64;
    // A place whose factor is 0 cannot be divided by.
    means.map(|factor| if mean > 0.0 && factor > 0.0 { factor / mean } else { 1.0 })
}
