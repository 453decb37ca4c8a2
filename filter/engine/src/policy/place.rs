//! Whether a request that passes several proxies is charged at this one.
//!
//! Rules with a named place compare it with this proxy's role: the bootstrap's, or what the listener's direction says
//! (neither inbound nor outbound is a gateway; Istio's gateways say outbound, so name the role there). Rules that charge
//! at the first proxy need to know whether an earlier one did: proxies of one chain share a token, the first of them
//! puts it into [`CHARGED_HEADER`] of what it admits, and whoever finds it there does not charge again. The header is
//! trusted only with that token, so a client's own copy changes nothing, and the first proxy replaces it. Without a
//! token the header is neither read nor written, and each proxy with the filter charges.

use forebay_protocol::bootstrap::Role;
use forebay_protocol::policy::EnforceAt;

use super::facts::Facts;
use crate::host::Host;

/// The header that says "charged already".
pub const CHARGED_HEADER: &str = "x-forebay-charged";

/// `TrafficDirection` of Envoy's listener, a little-endian word: 1 inbound, 2 outbound.
const DIRECTION: &str = "xds\0listener_direction";

/// Where the charge is, seen from here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// At this proxy.
    Here,
    /// At an earlier one: what that one wrote stays.
    Earlier,
    /// At a later one.
    Later,
}

/// Where a request of a rule with `enforce_at` is charged.
pub fn turn<H: Host>(enforce_at: EnforceAt, role: Option<Role>, token: Option<&str>, facts: &mut Facts<'_, H>) -> Turn {
    let place = match enforce_at {
        EnforceAt::First => {
            let Some(token) = token else { return Turn::Here };
            let charged = facts.host().header(CHARGED_HEADER).is_some_and(|found| same(&found, token.as_bytes()));
            return if charged { Turn::Earlier } else { Turn::Here };
        }
        EnforceAt::Gateway => Role::Gateway,
        EnforceAt::Outbound => Role::Outbound,
        EnforceAt::Inbound => Role::Inbound,
    };
    let role = match role {
        Some(role) => role,
        // An unreadable direction charges: twice is safer than never.
        None => match facts.host().property(DIRECTION) {
            Ok(direction) => match direction.as_deref().and_then(|bytes| bytes.first()) {
                Some(1) => Role::Inbound,
                Some(2) => Role::Outbound,
                _ => Role::Gateway,
            },
            Err(crate::host::Unreadable) => place,
        },
    };
    match place.cmp(&role) {
        core::cmp::Ordering::Less => Turn::Earlier,
        core::cmp::Ordering::Equal => Turn::Here,
        core::cmp::Ordering::Greater => Turn::Later,
    }
}

/// Compares without telling by its time how much was right.
fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |different, (a, b)| different | (a ^ b)) == 0
}
