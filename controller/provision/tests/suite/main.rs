//! Instance managers seen from outside: every manager passes one conformance suite, whatever goes wrong around it.
//!
//! Adding a manager is one file here with its [`Subject`](subject::Subject), and one row of `conforms!` in it.

mod conformance;
mod driver;
mod fleet;
#[cfg(feature = "kubernetes")]
mod kubernetes;
mod reference;
mod subject;
