//! `cargo xtask bench decision`: the decision natively, beside the `governor` crate's keyed check, in one binary.
//!
//! Same work on both sides: look the tenant's name up among all keys, decide whether one unit is there, remember it. Same
//! keys, same limit, same order of requests, same kind of clock (governor's own `FakeRelativeClock`, one atomic number that
//! either side reads once per request; a real clock would add the same to both). Everybody has a clock of its own, so that
//! its requests come without a pause in which the others run: leases would grow old in it without a tick that gives them
//! back. Every request is admitted. All of it on one thread, which spares governor's sharded map its locks' contention and
//! Forebay nothing.
//!
//! Forebay's side is what the filter runs between the tenant's header and the verdict: name to row, row to key, `admit`
//! with leases; the ledger behind the leases is a vector here, as shared data is the host's. The whole engine
//! ([`Worker::on_request`], with the copy of the header and an answer as a value) is timed beside it.
//!
//! Governor is timed with its default keyed store (dashmap), with the same store under Forebay's hasher, and with a plain
//! map behind a lock; `ratio_to_governor` is to the default.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use forebay_admission::{Charge, Clock as Instants, Conditions, Contended, KeyState, Ledger, Nanos, Verdict, admit};
use forebay_engine::keys::Keys;
use forebay_engine::memory::Memory;
use forebay_engine::{Config, Outcome, Worker};
use governor::clock::{Clock, FakeRelativeClock, Reference};
use governor::middleware::NoOpMiddleware;
use governor::state::keyed::{DashMapStateStore, HashMapStateStore, KeyedStateStore};
use governor::{Quota, RateLimiter};
use hashbrown::DefaultHashBuilder;

/// Rate and burst of every key: never used up, so that both sides admit everything.
const RATE_PER_S: u32 = 1_000_000;
/// Time from one request to the next.
const GAP: Duration = Duration::from_micros(1);
/// Requests between two steps of the clock.
const BATCH: usize = 64;

/// Nanoseconds of a decision, Forebay and governor in turn.
#[derive(Debug, Parser)]
#[command(bin_name = "cargo xtask bench decision")]
struct Args {
    /// Rounds; everybody runs once in each
    #[arg(long, default_value_t = 30)]
    rounds: usize,
    /// Requests of each in a round
    #[arg(long, default_value_t = 200_000)]
    requests: usize,
    /// Tenants
    #[arg(long, default_value_t = 10_000)]
    keys: usize,
    /// End with the figures as one JSON line
    #[arg(long)]
    json: bool,
    /// Passed by `cargo bench`, without meaning here
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> ExitCode {
    let args = Args::parse();
    if args.rounds == 0 || args.requests == 0 || args.keys == 0 {
        eprintln!("decision: --rounds, --requests and --keys must be at least 1");
        return ExitCode::FAILURE;
    }
    let tenants: Vec<String> = (0..args.keys).map(|number| format!("tenant-{number:06}")).collect();
    let mut json = BTreeMap::new();
    for (shape, order) in [("uniform", uniform(&args)), ("zipf", zipf(&args))] {
        let medians = compare(&args, &tenants, &order);
        println!("{shape}: {} keys, median of {} rounds of {} requests", args.keys, args.rounds, args.requests);
        for (name, ns, ratio) in &medians {
            println!("  {name:<34}{ns:>8.1} ns   {ratio:>6.3} x governor");
        }
        for (name, ns, ratio) in medians {
            json.insert(format!("ns_{}_{shape}", snake(name)), ns);
            json.insert(format!("ratio_{}_to_governor_{shape}", snake(name)), ratio);
        }
    }
    println!(
        "ratio: Forebay's decision to governor's default keyed store, inside each round; the worse of both orders."
    );
    let worse = json["ratio_forebay_decision_to_governor_uniform"].max(json["ratio_forebay_decision_to_governor_zipf"]);
    println!("ratio_to_governor {worse:.3}");
    if args.json {
        json.insert("ratio_to_governor".to_owned(), worse);
        let mut line = serde_json::to_value(&json).unwrap_or_default();
        line["conditions"] = serde_json::json!({
            "keys": args.keys, "rounds": args.rounds, "requests_per_round": args.requests, "governor": "0.10",
            "governor_store": "dashmap, its default", "clock": "governor's FakeRelativeClock, one each",
        });
        println!("{line}");
    }
    ExitCode::SUCCESS
}

fn snake(name: &str) -> String {
    name.split([' ', ',']).filter(|word| !word.is_empty()).collect::<Vec<_>>().join("_").to_lowercase()
}

/// A small generator (Steele et al., `SplitMix64`): the same order on every machine.
fn mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ (mixed >> 31)
}

fn uniform(args: &Args) -> Vec<usize> {
    let mut seed = 1;
    (0..args.requests).map(|_| (mix(&mut seed) % args.keys as u64) as usize).collect()
}

/// Weight 1 / rank: a few tenants make most of the traffic.
fn zipf(args: &Args) -> Vec<usize> {
    let weights = (1..=args.keys).scan(0.0, |sum, rank| {
        *sum += 1.0 / rank as f64;
        Some(*sum)
    });
    let cumulative: Vec<f64> = weights.collect();
    let total = cumulative.last().copied().unwrap_or(1.0);
    let mut seed = 2;
    let draw = |_| {
        let at = (mix(&mut seed) >> 11) as f64 / (1u64 << 53) as f64 * total;
        cumulative.partition_point(|sum| *sum < at).min(args.keys - 1)
    };
    (0..args.requests).map(draw).collect()
}

/// Decides about a batch of requests, given as places in the list of tenants.
type Decide<'a> = Box<dyn FnMut(&[usize]) + 'a>;

/// Median nanoseconds of each, and median ratio to governor's default.
fn compare(args: &Args, tenants: &[String], order: &[usize]) -> Vec<(&'static str, f64, f64)> {
    let clocks: [FakeRelativeClock; 5] = Default::default();
    let quota = Quota::per_second(NonZeroU32::new(RATE_PER_S).unwrap_or(NonZeroU32::MIN));
    let default_store = DashMapStateStore::<String>::default();
    let hashed_store = DashMapStateStore::<String, DefaultHashBuilder>::with_hasher(DefaultHashBuilder::default());
    let plain_store = HashMapStateStore::<String>::new(Default::default());
    let mut default_governor = limiter(quota, default_store, &clocks[0]);
    let mut hashed_governor = limiter(quota, hashed_store, &clocks[3]);
    let mut plain_governor = limiter(quota, plain_store, &clocks[4]);
    let mut forebay = Forebay::new(tenants, clocks[1].clone());
    let mut engine = Engine::new(tenants);
    let mut runs: Vec<(&'static str, Decide<'_>)> = vec![
        ("governor", Box::new(move |batch| check(&mut default_governor, tenants, batch))),
        ("forebay decision", Box::new(move |batch| forebay.decide(tenants, batch))),
        ("forebay engine", Box::new(move |batch| engine.decide(tenants, batch))),
        ("governor, same hasher", Box::new(move |batch| check(&mut hashed_governor, tenants, batch))),
        ("governor, plain map", Box::new(move |batch| check(&mut plain_governor, tenants, batch))),
    ];
    // A round before the first fills every store.
    let mut rounds: Vec<Vec<f64>> = Vec::new();
    for round in 0..=args.rounds {
        let mut figures = vec![0.0; runs.len()];
        for place in 0..runs.len() {
            let place = (place + round) % runs.len();
            let started = Instant::now();
            for batch in order.chunks(BATCH) {
                clocks[place].advance(GAP * BATCH as u32);
                (runs[place].1)(batch);
            }
            figures[place] = started.elapsed().as_nanos() as f64 / order.len() as f64;
        }
        if round > 0 {
            rounds.push(figures);
        }
    }
    let median = |figure: &dyn Fn(&Vec<f64>) -> f64| {
        let mut figures: Vec<f64> = rounds.iter().map(figure).collect();
        figures.sort_by(f64::total_cmp);
        figures[figures.len() / 2]
    };
    let names = runs.iter().map(|(name, _)| *name).enumerate();
    names.map(|(place, name)| (name, median(&|round| round[place]), median(&|round| round[place] / round[0]))).collect()
}

type Limiter<S> = RateLimiter<String, S, FakeRelativeClock, NoOpMiddleware<<FakeRelativeClock as Clock>::Instant>>;

fn limiter<S: KeyedStateStore<String>>(quota: Quota, store: S, clock: &FakeRelativeClock) -> Limiter<S> {
    RateLimiter::new(quota, store, clock.clone())
}

fn check<S: KeyedStateStore<String>>(limiter: &mut Limiter<S>, tenants: &[String], batch: &[usize]) {
    for &tenant in batch {
        assert!(limiter.check_key(&tenants[tenant]).is_ok(), "governor refused {}", tenants[tenant]);
    }
}

/// Name to verdict, as in the filter.
struct Forebay {
    keys: Keys,
    ledger: Shared,
    clock: FakeRelativeClock,
    start: <FakeRelativeClock as Clock>::Instant,
}

/// What is shared data in a proxy.
struct Shared {
    states: Vec<Option<KeyState>>,
    now: Nanos,
}

impl Ledger for Shared {
    fn now(&mut self) -> Nanos {
        self.now
    }

    fn replace(
        &mut self,
        key: usize,
        change: &mut dyn FnMut(Option<KeyState>) -> Option<KeyState>,
    ) -> Result<(), Contended> {
        if let Some(new) = change(self.states[key]) {
            self.states[key] = Some(new);
        }
        Ok(())
    }
}

impl Forebay {
    fn new(tenants: &[String], clock: FakeRelativeClock) -> Self {
        let config = Config::parse(&plugin_config(tenants)).expect("the bench's own configuration");
        let keys = Keys::new(&config, &[]);
        let ledger = Shared { states: vec![None; keys.keys.len()], now: Nanos::default() };
        Self { ledger, keys, start: clock.now(), clock }
    }

    fn decide(&mut self, tenants: &[String], batch: &[usize]) {
        for &tenant in batch {
            let row = self.keys.row(tenants[tenant].as_bytes());
            let charges = [Charge { key: self.keys.key(row, 0), cost: 1 }];
            let elapsed: u64 = self.clock.now().duration_since(self.start).into();
            let conditions = Conditions { born: Nanos(0), valid_until: Nanos(u64::MAX), workers: 1, pools: &[] };
            // Both sides read their clock at every decision.
            self.ledger.now = Nanos(Nanos::SECOND + elapsed);
            let mut clock = Instants::exact(self.ledger.now);
            let verdict = admit(&mut self.keys.accounts, &charges, &conditions, &mut clock, &mut self.ledger);
            assert!(matches!(verdict, Verdict::Admit(_)), "Forebay refused {}: {verdict:?}", tenants[tenant]);
        }
    }
}

/// The whole request in the engine.
struct Engine {
    worker: Worker,
    memory: Memory,
}

impl Engine {
    fn new(tenants: &[String]) -> Self {
        let worker = Worker::configure(&plugin_config(tenants)).expect("the bench's own configuration");
        let mut memory = Memory::default();
        memory.advance_nanos(Nanos::SECOND);
        let mut this = Self { worker, memory };
        // Serving workers say so on the tick; from then on leases are of their full size.
        this.decide(tenants, &[0]);
        this.memory.advance_nanos(Nanos::SECOND);
        this.worker.on_tick(&mut this.memory.host());
        this
    }

    fn decide(&mut self, tenants: &[String], batch: &[usize]) {
        self.memory.advance_nanos(GAP.as_nanos() as u64 * batch.len() as u64);
        for &tenant in batch {
            let headers: [(&str, &[u8]); 1] = [("x-tenant", tenants[tenant].as_bytes())];
            let outcome = self.worker.on_request(&mut self.memory.request(&headers));
            assert!(matches!(outcome, Outcome::Admit(_)), "the engine refused {}: {outcome:?}", tenants[tenant]);
        }
    }
}

fn plugin_config(tenants: &[String]) -> Vec<u8> {
    let contract = |tenant: &String| serde_json::json!({ "tenant": tenant, "resource": "requests", "rate_per_s": RATE_PER_S, "burst": RATE_PER_S });
    let contracts: Vec<_> = tenants.iter().map(contract).collect();
    let others = serde_json::json!({ "rate_per_s": 1, "burst": 1 });
    let resources = serde_json::json!([{ "name": "requests", "others": others }]);
    let policy = serde_json::json!({ "resources": resources, "contracts": contracts });
    serde_json::json!({ "policy": policy }).to_string().into_bytes()
}
