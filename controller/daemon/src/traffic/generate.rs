//! The project's own demand generator: `forebay generate` writes a trace that has what forecasting and
//! pre-allocation must cope with, and the same seed always writes the same bytes.
//!
//! Rates are in units/s, before any scaling by the replay. All times are UTC.
//!
//! | tenant   | base          | peaks                                       | when                                      |
//! |----------|---------------|---------------------------------------------|-------------------------------------------|
//! | shop     | 30            | evening to 80; flash crowd to 110, Fri 150  | 19:30; 12:00 to 12:40 every day           |
//! | feed     | 25            | morning to 85; late evening to 100          | 07:30; 22:45                              |
//! | batch    | 30            | one hour at 105 (3.5 times the base)        | 02:00 to 03:00 every night                |
//! | api      | 20            | flat at 80, Sat and Sun no peak             | 08:30 to 17:00, Mon to Fri                |
//! | intruder | 0.5           | floods to 100, 10 to 20 minutes, unforecast | three per day, at random, last day(s) only |
//!
//! Each tenant's own bursts come when the others are calm, so there is capacity to lend in time. The weekend moves
//! shop up and feed and batch down a little. On top lies noise of 5 % that remembers itself for half an hour
//! (a first-order autoregression of the logarithm), and each burst of each day is some 4 % higher or lower.
//!
//! What it does not do: trends, gaps and faulty values; the real traces of `--trace` have those.

use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context, bail};
use clap::Args;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::calendar;
use crate::files;

const MINUTE_S: f64 = 60.0;
const HOUR_S: f64 = 3600.0;
const DAY_S: i64 = 86_400;

/// Standard deviation of the noise of one step, as a share of the rate.
const NOISE: f64 = 0.05;
/// How long the noise remembers: after this time 1/e of a deviation is left.
const NOISE_MEMORY_S: f64 = 1800.0;
/// Standard deviation of the height of a burst from day to day, as a share of its height.
const BURST_SPREAD: f64 = 0.04;
/// A step is the mean of its rate at points this far apart, so that a steep burst is not misread by coarse steps.
const SAMPLE_S: i64 = 60;
/// Floods per day of the intruder's last days.
const FLOODS_PER_DAY: usize = 3;
/// The longest trace: ten years, 5 million rows at 5 minutes.
const MAX_DAYS: u32 = 3660;

/// `forebay generate`: writes a seeded trace as CSV (timestamp,tenant,rate_per_s).
#[derive(Debug, Clone, Args)]
pub(crate) struct GenerateArgs {
    /// The same seed gives the same bytes.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) seed: u64,
    /// Days to write.
    #[arg(long, value_name = "N", default_value_t = 28)]
    pub(crate) days: u32,
    /// Seconds per step; must divide a day.
    #[arg(long, value_name = "N", default_value_t = 300)]
    pub(crate) step_s: u32,
    /// The first time (UTC midnight); the default is a Monday.
    #[arg(long, value_name = "TIME", default_value = "2026-01-05 00:00:00")]
    pub(crate) start: String,
    /// The last days on which the intruder floods.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) flood_days: u32,
    /// File to write; default: standard output.
    #[arg(long, value_name = "FILE.csv")]
    pub(crate) out: Option<PathBuf>,
}

/// Writes the trace that `args` describes.
pub(crate) fn run(args: GenerateArgs) -> anyhow::Result<()> {
    let calendar = Calendar::try_from(&args)?;
    let bytes = write_csv(&calendar, args.seed)?;
    match &args.out {
        Some(path) => Ok(files::write(path, "--out", &bytes)?),
        None => std::io::stdout().write_all(&bytes).context("writing the trace to standard output"),
    }
}

/// Which steps are written.
#[derive(Debug, Clone)]
struct Calendar {
    start_s: i64,
    step_s: i64,
    days: i64,
    flood_days: i64,
}

impl TryFrom<&GenerateArgs> for Calendar {
    type Error = anyhow::Error;

    fn try_from(args: &GenerateArgs) -> anyhow::Result<Self> {
        let Some(start_s) = calendar::parse(&args.start) else {
            bail!("--start {:?} is no time; write YYYY-MM-DD HH:MM:SS (UTC)", args.start);
        };
        if start_s.rem_euclid(DAY_S) != 0 {
            bail!("--start {:?} is not midnight in UTC; the daily pattern begins there", args.start);
        }
        let step_s = i64::from(args.step_s);
        if step_s == 0 || DAY_S % step_s != 0 {
            bail!("--step-s {step_s} does not divide a day; choose one that does, such as 60, 300 or 3600");
        }
        if args.days == 0 || args.days > MAX_DAYS {
            bail!("--days {}: write a number from 1 to {MAX_DAYS}", args.days);
        }
        let flood_days = i64::from(args.flood_days.min(args.days));
        Ok(Self { start_s, step_s, days: i64::from(args.days), flood_days })
    }
}

/// A rise that comes back every day.
#[derive(Debug, Clone, Copy)]
struct Burst {
    shape: Shape,
    /// Height above the base in units/s, Monday to Sunday.
    height: [f64; 7],
}

/// How a burst rises and falls; seconds of the day.
#[derive(Debug, Clone, Copy)]
enum Shape {
    /// A bell around `centre_s`.
    Bell { centre_s: f64, width_s: f64 },
    /// Straight up to the top at `begin_s + ramp_s`, down again by `end_s`.
    Plateau { begin_s: f64, end_s: f64, ramp_s: f64 },
}

impl Shape {
    /// The share of the height that is reached at `second` of the day.
    fn level(self, second: f64) -> f64 {
        match self {
            Shape::Bell { centre_s, width_s } => {
                let day = DAY_S as f64;
                let distance = (second - centre_s).rem_euclid(day);
                let distance = distance.min(day - distance);
                (-0.5 * (distance / width_s).powi(2)).exp()
            }
            Shape::Plateau { begin_s, end_s, ramp_s } => {
                ((second - begin_s) / ramp_s).min((end_s - second) / ramp_s).clamp(0.0, 1.0)
            }
        }
    }
}

/// One tenant of the generator.
#[derive(Debug, Clone)]
struct Tenant {
    name: &'static str,
    base: f64,
    /// What Saturday and Sunday multiply the base by.
    weekend: f64,
    bursts: Vec<Burst>,
    floods: bool,
}

fn tenants() -> Vec<Tenant> {
    let bell =
        |hour: f64, width_minutes: f64| Shape::Bell { centre_s: hour * HOUR_S, width_s: width_minutes * MINUTE_S };
    let plateau = |from_hour: f64, to_hour: f64, ramp_minutes: f64| Shape::Plateau {
        begin_s: from_hour * HOUR_S,
        end_s: to_hour * HOUR_S,
        ramp_s: ramp_minutes * MINUTE_S,
    };
    let daily = |height| [height; 7];
    let tenant = |name, base, weekend, bursts| Tenant { name, base, weekend, bursts, floods: false };
    let shop = vec![
        Burst { shape: bell(19.5, 60.0), height: daily(50.0) },
        Burst { shape: plateau(12.0, 12.0 + 2.0 / 3.0, 5.0), height: [80.0, 80.0, 80.0, 80.0, 120.0, 80.0, 80.0] },
    ];
    let feed = vec![
        Burst { shape: bell(7.5, 35.0), height: daily(60.0) },
        Burst { shape: bell(22.75, 45.0), height: daily(75.0) },
    ];
    let batch = vec![Burst { shape: plateau(2.0, 3.0, 5.0), height: daily(75.0) }];
    let office = [60.0, 60.0, 60.0, 60.0, 60.0, 0.0, 0.0];
    let api = vec![Burst { shape: plateau(8.5, 17.0, 30.0), height: office }];
    vec![
        tenant("shop", 30.0, 1.15, shop),
        tenant("feed", 25.0, 0.9, feed),
        tenant("batch", 30.0, 0.9, batch),
        tenant("api", 20.0, 1.0, api),
        Tenant { floods: true, ..tenant("intruder", 0.5, 1.0, Vec::new()) },
    ]
}

/// Seconds of a flood, from the first second of the trace.
#[derive(Debug, Clone, Copy)]
struct Flood {
    begin_s: f64,
    end_s: f64,
    rate: f64,
}

/// The random choices of one tenant, each from its own stream so that no tenant depends on another.
struct Chances {
    rng: ChaCha8Rng,
    noise: f64,
}

impl Chances {
    fn new(seed: u64, stream: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(stream);
        Self { rng, noise: 0.0 }
    }

    /// A standard normal variate (Box and Muller, 1958).
    fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.rng.random::<f64>()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.rng.random::<f64>()).cos()
    }

    /// The factor of the next step; its mean is 1.
    fn next_noise(&mut self, step_s: i64) -> f64 {
        let kept = (-(step_s as f64) / NOISE_MEMORY_S).exp();
        self.noise = kept * self.noise + (1.0 - kept * kept).sqrt() * NOISE * self.normal();
        (self.noise - NOISE * NOISE / 2.0).exp()
    }

    fn floods(&mut self, calendar: &Calendar) -> Vec<Flood> {
        let mut floods = Vec::new();
        for day in calendar.days - calendar.flood_days..calendar.days {
            for third in 0..FLOODS_PER_DAY {
                let part_s = DAY_S as f64 / FLOODS_PER_DAY as f64;
                let length_s = self.rng.random_range(10.0..20.0) * MINUTE_S;
                let wait_s = self.rng.random_range(0.0..part_s - length_s);
                let begin_s = (day * DAY_S) as f64 + third as f64 * part_s + wait_s;
                floods.push(Flood { begin_s, end_s: begin_s + length_s, rate: self.rng.random_range(80.0..100.0) });
            }
        }
        floods
    }
}

/// The rate per step of every tenant, in the order of [`tenants`].
fn series(calendar: &Calendar, seed: u64) -> Vec<(&'static str, Vec<f64>)> {
    let all = tenants();
    all.iter().enumerate().map(|(stream, tenant)| (tenant.name, rates(tenant, calendar, seed, stream as u64))).collect()
}

fn rates(tenant: &Tenant, calendar: &Calendar, seed: u64, stream: u64) -> Vec<f64> {
    let mut chances = Chances::new(seed, stream);
    let floods = if tenant.floods { chances.floods(calendar) } else { Vec::new() };
    let mut rates = Vec::new();
    for day in 0..calendar.days {
        // 1970-01-01 was a Thursday, day 3 of a week that begins on Monday.
        let weekday = ((calendar.start_s.div_euclid(DAY_S) + day + 3).rem_euclid(7)) as usize;
        let spread: Vec<f64> = tenant.bursts.iter().map(|_| 1.0 + BURST_SPREAD * chances.normal()).collect();
        for step in 0..DAY_S / calendar.step_s {
            let samples = (calendar.step_s / SAMPLE_S).max(1);
            let at = |sample: i64| {
                let width_s = calendar.step_s as f64 / samples as f64;
                (step * calendar.step_s) as f64 + (sample as f64 + 0.5) * width_s
            };
            let base = tenant.base * if weekday >= 5 { tenant.weekend } else { 1.0 };
            let bursts = |second: f64| -> f64 {
                tenant.bursts.iter().zip(&spread).map(|(b, s)| b.shape.level(second) * b.height[weekday] * s).sum()
            };
            let flood = |second: f64| -> f64 {
                let second = (day * DAY_S) as f64 + second;
                floods.iter().filter(|f| (f.begin_s..f.end_s).contains(&second)).map(|f| f.rate).sum()
            };
            let mean = (0..samples).map(at).map(|s| base + bursts(s) + flood(s)).sum::<f64>() / samples as f64;
            rates.push(mean * chances.next_noise(calendar.step_s));
        }
    }
    rates
}

fn write_csv(calendar: &Calendar, seed: u64) -> anyhow::Result<Vec<u8>> {
    let series = series(calendar, seed);
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(["timestamp", "tenant", "rate_per_s"])?;
    for step in 0..calendar.days * (DAY_S / calendar.step_s) {
        let time = calendar::print(calendar.start_s + step * calendar.step_s);
        for (name, rates) in &series {
            writer.write_record([time.as_str(), name, &format!("{:.3}", rates[step as usize])])?;
        }
    }
    Ok(writer.into_inner()?)
}

#[cfg(test)]
mod tests;
