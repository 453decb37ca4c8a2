//! Made and replayed traffic: demand as a file, and the file as real requests.
//!
//! [`generate`] writes a seeded trace, [`trace`] reads any trace, [`schedule`] turns its rates into sending
//! instants, [`replay`] sends them, [`result`] counts what came back and [`report`] prints it. [`connections`] is
//! the HTTP client underneath. Nothing here knows the filter or the controller: a target is whatever answers
//! HTTP/1.1.

mod connections;
pub(crate) mod generate;
pub(crate) mod replay;
mod report;
mod result;
mod schedule;
pub mod trace;
