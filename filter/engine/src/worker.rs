//! One plugin instance in one VM: the request path, and the housekeeping of the tick.
//!
//! The request path touches the host for the tenant's header and the clock, and shared data only to draw a lease. The
//! tick, every [`TICK_MS`], looks whether another table is in force, hands counts over, returns idle leases, keeps the
//! list of serving workers (their number sizes the leases), and lets the [`leader`](crate::leader) do its part.
//!
//! Shared data can be gone at any time (its last user left, the proxy was hot-restarted): then the keys start with one
//! second of their rate, under a new boot id, and the counters from zero.

use alloc::vec::Vec;

use forebay_admission::{
    Account, Clock, Conditions, Contended, Counts, KeyState, Ledger, Nanos, PoolState, admit, lease_cap,
};
use forebay_protocol::policy::{OnFailure, Tags};
use forebay_protocol::{Counters, Generation};

use crate::config::{Config, ConfigError};
use crate::effect::{CallKind, Effect, Metric};
use crate::host::{Expected, Host, replace};
use crate::keys::{Key, Keys};
use crate::leader::{Answer, Leader};
use crate::policy::facts::Store;
use crate::request::{self, Charges, Class, Outcome};
use crate::shared::{self, Boot, Version};
use crate::table::{self, KeyGrant};

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
    next_flush: Nanos,
    next_housekeeping: Nanos,
}

impl Worker {
    /// Reads the plugin configuration. Touches no host: Envoy runs this on a canary first.
    ///
    /// # Errors
    /// What is wrong with the configuration.
    pub fn configure(json: &[u8]) -> Result<Self, ConfigError> {
        let config = Config::parse(json)?;
        Ok(Self {
            keys: Keys::new(&config, &[]),
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
            next_flush: Nanos::default(),
            next_housekeeping: Nanos::default(),
            config,
        })
    }

    /// Decides about the request whose headers the host holds.
    pub fn on_request(&mut self, host: &mut impl Host) -> Outcome {
        if self.boot.is_none() {
            // A new VM in a running proxy takes over what is in force before its first decision. It has counted nothing
            // yet, so there are no effects to carry out.
            self.join(host);
            self.follow_version(host, &mut Vec::new());
        }
        if core::mem::take(&mut self.ticks_unused) >= QUIET_AFTER {
            // The last look may be 200 ms old, longer than the coarse clock allows for.
            self.ticked = None;
            let mut late = core::mem::take(&mut self.late);
            self.follow_version(host, &mut late);
            self.late = late;
        }
        let mut facts = self.config.policy.facts(&mut self.facts, host);
        let (rule, row) = match request::classify(&self.config, &self.keys, &mut facts) {
            Class::Limited(rule, row) => (rule, row),
            Class::Unlimited => return Outcome::Pass,
            Class::Charged => return Outcome::Charged,
            Class::Free => {
                self.exempt += 1;
                return Outcome::Pass;
            }
            Class::Missing(rule) if self.config.enforce && !rule.dry_run => {
                return request::missing_tenant(self.config.policy.first_source(rule));
            }
            Class::Undecided(rule) if rule.on_failure == OnFailure::Closed && self.config.enforce && !rule.dry_run => {
                return request::undecided();
            }
            Class::Undecided(_) => {
                self.failed_open += 1;
                return Outcome::Pass;
            }
            Class::Missing(_) => return Outcome::Pass,
        };
        let charges = Charges::of(rule, &self.keys, row, &mut facts);
        self.served = true;
        self.busy = true;
        // A lease covers most requests, whatever the exact time: the clock is read when it matters.
        let mut clock = self.ticked.map_or_else(|| Clock::exact(host.now()), Clock::coarse);
        let conditions = self.conditions(clock.earliest());
        let mut ledger = SharedLedger { host, keys: &self.keys.keys, failed: false };
        let verdict = admit(&mut self.keys.accounts, charges.as_slice(), &conditions, &mut clock, &mut ledger);
        let failed = ledger.failed;
        match request::outcome(verdict, &self.keys, clock.earliest()) {
            Outcome::Refuse(_) if failed && rule.on_failure == OnFailure::Open => {
                self.failed_open += 1;
                Outcome::Pass
            }
            Outcome::Refuse(_) if rule.dry_run || !self.config.enforce => Outcome::Pass,
            outcome => outcome,
        }
    }

    /// What the policy marks admitted requests with, and the token by which later proxies know that they are charged.
    pub fn marks(&self) -> (Tags, Option<&str>) {
        (self.config.policy.tags, self.config.charged_token.as_deref())
    }

    /// Says that a tick has come, and whether [`Worker::on_tick`] has something to do in it. A quiet worker mostly has
    /// not, and then nothing asks the host for anything.
    pub fn wakes(&mut self) -> bool {
        self.ticks_unused = self.ticks_unused.saturating_add(1);
        let quiet = self.ticks_unused > QUIET_AFTER && !self.busy && self.boot.is_some() && !self.leader.leads();
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
        self.follow_version(host, &mut effects);
        if now >= self.next_flush {
            self.next_flush = now.plus(self.flush_interval());
            self.hand_over_counts(host, &mut effects);
            self.give_back_idle(host, now);
            // An idle worker with ten thousand keys must not look at each of them five times a second.
            self.busy = self.busy && self.keys.accounts.iter().any(holds_something);
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
            self.leader.act(controller, self.config.proxy_id.as_deref(), boot, &mut self.keys, host, now, &mut effects);
        }
        effects
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

    fn conditions(&self, now: Nanos) -> Conditions<'static> {
        Conditions {
            born: self.boot.map_or(now, |boot| boot.born),
            // Without any table the fallback policy is all there is, and it does not expire.
            valid_until: if self.version.parts == 0 { Nanos(u64::MAX) } else { self.version.expires_at },
            workers: self.workers,
            pools: &[],
        }
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
                key.reported = Counters::default();
            }
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
        self.keys = self.keys.rebuilt(&self.config, &grants);
        self.version = version;
        effects.extend(self.over_admission_bound());
    }

    /// The most that all workers together can hold of one key outside its bucket, as a metric. A worker that does not
    /// serve does not know how many do, and says nothing.
    fn over_admission_bound(&self) -> Option<Effect> {
        if self.workers == u64::MAX {
            return None;
        }
        let bound = |limit: u64| lease_cap(limit, self.workers, 1).saturating_mul(self.workers);
        let bursts = self.keys.accounts.iter().map(|account| account.grant().standard.burst);
        Some(Effect::OverAdmissionBound(bursts.map(bound).max().unwrap_or(0)))
    }

    fn flush_interval(&self) -> u64 {
        let report = self.config.controller.as_ref().map(|controller| u64::from(controller.report_interval_ms));
        report.map_or(FLUSH_MAX, |ms| (ms * Nanos::MILLI / FLUSHES_PER_REPORT).min(FLUSH_MAX))
    }

    /// Adds what was counted since the last time to shared data.
    fn hand_over_counts(&mut self, host: &mut impl Host, effects: &mut Vec<Effect>) {
        let mut total = Counts::default();
        let busy = if self.busy { usize::MAX } else { 0 };
        for (key, account) in self.keys.keys.iter().zip(&mut self.keys.accounts).take(busy) {
            let counts = account.counts();
            if counts == Counts::default() {
                continue;
            }
            let added = replace(host, &key.count_key, |bytes| {
                let counters = bytes.and_then(shared::decode_counters).unwrap_or_default();
                Some(shared::encode_counters(&add(&counters, &counts)))
            });
            // After a lost race the counts stay here until the next time.
            if added.is_ok() {
                account.clear_counts();
                total.reserved.requests += counts.reserved.requests;
                total.standard.requests += counts.standard.requests;
                total.refused.requests += counts.refused.requests;
            }
        }
        let exempt = core::mem::take(&mut self.exempt);
        let counted = [
            (Metric::Reserved, total.reserved.requests),
            (Metric::Standard, total.standard.requests),
            (Metric::Refused, total.refused.requests),
            (Metric::Exempt, exempt),
            (Metric::FailedOpen, core::mem::take(&mut self.failed_open)),
        ];
        effects.extend(counted.iter().filter(|(_, n)| *n > 0).map(|(metric, n)| Effect::Count(*metric, *n)));
    }

    fn give_back_idle(&mut self, host: &mut impl Host, now: Nanos) {
        if !self.busy {
            return;
        }
        let conditions = self.conditions(now);
        let mut ledger = SharedLedger { host, keys: &self.keys.keys, failed: false };
        for (index, account) in self.keys.accounts.iter_mut().enumerate() {
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

/// Whether there is something to give back or to hand over.
fn holds_something(account: &Account) -> bool {
    account.leased_units() > 0 || account.counts() != Counts::default()
}

fn add(counters: &Counters, counts: &Counts) -> Counters {
    Counters {
        reserved_requests: counters.reserved_requests.saturating_add(counts.reserved.requests),
        reserved_units: counters.reserved_units.saturating_add(counts.reserved.units),
        standard_requests: counters.standard_requests.saturating_add(counts.standard.requests),
        standard_units: counters.standard_units.saturating_add(counts.standard.units),
        refused_requests: counters.refused_requests.saturating_add(counts.refused.requests),
        refused_units: counters.refused_units.saturating_add(counts.refused.units),
    }
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

/// Shared data as the admission crate's ledger.
struct SharedLedger<'a, H> {
    host: &'a mut H,
    keys: &'a [Key],
    /// Whether an access has failed or lost every race: then the decision is not about the limit.
    failed: bool,
}

impl<H: Host> Ledger for SharedLedger<'_, H> {
    fn now(&mut self) -> Nanos {
        self.host.now()
    }

    fn replace(
        &mut self,
        key: usize,
        change: &mut dyn FnMut(Option<KeyState>) -> Option<KeyState>,
    ) -> Result<(), Contended> {
        let Some(key) = self.keys.get(key) else { return Err(Contended) };
        replace(self.host, &key.state_key, |bytes| {
            change(bytes.and_then(KeyState::decode)).map(|state| state.encode().to_vec())
        })
        .map_err(|_| {
            self.failed = true;
            Contended
        })
    }

    /// No policy names a pool yet.
    fn replace_pool(
        &mut self,
        _pool: usize,
        _change: &mut dyn FnMut(Option<PoolState>) -> Option<PoolState>,
    ) -> Result<(), Contended> {
        Err(Contended)
    }
}
