//! A regular series of rates: value `i` is the mean rate over `[start + i * step, start + (i + 1) * step)`.
//!
//! A missing value is NaN and stays visible as such; [`History`](crate::History) is where gaps are filled. A series
//! becomes coarser but never finer: [`regularise`](crate::regularise()) is what brings values onto a step.

use std::sync::Arc;

use crate::calendar::DAY_S;
use crate::error::SeriesError;
use crate::observation::MAX_VALUE;
use crate::zone::Zone;

/// A regular, checked series; see the module's text.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    start_s: i64,
    step_s: u32,
    values: Vec<f64>,
    /// Whose days and weeks the series follows; `None` is UTC.
    zone: Option<Arc<Zone>>,
}

impl Series {
    /// Checks and takes the values.
    ///
    /// # Errors
    /// The step is 0 or does not divide a day, or a value is infinite, negative or above [`MAX_VALUE`].
    pub fn new(start_s: i64, step_s: u32, values: Vec<f64>) -> Result<Self, SeriesError> {
        if step_s == 0 || DAY_S % i64::from(step_s) != 0 {
            return Err(SeriesError::Step { step_s });
        }
        let refused = values.iter().position(|value| *value < 0.0 || *value > MAX_VALUE);
        if let Some(index) = refused {
            return Err(SeriesError::Value { index, value: values[index] });
        }
        Ok(Self { start_s, step_s, values, zone: None })
    }

    /// The same values in a zone whose local time they follow: seasons and phases of the day are then local, and "a day
    /// before" is the same local time. Histories for a forecast need the zone that was fitted with.
    #[must_use]
    pub fn in_zone(self, zone: Arc<Zone>) -> Self {
        Self { zone: (!zone.is_utc()).then_some(zone), ..self }
    }

    /// The zone whose local time the series follows; `None` is UTC.
    #[must_use]
    pub fn zone(&self) -> Option<&Arc<Zone>> {
        self.zone.as_ref()
    }

    /// When the first step begins, unix seconds.
    #[must_use]
    pub fn start_s(&self) -> i64 {
        self.start_s
    }

    /// Length of a step in calendar seconds; divides a day.
    #[must_use]
    pub fn step_s(&self) -> u32 {
        self.step_s
    }

    /// When the last step ends, which is when the next one begins; the start if there is no step.
    #[must_use]
    pub fn end_s(&self) -> i64 {
        self.at_s(self.values.len())
    }

    /// When step `index` begins; also for steps after the end.
    #[must_use]
    pub fn at_s(&self, index: usize) -> i64 {
        self.start_s + index as i64 * i64::from(self.step_s)
    }

    /// The rates, NaN where missing.
    #[must_use]
    pub fn values(&self) -> &[f64] {
        &self.values
    }

    /// Number of steps, missing ones included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Whether there is no step at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// Number of steps whose value is not missing.
    #[must_use]
    pub fn known_steps(&self) -> usize {
        self.values.iter().filter(|value| !value.is_nan()).count()
    }

    /// Steps in a day.
    #[must_use]
    pub fn day_steps(&self) -> usize {
        (DAY_S / i64::from(self.step_s)) as usize
    }

    /// The steps `from..to` as a series of their own.
    ///
    /// # Errors
    /// The range is not within the series.
    pub fn slice(&self, from: usize, to: usize) -> Result<Self, SeriesError> {
        match self.values.get(from..to) {
            Some(values) => Ok(Self {
                start_s: self.at_s(from),
                step_s: self.step_s,
                values: values.to_vec(),
                zone: self.zone.clone(),
            }),
            None => Err(SeriesError::Range { from, to, len: self.values.len() }),
        }
    }

    /// The series on a longer step: means of the values that are known. A step of which less than half is known is
    /// missing. Steps begin at multiples of their length since 1970, so the first and the last may be cut.
    ///
    /// # Errors
    /// The step is not a multiple of this one's, or does not divide a day. There is no way back to finer steps: how a
    /// value was spread within its step is not known.
    pub fn coarser(&self, step_s: u32) -> Result<Self, SeriesError> {
        if step_s < self.step_s || !step_s.is_multiple_of(self.step_s) || self.start_s % i64::from(self.step_s) != 0 {
            return Err(SeriesError::Coarser { have_s: self.step_s, start_s: self.start_s, asked_s: step_s });
        }
        let (step, parts) = (i64::from(step_s), (step_s / self.step_s) as usize);
        let start_s = self.start_s.div_euclid(step) * step;
        let steps = (self.end_s() - start_s + step - 1).div_euclid(step);
        let mut sums = vec![(0.0, 0_usize); usize::try_from(steps).unwrap_or(0)];
        let lead = ((self.start_s - start_s) / i64::from(self.step_s)) as usize;
        for (index, value) in self.values.iter().enumerate().filter(|(_, value)| !value.is_nan()) {
            if let Some((sum, known)) = sums.get_mut((lead + index) / parts) {
                *sum += value;
                *known += 1;
            }
        }
        let mean = |(sum, known): (f64, usize)| if 2 * known < parts { f64::NAN } else { sum / known as f64 };
        let series = Self::new(start_s, step_s, sums.into_iter().map(mean).collect())?;
        Ok(Self { zone: self.zone.clone(), ..series })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_know_their_times() {
        let series = Series::new(1_000, 300, vec![1.0, f64::NAN, 3.0]).unwrap();
        assert_eq!(series.end_s(), 1_900);
        assert_eq!(series.known_steps(), 2);
        assert_eq!(series.day_steps(), 288);
        let tail = series.slice(2, 3).unwrap();
        assert_eq!((tail.start_s(), tail.values()), (1_600, &[3.0][..]));
    }

    #[test]
    fn what_is_no_series_is_refused() {
        assert_eq!(Series::new(0, 0, vec![]), Err(SeriesError::Step { step_s: 0 }));
        assert_eq!(Series::new(0, 420, vec![]), Err(SeriesError::Step { step_s: 420 }));
        assert_eq!(Series::new(0, 300, vec![0.0, -1.0]), Err(SeriesError::Value { index: 1, value: -1.0 }));
        assert!(Series::new(0, 300, vec![f64::INFINITY]).is_err());
        let series = Series::new(0, 300, vec![1.0; 3]).unwrap();
        assert_eq!(series.slice(2, 4), Err(SeriesError::Range { from: 2, to: 4, len: 3 }));
    }

    #[test]
    fn coarser_steps_are_means_of_what_is_known_and_there_is_no_way_back() {
        let nan = f64::NAN;
        // Begins one step into the first of the coarser ones.
        let series = Series::new(300, 300, vec![1.0, 3.0, 5.0, nan, nan, nan, nan, 7.0, 9.0]).unwrap();
        let coarse = series.coarser(900).unwrap();
        assert_eq!((coarse.start_s(), coarse.step_s()), (0, 900));
        assert_eq!(coarse.values()[0], 2.0);
        assert!(coarse.values()[1].is_nan(), "one of three is known");
        assert!(coarse.values()[2].is_nan() && coarse.values()[3].is_nan() && coarse.len() == 4);
        let refused = SeriesError::Coarser { have_s: 900, start_s: 0, asked_s: 300 };
        assert_eq!(coarse.coarser(300), Err(refused));
        assert!(series.coarser(450).is_err());
        assert_eq!(series.coarser(300).unwrap().values()[0..3], [1.0, 3.0, 5.0]);
    }
}
