//! How much of each category there was, step by step.

use std::collections::BTreeMap;

use super::{MAX_CATEGORIES, OTHER, ShareError};
use crate::calendar::WEEK_S;
use crate::observation::MAX_VALUE;
use crate::series::Series;

/// Requests (or any amount) by category and step; a step in which nothing came has no shares.
#[derive(Debug, Clone, PartialEq)]
pub struct ShareHistory {
    start_s: i64,
    step_s: u32,
    categories: Vec<String>,
    /// One row per step, one amount per category.
    amounts: Vec<Vec<f64>>,
}

impl ShareHistory {
    /// Of steps of `step_s` seconds from `start_s` on, each a list of categories with their amounts; several amounts of one
    /// category add up. The [`MAX_CATEGORIES`] largest of the last week are told apart, largest first, and all others are
    /// [`OTHER`], which comes last and is always there.
    ///
    /// # Errors
    /// The step is 0 or does not divide a day, or an amount is negative, not finite or above 1e30.
    pub fn new<S: AsRef<str>>(start_s: i64, step_s: u32, steps: &[Vec<(S, f64)>]) -> Result<Self, ShareError> {
        Series::new(start_s, step_s, Vec::new())?;
        let last_week = steps.len().saturating_sub((WEEK_S / i64::from(step_s)) as usize);
        // Sums of the last week, then of all, by name; the order of names makes equals come out alike.
        let mut sums: BTreeMap<&str, (f64, f64)> = BTreeMap::new();
        for (step, amounts) in steps.iter().enumerate() {
            for (category, value) in amounts {
                let (category, value) = (category.as_ref(), *value);
                if !(0.0..=MAX_VALUE).contains(&value) {
                    return Err(ShareError::Value { step, category: category.to_owned(), value });
                }
                let (recent, all) = sums.entry(category).or_default();
                *recent += if step >= last_week { value } else { 0.0 };
                *all += value;
            }
        }
        let mut ranked: Vec<(&str, (f64, f64))> = sums.into_iter().filter(|(name, _)| *name != OTHER).collect();
        ranked.sort_by(|(_, a), (_, b)| b.0.total_cmp(&a.0).then(b.1.total_cmp(&a.1)));
        ranked.truncate(MAX_CATEGORIES);
        let categories: Vec<String> =
            ranked.into_iter().map(|(name, _)| name.to_owned()).chain([OTHER.to_owned()]).collect();
        Ok(Self::with_categories(start_s, step_s, categories, steps))
    }

    fn with_categories<S: AsRef<str>>(
        start_s: i64,
        step_s: u32,
        categories: Vec<String>,
        steps: &[Vec<(S, f64)>],
    ) -> Self {
        let other = categories.len() - 1;
        let places: BTreeMap<&str, usize> = categories.iter().map(String::as_str).zip(0..).collect();
        let row = |amounts: &Vec<(S, f64)>| {
            let mut row = vec![0.0; categories.len()];
            for (category, amount) in amounts {
                row[places.get(category.as_ref()).copied().unwrap_or(other)] += amount;
            }
            row
        };
        let amounts = steps.iter().map(row).collect();
        Self { start_s, step_s, categories, amounts }
    }

    /// The same with other categories, the last of which takes what none of them does.
    pub(super) fn among(&self, categories: &[String]) -> Self {
        let steps: Vec<Vec<(&str, f64)>> = self
            .amounts
            .iter()
            .map(|row| self.categories.iter().map(String::as_str).zip(row.iter().copied()).collect())
            .collect();
        Self::with_categories(self.start_s, self.step_s, categories.to_vec(), &steps)
    }

    /// The categories, largest first, [`OTHER`] last.
    #[must_use]
    pub fn categories(&self) -> &[String] {
        &self.categories
    }

    /// Number of steps.
    #[must_use]
    pub fn len(&self) -> usize {
        self.amounts.len()
    }

    /// Whether there is no step.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.amounts.is_empty()
    }

    /// Length of a step, seconds.
    #[must_use]
    pub fn step_s(&self) -> u32 {
        self.step_s
    }

    /// When step `index` begins, unix seconds; also for steps after the end.
    #[must_use]
    pub fn at_s(&self, index: usize) -> i64 {
        self.start_s + index as i64 * i64::from(self.step_s)
    }

    /// The steps `from..to`, cut to what exists, with the same categories.
    #[must_use]
    pub fn slice(&self, from: usize, to: usize) -> Self {
        let to = to.min(self.amounts.len());
        let amounts = self.amounts.get(from.min(to)..to).unwrap_or_default().to_vec();
        Self { start_s: self.at_s(from.min(to)), categories: self.categories.clone(), amounts, ..*self }
    }

    /// The amounts in a step, one per category.
    pub(super) fn amounts(&self, step: usize) -> &[f64] {
        self.amounts.get(step).map(Vec::as_slice).unwrap_or_default()
    }

    /// The shares in a step, one per category; `None` where nothing came.
    #[must_use]
    pub fn shares(&self, step: usize) -> Option<Vec<f64>> {
        let amounts = self.amounts(step);
        // Divided twice, so that a sum beyond all numbers is none.
        let largest = amounts.iter().copied().fold(0.0, f64::max);
        if largest <= 0.0 {
            return None;
        }
        let total: f64 = amounts.iter().map(|amount| amount / largest).sum();
        Some(amounts.iter().map(|amount| amount / largest / total).collect())
    }

    /// Steps of a week, or all if there are fewer.
    pub(super) fn last_week(&self) -> std::ops::Range<usize> {
        self.len().saturating_sub((WEEK_S / i64::from(self.step_s)) as usize)..self.len()
    }
}
