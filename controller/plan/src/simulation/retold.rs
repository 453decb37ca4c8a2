//! What a policy would have seen of a demand that nobody followed, so that it does not begin with empty books.
//!
//! The intuition: a contest lets Forebay learn through an earlier part of a trace before it is judged. Demand that is known from
//! before, such as an imported history, is such an earlier part: forecasts of it are made as the controller would have
//! made them then, each from what lies before it ([`Outlook`]), on a first part that is only fitted. Fed with both, books
//! stand as if they had been kept all the time, and what guards them is tuned on the same steps.
//!
//! Invariants: what is seen when a step begins knows nothing of that step or a later one; the outcome of no step is known, so
//! each counts whether what was wanted would have served.
//!
//! Where nothing can be fitted there are no forecasts, and the policy begins as a reactive one. Deliberately not here: a demand
//! that is the sum of many keys is forecast as one series, which is not quite what the controller makes of its keys.

use forebay_forecast::Series;

use super::contest::TUNED_SHARES;
use super::live::Sight;
use super::outlook::{Outlook, QUANTILES};

/// What would have been seen; see the module's text.
#[derive(Clone, Debug, PartialEq)]
pub struct Retold {
    /// Place in the demand of the first step that is seen.
    pub from: usize,
    /// When the steps from there on began, and last when the step after the demand did, of which nothing is forecast.
    pub sights: Vec<Sight>,
    /// Whether anything could be forecast.
    pub has_forecasts: bool,
}

impl Retold {
    /// Of a demand of steps of which one is known at least, for capacity that takes `lead_steps`.
    #[must_use]
    pub fn of(demand: &Series, lead_steps: usize) -> Self {
        let part = (TUNED_SHARES.start * demand.len() as f64) as usize..demand.len();
        let outlook = Outlook::of(demand, part, lead_steps).ok();
        let from = outlook.as_ref().map_or(1, |outlook| outlook.from.max(1));
        let sight = |step: usize| Sight {
            demand_per_s: demand.values()[step - 1],
            served: None,
            // As precise as a store keeps it.
            upper: std::array::from_fn(|place| {
                let upper = outlook.as_ref().and_then(|outlook| outlook.at(place, step));
                upper.map_or(f64::NAN, |upper| f64::from(upper as f32))
            }),
        };
        let sights = (from..=demand.len()).filter(|step| *step > 0).map(sight).collect();
        debug_assert_eq!(outlook.as_ref().map_or(QUANTILES.len(), |outlook| outlook.upper.len()), QUANTILES.len());
        Self { from, sights, has_forecasts: outlook.is_some() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulation::{Aim, Foresight, Live, Scale, Source, World, simulate};

    const DAY: usize = 24;
    const AIM: Aim = Aim { allowed: 0.02, day_steps: DAY };
    const SCALE: Scale = Scale { step_s: 3600, per_replica: 10.0, lead_steps: 1 };

    /// Hours with a busy stretch each day.
    fn demand(days: usize) -> Series {
        let noise = |step: usize| ((step as f64 * 12.9898).sin() * 43_758.545).fract().abs();
        let busy = |step: usize| if step % DAY / 4 == 3 { 900.0 } else { 200.0 };
        let values = (0..days * DAY).map(|step| busy(step) * (1.0 + 0.05 * noise(step))).collect();
        Series::new(0, 3600, values).unwrap()
    }

    #[test]
    fn books_of_a_demand_that_nobody_followed_are_those_of_who_followed_it() {
        let demand = demand(21);
        let retold = Retold::of(&demand, 1);
        assert!(retold.has_forecasts && retold.from == (0.4 * demand.len() as f64) as usize);
        let live = Live::replayed(SCALE, AIM, &retold.sights);
        assert!(live.is_proven() && matches!(live.in_charge(), Source::Forecast(_)), "{}", live.account());
        assert_eq!((live.lived().judged, live.lived().steps), (0, demand.len() - retold.from));

        let outlook = Outlook::of(&demand, retold.from..demand.len(), 1).unwrap();
        let stored = |upper: &Vec<f64>| upper.iter().map(|upper| f64::from(*upper as f32)).collect();
        let outlook = Outlook { upper: outlook.upper.iter().map(stored).collect(), ..outlook };
        let Scale { step_s, per_replica, lead_steps } = SCALE;
        let world = World { demand: demand.values(), step_s, per_replica, lead_steps };
        let course = simulate(&world, retold.from..demand.len(), &mut Foresight::new(&world, AIM, Some(&outlook)));
        let mut unguarded = Live::new(SCALE, AIM);
        let wanted: Vec<usize> = retold.sights.iter().map(|sight| unguarded.step(sight)).collect();
        assert_eq!(wanted[..course.paid.len()], course.paid, "as the policy decides that is judged");
    }

    #[test]
    fn what_can_not_be_forecast_begins_reactive() {
        let short = Series::new(0, 3600, vec![50.0; 5]).unwrap();
        let retold = Retold::of(&short, 1);
        assert_eq!((retold.from, retold.has_forecasts, retold.sights.len()), (1, false, 5));
        assert!(retold.sights.iter().all(|sight| sight.demand_per_s == 50.0 && sight.upper[0].is_nan()));
        let one = Retold::of(&Series::new(0, 3600, vec![50.0]).unwrap(), 1);
        assert_eq!(one.sights.len(), 1);
        assert!(Retold::of(&Series::new(0, 3600, Vec::new()).unwrap(), 1).sights.is_empty());
    }
}
