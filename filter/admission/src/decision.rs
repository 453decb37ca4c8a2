//! The decision about one request: shadow, else standard, else refuse; over several keys all or nothing.
//!
//! All or nothing needs no refunds: [`admit`] first *secures* every charge (the units are leased by this worker, not
//! spent), and spends only when all are secured. What a refused request secured stays in the worker's lease for the next
//! one, or goes back when idle.
//!
//! Borrowing idle reservations and queues come between "standard" and "refuse"; they are not here yet.

use crate::account::{Account, Conditions, Ledger};
use crate::bucket::Wait;

/// Most keys that one request can charge.
pub const MAX_CHARGES: usize = 8;

/// What a request was admitted from. Ordered from the best to the worst.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lane {
    /// The shadow bucket.
    Reserved,
    /// The standard bucket.
    Standard,
}

impl Lane {
    /// The name on the wire, in metrics and in logs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Reserved => "reserved",
            Self::Standard => "standard",
        }
    }
}

/// One key that a request takes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Charge {
    /// Index of the key's account.
    pub key: usize,
    /// Units.
    pub cost: u64,
}

/// The decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Go on. Of several keys, the worst lane counts.
    Admit(Lane),
    /// Not now, or never.
    Refuse {
        /// The key that had too little.
        key: usize,
        /// When to come again.
        wait: Wait,
    },
}

/// Decides about a request that takes `charges` from `accounts`, and counts it. Charges beyond [`MAX_CHARGES`] and
/// charges of unknown accounts are ignored; the engine's configuration allows neither.
pub fn admit(
    accounts: &mut [Account],
    charges: &[Charge],
    conditions: &Conditions,
    ledger: &mut impl Ledger,
) -> Verdict {
    let mut lanes = [Lane::Reserved; MAX_CHARGES];
    for (charge, lane) in charges.iter().zip(&mut lanes) {
        let Some(account) = accounts.get_mut(charge.key) else { continue };
        match account.secure(charge.key, charge.cost, conditions, ledger) {
            Ok(secured) => *lane = secured,
            Err(wait) => {
                for charge in charges {
                    if let Some(account) = accounts.get_mut(charge.key) {
                        account.count_refusal(charge.cost);
                    }
                }
                return Verdict::Refuse { key: charge.key, wait };
            }
        }
    }
    let mut worst = Lane::Reserved;
    for (charge, lane) in charges.iter().zip(lanes) {
        if let Some(account) = accounts.get_mut(charge.key) {
            account.spend(lane, charge.cost, conditions.now);
            worst = worst.max(lane);
        }
    }
    Verdict::Admit(worst)
}
