//! Those that waited in vain: counted, and told why.

use alloc::vec::Vec;

use forebay_admission::{Cause, Clock, Conditions, Entry, Nanos, count_refused};

use super::{End, Ended, Need, Waiter, Waiting};
use crate::answer::Reason;
use crate::effect::Metric;
use crate::host::Host;
use crate::keys::Keys;

impl Waiting {
    /// It has left the queue without success.
    pub(super) fn drop_out(
        &mut self,
        stream: u32,
        why: Metric,
        keys: &mut Keys,
        when: (&Conditions<'_>, Nanos),
        host: &mut impl Host,
        ended: &mut Vec<Ended>,
    ) {
        let until = self.waiters.get(&stream).and_then(|waiter| self.awaited.get(&waiter.need)).copied();
        let Some(mut waiter) = self.forget(stream) else { return };
        if let Some(awaited) = until {
            waiter.entry.deadline = awaited.until;
        }
        self.refuse(&waiter, why, keys, when, host, ended);
    }

    /// The answer says when its key, as far as is known, has something again: `entry.deadline`.
    pub(super) fn refuse(
        &mut self,
        waiter: &Waiter,
        why: Metric,
        keys: &mut Keys,
        when: (&Conditions<'_>, Nanos),
        host: &mut impl Host,
        ended: &mut Vec<Ended>,
    ) {
        let charges = waiter.charges(keys, when, host);
        let (Entry { stream, deadline: until, .. }, need) = (waiter.entry, waiter.need);
        let (cause, reason) = match need {
            Need::Slot { .. } => (Cause::Other, Reason::Overloaded),
            Need::Key(_) => (Cause::TooLittle, Reason::QueueExpired),
        };
        count_refused(&mut keys.accounts, &charges, cause, when.0, &Clock::exact(when.1));
        self.count(why);
        let end = End::Refused { need, until, why: reason, dialect: waiter.dialect };
        ended.push(Ended { stream, rule: waiter.rule, charges, end });
    }
}
