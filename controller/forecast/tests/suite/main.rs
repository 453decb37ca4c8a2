//! The forecasting crate seen from outside: every model passes one conformance suite, quantiles keep their promises on
//! arbitrary histories, and recurring bursts are covered.

mod bad_input;
mod bursts;
mod compact;
mod conformance;
mod costs;
mod events;
mod generated;
mod hierarchy;
mod lead_lag;
mod live;
mod local_time;
mod network;
mod paths;
mod properties;
mod prophet;
mod real_leads;
mod real_pools;
mod real_traces;
mod regularise;
mod resource_model;
mod rolling;
mod shares;
mod table;
mod tuning;
