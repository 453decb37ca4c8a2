//! Which request meets a fault: the next that changes something, or one of those after it; a hang is met by any request.

use std::collections::BTreeMap;

use super::Call;
use crate::subject::Fault;

/// What happens to requests to come, by how many are spared before.
pub(crate) type Faults = BTreeMap<usize, Fault>;

/// What a request meets. Only those that are counted bring the others nearer.
pub(crate) fn met_by(call: &Call, faults: &mut Faults) -> Option<Fault> {
    let is_hang = faults.get(&0) == Some(&Fault::Hangs);
    if !call.is_change() && !is_hang {
        return None;
    }
    let mut met = None;
    for (after, fault) in std::mem::take(faults) {
        match after.checked_sub(1) {
            Some(after) => drop(faults.insert(after, fault)),
            None => met = Some(fault),
        }
    }
    met
}
