//! What becomes of sizes that are found from what instances use: `capacity.generated_shapes`.

use std::time::Duration;

use forebay_plan::capacity::shapes::{MAX_PROPOSALS, MAX_SHAPES};
use forebay_plan::capacity::{Amounts, Micros, Shape};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::manager::ManagerSettings;
use super::within;
use crate::config::file::{Problem, problem};

const MIB_PER_GIB: f64 = 1024.0;

/// See [`crate::capacity`]'s `shaping`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct ShapingSettings {
    pub(crate) mode: ShapeMode,
    /// How often is looked for new ones; real time, as all of these.
    pub(crate) every: Duration,
    /// In use at once.
    pub(crate) most: usize,
    /// Share of what instances cost that each must save.
    pub(crate) min_saving: f64,
    /// Without instances.
    pub(crate) retire_after: Duration,
    /// `None`: as the configured shapes are priced.
    pub(crate) prices: Option<Prices>,
}

/// What becomes of a size that is found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ShapeMode {
    /// None is looked for.
    Off,
    /// It is shown.
    #[default]
    Propose,
    /// Plans may choose it, where the manager can make it.
    Use,
}

impl ShapeMode {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Propose => "propose",
            Self::Use => "use",
        }
    }
}

/// What sizes cost that nobody sells yet, an hour in the currency.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Prices {
    pub(crate) cpu_per_h: f64,
    pub(crate) memory_gib_per_h: f64,
}

impl Prices {
    /// Rounded up.
    pub(crate) fn micros_per_h(self, amounts: &Amounts) -> Micros {
        let money =
            self.cpu_per_h * amounts.cpu_milli / 1000.0 + self.memory_gib_per_h * amounts.memory_mib / MIB_PER_GIB;
        (money * 1e6).ceil() as Micros
    }

    /// What fits the prices of `shapes` best, by least squares, neither being below nothing. Where all are of one proportion
    /// nobody can say what of the price is for cores and what for memory: each is then taken for all of it, so that no size
    /// seems to save what it may not.
    pub(crate) fn fitted(shapes: &[Shape]) -> Self {
        let rows = || {
            shapes.iter().map(|shape| {
                let Amounts { cpu_milli, memory_mib, .. } = shape.offers;
                (cpu_milli / 1000.0, memory_mib / MIB_PER_GIB, shape.price_micros_per_h as f64 / 1e6)
            })
        };
        let sum = |of: fn((f64, f64, f64)) -> f64| rows().map(of).sum::<f64>();
        let (cc, cm, mm) = (sum(|(c, _, _)| c * c), sum(|(c, m, _)| c * m), sum(|(_, m, _)| m * m));
        let (cp, mp) = (sum(|(c, _, p)| c * p), sum(|(_, m, p)| m * p));
        let alone = |of: f64, squares: f64| if squares > 0.0 { of / squares } else { 0.0 };
        let (cpu_only, memory_only) = (alone(cp, cc), alone(mp, mm));
        let determinant = cc * mm - cm * cm;
        if determinant <= 1e-9 * cc * mm {
            return Self { cpu_per_h: cpu_only, memory_gib_per_h: memory_only };
        }
        let (cpu_per_h, memory_gib_per_h) = ((cp * mm - mp * cm) / determinant, (mp * cc - cp * cm) / determinant);
        match (cpu_per_h >= 0.0, memory_gib_per_h >= 0.0) {
            (true, true) => Self { cpu_per_h, memory_gib_per_h },
            (true, false) => Self { cpu_per_h: cpu_only, memory_gib_per_h: 0.0 },
            _ => Self { cpu_per_h: 0.0, memory_gib_per_h: memory_only },
        }
    }
}

/// What becomes of sizes that instances would be cheaper in, by what they are seen to use.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ShapingPart {
    /// What becomes of a size that is found.
    mode: ShapeMode,
    /// Time between two searches, in real hours.
    #[schemars(range(min = 0.1, max = 8784.0))]
    every_h: f64,
    /// Generated sizes in use at once.
    #[schemars(range(min = 1, max = MAX_SHAPES))]
    most: usize,
    /// Share of what instances cost that each must save.
    #[schemars(range(min = 0.001, max = 1.0))]
    min_saving: f64,
    /// Time without instances after which a generated size is given up, in real hours.
    #[schemars(range(min = 0.1, max = 8784.0))]
    retire_after_h: f64,
    /// Prices of sizes that nobody sells yet. Without them they are read off the prices of `shapes`.
    prices: Option<PricesPart>,
}

/// Prices of sizes that nobody sells yet.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct PricesPart {
    /// Price of a core, in the currency per hour.
    #[schemars(range(min = 0.0, max = 1e6))]
    cpu_per_h: f64,
    /// Price of a GiB of memory, in the currency per hour.
    #[schemars(range(min = 0.0, max = 1e6))]
    memory_gib_per_h: f64,
}

impl Default for ShapingPart {
    fn default() -> Self {
        let mode = ShapeMode::default();
        Self { mode, every_h: 24.0, most: MAX_PROPOSALS, min_saving: 0.05, retire_after_h: 168.0, prices: None }
    }
}

impl ShapingPart {
    pub(super) fn check(self, manager: &ManagerSettings) -> Result<ShapingSettings, Problem> {
        let field = |name: &str| format!("capacity.generated_shapes.{name}");
        if self.mode == ShapeMode::Use && matches!(manager, ManagerSettings::Process(_)) {
            let reason = "processes have no size that could be made".to_owned();
            let remedy = "write propose, or have a manager that makes sizes: kubernetes, webhook, dry_run";
            return Err(problem(field("mode"), reason, remedy));
        }
        let hours =
            |name: &str, value: f64| Ok(Duration::from_secs_f64(3600.0 * within(field(name), value, 0.1..=8784.0)?));
        let prices = self.prices.map(|PricesPart { cpu_per_h, memory_gib_per_h }| {
            Ok(Prices {
                cpu_per_h: within(field("prices.cpu_per_h"), cpu_per_h, 0.0..=1e6)?,
                memory_gib_per_h: within(field("prices.memory_gib_per_h"), memory_gib_per_h, 0.0..=1e6)?,
            })
        });
        Ok(ShapingSettings {
            mode: self.mode,
            every: hours("every_h", self.every_h)?,
            most: within(field("most"), self.most as f64, 1.0..=MAX_SHAPES as f64)? as usize,
            min_saving: within(field("min_saving"), self.min_saving, 0.001..=1.0)?,
            retire_after: hours("retire_after_h", self.retire_after_h)?,
            prices: prices.transpose()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(cores: f64, gib: f64, price: f64) -> Shape {
        let offers = Amounts { cpu_milli: 1000.0 * cores, memory_mib: MIB_PER_GIB * gib, ..Amounts::default() };
        Shape { name: String::new(), offers, price_micros_per_h: (price * 1e6) as Micros, performance: 1.0 }
    }

    #[test]
    fn prices_are_what_the_configured_shapes_say() {
        let fitted = |shapes: &[Shape]| {
            let Prices { cpu_per_h, memory_gib_per_h } = Prices::fitted(shapes);
            [cpu_per_h, memory_gib_per_h].map(|price| (price * 1e4).round() / 1e4)
        };
        assert_eq!(fitted(&[shape(1.0, 1.0, 0.04), shape(2.0, 4.0, 0.085)]), [0.0375, 0.0025]);
        assert_eq!(fitted(&[shape(1.0, 4.0, 0.08), shape(2.0, 8.0, 0.16)]), [0.08, 0.02], "of one proportion");
        assert_eq!(fitted(&[shape(1.0, 8.0, 0.05), shape(2.0, 1.0, 0.2)])[1], 0.0, "memory is not paid back");
        assert_eq!(fitted(&[]), [0.0, 0.0]);
        let prices = Prices { cpu_per_h: 0.03, memory_gib_per_h: 0.004 };
        assert_eq!(prices.micros_per_h(&shape(0.5, 2.0, 0.0).offers), 23_000);
    }
}
