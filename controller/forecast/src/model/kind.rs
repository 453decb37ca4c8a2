//! The models there are, by name, and which of them a selection tries without being asked.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Globals, deviation_ridge};
use crate::series::Series;

/// The models there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum ModelKind {
    /// What was last.
    LastValue,
    /// What was there one season ago, a day or a week, whichever did better.
    SeasonalNaive,
    /// Ridge regression on lags, seasonal lags and calendar terms, solved at leads ever farther apart.
    LagRidge,
    /// Ridge regression on deviations from the last day's mean.
    LevelRidge,
    /// Ridge regression on deviations from yesterday.
    YesterdayRidge,
    /// Ridge regression on deviations from the mean of the last days.
    DaysRidge,
    /// Ridge regression on deviations from the mean of the last two weeks.
    WeeksRidge,
    /// The shape of a day or a week, times a level.
    SeasonalProfile,
    /// Exponential smoothing with a day's and a week's season.
    Ets,
    /// A day's and a week's season by decomposition, the rest by exponential smoothing.
    Mstl,
    /// The Theta method on what is left of a day's and a week's season.
    Theta,
    /// Sizes of demands and how often they come, smoothed apart.
    Intermittent,
    /// Poisson or negative-binomial regression on the calendar and on what was.
    CountRegression,
    /// Elastic net on the same terms, one per group of leads.
    ElasticNet,
    /// Elastic net for the next step, fed with its own forecasts.
    ElasticNetRecursive,
    /// Random forest on the same terms and the lead.
    RandomForest,
    /// Extremely randomised trees on the same terms and the lead.
    ExtraTrees,
    /// Gradient-boosted trees on the same terms and the lead.
    BoostedTrees,
    /// Support vector regression on the same terms and the lead.
    SupportVectors,
    /// A recurrent network trained on many series, where one is given; else on this one.
    Lstm,
    /// Prophet's curve: a piecewise linear trend and Fourier seasons.
    Prophet,
    /// Prophet's curve, moved by what is left of the last miss.
    ProphetCarried,
    /// ARIMA with automatic orders, with a season of its own or around harmonics of day and week.
    Arima,
    /// Weighted mean of the others; made by a selection, which knows what each is worth.
    Combination,
}

impl ModelKind {
    /// Every model that is fitted to a history; simpler ones first, so that on a tie the simpler one is kept.
    pub const ALL: [Self; 23] = [
        Self::LastValue,
        Self::SeasonalNaive,
        Self::SeasonalProfile,
        Self::Intermittent,
        Self::Theta,
        Self::Ets,
        Self::Mstl,
        Self::DaysRidge,
        Self::WeeksRidge,
        Self::LevelRidge,
        Self::YesterdayRidge,
        Self::LagRidge,
        Self::CountRegression,
        Self::ElasticNet,
        Self::ElasticNetRecursive,
        Self::RandomForest,
        Self::ExtraTrees,
        Self::BoostedTrees,
        Self::SupportVectors,
        Self::Lstm,
        Self::Prophet,
        Self::ProphetCarried,
        Self::Arima,
    ];

    /// A model that needs no training, which any other has to beat before it is used.
    #[must_use]
    pub fn is_baseline(self) -> bool {
        matches!(self, Self::LastValue | Self::SeasonalNaive)
    }

    /// Whether a selection tries this model on such a series without being asked: only what is cheap and adds to the
    /// others does. Lags around the target's season are what the other regressions lack, but only where the step is too
    /// short for these to hold a week of single steps. A network that was trained on many series costs no fit.
    pub(crate) fn is_worth_trying(self, series: &Series, globals: &Globals) -> bool {
        match self {
            Self::LastValue | Self::SeasonalNaive | Self::SeasonalProfile => true,
            Self::DaysRidge | Self::WeeksRidge | Self::LevelRidge | Self::YesterdayRidge => true,
            Self::LagRidge => 7 * series.day_steps() > deviation_ridge::MOST_SINGLE_STEPS,
            Self::Lstm => globals.network.is_some(),
            _ => false,
        }
    }

    /// Name for logs, metrics and tables.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::LastValue => "last-value",
            Self::SeasonalNaive => "seasonal-naive",
            Self::LagRidge => "lag-ridge",
            Self::LevelRidge => "level-ridge",
            Self::YesterdayRidge => "yesterday-ridge",
            Self::DaysRidge => "days-ridge",
            Self::WeeksRidge => "weeks-ridge",
            Self::Combination => "combination",
            Self::SeasonalProfile => "seasonal-profile",
            Self::Ets => "ets",
            Self::Mstl => "mstl",
            Self::Theta => "theta",
            Self::Intermittent => "intermittent",
            Self::CountRegression => "count-regression",
            Self::ElasticNet => "elastic-net",
            Self::ElasticNetRecursive => "elastic-net-recursive",
            Self::RandomForest => "random-forest",
            Self::ExtraTrees => "extra-trees",
            Self::BoostedTrees => "boosted-trees",
            Self::SupportVectors => "support-vectors",
            Self::Lstm => "lstm",
            Self::Prophet => "prophet",
            Self::ProphetCarried => "prophet-carried",
            Self::Arima => "arima",
        }
    }
}

impl fmt::Display for ModelKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
