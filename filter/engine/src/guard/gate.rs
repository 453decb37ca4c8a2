//! The moment at which a request has its tokens in hand and needs a slot.

use forebay_admission::concurrency::Short;
use forebay_admission::{Charge, Clock, Conditions, Lane, Nanos, Receipts, TooLittle, Wait, secure, spend};

use super::{Guards, SharedGuards};
use crate::effect::Metric;
use crate::host::Host;
use crate::keys::Keys;
use crate::waiting::{Need, Waiting};

/// A request that needs a slot.
pub(crate) struct Gate<'a> {
    pub(crate) guards: &'a mut Guards,
    pub(crate) stream: u32,
    /// Where it goes; see [`Guards::cluster`].
    pub(crate) cluster: usize,
    /// Those that are not to be overtaken.
    pub(crate) ahead: Option<&'a Waiting>,
    /// Whether its rule refuses anybody.
    pub(crate) enforced: bool,
    /// Whether it goes on when shared data fails.
    pub(crate) open_on_failure: bool,
}

/// What an attempt came to.
pub(crate) enum Attempt {
    /// It goes on.
    Admitted(Lane),
    /// This key has too little until then; whether shared data failed.
    TooLittle { key: usize, wait: Wait, failed: bool },
    /// It has its tokens, and not the slot that it needs; nothing was taken.
    NoSlot { need: Need, lane: Lane, until: Nanos },
}

/// [`forebay_admission::attempt`], and between the tokens in hand and the tokens spent the slot.
#[inline]
pub(crate) fn attempt(
    keys: &mut Keys,
    charges: &[Charge],
    (conditions, clock): (&Conditions<'_>, &mut Clock),
    host: &mut impl Host,
    gate: Option<Gate<'_>>,
    receipts: Option<&mut Receipts>,
) -> Attempt {
    let (accounts, mut ledger) = keys.open(host);
    let secured = match secure(accounts, charges, conditions, clock, &mut ledger) {
        Ok(secured) => secured,
        Err(TooLittle { key, wait }) => return Attempt::TooLittle { key, wait, failed: ledger.failed() },
    };
    let lane = secured.lane();
    if let Some(gate) = gate {
        let (now, cluster) = (clock.read(&mut ledger), gate.cluster);
        if let Err(Short { retry: until }) = gate.pass(lane, now, host) {
            return Attempt::NoSlot { need: Need::Slot { cluster, rank: lane as usize }, lane, until };
        }
    }
    spend(&mut keys.accounts, charges, &secured, conditions, clock, receipts);
    Attempt::Admitted(lane)
}

impl Gate<'_> {
    fn pass(self, lane: Lane, now: Nanos, host: &mut impl Host) -> Result<(), Short> {
        let Self { guards, stream, cluster, ahead, enforced, open_on_failure } = self;
        let rank = lane as usize;
        let waiting =
            ahead.and_then(|waiting| (0..=rank).find_map(|rank| waiting.awaited_until(Need::Slot { cluster, rank })));
        let mut ledger = SharedGuards { host, failed: false };
        let taken = match (waiting, guards.clusters.get_mut(cluster)) {
            (_, None) => return Ok(()),
            (Some(retry), Some(_)) => Err(Short { retry }),
            (None, Some(found)) => found.guard.begin(cluster, stream, rank, now, &mut ledger),
        };
        let failed = ledger.failed;
        match taken {
            Ok(()) => {
                guards.flights.insert(stream, cluster);
                Ok(())
            }
            Err(_) if !enforced || guards.settings.dry_run => {
                guards.count(Metric::GuardWouldRefuse);
                Ok(())
            }
            Err(_) if failed && open_on_failure => {
                guards.count(Metric::GuardUnguarded);
                Ok(())
            }
            Err(short) => Err(short),
        }
    }
}
