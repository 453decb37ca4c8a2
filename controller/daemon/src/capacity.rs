//! Capacity: the loop that sees what there is, plans what is to be, and has instance managers make it so.
pub(crate) mod endpoints;
pub(crate) mod spending;

use std::collections::BTreeMap;
use std::time::Duration;

/// What provisioned pools have ready, now and as the plan in force expects it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Ready {
    /// By pool: milli-units per second, now and by step of the plan from the moment on that it was made.
    pub(crate) milli_per_s: BTreeMap<String, Vec<u64>>,
    /// Steady time for which that holds.
    pub(crate) at: Duration,
    /// Rises when anything changes.
    pub(crate) version: u64,
}
