//! Fifty proxies of two workers, one controller, virtual time.

use std::collections::BTreeMap;
use std::time::Duration;

use forebay::rehearsal::Rehearsal;
use forebay_admission::Nanos;
use forebay_engine::leader::Answer;
use forebay_engine::memory::Memory;
use forebay_engine::worker::TICK_MS;
use forebay_engine::{CallKind, CallOut, Effect, Metric, Outcome, Worker};
use forebay_protocol::{Generation, Limit, Message, Report, Watch, decode, encode};

use super::STEP_MS;
use super::network::{Dice, Fate, Network};

pub(super) const PROXIES: usize = 50;
const WORKERS: usize = 2;
const START_UNIX_S: f64 = 1_767_225_610.0;
const WATCH_HOLD_MS: u64 = 18_000;
/// Fastest clock of a proxy, parts per million above true time.
const DRIFT_PPM: u64 = 500;

#[derive(Clone, Copy, Debug)]
pub(super) struct Settings {
    pub(super) faults: bool,
    /// The contract, units per second and units.
    pub(super) rate: u64,
    pub(super) burst: u64,
}

/// The one place that knows what a proxy's configuration looks like: everything comes from the controller.
fn plugin_configuration(proxy: usize) -> Vec<u8> {
    format!(
        r#"{{"proxy_id": "proxy-{proxy:02}", "controller": {{"cluster": "controller"}},
            "policy": {{"resources": [{{"name": "requests", "others": {{"rate_per_s": 0, "burst": 0}}}}]}}}}"#
    )
    .into_bytes()
}

fn controller_configuration(settings: Settings) -> String {
    format!(
        "contracts: [ {{ tenant: shop, resource: requests, rate_per_s: {}, burst: {}, shadow_max_per_s: 0 }} ]\n\
         sync: {{ grant_validity_s: 10 }}",
        settings.rate, settings.burst
    )
}

/// What a proxy may use of the one key, as its messages say.
#[derive(Clone, Copy)]
struct InForce {
    generation: Generation,
    standard: Limit,
    safe: Limit,
    expires_at_ms: u64,
}

impl InForce {
    fn limit(&self, now_ms: u64) -> Limit {
        if now_ms < self.expires_at_ms { self.standard } else { self.safe }
    }
}

struct Proxy {
    memory: Memory,
    workers: Vec<Worker>,
    /// How often each of them ticks.
    tick_ms: [u64; WORKERS],
    /// Of the proxy's clock: skew in ms and rate in parts per million of true time.
    skew_ms: u64,
    pace_ppm: u64,
    per_s: u64,
    /// Counts boots, so that answers to an earlier one go nowhere.
    life: u64,
    in_force: Option<InForce>,
    tables: u64,
}

impl Proxy {
    fn new(number: usize, skew_ms: u64, pace_ppm: u64) -> Self {
        let configuration = plugin_configuration(number);
        let worker = || Worker::configure(&configuration).expect("the configuration is right");
        Self {
            memory: Memory::default(),
            workers: (0..WORKERS).map(|_| worker()).collect(),
            tick_ms: [u64::from(TICK_MS); WORKERS],
            skew_ms,
            pace_ppm,
            per_s: 0,
            life: 0,
            in_force: None,
            tables: 0,
        }
    }

    fn set_time(&mut self, now_ms: u64) {
        let nanos = (u128::from(now_ms) * 1_000_000 * u128::from(self.pace_ppm) / 1_000_000) as u64;
        self.memory.now = Nanos(self.skew_ms * 1_000_000 + nanos);
        self.memory.wall_nanos = self.memory.now.0 + 1;
    }
}

/// Something on its way.
enum Parcel {
    ToController { body: Vec<u8>, first: bool },
    ToProxy(Answer),
}

struct Call {
    proxy: usize,
    worker: usize,
    life: u64,
    kind: CallKind,
    timeout_at_ms: u64,
}

pub(super) struct Mesh {
    settings: Settings,
    dice: Dice,
    network: Network,
    proxies: Vec<Proxy>,
    controller: Option<Rehearsal>,
    folder: tempfile::TempDir,
    now_ms: u64,
    next_call: u64,
    calls: BTreeMap<u64, Call>,
    parcels: BTreeMap<(u64, u64, bool), Vec<Parcel>>,
    /// Watches that the controller holds: call, watch, until.
    held: Vec<(u64, Watch, u64)>,
    /// Units admitted, and bursts of proxies that joined, in each step.
    admitted: Vec<u64>,
    joined: Vec<u64>,
    offered: u64,
    bound: u64,
    /// The most that was in force at all proxies together: milli-units per second, and units.
    in_force: (u64, u64),
    /// The same while tables of two controllers were in force.
    in_transition: (u64, u64),
}

impl Mesh {
    pub(super) fn new(seed: u64, settings: Settings) -> Self {
        let mut dice = Dice(seed);
        let faulty = settings.faults;
        let mut proxy = |number| {
            let (skew, drift) = (dice.below(100_000), dice.below(2 * DRIFT_PPM));
            Proxy::new(number, 1_000 + skew, if faulty { 1_000_000 - DRIFT_PPM + drift } else { 1_000_000 })
        };
        let proxies = (0..PROXIES).map(&mut proxy).collect();
        let mut mesh = Self {
            settings,
            dice,
            network: Network::new(settings.faults, PROXIES),
            proxies,
            controller: None,
            folder: tempfile::tempdir().expect("a folder"),
            now_ms: 0,
            next_call: 0,
            calls: BTreeMap::new(),
            parcels: BTreeMap::new(),
            held: Vec::new(),
            admitted: Vec::new(),
            joined: Vec::new(),
            offered: 0,
            bound: 0,
            in_force: (0, 0),
            in_transition: (0, 0),
        };
        mesh.start_controller();
        mesh
    }

    pub(super) fn demand(&mut self, per_s: impl Fn(usize) -> u64) {
        for (number, proxy) in self.proxies.iter_mut().enumerate() {
            proxy.per_s = per_s(number);
        }
    }

    pub(super) fn run_s(&mut self, seconds: u64) {
        for _ in 0..seconds * 1_000 / STEP_MS {
            self.step();
        }
    }

    /// The controller dies, and another one starts after this long.
    pub(super) fn restart_controller_s(&mut self, away_s: u64) {
        self.controller = None;
        for (call, _, _) in std::mem::take(&mut self.held) {
            self.answer_to(call, Answer::Failed);
        }
        self.run_s(away_s);
        self.start_controller();
    }

    /// A proxy loses its shared data.
    pub(super) fn restart_proxy(&mut self, number: usize) {
        let old = &self.proxies[number];
        let (per_s, life, tables) = (old.per_s, old.life + 1, old.tables);
        let new = Proxy::new(number, old.skew_ms, old.pace_ppm);
        self.proxies[number] = Proxy { per_s, life, tables, ..new };
    }

    fn start_controller(&mut self) {
        let unix_s = START_UNIX_S + self.now_ms as f64 / 1_000.0;
        let yaml = controller_configuration(self.settings);
        self.controller = Some(Rehearsal::start(&yaml, self.folder.path(), unix_s).expect("the controller starts"));
    }

    fn step(&mut self) {
        self.now_ms += STEP_MS;
        self.admitted.push(0);
        self.joined.push(0);
        if self.now_ms.is_multiple_of(100) {
            self.network.cut(self.now_ms, &mut self.dice);
        }
        if let Some(controller) = &mut self.controller {
            controller.advance(Duration::from_millis(STEP_MS));
        }
        self.deliver();
        self.answer_watches();
        for number in 0..PROXIES {
            self.proxies[number].set_time(self.now_ms);
            for worker in 0..WORKERS {
                // Workers do not tick in step.
                let proxy = &mut self.proxies[number];
                let steps = proxy.tick_ms[worker] / STEP_MS;
                if (self.now_ms / STEP_MS + number as u64 + 2 * worker as u64).is_multiple_of(steps) {
                    let effects = proxy.workers[worker].on_tick(&mut proxy.memory.host());
                    self.take(number, worker, effects);
                }
            }
            self.requests(number);
        }
        let now_ms = self.now_ms;
        let tables = || self.proxies.iter().filter_map(|proxy| proxy.in_force);
        let limits = tables().map(|table| table.limit(now_ms));
        let sum = limits.fold((0, 0), |sum, limit| (sum.0 + limit.rate_milli_per_s, sum.1 + limit.burst));
        let epochs = tables().map(|table| table.generation.epoch);
        let most = if epochs.clone().min() == epochs.max() { &mut self.in_force } else { &mut self.in_transition };
        *most = (most.0.max(sum.0), most.1.max(sum.1));
        if self.now_ms.is_multiple_of(1_000) {
            self.read_bound();
        }
    }

    fn requests(&mut self, number: usize) {
        // One in so many chances: a Bernoulli process of small steps.
        let mean_milli = self.proxies[number].per_s * STEP_MS;
        let mut count = mean_milli / 1_000;
        count += u64::from(self.dice.below(1_000) < mean_milli % 1_000);
        for _ in 0..count {
            let worker = self.dice.below(WORKERS as u64) as usize;
            let proxy = &mut self.proxies[number];
            let outcome = proxy.workers[worker].on_request(&mut proxy.memory.request(&[("x-tenant", b"shop")]));
            self.offered += 1;
            if matches!(outcome, Outcome::Admit(_)) {
                *self.admitted.last_mut().expect("a step has begun") += 1;
            }
        }
    }

    fn take(&mut self, number: usize, worker: usize, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Call(call) => self.call(number, worker, &call),
                Effect::Count(Metric::TablesApplied, n) => self.proxies[number].tables += n,
                Effect::TickEvery(ms) => self.proxies[number].tick_ms[worker] = u64::from(ms),
                _ => {}
            }
        }
    }

    fn call(&mut self, proxy: usize, worker: usize, call: &CallOut) {
        let id = self.next_call;
        self.next_call += 1;
        let (life, kind) = (self.proxies[proxy].life, call.kind);
        let timeout_at_ms = self.now_ms + u64::from(call.timeout_ms);
        self.calls.insert(id, Call { proxy, worker, life, kind, timeout_at_ms });
        self.parcels.entry((timeout_at_ms, id, true)).or_default().push(Parcel::ToProxy(Answer::Failed));
        match self.network.fate(proxy, self.now_ms, &mut self.dice) {
            Fate::Reset => self.send(20, id, Parcel::ToProxy(Answer::Failed)),
            Fate::Swallowed => {}
            Fate::Arrives { after_ms } => {
                if self.network.faulty && self.dice.chance(10) {
                    self.network.seen.repeated += 1;
                    let later = self.dice.below(3_000);
                    self.send(later, id, Parcel::ToController { body: call.body.clone(), first: false });
                }
                self.send(after_ms, id, Parcel::ToController { body: call.body.clone(), first: true });
            }
        }
    }

    fn send(&mut self, after_ms: u64, call: u64, parcel: Parcel) {
        let at = self.now_ms + after_ms.max(1);
        self.parcels.entry((at, call, false)).or_default().push(parcel);
    }

    fn answer_to(&mut self, call: u64, answer: Answer) {
        let Some(proxy) = self.calls.get(&call).map(|call| call.proxy) else { return };
        match self.network.fate(proxy, self.now_ms, &mut self.dice) {
            Fate::Arrives { after_ms } => self.send(after_ms, call, Parcel::ToProxy(answer)),
            Fate::Reset => self.send(20, call, Parcel::ToProxy(Answer::Failed)),
            Fate::Swallowed => {}
        }
    }

    fn deliver(&mut self) {
        while let Some(entry) = self.parcels.first_entry() {
            if entry.key().0 > self.now_ms {
                return;
            }
            let ((_, call, _), parcels) = entry.remove_entry();
            for parcel in parcels {
                match parcel {
                    Parcel::ToController { body, first } => self.at_controller(call, &body, first),
                    Parcel::ToProxy(answer) => self.at_proxy(call, answer),
                }
            }
        }
    }

    fn at_controller(&mut self, call: u64, body: &[u8], first: bool) {
        let Some(controller) = &mut self.controller else {
            return self.answer_to(call, Answer::Failed);
        };
        match decode(body).expect("filters send messages") {
            Message::Report(report) => {
                let ack = Self::acknowledged(controller, &report);
                if first {
                    self.answer_to(call, ack);
                }
            }
            Message::Watch(watch) => {
                // Nobody waits for the answer to a repeated watch.
                if controller.watch(&watch) && first {
                    self.held.push((call, watch, self.now_ms + WATCH_HOLD_MS));
                }
            }
            other => panic!("not from a filter: {other:?}"),
        }
    }

    fn acknowledged(controller: &mut Rehearsal, report: &Report) -> Answer {
        match controller.report(report) {
            Some(ack) => Answer::Received { status: 200, body: encode(&Message::ReportAck(ack)) },
            None => Answer::Received { status: 400, body: Vec::new() },
        }
    }

    fn answer_watches(&mut self) {
        let Some(controller) = &mut self.controller else { return };
        let mut answers = Vec::new();
        self.held.retain(|(call, watch, until_ms)| {
            let answer = match controller.news(watch) {
                Some(body) => Answer::Received { status: 200, body },
                None if self.now_ms >= *until_ms => Answer::Received { status: 204, body: Vec::new() },
                None => return true,
            };
            answers.push((*call, answer));
            false
        });
        for (call, answer) in answers {
            self.answer_to(call, answer);
        }
    }

    /// The first answer or the time-out ends a call; what comes later goes nowhere.
    fn at_proxy(&mut self, id: u64, answer: Answer) {
        let Some(call) = self.calls.remove(&id) else { return };
        self.parcels.remove(&(call.timeout_at_ms, id, true));
        let proxy = &mut self.proxies[call.proxy];
        if proxy.life != call.life {
            return;
        }
        let message = match &answer {
            Answer::Received { status: 200, body } => decode(body).ok(),
            _ => None,
        };
        match (message, &mut proxy.in_force) {
            (Some(Message::ReportAck(ack)), Some(table)) if table.generation == ack.generation => {
                table.expires_at_ms = self.now_ms + u64::from(ack.valid_for_ms);
            }
            (Some(Message::GrantTable(table)), in_force)
                if in_force.is_none_or(|old| table.generation > old.generation) =>
            {
                let grant = table.grants.first().expect("one contract");
                if in_force.is_none() {
                    // It joins with a bucket that nobody filled before.
                    *self.joined.last_mut().expect("a step has begun") += grant.standard.burst;
                }
                let expires_at_ms = self.now_ms + u64::from(table.valid_for_ms);
                let (generation, standard, safe) = (table.generation, grant.standard, grant.safe);
                *in_force = Some(InForce { generation, standard, safe, expires_at_ms });
            }
            _ => {}
        }
        proxy.set_time(self.now_ms);
        let effects = proxy.workers[call.worker].on_answer(call.kind, answer, &mut proxy.memory.host());
        self.take(call.proxy, call.worker, effects);
    }

    fn read_bound(&mut self) {
        let Some(controller) = &self.controller else { return };
        let name = "forebay_over_admission_bound_units{";
        let text = controller.metrics();
        let line = text.lines().find(|line| line.starts_with(name));
        let value = line.and_then(|line| line.rsplit(' ').next()).and_then(|value| value.parse().ok());
        self.bound = self.bound.max(value.unwrap_or(0));
    }

    /// The most that was admitted above rate x time + burst in any stretch, less what proxies joined with.
    pub(super) fn excess_units(&self) -> u64 {
        let per_step = self.settings.rate as f64 * STEP_MS as f64 / 1_000.0 * (1.0 + DRIFT_PPM as f64 / 1e6);
        let (mut above, mut most) = (0.0_f64, 0.0_f64);
        for (admitted, joined) in self.admitted.iter().zip(&self.joined) {
            above = (above + *admitted as f64 - *joined as f64 - per_step).max(0.0);
            most = most.max(above);
        }
        (most - self.settings.burst as f64).max(0.0).ceil() as u64
    }

    /// The most that was in force at all proxies together, at any moment: milli-units per second, and units.
    pub(super) fn most_in_force(&self) -> (u64, u64) {
        self.in_force
    }

    /// The same over the moments in which tables of two controllers were in force.
    pub(super) fn most_in_transition(&self) -> (u64, u64) {
        self.in_transition
    }

    /// The largest bound that the controller exported.
    pub(super) fn bound_units(&self) -> u64 {
        self.bound
    }

    fn used_percent(&self, second: u64) -> u64 {
        let steps = 1_000 / STEP_MS;
        let range = (second * steps) as usize..((second + 1) * steps) as usize;
        let units: u64 = self.admitted[range].iter().sum();
        units * 100 / self.settings.rate
    }

    /// Seconds from `began` until every later second uses this much of the limit.
    pub(super) fn seconds_until_used(&self, began: u64, percent: u64) -> Option<u64> {
        let short = (began..self.now_s()).rev().find(|second| self.used_percent(*second) < percent);
        let first = short.map_or(began, |second| second + 1);
        (first < self.now_s()).then_some(first - began)
    }

    pub(super) fn least_used_percent(&self, began: u64) -> u64 {
        (began..self.now_s()).map(|second| self.used_percent(second)).min().unwrap_or(0)
    }

    pub(super) fn now_s(&self) -> u64 {
        self.now_ms / 1_000
    }

    pub(super) fn admitted_units(&self) -> u64 {
        self.admitted.iter().sum()
    }

    pub(super) fn offered_units(&self) -> u64 {
        self.offered
    }

    pub(super) fn tables_applied(&self) -> u64 {
        self.proxies.iter().map(|proxy| proxy.tables).sum()
    }

    pub(super) fn faults(&self) -> String {
        let seen = self.network.seen;
        format!("{} messages lost, {} slow, {} repeated, {} cuts", seen.lost, seen.slow, seen.repeated, seen.cut)
    }
}
