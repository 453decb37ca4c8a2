//! Requests that wait, on an in-memory host: who goes on, who is answered, and what is left of them.

use forebay_admission::Lane;
use forebay_engine::{Metric, Outcome, WAITING_TICK_MS, Worker};

use crate::support::{Followed, MS, Seen};

/// `acme` and `gold` have 10/s with a burst of 1.
fn config(queue: &str, more: &str) -> String {
    format!(
        r#"{{"policy":{{"resources":[{{"name":"requests","others":{{"rate_per_s":0}}}}],"queue":{queue},
        "contracts":[{{"tenant":"acme","resource":"requests","rate_per_s":10,"burst":1}},
                     {{"tenant":"gold","resource":"requests","rate_per_s":10,"burst":1,"priority_class":0}}]{more}}}}}"#
    )
}

/// The buckets start with one second of their rate; what was waited for begins with an empty one.
fn started(config: &str) -> Followed {
    let mut proxy = Followed::new(config);
    assert!(proxy.advance(2_000).is_empty());
    proxy
}

fn waits(proxy: &mut Followed, tenant: &str) -> u32 {
    let (id, outcome) = proxy.open(tenant);
    assert!(matches!(outcome, Outcome::Wait { .. }), "{outcome:?}");
    id
}

#[test]
fn the_lean_module_refuses_a_policy_with_a_queue_and_names_the_other() {
    let error = Worker::configure(config("{}", "").as_bytes()).unwrap_err().to_string();
    assert!(error.contains("policy.rules[0].queue: waiting in a queue"), "{error}");
    assert!(error.contains("load forebay_filter_streams.wasm instead"), "{error}");
    assert!(Worker::configure(config(r#"{"max_wait_ms":0}"#, "").as_bytes()).is_ok());
}

#[test]
fn a_request_waits_for_its_token_and_is_counted_once() {
    let mut proxy = started(&config("{}", ""));
    assert!(matches!(proxy.open("acme").1, Outcome::Admit(Lane::Standard)));
    let waiting = waits(&mut proxy, "acme");
    assert_eq!(proxy.tick_ms, WAITING_TICK_MS, "the tick becomes short");
    assert!(proxy.worker.follows(waiting));
    assert_eq!(proxy.advance(90), [], "10/s: not before 100 ms");
    assert_eq!(proxy.advance(20), [Seen::Resumed(waiting, Some(Lane::Standard))]);
    assert!(!proxy.worker.follows(waiting));
    assert_eq!(proxy.advance(3_000), []);
    assert_eq!(proxy.tick_ms, 50, "nothing waits");
    let counts = [Metric::Standard, Metric::Refused, Metric::QueueWaited].map(|metric| proxy.count(metric));
    assert_eq!(counts, [2, 0, 1], "the tries in between are not counted");
}

#[test]
fn who_waits_in_vain_is_answered_at_the_deadline_and_counted_as_refused() {
    let mut proxy = started(&config(r#"{"max_wait_ms":150,"codel_target_ms":0}"#, ""));
    proxy.open("acme");
    let (first, second) = (waits(&mut proxy, "acme"), waits(&mut proxy, "acme"));
    assert_eq!(proxy.advance(148), [Seen::Resumed(first, Some(Lane::Standard))]);
    assert_eq!(proxy.advance(4), [Seen::Answered(second, "forebay_queue_expired")]);
    assert_eq!(proxy.advance(3_000), []);
    assert_eq!([proxy.count(Metric::QueueExpired), proxy.count(Metric::Refused)], [1, 1]);
}

#[test]
fn a_request_whose_token_comes_too_late_is_refused_at_once() {
    let mut proxy = started(&config(r#"{"max_wait_ms":90}"#, ""));
    proxy.open("acme");
    let (_, outcome) = proxy.open("acme");
    assert!(matches!(outcome, Outcome::Refuse(_)), "{outcome:?}");
    assert!(matches!(proxy.open("nobody").1, Outcome::Refuse(_)), "a rate of 0 never has anything");
}

#[test]
fn clients_only_shorten_the_wait_and_get_their_answer_in_time() {
    for (name, value) in [("grpc-timeout", &b"300m"[..]), ("x-envoy-expected-rq-timeout-ms", b"300")] {
        let mut proxy = started(&config(r#"{"codel_target_ms":0,"max_wait_ms":10000}"#, ""));
        proxy.open("acme");
        // Three in front of it, so that its turn would come after 400 ms.
        for _ in 0..3 {
            waits(&mut proxy, "acme");
        }
        let (id, outcome) = proxy.send(&[("x-tenant", b"acme"), (name, value)], true);
        assert!(matches!(outcome, Outcome::Wait { .. }));
        let seen = proxy.advance(280);
        assert!(seen.contains(&Seen::Answered(id, "forebay_queue_expired")), "{name}: {seen:?}");
        let too_short = [("x-tenant", &b"acme"[..]), (name, if name == "grpc-timeout" { b"5m" } else { b"5" })];
        assert!(matches!(proxy.send(&too_short, true).1, Outcome::Refuse(_)));
    }
}

#[test]
fn better_classes_go_first() {
    let config = config(
        r#"{"codel_target_ms":0,"max_wait_ms":10000}"#,
        r#","identity":[{"header":"x-tenant"}],"rules":[
            {"match":{"methods":["GET"]},"charges":[{"resource":"requests"}],"priority_class":5},
            {"match":{"methods":["PUT"]},"charges":[{"resource":"requests"}],"priority_class":1}]"#,
    );
    // 50 ms for each: the worse class is not yet overdue when the first token comes.
    let mut proxy = started(&config.replace(r#""rate_per_s":10,"#, r#""rate_per_s":20,"#));
    let mut ask = |method: &[u8]| proxy.send(&[("x-tenant", b"acme"), (":method", method)], true).0;
    ask(b"GET");
    let (slow, fast) = (ask(b"GET"), ask(b"PUT"));
    let seen = proxy.advance(250);
    let lane = Some(Lane::Standard);
    assert_eq!(seen, [Seen::Resumed(fast, lane), Seen::Resumed(slow, lane)]);
}

#[test]
fn nobody_gets_ahead_of_those_that_wait_for_the_same_key() {
    let mut proxy = started(&config(r#"{"codel_target_ms":0,"max_wait_ms":10000}"#, ""));
    proxy.open("acme");
    let first = waits(&mut proxy, "acme");
    // The token is there, the tick is not.
    proxy.memory.advance_nanos(110 * MS);
    let late = waits(&mut proxy, "acme");
    assert!(matches!(proxy.open("gold").1, Outcome::Admit(_)), "another key");
    let lane = Some(Lane::Standard);
    assert_eq!(proxy.advance(4), [Seen::Resumed(first, lane)]);
    assert_eq!(proxy.advance(100), [Seen::Resumed(late, lane)]);
}

#[test]
fn bodies_wait_only_where_the_policy_says_so_and_only_so_many_bytes() {
    let upload = |length: &'static [u8]| [("x-tenant", &b"acme"[..]), ("content-length", length)];
    let mut proxy = started(&config("{}", ""));
    proxy.open("acme");
    assert!(matches!(proxy.send(&upload(b"5"), false).1, Outcome::Refuse(_)));
    let mut proxy = started(&config(r#"{"bodies":true,"max_bytes":400000}"#, ""));
    proxy.open("acme");
    assert!(matches!(proxy.send(&upload(b"50000"), false).1, Outcome::Wait { .. }));
    assert!(matches!(proxy.send(&upload(b"50001"), false).1, Outcome::Refuse(_)), "a quarter is one tenant's");
    assert!(matches!(proxy.send(&upload(b"none"), false).1, Outcome::Refuse(_)), "as much as a window holds");
    assert!(matches!(proxy.send(&upload(b"40000"), false).1, Outcome::Wait { .. }));
    proxy.advance(4);
    assert_eq!(proxy.count(Metric::QueueFull), 2);
}

#[test]
fn streams_are_bounded_by_tenant_and_connection() {
    let queue = r#"{"codel_target_ms":0,"max_waiting":{"per_vm":100,"per_tenant":6,"per_connection":4}}"#;
    let mut proxy = started(&config(queue, ""));
    let connection = |proxy: &mut Followed, id: u64| {
        proxy.memory.properties.insert("connection\0id".into(), Ok(id.to_le_bytes().to_vec()));
    };
    proxy.open("acme");
    connection(&mut proxy, 1);
    let waiting = (0..6).filter(|_| matches!(proxy.open("acme").1, Outcome::Wait { .. })).count();
    assert_eq!(waiting, 4);
    connection(&mut proxy, 2);
    let waiting = (0..6).filter(|_| matches!(proxy.open("acme").1, Outcome::Wait { .. })).count();
    assert_eq!(waiting, 2, "the tenant's six");
}

#[test]
fn a_stream_that_is_reset_while_it_waits_leaves_nothing() {
    let mut proxy = started(&config(r#"{"codel_target_ms":0,"max_wait_ms":10000}"#, ""));
    proxy.open("acme");
    let (gone, stays) = (waits(&mut proxy, "acme"), waits(&mut proxy, "acme"));
    for _ in 0..2 {
        proxy.worker.on_stream_end(gone, &mut proxy.memory.host());
    }
    assert!(!proxy.worker.follows(gone) && proxy.worker.follows(stays));
    assert_eq!(proxy.advance(120), [Seen::Resumed(stays, Some(Lane::Standard))], "the token is not lost");
    proxy.advance(1_000);
    assert_eq!([proxy.count(Metric::Refused), proxy.count(Metric::QueueExpired)], [0, 0]);
    // Nothing is awaited any more: the next one is admitted at once.
    assert!(matches!(proxy.open("acme").1, Outcome::Admit(_)));
}

#[test]
fn a_thousand_are_answered_in_bounded_batches() {
    let queue = r#"{"max_wait_ms":150,"codel_target_ms":0,
        "max_waiting":{"per_vm":2000,"per_tenant":2000,"per_connection":2000}}"#;
    let mut proxy = started(&config(queue, ""));
    proxy.open("acme");
    for _ in 0..1_000 {
        waits(&mut proxy, "acme");
    }
    assert_eq!(proxy.advance(148).len(), 1);
    let batches: Vec<_> = (0..4).map(|_| proxy.advance(4).len()).collect();
    assert_eq!(batches, [256, 256, 256, 231]);
}

#[test]
fn a_dry_run_lets_nobody_wait() {
    let mut proxy = started(&config("{}", r#","dry_run":true"#));
    proxy.open("acme");
    assert!(matches!(proxy.open("acme").1, Outcome::Pass));
}
