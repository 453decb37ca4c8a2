//! A stretch of calendar time, and how it divides over the steps that it touches.

/// Most steps that one stretch is divided over; after a longer outage only its newest part is filled in.
/// Eight weeks of 5-minute steps.
const MAX_STEPS: i64 = 8 * 7 * 288;

/// From `from_s` to `to_s`, not before it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    pub(super) from_s: f64,
    pub(super) to_s: f64,
    pub(super) step_s: i64,
}

impl Span {
    /// The step in which it ends.
    pub(super) fn last_step(self) -> i64 {
        (self.to_s / self.step_s as f64).floor() as i64
    }

    /// The steps it touches, each with the share of the stretch that lies in it. The shares sum to 1, except where a
    /// stretch is too long to be filled in. An empty stretch lies in the step of its moment.
    pub(super) fn shares(self) -> impl Iterator<Item = (i64, f64)> {
        let step_s = self.step_s as f64;
        let last = self.last_step();
        let length_s = self.to_s - self.from_s;
        let first = ((self.from_s / step_s).floor() as i64).max(last - MAX_STEPS + 1);
        (first..=last).filter_map(move |step| {
            if length_s <= 0.0 {
                return Some((step, 1.0));
            }
            let begins_s = (step * self.step_s) as f64;
            let overlap_s = self.to_s.min(begins_s + step_s) - self.from_s.max(begins_s);
            (overlap_s > 0.0).then_some((step, overlap_s / length_s))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shares(from_s: f64, to_s: f64) -> Vec<(i64, f64)> {
        Span { from_s, to_s, step_s: 300 }.shares().collect()
    }

    #[test]
    fn shares_follow_the_overlap() {
        assert_eq!(shares(310.0, 410.0), [(1, 1.0)]);
        assert_eq!(shares(150.0, 750.0), [(0, 0.25), (1, 0.5), (2, 0.25)]);
        assert_eq!(shares(300.0, 600.0), [(1, 1.0)], "a stretch that ends on a boundary touches no further step");
        assert_eq!(shares(600.0, 600.0), [(2, 1.0)]);
    }

    #[test]
    fn an_endless_outage_fills_in_its_newest_part_only() {
        let all = shares(0.0, 300.0 * 1e6);
        assert_eq!(all.len() as i64, MAX_STEPS - 1);
        assert!(all.iter().all(|(_, share)| (*share - 1e-6).abs() < 1e-12));
    }
}
