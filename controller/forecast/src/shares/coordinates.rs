//! Shares as free coordinates, and back.
//!
//! The logarithm of 0 is none, so a share of 0 is replaced by 65 % of the smallest share that its category was ever seen
//! with, which stands for "too few to be seen", and the others give way in proportion, so that ratios between them stay
//! (multiplicative replacement: Martin-Fernandez, Barcelo-Vidal and Pawlowsky-Glahn, Dealing with zeros and missing values
//! in compositional data sets, 2003).

/// What stands for a share too small to be seen, of the smallest one seen.
const OF_SMALLEST_SEEN: f64 = 0.65;
/// All replaced zeros of a step together are at most this share of it.
const MOST_REPLACED: f64 = 0.5;
/// Smallest replacement. A coordinate is then within the logarithm of its inverse, 13.8.
const LEAST_SHARE: f64 = 1e-6;
/// What coordinates are raised by to be positive, as values of a series are: above 13.8.
const RAISED_BY: f64 = 16.0;

/// What stands for 0 in each category.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Replacements(Vec<f64>);

impl Replacements {
    /// From all shares that were seen, one row per step.
    pub(super) fn of<'a>(seen: impl Iterator<Item = &'a Vec<f64>>, categories: usize) -> Self {
        let mut smallest = vec![1.0_f64; categories];
        for shares in seen {
            for (smallest, share) in smallest.iter_mut().zip(shares).filter(|(_, share)| **share > 0.0) {
                *smallest = smallest.min(*share);
            }
        }
        let most = MOST_REPLACED / categories.max(1) as f64;
        Self(smallest.into_iter().map(|share| (OF_SMALLEST_SEEN * share).clamp(LEAST_SHARE.min(most), most)).collect())
    }

    /// Centred log-ratios of shares that sum to 1, raised to be positive.
    pub(super) fn coordinates(&self, shares: &[f64]) -> Vec<f64> {
        let replaced: f64 = self.0.iter().zip(shares).filter(|(_, share)| **share <= 0.0).map(|(least, _)| least).sum();
        let logarithm = |(least, share): (&f64, &f64)| {
            if *share > 0.0 { (share * (1.0 - replaced)).max(LEAST_SHARE).ln() } else { least.ln() }
        };
        let logarithms: Vec<f64> = self.0.iter().zip(shares).map(logarithm).collect();
        let middle = logarithms.iter().sum::<f64>() / logarithms.len().max(1) as f64;
        logarithms.into_iter().map(|logarithm| logarithm - middle + RAISED_BY).collect()
    }
}

/// The shares of coordinates; positive, and their sum is 1.
pub(super) fn shares(coordinates: &[f64]) -> Vec<f64> {
    let largest = coordinates.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    closed(coordinates.iter().map(|coordinate| (coordinate - largest).exp()).collect())
}

/// Brought to a sum of 1; all alike if all are 0.
pub(super) fn closed(mut parts: Vec<f64>) -> Vec<f64> {
    let total: f64 = parts.iter().sum();
    let alike = 1.0 / parts.len().max(1) as f64;
    parts.iter_mut().for_each(|part| *part = if total > 0.0 { *part / total } else { alike });
    parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn there_and_back(amounts in prop::collection::vec(1e-3..1.0_f64, 1..20)) {
            let before = closed(amounts);
            let replacements = Replacements::of([&before].into_iter(), before.len());
            let coordinates = replacements.coordinates(&before);
            prop_assert!(coordinates.iter().all(|coordinate| *coordinate > 0.0));
            for (share, back) in before.iter().zip(shares(&coordinates)) {
                prop_assert!((share - back).abs() < 1e-12, "{share} {back}");
            }
        }

        #[test]
        fn zeros_are_replaced_and_other_ratios_stay(
            amounts in prop::collection::vec(prop_oneof![Just(0.0), 0.01..1.0_f64], 3..12),
        ) {
            prop_assume!(amounts.iter().any(|amount| *amount > 0.0));
            let before = closed(amounts);
            let replacements = Replacements::of([&before].into_iter(), before.len());
            let back = shares(&replacements.coordinates(&before));
            prop_assert!((back.iter().sum::<f64>() - 1.0).abs() < 1e-12);
            let seen: Vec<usize> = (0..before.len()).filter(|&index| before[index] > 0.0).collect();
            for &a in &seen {
                let ratio = (back[a] / back[seen[0]]) / (before[a] / before[seen[0]]);
                prop_assert!((ratio - 1.0).abs() < 1e-9, "{ratio}");
            }
            let zeros: f64 = (0..before.len()).filter(|index| before[*index] == 0.0).map(|index| back[index]).sum();
            prop_assert!(zeros <= MOST_REPLACED + 1e-12, "{zeros}");
        }
    }
}
