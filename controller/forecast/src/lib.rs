//! Probabilistic demand forecasts for one series at a time, and an honest measure of how far to trust them.
//!
//! The intuition: demand on a service repeats. Most of what can be known about the next few steps is in the last
//! values, in the same time of day yesterday and in the same time of the week before. A regression can weigh these, but
//! on some series it loses to "as yesterday", so every fit lets all models forecast held-out history and keeps the
//! complicated one only where it wins. What the held-out forecasts got wrong is then the forecast's uncertainty:
//! quantiles come from residuals (split conformal prediction), never from a formula that assumes a distribution.
//!
//! ```
//! use forebay_forecast::{fit, Series, Settings};
//!
//! // Four days of hourly rates: 10 per second, and 50 at noon.
//! let values = (0..96).map(|hour| if hour % 24 == 12 { 50.0 } else { 10.0 }).collect();
//! let history = Series::new(0, 3600, values)?;
//! let forecaster = fit(&history, &Settings { horizon_steps: 13, ..Settings::default() })?;
//! let forecast = forecaster.predict(&history)?;
//! assert_eq!(forecast.steps[12].quantile(0.95), 50.0);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Invariants, held by the conformance suite for every model:
//! - a quantile is finite, not negative, and does not fall when its probability rises;
//! - a forecast lies after the history that it was made from;
//! - the same input gives the same bits.
//!
//! The crate is pure: no I/O, no clock, no global, no chance but from a fixed seed. It reads no time zone database (a
//! [`Zone`] is data that the caller brings; without one the calendar is UTC), it does not store anything, and it does not
//! decide what to reserve: that is the plan's work.
//!
//! Adding a model is one file under `model/`, one variant of [`ModelKind`] and one row in the conformance suite.

mod anomaly;
mod backtest;
mod calendar;
mod compact;
mod comparison;
mod conformal;
mod cost;
mod discounted;
mod error;
mod events;
mod forecaster;
mod hierarchy;
mod history;
mod joint;
mod lead_lag;
mod lifecycle;
mod live;
mod measures;
mod model;
mod network;
mod observation;
mod paths;
mod regularise;
mod resource_model;
mod rolling;
mod scale;
mod score;
mod season;
mod selection;
mod series;
mod shares;
mod stamp;
mod table;
mod zone;

pub use anomaly::{
    Anomaly, Applied, Change, Detector, Direction, Entry, Expected, HostileTraffic, Label, LabelKind, Ledger,
    Reason as ExclusionReason, Said, Treatment, Verdict, Why,
};
pub use backtest::{Autocorrelation, Score};
pub use calendar::{DAY_S, WEEK_S, day_of_week, second_of_day};
pub use compact::{BLOCK_BYTES, CompactSeries, MAX_BYTES_PER_VALUE};
pub use conformal::ResidualQuantiles;
pub use cost::{
    COST_LEVELS, CostError, CostForecaster, CostHistory, CostReport, CostSketch, CostStep, CostSummary, MAX_COST,
    MIN_COST, MeanCost,
};
pub use error::{ForecastError, ModelError, SeriesError};
pub use events::{
    Effect, Event, EventCalendar, EventError, EventForecast, EventModel, EventStep, Evidence, ExpectedUplift, FeedZone,
    KindReport, MAX_EVENTS, Uplift,
};
pub use forecaster::{Distribution, Forecast, Forecaster, StepForecast};
pub use hierarchy::{Coherent, Hierarchy, HierarchyError, MAX_ERRORS, MAX_MIN_TRACE_SUMS, Method, Reconciled};
pub use history::History;
pub use joint::{Quantiles, Sampled};
pub use lead_lag::{Correction, Lead, LeadLag, LeadLagError, LeadLagSettings, MAX_LAG_STEPS, MAX_LEAD_LAG_SERIES};
pub use lifecycle::{
    Choice, Chosen, ColdStart, ColdStartError, Contender, FitChoice, Lineup, LineupEvent, MAX_DONORS, MAX_SEARCH_FITS,
    ModelVersion, PageHinkley, Parameter, ParameterRange, Place, Point, Record, Refit, RefitSchedule, RefitScope,
    RefitTrigger, Search, SearchBudget, SearchError, StepEvidence, Trial, Triggers, Tuned, TuningError, tune,
};
pub use live::{ForecastPair, LIVE_MIN_SAMPLES, LiveScore};
pub use measures::{interval_score, mean_absolute_error, seasonal_scale, smape};
pub use model::prophet::{Occasion, Prophet, ProphetOptions, Seasonality};
pub use model::{FittedModel, Globals, Model, ModelKind, Tuning};
pub use network::{GlobalNetwork, NETWORK_QUANTILES, NetworkSettings};
pub use observation::{MAX_STAMP_NS, MAX_VALUE, Measure, Observation, ObservationError};
pub use paths::{Draws, MAX_PATH_VALUES, Paths, PathsError};
pub use regularise::{
    Absent, Duplicates, MAX_SERIES_STEPS, Notes, Per, Regular, Regularise, Spacing, StepSource, regularise,
};
pub use resource_model::{MAX_KINDS, ResourceCost, ResourceError, ResourceKind, ResourceModel, ResourceUsage};
pub use rolling::{FITTED_SHARE, Rolling};
pub use scale::ScaleKind;
pub use score::{SCORED_QUANTILES, pinball_loss};
pub use season::SeasonClock;
pub use selection::{
    CandidateScore, EXPENSIVE, Effort, ExpensiveModels, Gain, Objective, Reason, SelectionReport, Settings, Worth, fit,
    fit_as, fit_as_with, fit_with, needed_steps,
};
pub use series::Series;
pub use shares::{
    MAX_CATEGORIES, OTHER, ShareError, ShareForecast, ShareForecaster, ShareHistory, ShareMethod, ShareReport,
};
pub use stamp::{StampError, parse_stamp};
pub use table::{Column, MAX_TABLE_COLUMNS, MAX_TABLE_VALUES, Row, Table, TableError, TableRows};
pub use zone::{LocalTime, MAX_ZONE_CHANGES, Zone, ZoneError};
