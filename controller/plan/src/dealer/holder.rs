//! What one proxy may be using, as far as the controller can know.
//!
//! A *hand* is what a proxy is dealt, for all keys. Between the moment in which a hand is made and the news that it is in
//! force, the proxy may be using it or any before it; so until then it is taken to use the largest of them. When nothing
//! renews a hand, its standard shares end after the validity and its safe shares remain.
//!
//! Times are the controller's steady clock. What is in flight is allowed for: an answer may arrive as late as the
//! filter waits for it.

use core::time::Duration;
use std::collections::VecDeque;
use std::sync::Arc;

use crate::planning::{Limit, Plan, Slot};

/// Time from the news that a hand is in force at a proxy until all its workers follow: two ticks of 50 ms.
pub(crate) const FOLLOW_GRACE: Duration = Duration::from_millis(100);

/// Longest time that a filter waits for the answer to a watch.
const WATCH_ANSWER_MAX: Duration = Duration::from_secs(30);

/// Longest time that a filter waits for the answer to a report.
const REPORT_ANSWER_MAX: Duration = Duration::from_secs(5);

/// A hand's place in the order of all hands: as a generation on the wire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mark {
    /// Raised at every start of a controller.
    pub epoch: u64,
    /// Raised with every hand.
    pub sequence: u64,
}

/// One key's part of a hand.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Share {
    /// While the hand is valid.
    pub standard: Limit,
    /// Afterwards; never above `standard`.
    pub safe: Limit,
    /// The forecast behind the slots.
    pub forecast_version: u64,
    /// Shadow, while the hand is valid.
    pub slots: Vec<Slot>,
}

/// What a proxy is dealt.
#[derive(Debug)]
pub struct Hand {
    /// Its generation.
    pub mark: Mark,
    /// The plan that it is a share of; names the keys.
    pub plan: Arc<Plan>,
    /// Parallel to the plan's grants.
    pub shares: Vec<Share>,
}

#[derive(Debug)]
struct Held {
    hand: Arc<Hand>,
    served: bool,
    acknowledged: bool,
    /// Its validity is over: it counts with its safe shares, and nothing may renew the others.
    ended: bool,
    /// A newer one is in force; counts until then.
    until: Option<Duration>,
}

/// A proxy.
#[derive(Debug, Default)]
pub(super) struct Holder {
    boot: Option<u64>,
    /// The boot before; what is still under way from it says nothing any more.
    earlier_boot: Option<u64>,
    pub(super) heard_at: Duration,
    valid_until: Duration,
    /// Since when it is known to use no table of an earlier controller; `None` while it may.
    foreign: Option<Foreign>,
    hands: VecDeque<Held>,
    /// As the dealer counted when the newest hand was made.
    pub(super) told: u64,
    /// Its last hand has ended; it gets a new one before anything is renewed.
    lapsed: bool,
}

/// It may use a table that this controller did not deal.
#[derive(Clone, Copy, Debug)]
struct Foreign {
    /// It said so itself.
    heard: bool,
    until: Option<Duration>,
}

impl Holder {
    /// A proxy that an earlier controller heard of `silence` ago.
    pub(super) fn remembered(silence: Duration, validity: Duration, now: Duration) -> Self {
        let valid_until = (now + WATCH_ANSWER_MAX + slack(validity)).saturating_sub(silence);
        Self { heard_at: now, valid_until, foreign: Some(Foreign { heard: false, until: None }), ..Self::default() }
    }

    /// A proxy that calls for the first time at `now`.
    pub(super) fn new(now: Duration) -> Self {
        Self { heard_at: now, ..Self::default() }
    }

    /// It said, in this boot, that `known` is in force; `ours` when this controller may have made it.
    pub(super) fn heard(&mut self, boot: u64, known: Mark, ours: bool, validity: Duration, now: Duration) {
        if self.earlier_boot == Some(boot) {
            return;
        }
        self.heard_at = now;
        self.lapse(now);
        if self.boot != Some(boot) {
            // Its shared data is gone, and with it every table; the newest hand will be asked for again.
            self.earlier_boot = self.boot.replace(boot);
            if self.earlier_boot.is_some() || known == Mark::default() {
                self.foreign = None;
                self.hands.drain(..self.hands.len().saturating_sub(1));
                self.hands
                    .iter_mut()
                    .for_each(|held| (held.served, held.acknowledged, held.ended) = (false, false, false));
            }
        }
        if let Some(place) = self.hands.iter().position(|held| held.hand.mark == known) {
            self.hands[place].acknowledged = true;
            for older in self.hands.iter_mut().take(place) {
                older.until.get_or_insert(now + FOLLOW_GRACE);
            }
            if let Some(foreign) = &mut self.foreign {
                foreign.until.get_or_insert(now + FOLLOW_GRACE);
            }
        } else if known != Mark::default() && !ours {
            if self.foreign.is_none_or(|foreign| !foreign.heard) {
                self.valid_until = self.valid_until.max(now + slack(validity));
            }
            self.foreign = Some(Foreign { heard: true, until: None });
        }
    }

    /// The mark that is renewed in the answer to a report that named `known`: that one, while it is accounted for.
    pub(super) fn renew(&mut self, known: Mark, validity: Duration, now: Duration) -> Mark {
        self.lapse(now);
        let renewable = |held: &Held| held.served && !held.ended && held.until.is_none();
        let dealt = self.hands.iter().any(|held| held.hand.mark == known && renewable(held));
        let earlier = self.hands.is_empty() && self.foreign.is_some();
        if known != Mark::default() && (dealt || earlier) {
            self.valid_until = self.valid_until.max(now + REPORT_ANSWER_MAX + slack(validity));
            return known;
        }
        self.hands.back().filter(|_| !self.lapsed).map_or(Mark::default(), |held| held.hand.mark)
    }

    /// A part of hand `mark` goes out. `false` when that hand is no longer the newest and must not.
    pub(super) fn serve(&mut self, mark: Mark, validity: Duration, now: Duration) -> bool {
        self.lapse(now);
        match self.hands.back_mut() {
            Some(held) if held.hand.mark == mark && !(self.lapsed && held.served) => {
                held.served = true;
                self.lapsed = false;
                self.valid_until = self.valid_until.max(now + WATCH_ANSWER_MAX + slack(validity));
                true
            }
            _ => false,
        }
    }

    /// Notes what time has ended.
    pub(super) fn lapse(&mut self, now: Duration) {
        self.hands.retain(|held| held.until.is_none_or(|until| now < until));
        self.foreign = self.foreign.filter(|foreign| foreign.until.is_none_or(|until| now < until));
        if self.lapsed || now < self.valid_until || !self.hands.iter().any(|held| held.served) {
            return;
        }
        self.lapsed = true;
        for held in self.hands.iter_mut().filter(|held| held.served) {
            let safe = |share: &Share| Share { standard: share.safe, safe: share.safe, ..Share::default() };
            let shares = held.hand.shares.iter().map(safe).collect();
            held.hand = Arc::new(Hand { mark: held.hand.mark, plan: Arc::clone(&held.hand.plan), shares });
            held.ended = true;
        }
    }

    /// Whether it may use a table of an earlier controller, of which only the sum over all proxies is known.
    pub(super) fn is_foreign(&self, now: Duration) -> bool {
        self.foreign.is_some() && now < self.valid_until
    }

    /// The same when its validity has ended: then it has at most its safe share.
    pub(super) fn is_foreign_lapsed(&self, now: Duration) -> bool {
        self.foreign.is_some() && now >= self.valid_until
    }

    /// Whether it was heard of, and not only remembered.
    pub(super) fn has_called(&self) -> bool {
        self.boot.is_some()
    }

    pub(super) fn is_valid(&self, now: Duration) -> bool {
        now < self.valid_until
    }

    pub(super) fn newest(&self) -> Option<&Arc<Hand>> {
        self.hands.back().map(|held| &held.hand)
    }

    /// Whether a hand is due whatever it contains.
    pub(super) fn needs_hand(&self) -> bool {
        self.lapsed && self.hands.back().is_none_or(|held| held.served)
    }

    /// Whether it may be dealt another hand: one is under way at a time, or haste would only fill the way.
    pub(super) fn takes_hands(&self) -> bool {
        self.lapsed || self.hands.back().is_none_or(|held| held.acknowledged || !held.served)
    }

    /// The most that it may use of key number `key`.
    pub(super) fn held(&self, key: usize) -> Limit {
        let shares = self.hands.iter().filter_map(|held| held.hand.shares.get(key));
        shares.fold(Limit::default(), |most, share| Limit {
            rate_milli_per_s: most.rate_milli_per_s.max(share.standard.rate_milli_per_s),
            burst: most.burst.max(share.standard.burst),
        })
    }

    /// The most that it may spend in a slot of key number `key`.
    pub(super) fn held_amount(&self, key: usize, slot: u64) -> u64 {
        let shares = self.hands.iter().filter_map(|held| held.hand.shares.get(key));
        let slots = shares.flat_map(|share| share.slots.iter()).filter(|known| known.id == slot);
        slots.map(|slot| slot.amount).max().unwrap_or(0)
    }

    /// Makes `hand` the newest; one that nobody has seen is dropped for it.
    pub(super) fn deal(&mut self, hand: Arc<Hand>) {
        if self.hands.back().is_some_and(|held| !held.served) {
            self.hands.pop_back();
        }
        self.hands.push_back(Held { hand, served: false, acknowledged: false, ended: false, until: None });
    }
}

/// A validity, as long as the slowest clock may make it.
fn slack(validity: Duration) -> Duration {
    validity + validity / 100
}
