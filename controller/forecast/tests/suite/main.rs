//! The forecasting crate seen from outside: every model passes one conformance suite, quantiles keep their promises on
//! arbitrary histories, and recurring bursts are covered.

mod bursts;
mod conformance;
mod generated;
mod live;
mod local_time;
mod properties;
mod real_traces;
mod regularise;
mod rolling;
mod table;
