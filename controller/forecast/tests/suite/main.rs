//! The forecasting crate seen from outside: every model passes one conformance suite, quantiles keep their promises on
//! arbitrary histories, and recurring bursts are covered.

mod bursts;
mod conformance;
mod events;
mod generated;
mod live;
mod properties;
mod prophet;
mod real_traces;
mod rolling;
