//! From the shares that are to the shares that shall be, without ever passing above the total.
//!
//! Who is to have less gets less at once; but until a proxy has said so, it may still use what it had. So who is to have
//! more gets it out of what is surely free: the total less the most that every proxy may be using.

use super::GAIN_PERCENT;

/// One quantity (a rate, a burst, an amount) of one proxy.
#[derive(Clone, Copy, Debug)]
pub(super) struct Step {
    /// What it shall have.
    pub(super) target: u64,
    /// The most that it may be using now.
    pub(super) held: u64,
}

/// What each is dealt next. Growth is limited to `free` together, in proportion; a part that is not worth a table
/// ([`GAIN_PERCENT`] of what is held) waits for more.
pub(super) fn advance(steps: &[Step], free: u64) -> Vec<u64> {
    let growth = |step: &Step| step.target.saturating_sub(step.held);
    let wanted: u128 = steps.iter().map(|step| u128::from(growth(step))).sum();
    let part = |step: &Step| -> u64 {
        if wanted <= u128::from(free) {
            return growth(step);
        }
        // At most `growth`, a u64.
        (u128::from(growth(step)) * u128::from(free) / wanted) as u64
    };
    let worth = |step: &Step| {
        let part = part(step);
        if part == growth(step) || part >= step.held / 100 * GAIN_PERCENT { part } else { 0 }
    };
    steps.iter().map(|step| step.target.min(step.held.saturating_add(worth(step)))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_waits_for_what_others_gave_up() {
        let steps = |a: (u64, u64), b: (u64, u64)| [Step { target: a.0, held: a.1 }, Step { target: b.0, held: b.1 }];
        assert_eq!(advance(&steps((10, 50), (90, 50)), 0), [10, 50], "nothing is free before the first has less");
        assert_eq!(advance(&steps((10, 10), (90, 50)), 40), [10, 90]);
        assert_eq!(advance(&steps((60, 20), (90, 50)), 20), [30, 60], "in proportion");
    }
}
