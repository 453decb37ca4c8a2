//! From what is wanted to targets that may be asked for: one instance after the other is let in, in order of precedence.
//!
//! Everything that runs starts out as told to go, which is the least that can be committed. Then instances are let in (kept,
//! or asked for) as long as their pool has room and every budget that pays for them can bear them:
//!
//! 1. what is ready now and needed for the demand observed now (the floor): nothing that serves is let go for a promise;
//! 2. what is wanted, until all that is coming covers the floor too;
//! 3. what is ready now and needed until what is asked for now serves, then all that is wanted (SLA); but for small ones in a
//!    full pool, beyond the floor, that give their places to larger ones where all that there is does not suffice;
//! 4. what is held by its dwell, or because nothing is known of its service's demand.
//!
//! So precedence is the order of this list, a budget or pool is never exceeded because nothing is let in that does not
//! fit, and what is left out did not fit when everything dearer was in.
//!
//! A manager chooses which instances of a group go first, so of a group that goes down by three at most three ready ones
//! are counted as lost, whatever else it has.

use super::line::{Cause, Lines};
use super::needs::Needs;
use super::world::World;

/// Lets in what fits. Lines come out with their targets.
pub(super) fn admit(world: &World<'_>, needs: &Needs, lines: &mut Lines<'_>) {
    let mut order: Vec<usize> = (0..world.inputs.services.len()).collect();
    // Where not everything fits, first what is dearest to be short of.
    order.sort_by_key(|service| {
        (std::cmp::Reverse(world.inputs.services[*service].shortage_micros_per_unit_h), *service)
    });
    let floors: Vec<f64> = (0..order.len()).map(|service| world.floor_per_s(service)).collect();
    for service in &order {
        lines.keep_ready(*service, floors[*service], Cause::Ready);
    }
    for service in &order {
        let count = world.inputs.services[*service].min_instances;
        lines.let_in_until(*service, floors[*service], count);
    }
    for service in &order {
        if !needs.is_blind[*service] {
            lines.give_way(*service, needs.now_of_service(world, *service));
        }
        lines.keep_ready(*service, needs.now_of_service(world, *service), Cause::Ready);
        lines.let_in_until(*service, f64::INFINITY, u32::MAX);
    }
    for service in &order {
        lines.hold(*service, needs.is_blind[*service]);
    }
}
