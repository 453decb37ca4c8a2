//! Worlds that no setting of the tuner was chosen on, and that no test lives in: other errors, prices, weeks and turns.
//!
//! The intuition: a tuner that is right about normal errors that forget each other may be wrong about others. Each world changes
//! one thing of those that the tuner's settings were chosen in. They are for judging only: whoever changes a setting because
//! of what is printed here has to write other ones.

use crate::world::{Ground, RIGHT, SEEN, TOO_BOLD, TOO_CAREFUL, Truth, World};

/// Added to the seeds, so that none is one of those seen.
pub(crate) const SEEDS_FROM: u64 = 1_000_000;

/// Errors of a day's length.
const LASTING: Ground = Ground { persistence: 0.95, ..SEEN };
/// Rare errors that are far larger than any normal one.
const HEAVY: Ground = Ground { freedom: Some(3.0), ..SEEN };
/// Spot is cheap and little used, being short costs less, demand is wilder and halves on days off.
const PRICED: Ground =
    Ground { deviation: 0.35, quantile: 0.9, spot: 0.35, spot_share: 0.2, shortage: 8.0, day_off: 0.5, ..SEEN };

const HOURS_OF_WEEK: usize = 168;

/// Names and worlds, of so many epochs.
pub(crate) fn worlds(epochs: usize) -> [(&'static str, World); 8] {
    let on = |ground: Ground, truth: Truth| World::Steady(Truth { ground, ..truth });
    [
        ("errors last, planner right", on(LASTING, RIGHT)),
        ("errors last, too careful", on(LASTING, TOO_CAREFUL)),
        ("heavy tails, planner right", on(HEAVY, RIGHT)),
        ("heavy tails, too bold", on(HEAVY, TOO_BOLD)),
        ("other prices, too careful", on(PRICED, TOO_CAREFUL)),
        ("spot taken in waves", World::By(waves)),
        ("careful, slowly bold", World::By(drift)),
        ("bold, then careful", World::Shifted(TOO_BOLD, TOO_CAREFUL, epochs / 3)),
    ]
}

/// Every third week spot instances are taken all the time, and hardly ever in the others.
fn waves(epoch: usize) -> Truth {
    Truth { interruption: if epoch / HOURS_OF_WEEK % 3 == 2 { 0.5 } else { 0.02 }, ..RIGHT }
}

/// The planner is too careful at first, and each week it is so a little less, until it is too bold.
fn drift(epoch: usize) -> Truth {
    let share = f64::min((epoch / HOURS_OF_WEEK) as f64 / 10.0, 1.0);
    let between = |from: f64, to: f64| from + share * (to - from);
    Truth {
        bias: between(TOO_CAREFUL.bias, TOO_BOLD.bias),
        spread: between(TOO_CAREFUL.spread, TOO_BOLD.spread),
        ..RIGHT
    }
}
