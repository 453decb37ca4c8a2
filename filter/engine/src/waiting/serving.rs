//! The tick for those that wait: whose time is over, whose turn it is, and who has to wait on.

use alloc::boxed::Box;
use alloc::vec::Vec;

use forebay_admission::{Charge, Clock, Conditions, Lane, Nanos, Receipts, Wait};

use super::{Need, Waiting};
use crate::answer::{Dialect, Reason};
use crate::effect::{Effect, Metric};
use crate::guard::{Attempt, Gate, Guards, attempt};
use crate::host::Host;
use crate::keys::Keys;

/// For so long after the last waiting stream the short tick stays, because making a timer costs more than a few ticks.
const LINGER: u64 = Nanos::SECOND;

/// What one tick does at most, so that requests between ticks do not wait for long: about 2 ms of a worker on Envoy.
const MAX_EXPIRED: usize = 256;
const MAX_SHED: usize = 64;
const MAX_RELEASED: usize = 64;
const MAX_ATTEMPTS: usize = 128;

/// Most streams looked at in one tick whose upstream has no slot, as another one has just found out. Each costs a few
/// steps in the queue; without it those that wait for one upstream would use up the attempts of all others.
const MAX_SKIPPED: usize = 1_024;

/// What became of a request that waited: for the worker to write down, and to answer unless it goes on.
pub(crate) struct Ended {
    pub(crate) stream: u32,
    /// The rule's number.
    pub(crate) rule: usize,
    pub(crate) charges: Vec<Charge>,
    pub(crate) end: End,
}

/// How a wait ended.
pub(crate) enum End {
    /// It goes on; without a lane because shared data failed and the rule is open then.
    GoesOn(Option<Box<(Lane, Receipts)>>),
    /// It is answered here.
    Refused {
        /// What there was too little of, and when, as far as is known, there is something again.
        need: Need,
        until: Nanos,
        why: Reason<'static>,
        dialect: Dialect,
    },
}

impl Waiting {
    /// The tick: ends the wait of those whose time is over and of those whose turn it is.
    pub(crate) fn serve(
        &mut self,
        keys: &mut Keys,
        mut guards: Option<&mut Guards>,
        (conditions, now): (&Conditions<'_>, Nanos),
        host: &mut impl Host,
        ended: &mut Vec<Ended>,
        effects: &mut Vec<Effect>,
    ) {
        let Some(since) = self.short_since else { return };
        for waiter in core::mem::take(&mut self.displaced) {
            self.refuse(&waiter, Metric::QueueExpired, keys, (conditions, now), host, ended);
        }
        for _ in 0..MAX_EXPIRED {
            let Some(entry) = self.queue.expired(now) else { break };
            self.drop_out(entry.stream, Metric::QueueExpired, keys, (conditions, now), host, ended);
        }
        for _ in 0..MAX_SHED {
            let Some(entry) = self.queue.shed(now) else { break };
            self.drop_out(entry.stream, Metric::QueueShed, keys, (conditions, now), host, ended);
        }
        let (mut released, mut attempts, mut skipped) = (0, 0, 0);
        while released < MAX_RELEASED && attempts < MAX_ATTEMPTS && skipped < MAX_SKIPPED {
            let Some(entry) = self.queue.next(now) else { break };
            let Some(waiter) = self.waiters.get(&entry.stream) else {
                self.queue.remove(entry.stream);
                continue;
            };
            let need = waiter.need;
            if let Some(until) = guards.as_ref().and_then(|guards| guards.short(need, now)) {
                skipped += 1;
                self.defer(entry.stream, need, until, now);
                continue;
            }
            attempts += 1;
            let charges = waiter.charges(keys, (conditions, now), host);
            let open_on_failure = waiter.open_on_failure;
            let gate = guards.as_mut().zip(waiter.cluster).map(|(guards, cluster)| Gate {
                guards,
                cluster,
                stream: entry.stream,
                ahead: None,
                enforced: true,
                open_on_failure,
            });
            let mut receipts = Receipts::default();
            let clock = &mut Clock::exact(now);
            let lane = match attempt(keys, &charges, (conditions, clock), host, gate, Some(&mut receipts)) {
                Attempt::Admitted(lane) => Some(Box::new((lane, receipts))),
                Attempt::TooLittle { failed: true, .. } if open_on_failure => None,
                Attempt::TooLittle { key, wait: Wait::Until(until), .. } => {
                    self.defer(entry.stream, Need::Key(key), until, now);
                    continue;
                }
                Attempt::NoSlot { need, until, .. } => {
                    self.defer(entry.stream, need, until, now);
                    continue;
                }
                Attempt::TooLittle { wait: Wait::Never, .. } => {
                    self.queue.remove(entry.stream);
                    self.drop_out(entry.stream, Metric::QueueExpired, keys, (conditions, now), host, ended);
                    continue;
                }
            };
            let rule = waiter.rule;
            self.queue.release(entry.stream, now);
            self.forget(entry.stream);
            released += 1;
            ended.push(Ended { stream: entry.stream, rule, charges, end: End::GoesOn(lane) });
        }
        for (metric, count) in &mut self.counts {
            if *count > 0 {
                effects.push(Effect::Count(*metric, core::mem::take(count)));
            }
        }
        if !self.waiters.is_empty() {
            self.short_since = Some(now);
        } else if now.since(since) >= LINGER {
            self.short_since = None;
        }
    }
}
