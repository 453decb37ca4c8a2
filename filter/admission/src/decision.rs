//! The decision about one request: shadow, else standard, else borrow, else refuse; over several keys all or nothing.
//!
//! All or nothing needs no refunds: [`admit`] first *secures* every charge (the units are leased by this worker, not
//! spent), and spends only when all are secured. What a refused request secured stays in the worker's lease for the next
//! one, or goes back when idle.
//!
//! A queue comes between "borrow" and "refuse" and is not part of the decision: who waits asks again ([`attempt`]), and is
//! counted once.

use crate::account::Account;
use crate::bucket::Wait;
use crate::ledger::{Clock, Conditions, Ledger};

/// Most keys that one request can charge.
pub const MAX_CHARGES: usize = 8;

/// What a request was admitted from. Ordered from the best to the worst.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lane {
    /// The shadow bucket.
    Reserved,
    /// The standard bucket.
    Standard,
    /// Capacity reserved for others, who do not use it.
    Borrowed,
}

impl Lane {
    /// The name on the wire, in metrics and in logs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Reserved => "reserved",
            Self::Standard => "standard",
            Self::Borrowed => "borrowed",
        }
    }
}

/// The bucket that units come out of: a lane, with the two kinds of borrowing told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// The key's shadow bucket.
    Shadow,
    /// The key's standard bucket.
    Standard,
    /// Idle reservations of the key's pool.
    Pool,
    /// The pool's best effort.
    Overcommit,
}

impl Source {
    /// The lane that clients and upstreams see.
    pub fn lane(self) -> Lane {
        match self {
            Self::Shadow => Lane::Reserved,
            Self::Standard => Lane::Standard,
            Self::Pool | Self::Overcommit => Lane::Borrowed,
        }
    }
}

/// One key that a request takes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Charge {
    /// Index of the key's account; each key at most once per request.
    pub key: usize,
    /// Units.
    pub cost: u64,
}

/// What one charge of an admitted request took, for settling it later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// Index of the key's account. Whoever renumbers accounts renumbers receipts.
    pub key: usize,
    /// Where the units came from.
    pub source: Source,
    /// The slot, when they came from the shadow bucket.
    pub slot_id: u64,
    /// Units accounted for so far.
    pub units: u64,
    /// Who held the account. It may be somebody else's by now; see [`Account::issued`].
    pub holder: u32,
}

/// The receipts of an admitted request, one per charge.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Receipts {
    receipts: [Option<Receipt>; MAX_CHARGES],
}

impl Receipts {
    /// In the order of the charges.
    pub fn iter(&self) -> impl Iterator<Item = Receipt> + '_ {
        self.receipts.iter().flatten().copied()
    }
}

/// The decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Go on. Of several keys, the worst lane counts.
    Admit(Lane),
    /// Not now, or never. The [`Clock`] has been read.
    Refuse {
        /// The key that had too little.
        key: usize,
        /// When to come again.
        wait: Wait,
    },
}

/// The charge of a request that cannot be had. The [`Clock`] has been read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLittle {
    /// The key that had too little.
    pub key: usize,
    /// When to come again.
    pub wait: Wait,
}

/// Why a request is refused that does not come again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// A charge could not be had.
    TooLittle,
    /// All charges could be had: it was offered, and says nothing about what a plain bucket would have made of it.
    Other,
}

/// Decides about a request that takes `charges` from `accounts`, and counts it. Charges beyond [`MAX_CHARGES`] and
/// charges of unknown accounts are ignored; the engine's configuration allows neither.
pub fn admit(
    accounts: &mut [Account],
    charges: &[Charge],
    conditions: &Conditions,
    clock: &mut Clock,
    ledger: &mut impl Ledger,
) -> Verdict {
    decide(accounts, charges, conditions, clock, ledger, None)
}

/// [`admit`] for requests whose true cost is known only afterwards; no receipts when refused.
pub fn admit_with_receipts(
    accounts: &mut [Account],
    charges: &[Charge],
    conditions: &Conditions,
    clock: &mut Clock,
    ledger: &mut impl Ledger,
) -> (Verdict, Receipts) {
    let mut receipts = Receipts::default();
    let verdict = decide(accounts, charges, conditions, clock, ledger, Some(&mut receipts));
    (verdict, receipts)
}

fn decide(
    accounts: &mut [Account],
    charges: &[Charge],
    conditions: &Conditions,
    clock: &mut Clock,
    ledger: &mut impl Ledger,
    receipts: Option<&mut Receipts>,
) -> Verdict {
    let verdict = attempt(accounts, charges, conditions, clock, ledger, receipts);
    if matches!(verdict, Verdict::Refuse { .. }) {
        count_refused(accounts, charges, Cause::TooLittle, conditions, clock);
    }
    verdict
}

/// Counts a request that is refused and does not come again.
pub fn count_refused(
    accounts: &mut [Account],
    charges: &[Charge],
    cause: Cause,
    conditions: &Conditions,
    clock: &Clock,
) {
    for charge in charges.iter().take(MAX_CHARGES) {
        let Some(account) = accounts.get_mut(charge.key) else { continue };
        match cause {
            Cause::TooLittle => account.refuse(charge.cost, conditions, clock),
            Cause::Other => account.turn_away(charge.cost, conditions, clock),
        }
    }
}

/// [`admit_with_receipts`] for a request that may wait and come again: it is counted when it is admitted; a refusal is
/// not counted before the caller says with [`count_refused`] that it is the last. Receipts are written for those who ask:
/// of eight charges they are more memory than the decision touches otherwise.
pub fn attempt(
    accounts: &mut [Account],
    charges: &[Charge],
    conditions: &Conditions,
    clock: &mut Clock,
    ledger: &mut impl Ledger,
    receipts: Option<&mut Receipts>,
) -> Verdict {
    match secure(accounts, charges, conditions, clock, ledger) {
        Ok(secured) => {
            spend(accounts, charges, &secured, conditions, clock, receipts);
            Verdict::Admit(secured.lane)
        }
        Err(TooLittle { key, wait }) => Verdict::Refuse { key, wait },
    }
}

/// The charges of a request in its worker's hands, not spent yet. Dropped, they stay in the leases for the next request,
/// or go back when idle: whoever finds another reason to refuse has nothing to refund.
#[derive(Clone, Copy, Debug)]
pub struct Secured {
    sources: [Source; MAX_CHARGES],
    lane: Lane,
}

impl Secured {
    /// The worst lane of the charges.
    pub fn lane(&self) -> Lane {
        self.lane
    }
}

/// The first half of [`attempt`]: gets all charges into this worker's hands.
///
/// # Errors
/// [`TooLittle`], for the first charge that cannot be had.
pub fn secure(
    accounts: &mut [Account],
    charges: &[Charge],
    conditions: &Conditions,
    clock: &mut Clock,
    ledger: &mut impl Ledger,
) -> Result<Secured, TooLittle> {
    let mut secured = Secured { sources: [Source::Shadow; MAX_CHARGES], lane: Lane::Reserved };
    for (charge, source) in charges.iter().zip(&mut secured.sources) {
        let Some(account) = accounts.get_mut(charge.key) else { continue };
        match account.secure(charge.key, charge.cost, conditions, clock, ledger) {
            Ok(found) => {
                *source = found;
                secured.lane = secured.lane.max(found.lane());
            }
            Err(wait) => return Err(TooLittle { key: charge.key, wait }),
        }
    }
    Ok(secured)
}

/// The second half of [`attempt`]: spends what the same charges have just secured, and counts the request.
pub fn spend(
    accounts: &mut [Account],
    charges: &[Charge],
    secured: &Secured,
    conditions: &Conditions,
    clock: &Clock,
    mut receipts: Option<&mut Receipts>,
) {
    for (place, (charge, source)) in charges.iter().zip(secured.sources).enumerate() {
        if let Some(account) = accounts.get_mut(charge.key) {
            account.spend(source, charge.cost, conditions, clock);
            if let Some(written) = receipts.as_mut().and_then(|receipts| receipts.receipts.get_mut(place)) {
                *written = Some(account.receipt(charge.key, source, charge.cost));
            }
        }
    }
}
