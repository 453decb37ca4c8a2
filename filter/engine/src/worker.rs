//! One plugin instance in one VM: what it holds, and the housekeeping of the tick. Its decisions are in [`decide`].
//!
//! The tick ([`pace`] says when) looks whether another table is in force, hands counts over, returns idle leases, keeps the
//! list of serving workers (their number sizes the leases), and lets the [`leader`](crate::leader) do its part.
//!
//! Shared data can be gone at any time (its last user left, the proxy was hot-restarted): then the keys start with one
//! second of their rate, under a new boot id, and the counters from zero.

mod counting;
mod decide;
mod following;
mod guarding;
mod pace;
mod settle;

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use forebay_admission::{Account, Conditions, Counts, Nanos, Pool};
use forebay_protocol::Generation;
use forebay_protocol::policy::Tags;

use crate::config::{Config, ConfigError};
use crate::effect::{CallKind, Effect};
use crate::host::{Host, replace};
use crate::keys::Keys;
use crate::leader::{Answer, Leader};
use crate::policy::facts::Store;
use crate::record::Record;
use crate::settling::Settling;
use crate::shared::{self, Boot, Version};
use crate::strangers::Strangers;
use crate::streams::{Followed, Module, Streams};
use crate::waiting::WAITING_TICK_MS;
use pace::Pace;

pub use pace::{QUIET_TICK_MS, TICK_MS};

/// How often workers say that they serve, and who leads is settled.
const HOUSEKEEPING: u64 = 500 * Nanos::MILLI;

/// How long a worker that no longer says so counts as serving.
const MEMBER_TTL: u64 = 10 * Nanos::SECOND;

/// Most workers on the list; a proxy with more sizes its leases for so many.
const MAX_MEMBERS: usize = 256;

/// Counts go to shared data this often within a report interval, so that a report tells of its own time and not of the
/// time before; at most [`FLUSH_MAX`] apart, which is what a crashing VM can lose.
const FLUSHES_PER_REPORT: u64 = 4;
const FLUSH_MAX: u64 = 200 * Nanos::MILLI;

/// A plugin instance.
#[derive(Debug)]
pub struct Worker {
    config: Config,
    keys: Keys,
    /// The policy's pools, with what is reserved in them.
    pools: Arc<[Pool]>,
    leader: Leader,
    boot: Option<Boot>,
    version: Version,
    member: Option<u64>,
    workers: u64,
    served: bool,
    /// The last tick, which the coarse clock starts from.
    ticked: Option<Nanos>,
    /// Whether any account may hold a lease or a count: what the tick must look at all of them for.
    busy: bool,
    pace: Pace,
    /// What a request found out and the next tick says.
    late: Vec<Effect>,
    exempt: u64,
    failed_open: u64,
    facts: Store,
    /// The name of the tenant being decided about, where it matters.
    name: Vec<u8>,
    pub(crate) record: Record,
    /// Refusals so far: what parts the retries of clients that are refused in the same instant.
    refusals: u64,
    pub(crate) streams: Streams,
    next_house: Nanos,
    settling: Followed<Settling>,
    next_flush: Nanos,
    next_housekeeping: Nanos,
}

impl Worker {
    /// Reads the plugin configuration, in the module that knows no streams ([`Module::Lean`]). Touches no host: Envoy runs
    /// this on a canary first.
    ///
    /// # Errors
    /// What is wrong with the configuration.
    pub fn configure(json: &[u8]) -> Result<Self, ConfigError> {
        Self::configure_in(Module::Lean, json)
    }

    /// Reads the plugin configuration in this module.
    ///
    /// # Errors
    /// What is wrong with the configuration, or what in it needs the other module.
    pub fn configure_in(module: Module, json: &[u8]) -> Result<Self, ConfigError> {
        let config = Config::parse(json)?;
        module.check(&config)?;
        let keys = Keys::new(&config, &[]);
        Ok(Self {
            pools: keys.pools(&config).into(),
            keys,
            leader: Leader::default(),
            boot: None,
            version: Version::default(),
            member: None,
            workers: u64::MAX,
            served: false,
            ticked: None,
            busy: false,
            pace: Pace::default(),
            late: Vec::new(),
            exempt: 0,
            failed_open: 0,
            facts: Store::default(),
            name: Vec::new(),
            record: Record::new(&config),
            refusals: 0,
            streams: Streams::new(&config.policy),
            next_house: Nanos::default(),
            settling: Followed::new(Settling::default),
            next_flush: Nanos::default(),
            next_housekeeping: Nanos::default(),
            config,
        })
    }

    /// Whether requests lose their debug header here, because a token is a secret.
    pub fn strips_debug_header(&self) -> bool {
        self.config.policy.provenance.as_ref().is_some_and(|told| !told.gate.is_closed())
    }

    /// The name of a counter that an effect gave by number.
    pub fn counter_name(&self, number: u16) -> Option<String> {
        self.record.named.name(number, &self.config.policy)
    }

    /// What the policy marks admitted requests with, and the token by which later proxies know that they are charged.
    pub fn marks(&self) -> (Tags, Option<&str>) {
        (self.config.policy.tags, self.config.charged_token.as_deref())
    }

    /// The tick, as often as [`Effect::TickEvery`] last said; every [`TICK_MS`] before.
    pub fn on_tick(&mut self, host: &mut impl Host) -> Vec<Effect> {
        let mut effects = core::mem::take(&mut self.late);
        let now = host.now();
        self.ticked = Some(now);
        if self.boot.is_none() {
            self.join(host);
        }
        if self.streams.ticks_short() {
            self.serve_waiting(host, now, &mut effects);
        } else {
            self.keep_house(host, now, &mut effects);
        }
        effects.extend(self.keep_pace(now));
        effects
    }

    /// What a short tick does.
    fn serve_waiting(&mut self, host: &mut impl Host, now: Nanos, effects: &mut Vec<Effect>) {
        if now >= self.next_house {
            // Not quite a long tick, so that a short one that comes a little early does not wait for another one.
            self.next_house = now.plus(u64::from(TICK_MS - WAITING_TICK_MS) * Nanos::MILLI);
            self.keep_house(host, now, effects);
        }
        let pools = Arc::clone(&self.pools);
        let conditions = conditions(self.boot, &self.version, self.workers, &pools, now);
        let mut ended = Vec::new();
        if let (Some(waiting), guards) = self.streams.both() {
            waiting.serve(&mut self.keys, guards, (&conditions, now), host, &mut ended, effects);
        }
        for wait in ended {
            self.end_wait(&wait, (&conditions, now), host, effects);
        }
        // Accounts may have been charged.
        self.busy |= !effects.is_empty();
    }

    /// What every long tick does.
    fn keep_house(&mut self, host: &mut impl Host, now: Nanos, effects: &mut Vec<Effect>) {
        self.follow_version(host, effects);
        self.settle_due(now, host);
        self.guard_tick(now, host, effects);
        if now >= self.next_flush {
            self.next_flush = now.plus(self.flush_interval());
            self.hand_over_counts(host, effects);
            self.give_back_idle(host, now);
            // An idle worker with ten thousand keys must not look at each of them five times a second.
            let contracted = self.keys.accounts.iter().take(self.keys.keys.len());
            self.busy = self.busy
                && (self.keys.strangers.as_ref().is_some_and(Strangers::is_busy) || { contracted }
                    .any(holds_something));
        }
        if let Some(strangers) = &mut self.keys.strangers {
            let conditions = conditions(self.boot, &self.version, self.workers, &self.pools, now);
            strangers.on_tick(&conditions, now, &mut self.keys.accounts, host);
        }
        if now >= self.next_housekeeping {
            self.next_housekeeping = now.plus(HOUSEKEEPING);
            self.join(host);
            let workers = self.workers;
            self.keep_membership(host, now);
            if self.workers != workers {
                effects.extend(self.over_admission_bound());
            }
            if let (Some(member), true) = (self.member, self.config.controller.is_some()) {
                self.leader.stand(member, host, now);
            }
        }
        if let (Some(controller), Some(boot)) = (&self.config.controller, self.boot) {
            let (proxy, attributes) = (self.config.proxy_id.as_deref(), &self.config.policy.attributes);
            self.leader.act(controller, proxy, boot, &mut self.keys, attributes, host, now, effects);
        }
    }

    /// An answer of the controller, or the news that there is none.
    pub fn on_answer(&mut self, kind: CallKind, answer: Answer, host: &mut impl Host) -> Vec<Effect> {
        let mut effects = Vec::new();
        self.leader.answered(kind, answer, &mut self.keys, host, &mut effects);
        self.follow_version(host, &mut effects);
        effects
    }

    /// The table in force; all zero without one.
    pub fn generation(&self) -> Generation {
        self.version.generation
    }

    /// Units that this worker holds of all keys together.
    pub fn leased_units(&self) -> u64 {
        self.keys.accounts.iter().map(Account::leased_units).sum()
    }

    fn flush_interval(&self) -> u64 {
        let report = self.config.controller.as_ref().map(|controller| u64::from(controller.report_interval_ms));
        report.map_or(FLUSH_MAX, |ms| (ms * Nanos::MILLI / FLUSHES_PER_REPORT).min(FLUSH_MAX))
    }

    fn give_back_idle(&mut self, host: &mut impl Host, now: Nanos) {
        if !self.busy {
            return;
        }
        let conditions = conditions(self.boot, &self.version, self.workers, &self.pools, now);
        let contracted = self.keys.keys.len();
        let (accounts, mut ledger) = self.keys.open(host);
        for (index, account) in accounts.iter_mut().enumerate().take(contracted) {
            account.give_back_idle(index, &conditions, now, &mut ledger);
        }
    }

    /// Says that this worker serves, if it does, and counts those that do.
    fn keep_membership(&mut self, host: &mut impl Host, now: Nanos) {
        let Some(me) = self.member.filter(|_| self.served) else { return };
        let mut serving = 0;
        let kept = replace(host, shared::MEMBERS, |bytes| {
            let mut rows: Vec<(u64, u64)> = Vec::new();
            let mut words = shared::words(bytes.unwrap_or_default());
            while let (Some(member), Some(seen)) = (words.next(), words.next()) {
                if member != me && now.since(Nanos(seen)) < MEMBER_TTL && rows.len() + 1 < MAX_MEMBERS {
                    rows.push((member, seen));
                }
            }
            rows.push((me, now.0));
            serving = rows.len() as u64;
            Some(rows.iter().flat_map(|(member, seen)| [*member, *seen]).flat_map(u64::to_le_bytes).collect())
        });
        if kept.is_ok() {
            self.workers = serving;
        }
    }
}

/// What is in force at `now`.
fn conditions<'a>(
    boot: Option<Boot>,
    version: &Version,
    workers: u64,
    pools: &'a [Pool],
    now: Nanos,
) -> Conditions<'a> {
    Conditions {
        born: boot.map_or(now, |boot| boot.born),
        // Without any table the fallback policy is all there is, and it does not expire.
        valid_until: if version.parts == 0 { Nanos(u64::MAX) } else { version.expires_at },
        workers,
        pools,
    }
}

/// Whether there is something to give back or to hand over.
fn holds_something(account: &Account) -> bool {
    account.holds_lease() || account.counts() != Counts::default()
}
