//! Observations that were checked, sorted and merged: one reading per stamp.

use super::{Duplicates, Regularise};
use crate::observation::{MAX_STAMP_NS, MAX_VALUE, Measure, Observation, ObservationError};

/// Readings in ascending order of distinct stamps.
#[derive(Debug)]
pub(super) struct Readings {
    list: Vec<Observation>,
    pub(super) blanks: usize,
    pub(super) duplicates: usize,
    pub(super) out_of_order: usize,
}

impl Readings {
    pub(super) fn of(observations: &[Observation], how: &Regularise) -> Result<Self, ObservationError> {
        for observation in observations {
            check(observation, how.measure)?;
        }
        let out_of_order = observations.windows(2).filter(|two| two[1].at_ns < two[0].at_ns).count();
        let blanks = observations.iter().filter(|observation| observation.value.is_nan()).count();
        let mut sorted = observations.to_vec();
        sorted.sort_by_key(|observation| observation.at_ns);
        let merged: Result<Vec<_>, _> =
            sorted.chunk_by(|a, b| a.at_ns == b.at_ns).map(|same| merge(same, how)).collect();
        let list = merged?;
        if list.is_empty() {
            return Err(ObservationError::Empty);
        }
        Ok(Self { blanks, duplicates: sorted.len() - list.len(), out_of_order, list })
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Observation> {
        self.list.iter()
    }

    pub(super) fn len(&self) -> usize {
        self.list.len()
    }

    pub(super) fn stamps_ns(&self) -> Vec<i64> {
        self.list.iter().map(|reading| reading.at_ns).collect()
    }

    /// Where reading `index` stands in the source.
    pub(super) fn row(&self, index: usize) -> u64 {
        self.list.get(index).map_or(0, |reading| reading.row)
    }

    /// Where the reading behind the longest gap stands in the source.
    pub(super) fn row_after_longest_gap(&self) -> u64 {
        let gaps = self.list.windows(2).map(|two| (two[1].at_ns - two[0].at_ns, two[1].row));
        gaps.max_by_key(|(gap, _)| *gap).map_or_else(|| self.row(0), |(_, row)| row)
    }
}

fn check(observation: &Observation, measure: Measure) -> Result<(), ObservationError> {
    let &Observation { row, at_ns, value, weight } = observation;
    if !(-MAX_STAMP_NS..=MAX_STAMP_NS).contains(&at_ns) {
        return Err(ObservationError::Stamp { row });
    }
    if !(0.0..=MAX_VALUE).contains(&weight) {
        return Err(ObservationError::Weight { row, weight });
    }
    match value {
        _ if value.is_nan() => Ok(()),
        _ if value.is_infinite() => Err(ObservationError::NotFinite { row, value }),
        _ if value < 0.0 => Err(ObservationError::Negative { row, value }),
        _ if value > MAX_VALUE => Err(ObservationError::TooLarge { row, value }),
        _ if measure == Measure::Count && value.fract() != 0.0 => Err(ObservationError::NotWhole { row, value }),
        _ => Ok(()),
    }
}

/// One reading of rows with the same stamp; those without a value count for nothing beside one that has.
fn merge(same: &[Observation], how: &Regularise) -> Result<Observation, ObservationError> {
    let first = same[0];
    if let (Duplicates::Refuse, Some(second)) = (how.duplicates, same.get(1)) {
        return Err(ObservationError::Duplicate { row: second.row, earlier: first.row });
    }
    let known: Vec<&Observation> = same.iter().filter(|observation| !observation.value.is_nan()).collect();
    let (Some(&&one), Some(&&last)) = (known.first(), known.last()) else { return Ok(first) };
    if known.len() == 1 {
        return Ok(one);
    }
    let sum = |of: fn(&Observation) -> f64| known.iter().map(|observation| of(observation)).sum::<f64>();
    Ok(match how.duplicates {
        Duplicates::Refuse | Duplicates::Last => last,
        Duplicates::Add => Observation { value: sum(|one| one.value), weight: sum(|one| one.weight), ..one },
        Duplicates::Largest => known.iter().fold(one, |most, next| if next.value > most.value { **next } else { most }),
        Duplicates::Mean if how.measure == Measure::Ratio && sum(|one| one.weight) > 0.0 => {
            let weight = sum(|one| one.weight);
            Observation { value: sum(|one| one.value * one.weight) / weight, weight, ..one }
        }
        Duplicates::Mean => Observation { value: sum(|one| one.value) / known.len() as f64, ..one },
    })
}
