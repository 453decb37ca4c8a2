//! Instance managers seen from outside: every manager passes one conformance suite, whatever goes wrong around it.
//!
//! Adding a manager is one file here with its [`Subject`](subject::Subject), and one row of `conforms!` in it.

mod conformance;
mod driver;
mod dry_run;
mod fleet;
#[cfg(feature = "kubernetes")]
mod kubernetes;
mod process;
mod reference;
mod subject;
mod webhook;
