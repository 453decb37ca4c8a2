//! One plugin instance in one VM: what it holds, and the housekeeping of the tick. Its decisions are in [`decide`].
//!
//! The tick, every [`TICK_MS`], looks whether another table is in force, hands counts over, returns idle leases, keeps the
//! list of serving workers (their number sizes the leases), and lets the [`leader`](crate::leader) do its part.
//!
//! Shared data can be gone at any time (its last user left, the proxy was hot-restarted): then the keys start with one
//! second of their rate, under a new boot id, and the counters from zero.

mod counting;
mod decide;
mod guarding;
mod settle;

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use forebay_admission::{Account, Conditions, Counts, Grant, KeyState, Ledger, Nanos, Pool, PoolState, lease_cap};
use forebay_protocol::Generation;
use forebay_protocol::policy::Tags;

use crate::config::{Config, ConfigError};
use crate::effect::{CallKind, Effect};
use crate::host::{Expected, Host, replace};
use crate::keys::Keys;
use crate::leader::{Answer, Leader};
use crate::policy::facts::Store;
use crate::record::Record;
use crate::settling::Settling;
use crate::shared::{self, Boot, Version};
use crate::strangers::{OwnBuckets, Strangers, join_seed};
use crate::streams::{Followed, Module, Streams};
use crate::table::{self, KeyGrant};
use crate::waiting::WAITING_TICK_MS;

/// Tick period in milliseconds: a push waits at most this long for a worker to see it.
pub const TICK_MS: u32 = 50;

/// How often workers say that they serve, and who leads is settled.
const HOUSEKEEPING: u64 = 500 * Nanos::MILLI;

/// A worker that served nothing for so many ticks (2 s) and does not lead is quiet: it looks at shared data at every
/// [`QUIET_EVERY`]th tick, 200 ms apart, so that a push still reaches it in 250 ms. Its first request looks at once.
/// The timer itself goes on: Envoy replaces a timer whose period changes, and must not while that timer fires.
const QUIET_AFTER: u32 = 40;
const QUIET_EVERY: u32 = 4;

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
    /// Ticks since the last request.
    ticks_unused: u32,
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
            ticks_unused: 0,
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

    /// Says that a tick has come, and whether [`Worker::on_tick`] has something to do in it. A quiet worker mostly has
    /// not, and then nothing asks the host for anything.
    pub fn wakes(&mut self) -> bool {
        self.ticks_unused = self.ticks_unused.saturating_add(1);
        let idle = !self.busy && !self.streams.ticks_short();
        let quiet = self.ticks_unused > QUIET_AFTER && idle && self.boot.is_some() && !self.leader.leads();
        !quiet || self.ticks_unused % QUIET_EVERY == 0
    }

    /// The tick.
    pub fn on_tick(&mut self, host: &mut impl Host) -> Vec<Effect> {
        let mut effects = core::mem::take(&mut self.late);
        let now = host.now();
        self.ticked = Some(now);
        if self.boot.is_none() {
            self.join(host);
        }
        if !self.streams.ticks_short() {
            self.keep_house(host, now, &mut effects);
            return effects;
        }
        if now >= self.next_house {
            // Not quite a long tick, so that a short one that comes a little early does not wait for another one.
            self.next_house = now.plus(u64::from(TICK_MS - WAITING_TICK_MS) * Nanos::MILLI);
            self.keep_house(host, now, &mut effects);
        }
        let pools = Arc::clone(&self.pools);
        let conditions = conditions(self.boot, &self.version, self.workers, &pools, now);
        let mut ended = Vec::new();
        if let (Some(waiting), guards) = self.streams.both() {
            waiting.serve(&mut self.keys, guards, (&conditions, now), host, &mut ended, &mut effects);
        }
        for wait in ended {
            self.end_wait(&wait, (&conditions, now), host, &mut effects);
        }
        // Accounts may have been charged.
        self.busy |= !effects.is_empty();
        effects
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

    /// Finds the process's shared data, or starts it; takes a member number the first time.
    fn join(&mut self, host: &mut impl Host) {
        let found = host.shared_get(shared::BOOT).and_then(|(bytes, _)| Boot::decode(&bytes));
        let boot = found.or_else(|| {
            let mine = Boot { born: host.now(), id: host.wall_nanos() };
            // Whoever is first wins; the loser takes what is there.
            let _ = host.shared_set(shared::BOOT, &mine.encode(), Expected::Absent);
            host.shared_get(shared::BOOT).and_then(|(bytes, _)| Boot::decode(&bytes))
        });
        if boot.is_some() && boot != self.boot {
            self.boot = boot;
            self.member = None;
            self.leader = Leader::default();
            for key in &mut self.keys.keys {
                key.reported = 0;
            }
            self.keys.set_slots(None);
        }
        if self.keys.own_buckets && self.keys.strangers.is_none() {
            self.give_slots(host);
        }
        if self.member.is_none() {
            let mut number = None;
            let taken = replace(host, shared::MEMBER, |last| {
                let next = last.and_then(|bytes| shared::words(bytes).next()).unwrap_or(0).saturating_add(1);
                number = Some(next);
                Some(shared::encode_words(&[next]))
            });
            self.member = number.filter(|_| taken.is_ok());
        }
    }

    /// Makes the slots of tenants without contract, when shared data has or takes a seed.
    fn give_slots(&mut self, host: &mut impl Host) {
        let resources = self.config.policy.resources.iter().enumerate().filter(|(_, resource)| resource.each);
        let own = resources.map(|(rule, resource)| OwnBuckets {
            rule,
            resource: resource.name.clone(),
            limit: resource.others,
        });
        let random = host.random();
        let seed = join_seed(host, random);
        let strangers = seed.and_then(|seed| Strangers::new(seed, own.collect(), self.keys.keys.len(), host.now()));
        self.keys.set_slots(strangers);
    }

    /// Takes the table into force that shared data names, when it is another one.
    fn follow_version(&mut self, host: &mut impl Host, effects: &mut Vec<Effect>) {
        let Some(version) = host.shared_get(shared::VERSION).and_then(|(bytes, _)| Version::decode(&bytes)) else {
            return;
        };
        if version.generation == self.version.generation {
            self.version = version;
            return;
        }
        // A part that is being overwritten by a newer table does not carry this generation: next tick.
        let Some(grants) = read_table(&version, host) else { return };
        self.hand_over_counts(host, effects);
        let (new, relimited) = self.keys.rebuilt(&self.config, &grants);
        self.settle_levels(&relimited, host);
        if let Some(settling) = self.settling.get_mut() {
            settling.renumber(&self.keys.keys, &new.keys);
        }
        let old = core::mem::replace(&mut self.keys, new);
        self.settle_pools(host);
        if let Some(waiting) = self.streams.waiting.get_mut() {
            waiting.renumber(&old, &self.keys, host.now());
        }
        self.version = version;
        effects.extend(self.over_admission_bound());
    }

    /// Brings the buckets of keys whose limit changes up to date under the old one. A bucket is refilled when it is looked
    /// at, so without this a raised share would be credited for the time before it was granted.
    fn settle_levels(&self, relimited: &[(usize, Grant)], host: &mut impl Host) {
        let now = host.now();
        let conditions = conditions(self.boot, &self.version, self.workers, &self.pools, now);
        for (index, before) in relimited {
            let Some(key) = self.keys.keys.get(*index) else { continue };
            let before = if now < conditions.valid_until { before.standard } else { before.safe };
            // After a lost race somebody else has just brought it up to date.
            let _ = replace(host, &key.state_key, |bytes| {
                let known = bytes.and_then(KeyState::decode);
                let mut state = known.unwrap_or_else(|| KeyState::at_boot(before, conditions.born));
                state.refill(before, now);
                Some(state.encode().to_vec())
            });
        }
    }

    /// The most that all workers together can hold of one key that its bucket leaves no room for, as a metric: a request
    /// each, or what settlement may put back into leases. A worker that does not serve does not know how many do, and says
    /// nothing.
    fn over_admission_bound(&self) -> Option<Effect> {
        if self.workers == u64::MAX {
            return None;
        }
        let bound = |limit: u64| lease_cap(limit, self.workers, 1).saturating_mul(self.workers);
        let contracted = self.keys.accounts.iter().take(self.keys.keys.len());
        let bursts = contracted.map(|account| account.grant().standard.burst);
        Some(Effect::OverAdmissionBound(bursts.map(bound).max().unwrap_or(0)))
    }

    /// Takes the reservations of the keys into the pools. What a pool has left is brought up to date under the old ones
    /// first, because it is refilled when it is looked at.
    fn settle_pools(&mut self, host: &mut impl Host) {
        let (now, born) = (host.now(), self.boot.map(|boot| boot.born));
        let new: Arc<[Pool]> = self.keys.pools(&self.config).into();
        let old = core::mem::replace(&mut self.pools, new);
        let changed = old.iter().zip(&*self.pools).enumerate().filter(|(_, (old, new))| old != new);
        for (number, (old, _)) in changed {
            // After a lost race somebody else has just brought it up to date.
            let _ = self.keys.open(host).1.replace_pool(number, &mut |state| {
                let mut state = state.unwrap_or_else(|| PoolState::at_boot(old, born.unwrap_or(now)));
                state.give_back(old, 0, now);
                Some(state)
            });
        }
        if old != self.pools {
            // A member whose own grant is the same may remember that there is nothing to borrow.
            let accounts = self.keys.accounts.iter_mut();
            accounts.filter(|account| account.grant().pool.is_some()).for_each(Account::look_again);
        }
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

/// The whole table that `version` names; `None` while any part is missing or belongs to another one.
fn read_table(version: &Version, host: &mut impl Host) -> Option<Vec<KeyGrant>> {
    let mut all = Vec::new();
    for part in 0..version.parts {
        let (bytes, _) = host.shared_get(&shared::table_key(version.bank, part))?;
        let (arrived, message) = bytes.split_first_chunk::<8>()?;
        let forebay_protocol::Message::GrantTable(read) = forebay_protocol::decode(message).ok()? else { return None };
        if read.generation != version.generation || u64::from(read.part) != part {
            return None;
        }
        all.extend(table::grants(&read, Nanos(u64::from_le_bytes(*arrived)))?);
        if all.len() > table::MAX_KEYS {
            return None;
        }
    }
    Some(all)
}
