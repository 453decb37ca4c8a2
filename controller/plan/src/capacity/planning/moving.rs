//! What it costs to move a part to another mix, and for how long what it saves is had.
//!
//! An instance that is started is paid while it comes, one that is ended while it drains. Against that stands what the other
//! mix saves in an hour, for as long as it can be expected to last: as far as the plan looks what is needed now goes on
//! being needed, and no longer than planning is told to trust that nothing else changes. So a mix is left where leaving
//! pays, whatever share of the part's cost it saves; what is slow to start or dear to drain is left for more.

use super::covering::{Mix, Need, count_of};
use super::world::Part;

/// Least hours that something lasts.
const LEAST_H: f64 = 1e-3;

/// What it costs to come from one mix to another; micros.
pub(super) fn moved(part: &Part, from: &Mix, to: &Mix) -> f64 {
    let beyond = |(i, count): &(usize, u32), other: &Mix| f64::from(count.saturating_sub(count_of(other, *i)));
    let started = to.iter().map(|of| beyond(of, from) * part.candidates[of.0].start);
    let ended = from.iter().map(|of| beyond(of, to) * part.candidates[of.0].end);
    started.sum::<f64>() + ended.sum::<f64>()
}

/// Hours for which a unit that is needed in `step` can be expected to be needed on, at most `most_h`. A step in which only
/// half as much is needed as ever since counts as half a step.
pub(super) fn lasting_h(needs: &[Need], step: usize, step_h: f64, most_h: f64) -> f64 {
    let first = needs[step].units;
    let mut least = first;
    let mut hours = 0.0;
    for need in &needs[step..] {
        if hours >= most_h {
            break;
        }
        least = least.min(need.units);
        hours += if first > 0.0 { step_h * least / first } else { step_h };
    }
    hours.min(most_h).max(LEAST_H)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn needs(units: &[f64]) -> Vec<Need> {
        units.iter().map(|units| Need { units: *units, ..Need::default() }).collect()
    }

    #[test]
    fn what_is_needed_for_longer_lasts_longer() {
        let lasting_h = |units: &[f64]| lasting_h(&needs(units), 0, 0.5, 10.0);
        assert_eq!(lasting_h(&[8.0; 6]), 3.0);
        assert_eq!(lasting_h(&[8.0, 4.0, 8.0]), 1.0, "what was given up once is not held any more");
        assert_eq!(lasting_h(&[8.0, 0.0, 8.0]), 0.5);
        assert_eq!(lasting_h(&[4.0, 8.0, 8.0]), 1.5, "growing takes nothing away");
        assert_eq!(lasting_h(&[8.0; 48]), 10.0);
    }

    #[test]
    fn it_ends_with_the_horizon() {
        assert_eq!(lasting_h(&needs(&[8.0; 6]), 4, 0.5, 10.0), 1.0);
        assert_eq!(lasting_h(&needs(&[0.0, 8.0]), 0, 0.5, 0.0), LEAST_H);
    }
}
