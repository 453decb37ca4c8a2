//! Refusals for want of capacity that is being provisioned: told when it comes, in both dialects, at no cost to others.

use forebay_admission::{Lane, Nanos};
use forebay_engine::answer::Answer;
use forebay_engine::leader::Answer as Controllers;
use forebay_engine::memory::Memory;
use forebay_engine::{CallKind, Outcome, Worker};
use forebay_protocol::extension::{MoreReady, PROVISIONING, Provisioning, extension};
use forebay_protocol::v1::Grant;
use forebay_protocol::{GrantTable, Message};

use crate::support::{Followed, MS, Seen, grant, received, table};

const CONFIG: &str = r#"{"proxy_id":"p1","controller":{"cluster":"ctl"},"policy":{
    "answer":{"retry_jitter_s":0},
    "resources":[{"name":"requests","others":{"rate_per_s":1,"burst":1},"uncontracted":"each"},
                 {"name":"tokens","others":{"rate_per_s":1,"burst":1}}],
    "rules":[{"charges":[{"resource":"requests"}]},
             {"match":{"path":"/named"},"unidentified":"refuse","charges":[{"resource":"requests"}]},
             {"match":{"path":"/dear"},"charges":[{"resource":"requests","cost":9}]}],
    "contracts":[{"tenant":"short","resource":"requests","rate_per_s":1,"burst":2},
                 {"tenant":"fine","resource":"requests","rate_per_s":1,"burst":2}]}}"#;

fn grants() -> Vec<Grant> {
    ["short", "fine", "*"].map(|tenant| grant(tenant, "requests", 1, 2, vec![])).to_vec()
}

/// A table in which the first and the last key are short, until so many milliseconds from its arrival.
fn short_table(valid_for_ms: u32, more_in_ms: Option<u32>) -> GrantTable {
    let rows = more_in_ms.into_iter().flat_map(|in_ms| [0, 2].map(|row| MoreReady { row, in_ms })).collect();
    let extensions = vec![extension(PROVISIONING, &Provisioning { rows })];
    GrantTable { extensions, ..table(1, valid_for_ms, grants()) }
}

struct Proxy {
    memory: Memory,
    worker: Worker,
}

/// One worker with this table in force, some time after its boot.
fn proxy(table: GrantTable) -> Proxy {
    let mut memory = Memory::default();
    (memory.now, memory.random) = (Nanos(10_000 * MS), [3, 4]);
    let mut worker = Worker::configure(CONFIG.as_bytes()).unwrap();
    worker.on_tick(&mut memory.host());
    memory.advance_nanos(10_000 * MS);
    worker.on_tick(&mut memory.host());
    let answer: Controllers = received(&Message::GrantTable(table));
    worker.on_answer(CallKind::Watch, answer, &mut memory.host());
    assert_eq!(worker.generation().sequence, 1, "the table is in force");
    Proxy { memory, worker }
}

impl Proxy {
    fn request(&mut self, headers: &[(&str, &[u8])]) -> Outcome {
        self.worker.on_request(&mut self.memory.request(headers))
    }

    /// Of a tenant whose burst is used up first.
    fn refused(&mut self, headers: &[(&str, &[u8])]) -> Answer {
        for _ in 0..3 {
            if let Outcome::Refuse(answer) = self.request(headers) {
                return answer;
            }
        }
        panic!("nothing is refused");
    }
}

fn header<'a>(answer: &'a Answer, name: &str) -> Option<&'a str> {
    answer.headers.iter().find(|(known, _)| *known == name).map(|(_, value)| value.as_str())
}

fn retry_after(answer: &Answer) -> Option<&str> {
    header(answer, "retry-after")
}

const SHORT: (&str, &[u8]) = ("x-tenant", b"short");
const FINE: (&str, &[u8]) = ("x-tenant", b"fine");
const STRANGER: (&str, &[u8]) = ("x-tenant", b"who");
const GRPC: (&str, &[u8]) = ("content-type", b"application/grpc");

#[test]
fn keys_that_get_more_say_when_and_the_others_what_their_bucket_promises() {
    let mut proxy = proxy(short_table(600_000, Some(90_000)));
    let http = proxy.refused(&[SHORT]);
    assert_eq!((retry_after(&http), header(&http, "ratelimit")), (Some("90"), Some("\"requests\";r=0;t=1")));
    let grpc = proxy.refused(&[SHORT, GRPC]);
    assert_eq!(retry_after(&grpc), Some("90"));
    assert_eq!(grpc.body, "The limit for this resource is used up; try again in 90 s.");
    assert_eq!(retry_after(&proxy.refused(&[STRANGER])), Some("90"), "a bucket of its own under the others' grant");
    assert_eq!(retry_after(&proxy.refused(&[FINE])), Some("1"));
    proxy.memory.advance_nanos(30_000 * MS);
    assert_eq!(retry_after(&proxy.refused(&[SHORT])), Some("60"), "time passes");
}

#[test]
fn more_capacity_helps_nobody_without_a_name_or_with_too_large_a_request() {
    let mut proxy = proxy(short_table(600_000, Some(90_000)));
    let nobody = proxy.refused(&[(":path", b"/named")]);
    assert_eq!((nobody.details, retry_after(&nobody)), ("forebay_no_tenant", None));
    let dear = proxy.refused(&[SHORT, (":path", b"/dear")]);
    assert_eq!((dear.details, retry_after(&dear)), ("forebay_over_burst", None));
}

#[test]
fn what_has_passed_and_what_a_table_said_whose_validity_is_over_says_nothing() {
    let mut passed = proxy(short_table(600_000, Some(5_000)));
    passed.memory.advance_nanos(4_500 * MS);
    assert_eq!(retry_after(&passed.refused(&[SHORT])), Some("1"), "the bucket has something later than the pool");
    passed.memory.advance_nanos(5_000 * MS);
    assert_eq!(retry_after(&passed.refused(&[SHORT])), Some("1"));
    let mut cut_off = proxy(short_table(3_000, Some(90_000)));
    cut_off.memory.advance_nanos(2_000 * MS);
    assert_eq!(retry_after(&cut_off.refused(&[SHORT])), Some("88"));
    cut_off.memory.advance_nanos(1_500 * MS);
    assert_eq!(retry_after(&cut_off.refused(&[SHORT])), Some("1"), "nobody is heard of that knew");
}

#[test]
fn a_later_table_takes_it_back() {
    let mut proxy = proxy(short_table(600_000, Some(90_000)));
    assert_eq!(retry_after(&proxy.refused(&[SHORT])), Some("90"));
    let later = Message::GrantTable(table(2, 600_000, grants()));
    proxy.worker.on_answer(CallKind::Watch, received(&later), &mut proxy.memory.host());
    assert_eq!(retry_after(&proxy.refused(&[SHORT])), Some("1"));
}

/// The same decisions out of the same looks at the host, whether something is told or not.
#[test]
fn it_costs_no_request_a_look_at_the_host() {
    let run = |more_in_ms| {
        let mut proxy = proxy(short_table(600_000, more_in_ms));
        let mut seen = Vec::new();
        for _ in 0..4 {
            let outcome = proxy.request(&[SHORT]);
            let admitted = outcome == Outcome::Admit(Lane::Standard);
            seen.push((admitted, proxy.memory.accesses, proxy.memory.fact_reads));
            proxy.memory.advance_nanos(100 * MS);
        }
        seen
    };
    let told = run(Some(90_000));
    assert_eq!(told, run(None));
    assert_eq!(told.iter().map(|(admitted, ..)| *admitted).collect::<Vec<_>>(), [true, true, false, false]);
}

/// Who waits goes on as its bucket fills; only who is refused in the end is told the pool's time.
#[test]
fn a_request_that_waits_is_not_affected() {
    let config = r#"{"policy":{"answer":{"retry_jitter_s":0},
        "resources":[{"name":"requests","others":{"rate_per_s":0}}],"queue":{"max_wait_ms":2000,"codel_target_ms":0},
        "contracts":[{"tenant":"short","resource":"requests","rate_per_s":1,"burst":1}]}}"#;
    let run = |more_in_ms: u32| {
        let mut proxy = Followed::new(config);
        let rows = vec![MoreReady { row: 0, in_ms: more_in_ms }];
        let extensions = vec![extension(PROVISIONING, &Provisioning { rows })];
        let told = GrantTable { extensions, ..table(1, 600_000, vec![grant("short", "requests", 1, 1, vec![])]) };
        proxy.worker.on_answer(CallKind::Watch, received(&Message::GrantTable(told)), &mut proxy.memory.host());
        proxy.advance(2_000);
        proxy.open("short");
        let (_, waits) = proxy.open("short");
        assert!(matches!(waits, Outcome::Wait { .. }), "{waits:?}");
        proxy.advance(1_500)
    };
    let seen = run(90_000);
    assert_eq!(seen, run(0));
    assert!(matches!(seen[..], [Seen::Resumed(_, Some(Lane::Standard))]), "{seen:?}");
}
