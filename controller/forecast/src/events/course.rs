//! The course of an event, hour by hour: what one event did, what events of a kind have in common, and what is believed
//! of a level by now. Sums and counts only, so that steps may be missing.

/// Events that a profile of no shape is worth.
const PROFILE_WORTH: f64 = 1.0;
/// Hours of a profile; later hours of a longer event are like its last.
const PROFILE_HOURS: usize = 72;
/// Seconds in an hour.
pub(super) const HOUR_S: i64 = 3600;

/// A value that is unsure: mean and variance.
#[derive(Debug, Clone, Copy)]
pub(super) struct Belief {
    pub(super) mean: f64,
    pub(super) variance: f64,
}

impl Belief {
    /// After seeing `mean`, measured with `variance`.
    pub(super) fn seeing(self, mean: f64, variance: f64) -> Self {
        let gain = self.variance / (self.variance + variance);
        Self { mean: self.mean + gain * (mean - self.mean), variance: (1.0 - gain) * self.variance }
    }
}

/// One event as far as it has come.
#[derive(Debug, Clone, Default)]
pub(super) struct Instance {
    /// By hour since its beginning: sum of log ratios, and how many.
    pub(super) hours: Vec<(f64, f64)>,
}

impl Instance {
    pub(super) fn mean(&self) -> Option<f64> {
        let (sum, count) = self.hours.iter().fold((0.0, 0.0), |(sum, n), hour| (sum + hour.0, n + hour.1));
        (count > 0.0).then(|| sum / count)
    }

    /// The mean at an hour and its neighbours, so that one odd step is not taken for the event.
    pub(super) fn smooth(&self, hour: usize) -> Option<f64> {
        let near = &self.hours[hour.saturating_sub(1).min(self.hours.len())..(hour + 2).min(self.hours.len())];
        let (sum, count) = near.iter().fold((0.0, 0.0), |(sum, n), hour| (sum + hour.0, n + hour.1));
        if count > 0.0 { Some(sum / count) } else { self.mean() }
    }
}

/// A profile over the hours of an event, as deviations from its mean.
#[derive(Debug, Clone, Default)]
pub(super) struct Profile {
    pub(super) hours: Vec<(f64, f64)>,
}

impl Profile {
    pub(super) fn add(&mut self, instance: &Instance, mean: f64) {
        if self.hours.len() < instance.hours.len() {
            self.hours.resize(instance.hours.len(), (0.0, 0.0));
        }
        for (hour, (sum, count)) in self.hours.iter_mut().enumerate() {
            if let Some(value) = instance.smooth(hour).filter(|_| hour < instance.hours.len()) {
                *sum += value - mean;
                *count += 1.0;
            }
        }
    }

    pub(super) fn at(&self, hour: usize) -> f64 {
        let (sum, count) = self.hours.get(hour).copied().unwrap_or((0.0, 0.0));
        sum / (count + PROFILE_WORTH)
    }
}

/// Hours since the beginning of an event, up to the last of a profile.
pub(super) fn hour_of(from_s: i64, at_s: i64) -> usize {
    ((at_s - from_s).max(0) / HOUR_S).min(PROFILE_HOURS as i64 - 1) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_belief_moves_by_how_sure_it_is() {
        let believed = Belief { mean: 0.0, variance: 1.0 }.seeing(2.0, 1.0);
        assert_eq!((believed.mean, believed.variance), (1.0, 0.5));
    }

    #[test]
    fn a_profile_is_held_back_by_one_event() {
        let instance = Instance { hours: vec![(1.0, 1.0), (1.0, 1.0), (0.0, 0.0), (-6.0, 2.0), (-3.0, 1.0)] };
        assert_eq!(
            (instance.mean(), instance.smooth(0), instance.smooth(2)),
            (Some(-1.4), Some(1.0), Some(-5.0 / 3.0))
        );
        let mut profile = Profile::default();
        profile.add(&instance, -1.4);
        assert_eq!((profile.at(0), profile.at(9)), (1.2, 0.0), "half of 2.4; nothing is known of later hours");
        assert_eq!((hour_of(0, 7_300), hour_of(0, 9_000_000)), (2, PROFILE_HOURS - 1));
    }
}
