//! Workers on an in-memory host: the life cycle from the first request to the loss of everything.

use forebay_admission::{Lane, Nanos};
use forebay_engine::leader::Answer;
use forebay_engine::memory::{Memory, Timers};
use forebay_engine::worker::QUIET_TICK_MS;
use forebay_engine::{CallKind, CallOut, Effect, Metric, Outcome, Worker};
use forebay_protocol::v1::{Grant, Limit, Slot};
use forebay_protocol::{Counters, Generation, GrantTable, Message, Report, ReportAck};

use crate::support::{self, MS, generation, received};

const CONFIG: &str = r#"{
    "proxy_id": "p1",
    "controller": {"cluster": "ctl"},
    "policy": {
        "resources": [{"name": "requests", "others": {"rate_per_s": 10, "burst": 5}}],
        "contracts": [{"tenant": "a", "resource": "requests", "rate_per_s": 100, "burst": 50}]
    }
}"#;

/// A proxy with workers, driven by hand.
struct Proxy {
    memory: Memory,
    workers: Vec<Worker>,
    timers: Timers,
    /// By worker.
    ticks: Vec<usize>,
    calls: Vec<(usize, CallOut)>,
    counted: Vec<(Metric, u64)>,
}

impl Proxy {
    fn new(workers: usize, config: &str) -> Self {
        let mut memory = Memory::default();
        (memory.now, memory.wall_nanos) = (Nanos(1_000 * MS), 77);
        let worker = || Worker::configure(config.as_bytes()).unwrap();
        let timers = Timers::new(workers, memory.now);
        let workers: Vec<_> = (0..workers).map(|_| worker()).collect();
        Self { memory, timers, ticks: vec![0; workers.len()], workers, calls: vec![], counted: vec![] }
    }

    /// Other VMs from now on.
    fn reload(&mut self, workers: Vec<Worker>) {
        self.timers = Timers::new(workers.len(), self.memory.now);
        self.ticks = vec![0; workers.len()];
        self.workers = workers;
    }

    fn advance_ms(&mut self, ms: u64) {
        let end = self.memory.now.plus(ms * MS);
        while let Some((worker, effects)) = self.timers.tick(&mut self.memory, &mut self.workers, end) {
            self.ticks[worker] += 1;
            self.take(worker, effects);
        }
    }

    /// By worker, how often it ticks in a time.
    fn ticks_in_ms(&mut self, ms: u64) -> Vec<usize> {
        self.ticks.fill(0);
        self.advance_ms(ms);
        self.ticks.clone()
    }

    fn take(&mut self, worker: usize, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Call(call) => self.calls.push((worker, call)),
                Effect::Count(metric, n) => self.counted.push((metric, n)),
                Effect::OverAdmissionBound(_) | Effect::GuardLimit(..) | Effect::Warn(_) | Effect::TickEvery(_) => {}
                Effect::Resume { .. } | Effect::Answer { .. } => panic!("nothing waits"),
                Effect::CountNamed(..) => {}
            }
        }
    }

    fn request(&mut self, worker: usize, headers: &[(&str, &[u8])]) -> Outcome {
        self.workers[worker].on_request(&mut self.memory.request(headers))
    }

    fn admitted(&mut self, worker: usize, tenant: &[u8], tries: usize) -> usize {
        let admit = |_: &usize| matches!(self.request(worker, &[("x-tenant", tenant)]), Outcome::Admit(_));
        (0..tries).filter(admit).count()
    }

    /// The next call of a kind that is waiting for its answer.
    fn call(&mut self, kind: CallKind) -> (usize, Message) {
        let place = self.calls.iter().position(|(_, call)| call.kind == kind).expect("a call is waiting");
        let (worker, call) = self.calls.remove(place);
        (worker, forebay_protocol::decode(&call.body).unwrap())
    }

    fn answer(&mut self, worker: usize, kind: CallKind, answer: Answer) {
        let effects = self.workers[worker].on_answer(kind, answer, &mut self.memory.host());
        self.take(worker, effects);
    }

    fn report(&mut self) -> Report {
        let (worker, message) = self.call(CallKind::Report);
        let Message::Report(report) = message else { panic!("not a report") };
        let ack = ReportAck { generation: report.generation, valid_for_ms: 2_000, extensions: vec![] };
        self.answer(worker, CallKind::Report, received(&Message::ReportAck(ack)));
        report
    }

    fn push(&mut self, table: GrantTable) {
        let (worker, _) = self.call(CallKind::Watch);
        self.answer(worker, CallKind::Watch, received(&Message::GrantTable(table)));
    }

    fn count(&self, metric: Metric) -> u64 {
        self.counted.iter().filter(|(known, _)| *known == metric).map(|(_, n)| n).sum()
    }
}

fn retry_after_s(answer: &forebay_engine::answer::Answer) -> Option<u64> {
    answer.headers.iter().find(|(name, _)| *name == "retry-after").map(|(_, value)| value.parse().unwrap())
}

fn grant(tenant: &str, rate: u64, burst: u64, slots: Vec<Slot>) -> Grant {
    support::grant(tenant, "requests", rate, burst, slots)
}

fn table(sequence: u64, grants: Vec<Grant>) -> GrantTable {
    support::table(sequence, 2_000, grants)
}

#[test]
fn contracts_others_and_the_answer_to_a_refused_request() {
    let mut proxy = Proxy::new(1, CONFIG);
    assert_eq!(proxy.admitted(0, b"a", 60), 50, "the burst");
    assert_eq!(proxy.admitted(0, b"stranger", 3) + proxy.admitted(0, b"other stranger", 3), 5, "they share a bucket");
    let Outcome::Refuse(refusal) = proxy.request(0, &[]) else { panic!("unidentified requests are others too") };
    assert!((1..=2).contains(&retry_after_s(&refusal).unwrap()), "{:?}", refusal.headers);
    assert!(refusal.body.contains("\"status\":429") && refusal.body.contains("\"requests\""), "{}", refusal.body);
}

#[test]
fn preflights_and_probes_without_tenant_are_exempt() {
    let mut proxy = Proxy::new(1, &CONFIG.replace("\"resources\"", "\"unidentified\":\"refuse\",\"resources\""));
    let preflight: &[(&str, &[u8])] = &[(":method", b"OPTIONS"), ("access-control-request-method", b"PUT")];
    assert_eq!(proxy.request(0, preflight), Outcome::Pass);
    assert_eq!(proxy.request(0, &[("user-agent", b"kube-probe/1.30")]), Outcome::Pass);
    let Outcome::Refuse(refusal) = proxy.request(0, &[(":method", b"OPTIONS")]) else { panic!("refused") };
    assert_eq!((refusal.status, refusal.details), (400, "forebay_no_tenant"), "no matter of quota");
    assert!(refusal.body.contains("names no tenant in x-tenant."), "{}", refusal.body);
    proxy.advance_ms(200);
    assert_eq!(proxy.count(Metric::Exempt), 2);
}

#[test]
fn costs_come_from_headers_and_paths_choose_the_rules() {
    let config = r#"{"policy":{
        "resources":[{"name":"requests","others":{"rate_per_s":100,"burst":100}},
                     {"name":"tokens","others":{"rate_per_s":100,"burst":60}}],
        "rules":[{"charges":[{"resource":"requests"}]},
                 {"match":{"path":"/v1/chat/**"},"charges":[{"resource":"requests"},
                   {"resource":"tokens","cost":{"header":{"name":"x-tokens","default":10,"max":50}}}]}]}}"#;
    let mut proxy = Proxy::new(1, config);
    let mut chat =
        |tokens: &[u8]| proxy.request(0, &[("x-tenant", b"a"), (":path", b"/v1/chat/x"), ("x-tokens", tokens)]);
    assert_eq!(chat(b"45"), Outcome::Admit(Lane::Standard));
    assert_eq!(chat(b"\xff\xfe"), Outcome::Admit(Lane::Standard), "not a number: 10");
    assert!(matches!(chat(b"999999"), Outcome::Refuse(_)), "5 are left");
    assert_eq!(chat(b"5"), Outcome::Admit(Lane::Standard));
    assert_eq!(proxy.request(0, &[("x-tenant", b"a"), (":path", b"/")]), Outcome::Admit(Lane::Standard));
}

#[test]
fn switched_off_it_counts_and_refuses_nothing() {
    let mut proxy = Proxy::new(1, &CONFIG.replace("\"policy\"", "\"enforce\":false,\"policy\""));
    for _ in 0..60 {
        assert!(!matches!(proxy.request(0, &[("x-tenant", b"a")]), Outcome::Refuse(_)));
    }
    proxy.advance_ms(200);
    assert_eq!((proxy.count(Metric::Standard), proxy.count(Metric::Refused)), (50, 10));
}

#[test]
fn hostile_tenants_cost_nothing() {
    let mut proxy = Proxy::new(2, CONFIG);
    proxy.advance_ms(1_000);
    let keys = |proxy: &Proxy| proxy.memory.shared.len();
    proxy.admitted(0, b"first stranger", 1);
    proxy.advance_ms(200);
    let before = keys(&proxy);
    for number in 0..100_000 {
        proxy.admitted(number % 2, format!("tenant-{number}").as_bytes(), 1);
    }
    proxy.admitted(0, &[b'x'; 60 << 10], 1);
    proxy.admitted(0, b"\xff\xfe\0\x01", 1);
    proxy.advance_ms(200);
    assert_eq!(keys(&proxy), before, "names of clients never reach shared data");
}

#[test]
fn a_push_reaches_every_worker_and_falls_to_the_safe_share_when_nobody_renews_it() {
    let mut proxy = Proxy::new(3, CONFIG);
    proxy.advance_ms(1_000);
    let slot = Slot {
        id: 9,
        starts_in_ms: 0,
        length_ms: 1_500,
        amount: 30,
        pace: Limit { rate_milli_per_s: 30_000, burst: 30 },
    };
    proxy.push(table(1, vec![grant("a", 10, 10, vec![slot])]));
    proxy.advance_ms(50);
    for worker in &proxy.workers {
        assert_eq!(worker.generation(), generation(1));
    }
    let lanes: Vec<_> = (0..30).map(|i| proxy.request(i % 3, &[("x-tenant", b"a")])).collect();
    assert!(lanes.iter().all(|lane| *lane == Outcome::Admit(Lane::Reserved)), "{lanes:?}");
    assert_eq!(proxy.request(0, &[("x-tenant", b"a")]), Outcome::Admit(Lane::Standard));
    // Reports renew validity; without them it ends after two seconds.
    proxy.calls.clear();
    proxy.advance_ms(10_000);
    assert_eq!(proxy.admitted(0, b"a", 10), 1, "the safe burst");
}

#[test]
fn a_raised_share_is_not_credited_for_the_time_before_it() {
    let mut proxy = Proxy::new(2, CONFIG);
    proxy.advance_ms(1_000);
    proxy.push(table(1, vec![grant("a", 1, 5, vec![])]));
    proxy.advance_ms(1_000);
    assert!(proxy.admitted(0, b"a", 20) <= 5);
    // Ten idle seconds under one a second fill a bucket of five, not the one of 500 that comes then.
    proxy.advance_ms(10_000);
    proxy.push(table(2, vec![grant("a", 100, 500, vec![])]));
    proxy.advance_ms(100);
    let admitted = proxy.admitted(0, b"a", 300) + proxy.admitted(1, b"a", 300);
    assert!((5..=5 + 20).contains(&admitted), "{admitted}");
}

#[test]
fn a_quiet_worker_ticks_each_200_ms_and_its_first_request_follows_the_table_in_force() {
    let mut proxy = Proxy::new(2, CONFIG);
    assert_eq!(proxy.ticks_in_ms(2_000), [40, 40], "a new worker is not quiet at once");
    proxy.advance_ms(1_000);
    assert_eq!(proxy.ticks_in_ms(1_000), [20, 5], "the leader goes on at 50 ms");
    proxy.push(table(1, vec![grant("only granted", 100, 50, vec![])]));
    assert_eq!(proxy.admitted(1, b"only granted", 50), 50, "not the 5 of the others");
    proxy.advance_ms(u64::from(QUIET_TICK_MS));
    assert_eq!(proxy.ticks_in_ms(1_000), [20, 20], "it served");
    proxy.advance_ms(4_000);
    assert_eq!(proxy.ticks_in_ms(1_000), [20, 5], "its leases are back, its counts handed over");
    for sequence in 2..30 {
        // At every distance from its ticks, a push reaches it without a request, too.
        proxy.advance_ms(30);
        proxy.push(table(sequence, vec![]));
        proxy.advance_ms(u64::from(QUIET_TICK_MS));
        assert_eq!(proxy.workers[1].generation(), generation(sequence));
        proxy.advance_ms(50);
    }
}

#[test]
fn a_quiet_worker_that_has_to_lead_ticks_each_50_ms_again() {
    let mut proxy = Proxy::new(2, CONFIG);
    proxy.advance_ms(3_000);
    let other = proxy.workers.pop().unwrap();
    proxy.reload(vec![other]);
    proxy.advance_ms(4_000);
    assert_eq!(proxy.ticks_in_ms(1_000), [20], "the leader is gone for more than its three seconds");
}

#[test]
fn a_new_vm_decides_by_the_table_in_force_from_its_first_request_on() {
    let mut proxy = Proxy::new(1, CONFIG);
    proxy.advance_ms(1_000);
    proxy.push(table(1, vec![grant("only granted", 100, 50, vec![])]));
    proxy.workers.push(Worker::configure(CONFIG.as_bytes()).unwrap());
    assert_eq!(proxy.admitted(1, b"only granted", 50), 50, "not the 5 of the others");
}

#[test]
fn pushing_a_slot_again_refills_nothing() {
    let mut proxy = Proxy::new(1, CONFIG);
    proxy.advance_ms(1_000);
    let slot = |starts_in_ms, amount| Slot {
        id: 9,
        starts_in_ms,
        length_ms: 60_000,
        amount,
        pace: Limit { rate_milli_per_s: 1, burst: 1_000 },
    };
    let none = |slots| vec![grant("a", 0, 0, slots)];
    proxy.push(table(1, none(vec![slot(0, 10)])));
    proxy.advance_ms(50);
    assert_eq!(proxy.admitted(0, b"a", 50), 10);
    proxy.push(table(2, none(vec![slot(-50, 10)])));
    proxy.advance_ms(50);
    assert_eq!(proxy.admitted(0, b"a", 50), 0);
    proxy.push(table(3, none(vec![slot(-100, 15)])));
    proxy.advance_ms(50);
    assert_eq!(proxy.admitted(0, b"a", 50), 5);
}

#[test]
fn whatever_the_network_sends_is_counted_and_the_last_good_table_stays() {
    let mut proxy = Proxy::new(1, CONFIG);
    proxy.advance_ms(1_000);
    proxy.push(table(5, vec![grant("a", 10, 10, vec![])]));
    let good = forebay_protocol::encode(&Message::GrantTable(table(6, vec![grant("a", 1, 1, vec![])])));
    let status_200 = |body: Vec<u8>| Answer::Received { status: 200, body };
    let mut insane = table(7, vec![]);
    insane.part = 9;
    let bad = [
        status_200(b"garbage".to_vec()),
        status_200(good[..good.len() - 1].to_vec()),
        status_200([good.as_slice(), b"x"].concat()),
        status_200(vec![]),
        received(&Message::GrantTable(insane)),
        Answer::Oversized,
        Answer::Failed,
        Answer::Received { status: 500, body: good.clone() },
        received(&Message::GrantTable(table(4, vec![]))),
    ];
    for answer in bad {
        // A pause follows every failure, so a while passes before the next watch.
        while !proxy.calls.iter().any(|(_, call)| call.kind == CallKind::Watch) {
            proxy.advance_ms(50);
        }
        let (worker, _) = proxy.call(CallKind::Watch);
        proxy.answer(worker, CallKind::Watch, answer);
        assert_eq!(proxy.workers[0].generation(), generation(5));
    }
    proxy.advance_ms(500);
    let counts = [Metric::UndecodableAnswers, Metric::OversizedAnswers, Metric::FailedCalls, Metric::StaleTables];
    assert_eq!(counts.map(|metric| proxy.count(metric)), [5, 1, 2, 1]);
    assert_eq!(proxy.count(Metric::TablesApplied), 1);
}

#[test]
fn tables_come_in_parts_and_come_into_force_whole() {
    let mut proxy = Proxy::new(2, CONFIG);
    proxy.advance_ms(1_000);
    let part = |sequence, part: u16| {
        let grants = vec![grant(&format!("t{part}"), 100 + u64::from(part), 50, vec![])];
        GrantTable { part, parts: 3, ..table(sequence, grants) }
    };
    proxy.push(part(1, 0));
    proxy.advance_ms(50);
    assert_eq!(proxy.workers[1].generation(), Generation::default());
    proxy.push(part(1, 1));
    proxy.advance_ms(50);
    // A newer table in between starts over.
    proxy.push(part(2, 0));
    for next in 1..3 {
        proxy.advance_ms(50);
        let (worker, message) = proxy.call(CallKind::Watch);
        let Message::Watch(watch) = message else { panic!("not a watch") };
        assert_eq!(watch.collecting, Some((generation(2), next)));
        proxy.answer(worker, CallKind::Watch, received(&Message::GrantTable(part(2, next))));
    }
    proxy.advance_ms(50);
    assert_eq!(proxy.workers[1].generation(), generation(2));
    assert!(proxy.admitted(1, b"t2", 60) >= 50);
}

#[test]
fn counts_are_cumulative_whoever_leads_and_nothing_is_lost_with_an_answer() {
    let mut proxy = Proxy::new(2, CONFIG);
    proxy.advance_ms(1_000);
    proxy.calls.clear();
    let leader = 0;
    proxy.admitted(0, b"a", 20);
    proxy.admitted(1, b"a", 20);
    proxy.admitted(1, b"nobody", 7);
    // The first report got no answer (the call was dropped); the next carries the same counts.
    let effects = proxy.workers[leader].on_answer(CallKind::Report, Answer::Failed, &mut proxy.memory.host());
    proxy.take(leader, effects);
    proxy.advance_ms(2_000);
    let report = proxy.report();
    let row =
        |report: &Report, tenant: &str| report.rows.iter().find(|row| row.tenant == tenant).map(|row| row.counters);
    let expected = Counters { standard_requests: 40, standard_units: 40, ..Counters::default() };
    assert_eq!(row(&report, "a"), Some(expected));
    assert_eq!(row(&report, "*").map(|counters| counters.refused_requests), Some(2));
    assert_eq!((report.proxy.as_str(), report.boot_id), ("p1", 77 + 50 * MS), "the boot is named by its wall time");
    // Acknowledged rows are not sent again until they move.
    proxy.advance_ms(1_500);
    assert_eq!(proxy.report().rows, []);
    // The leader's VM dies; the other takes over and reports everything, still cumulative.
    let alive = proxy.workers.pop().unwrap();
    proxy.reload(vec![alive]);
    proxy.calls.clear();
    proxy.admitted(0, b"a", 5);
    proxy.advance_ms(5_000);
    let report = proxy.report();
    assert_eq!(row(&report, "a").map(|counters| counters.standard_requests), Some(45));
}

#[test]
fn a_reloaded_vm_refills_nothing_and_a_restarted_proxy_starts_with_one_second() {
    let config = CONFIG.replace("\"rate_per_s\": 100, \"burst\": 50", "\"rate_per_s\": 2, \"burst\": 50");
    let mut proxy = Proxy::new(1, &config);
    assert_eq!(proxy.admitted(0, b"a", 10), 2, "a proxy that just booted has one second of rate");
    proxy.advance_ms(30_000);
    assert_eq!(proxy.admitted(0, b"a", 100), 50, "later the burst is there");
    proxy.reload(vec![Worker::configure(config.as_bytes()).unwrap()]);
    assert_eq!(proxy.admitted(0, b"a", 10), 0, "a new VM finds the bucket as it was");
    proxy.memory.shared.clear();
    proxy.reload(vec![Worker::configure(config.as_bytes()).unwrap()]);
    assert_eq!(proxy.admitted(0, b"a", 10), 2, "shared data is gone: one second of rate");
}
