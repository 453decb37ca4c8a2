//! The worker's decisions: about a request whose headers are here, and about one whose wait has ended.
//!
//! The host is touched for the facts that the policy names and, where a lease does not cover the request, for the clock
//! and shared data. Every decision is written down in one place ([`Record`](crate::record::Record)).

use alloc::vec::Vec;

use forebay_admission::{Cause, Charge, Clock, Conditions, Nanos, Receipts, Verdict, Wait, count_refused};
use forebay_protocol::policy::OnFailure;

use super::{Worker, conditions};
use crate::answer::Reason;
use crate::config::Config;
use crate::effect::Effect;
use crate::guard::{Attempt, Gate, Guards, attempt};
use crate::host::Host;
use crate::keys::Keys;
use crate::policy::Rule;
use crate::record::{Decision, Fate, Refusing};
use crate::request::{self, Charges, Class, Outcome};
use crate::settling::Settling;
use crate::streams::Stream;
use crate::waiting::{Ask, End, Ended, Need, Waiting};

impl Worker {
    /// Decides about the request whose headers the host holds, at once.
    pub fn on_request(&mut self, host: &mut impl Host) -> Outcome {
        self.decide(None, host)
    }

    /// Decides about the request of a stream that will be followed to its end; it may have to wait.
    pub fn on_stream(&mut self, stream: Stream, host: &mut impl Host) -> Outcome {
        let outcome = self.decide(Some(stream), host);
        self.record.keep(stream.id);
        outcome
    }

    fn decide(&mut self, stream: Option<Stream>, host: &mut impl Host) -> Outcome {
        if self.boot.is_none() {
            // A new VM in a running proxy takes over what is in force before its first decision. It has counted nothing
            // yet, so there are no effects to carry out.
            self.join(host);
            self.follow_version(host, &mut Vec::new());
        }
        if self.pace.use_now() {
            // The last look may be 200 ms old, longer than the coarse clock allows for.
            self.ticked = None;
            let mut late = core::mem::take(&mut self.late);
            self.follow_version(host, &mut late);
            self.late = late;
        }
        self.record.begin();
        let config = &self.config;
        let mut facts = config.policy.facts(&mut self.facts, host);
        let mut charges = Charges::default();
        // A lease covers most requests, whatever the exact time: the clock is read when it matters.
        let mut clock = Clock::coarse(self.ticked.unwrap_or_default());
        let (rule, fate, why) = match request::classify(config, &self.keys, &mut facts, &mut self.name) {
            Class::Unlimited => return Outcome::Pass,
            Class::Charged => return Outcome::Charged,
            Class::Free(rule) => {
                self.exempt += 1;
                let Some(rule) = rule else { return Outcome::Pass };
                (rule, Fate::Exempt, None)
            }
            Class::Missing(rule) => (rule, Fate::NoTenant, Some((Reason::MissingTenant(""), Wait::Never, None))),
            Class::Undecided(rule) if rule.on_failure == OnFailure::Open || rule.dry_run || !config.enforce => {
                self.failed_open += 1;
                (rule, Fate::FailedOpen, None)
            }
            Class::Undecided(rule) => {
                let wait = Wait::Until(clock.earliest().plus(Nanos::SECOND));
                (rule, Fate::Undecided, Some((Reason::Undecided, wait, None)))
            }
            Class::Limited(rule, row) => {
                charges = Charges::of(rule, &self.keys, row, &mut facts);
                self.record.arrived(config, &mut self.keys, (rule, charges.as_slice()), &mut facts);
                if rule.hostile {
                    self.keys.harmed(charges.as_slice());
                }
                self.served = true;
                self.busy = true;
                if self.ticked.is_none() {
                    clock = Clock::exact(facts.host().now());
                }
                let conditions = conditions(self.boot, &self.version, self.workers, &self.pools, clock.earliest());
                let tenant = self.name.as_slice();
                if !tenant.is_empty() && self.keys.has_slots_for(charges.as_slice()) {
                    clock = Clock::exact(facts.host().now());
                    self.keys.place(charges.as_mut_slice(), tenant, &conditions, clock.earliest(), facts.host());
                }
                let limited = Limited { rule, row, tenant, stream, charges: charges.as_slice() };
                let ((waiting, guards), settling) = (self.streams.both(), self.settling.get_mut());
                let mut desk = Desk { config, keys: &mut self.keys, waiting, guards, settling, member: self.member };
                match desk.charge(&limited, &conditions, &mut clock, facts.host()) {
                    Came::ToWait => return Outcome::Wait { tick_ms: self.pace.shorten() },
                    Came::To(Verdict::Admit(lane), _) => (rule, Fate::Admitted(lane), None),
                    Came::To(Verdict::Refuse { .. }, true) if rule.on_failure == OnFailure::Open => {
                        self.failed_open += 1;
                        (rule, Fate::FailedOpen, None)
                    }
                    Came::Overloaded(until) => {
                        (rule, Fate::Refused, Some((Reason::Overloaded, Wait::Until(until), None)))
                    }
                    Came::To(Verdict::Refuse { key, wait }, _) => {
                        (rule, Fate::Refused, Some((request::reason(wait), wait, Some(key))))
                    }
                }
            }
        };
        let dry = why.is_some() && (rule.dry_run || !config.enforce);
        let decision = Decision {
            rule,
            fate: if dry { Fate::DryRun } else { fate },
            charges: charges.as_slice(),
            violated: why.and_then(|(_, _, key)| key),
            generation: self.version.in_force(),
        };
        self.record.note(config, &self.keys, &decision, &mut facts);
        let conditions = conditions(self.boot, &self.version, self.workers, &self.pools, clock.earliest());
        let when = (&conditions, clock.earliest());
        match (decision.fate, why) {
            (Fate::Admitted(lane), _) => {
                self.record.tell_what_is_left(config, &self.keys, &decision, when, facts.host());
                Outcome::Admit(lane)
            }
            (Fate::Refused | Fate::NoTenant | Fate::Undecided, Some((reason, wait, _))) => {
                let seed = next_seed(&mut self.refusals, when.1);
                let refusing = Refusing { reason, wait, seed, dialect: None };
                Outcome::Refuse(self.record.refuse(config, &self.keys, &decision, when, &refusing, facts.host()))
            }
            _ => Outcome::Pass,
        }
    }

    /// Writes down what became of a request that waited, lets it go on or answers it.
    pub(super) fn end_wait(
        &mut self,
        wait: &Ended,
        when: (&Conditions<'_>, Nanos),
        host: &mut impl Host,
        effects: &mut Vec<Effect>,
    ) {
        let (stream, config) = (wait.stream, &self.config);
        let Some(rule) = config.policy.rule_of_number(wait.rule) else { return };
        let (fate, violated) = match &wait.end {
            End::GoesOn(Some(taken)) => (Fate::Admitted(taken.0), None),
            End::GoesOn(None) => (Fate::FailedOpen, None),
            End::Refused { need: Need::Key(key), .. } => (Fate::Refused, Some(*key)),
            End::Refused { need: Need::Slot { .. }, .. } => (Fate::Refused, None),
        };
        let generation = self.version.in_force();
        let decision = Decision { rule, fate, charges: &wait.charges, violated, generation };
        self.record.begin();
        self.record.count(&decision);
        match &wait.end {
            End::GoesOn(taken) => {
                self.failed_open += u64::from(taken.is_none());
                if let (Some(taken), true, Some(settling)) = (taken, Settling::concerns(rule), self.settling.get_mut())
                {
                    settling.begin(stream, when.1, rule, &taken.1);
                }
                effects.push(Effect::Resume { stream, lane: taken.as_ref().map(|taken| taken.0) });
            }
            &End::Refused { until, why, dialect, .. } => {
                let seed = next_seed(&mut self.refusals, when.1);
                let refusing = Refusing { reason: why, wait: Wait::Until(until), seed, dialect: Some(dialect) };
                let refusal = self.record.refuse(config, &self.keys, &decision, when, &refusing, host);
                if let (Reason::Overloaded, Some(guards)) = (why, self.streams.guards_mut()) {
                    guards.refused();
                }
                effects.push(Effect::Answer { stream, refusal });
            }
        }
    }
}

/// A request that a rule limits.
struct Limited<'a> {
    rule: &'a Rule,
    /// Of the tenant, in the keys.
    row: usize,
    /// Its name, where it may have buckets of its own without a contract; else empty.
    tenant: &'a [u8],
    /// Of a stream that may wait and be settled.
    stream: Option<Stream>,
    charges: &'a [Charge],
}

/// What such a request came to.
enum Came {
    /// It waits.
    ToWait,
    /// The verdict, and whether shared data failed.
    To(Verdict, bool),
    /// The upstream is, at least until then.
    Overloaded(Nanos),
}

/// The parts of a worker that charge a request.
struct Desk<'a> {
    config: &'a Config,
    keys: &'a mut Keys,
    waiting: Option<&'a mut Waiting>,
    guards: Option<&'a mut Guards>,
    settling: Option<&'a mut Settling>,
    member: Option<u64>,
}

impl Desk<'_> {
    /// Takes all charges or none; what is refused for now and may wait does.
    fn charge<H: Host>(
        &mut self,
        request: &Limited<'_>,
        conditions: &Conditions<'_>,
        clock: &mut Clock,
        host: &mut H,
    ) -> Came {
        let &Limited { rule, row, tenant, stream, charges } = request;
        let enforced = self.config.enforce && !rule.dry_run;
        let queueing = stream.filter(|_| rule.queue.is_some() && enforced);
        let behind = queueing.and_then(|_| self.waiting.as_ref()?.awaited(charges));
        let mut settled = stream.filter(|_| Settling::concerns(rule)).map(|stream| (stream, Receipts::default()));
        let cluster = self.guards.as_mut().filter(|_| stream.is_some()).and_then(|guards| {
            // Every latency begins here.
            let now = clock.read(&mut self.keys.open(host).1);
            guards.cluster(self.member, now, host)
        });
        let attempt = if let Some((key, until)) = behind {
            *clock = Clock::exact(host.now());
            Attempt::TooLittle { key, wait: Wait::Until(until), failed: false }
        } else {
            let open_on_failure = rule.on_failure == OnFailure::Open;
            let gate = self.guards.as_mut().zip(cluster).zip(stream).map(|((guards, cluster), stream)| Gate {
                guards,
                cluster,
                stream: stream.id,
                ahead: self.waiting.as_deref(),
                enforced,
                open_on_failure,
            });
            let receipts = settled.as_mut().map(|(_, receipts)| receipts);
            attempt(self.keys, charges, (conditions, &mut *clock), host, gate, receipts)
        };
        let (need, lane, until) = match attempt {
            Attempt::Admitted(lane) => {
                if let (Some((stream, receipts)), Some(settling)) = (&settled, &mut self.settling) {
                    let began = clock.read(&mut self.keys.open(host).1);
                    settling.begin(stream.id, began, rule, receipts);
                }
                return Came::To(Verdict::Admit(lane), false);
            }
            Attempt::TooLittle { key, wait: Wait::Until(until), failed: false } => (Need::Key(key), None, until),
            Attempt::TooLittle { key, wait, failed } => {
                count_refused(&mut self.keys.accounts, charges, Cause::TooLittle, conditions, clock);
                return Came::To(Verdict::Refuse { key, wait }, failed);
            }
            Attempt::NoSlot { need, lane, until } => (need, Some(lane), until),
        };
        if let (Some(stream), Some(waiting)) = (queueing, &mut self.waiting) {
            let now = clock.earliest();
            let ask = Ask { stream, rule, row, tenant, charges, need, lane, cluster, until, now };
            if waiting.enter(&ask, self.keys, &self.config.policy, conditions, host).is_some() {
                return Came::ToWait;
            }
        }
        match need {
            Need::Key(key) => {
                count_refused(&mut self.keys.accounts, charges, Cause::TooLittle, conditions, clock);
                Came::To(Verdict::Refuse { key, wait: Wait::Until(until) }, false)
            }
            Need::Slot { .. } => {
                count_refused(&mut self.keys.accounts, charges, Cause::Other, conditions, clock);
                if let Some(guards) = &mut self.guards {
                    guards.refused();
                }
                Came::Overloaded(until)
            }
        }
    }
}

/// Parts the retries of clients that are refused in the same instant.
fn next_seed(refusals: &mut u64, now: Nanos) -> u64 {
    *refusals = refusals.wrapping_add(1);
    now.0.wrapping_add(*refusals)
}
