//! A seeded generator of demand with daily, weekly and burst patterns, just enough for these tests.

use forebay_forecast::Series;

/// Five minutes.
pub(crate) const STEP_S: u32 = 300;
/// A Monday midnight.
pub(crate) const MONDAY_S: i64 = 4 * 86_400;
const DAY_STEPS: usize = 288;

/// SplitMix64 (Steele, Lea and Flood, 2014).
pub(crate) struct Random(pub u64);

impl Random {
    /// Uniform in 0..1.
    pub(crate) fn uniform(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((mixed ^ (mixed >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// About normal, mean 0 and deviation 1: twelve uniforms.
    pub(crate) fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.uniform()).sum::<f64>() - 6.0
    }
}

/// What to generate.
pub(crate) struct Bursts {
    pub(crate) seed: u64,
    pub(crate) days: usize,
    /// Each day's bursts begin up to this many steps early or late.
    pub(crate) moved_steps: i64,
    /// Deviation of the multiplicative noise on each step.
    pub(crate) noise: f64,
}

/// Demand and which of its steps are in a burst.
pub(crate) struct Demand {
    pub(crate) series: Series,
    pub(crate) in_burst: Vec<bool>,
}

/// A daily wave around 100 per second, quieter at weekends; a burst of 4 x base for four steps at 12:00 every day, and one
/// of 5 x base for two steps at 18:30 on weekdays.
pub(crate) fn demand(bursts: &Bursts) -> Demand {
    let mut random = Random(bursts.seed);
    let (mut values, mut in_burst) = (Vec::new(), Vec::new());
    for day in 0..bursts.days {
        let weekend = day % 7 >= 5;
        let mut moved = || {
            let span = 2 * bursts.moved_steps + 1;
            (random.uniform() * span as f64) as i64 - bursts.moved_steps
        };
        let (noon, evening) = (144 + moved(), 222 + moved());
        for step in 0..DAY_STEPS {
            let wave = 1.0 + 0.5 * (step as f64 / DAY_STEPS as f64 * std::f64::consts::TAU - 2.0).sin();
            let base = 100.0 * wave * if weekend { 0.6 } else { 1.0 };
            let within = |begin: i64, steps: i64| (begin..begin + steps).contains(&(step as i64));
            let factor = match (within(noon, 4), within(evening, 2) && !weekend) {
                (true, _) => 4.0,
                (_, true) => 5.0,
                _ => 1.0,
            };
            in_burst.push(factor > 1.0);
            values.push((base * factor * (1.0 + bursts.noise * random.normal())).max(0.0));
        }
    }
    Demand { series: Series::new(MONDAY_S, STEP_S, values).unwrap(), in_burst }
}
