//! States of instances by the names that records and answers carry.

use forebay_plan::capacity::InstanceState;

/// The state of that name.
pub(crate) fn from_name(name: &str) -> Option<InstanceState> {
    use InstanceState::{Draining, Gone, Ready, Requested, Starting, Warming};
    [Requested, Starting, Warming, Ready, Draining, Gone].into_iter().find(|state| state.name() == name)
}
