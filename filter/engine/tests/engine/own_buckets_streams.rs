//! Tenants without contract with buckets of their own, and what happens after the decision: waiting, settling, telling.

use forebay_admission::Lane;
use forebay_engine::{Metric, Outcome};

use crate::support::{Followed, Seen, grant};

/// Each name has `rate_per_s` and `burst`; `more` goes into the policy.
fn started(rate_per_s: u64, burst: u64, more: &str) -> Followed {
    let mut proxy = Followed::new(&format!(
        r#"{{"proxy_id":"p1","controller":{{"cluster":"ctl"}},"policy":{{"resources":[{{"name":"units",
            "others":{{"rate_per_s":{rate_per_s},"burst":{burst}}},"uncontracted":"each"}}],{more}}}}}"#
    ));
    proxy.advance(30_000);
    proxy
}

/// A table with a contract for each of these tenants.
fn push(proxy: &mut Followed, sequence: u64, tenants: &[&str]) {
    proxy.push(sequence, tenants.iter().map(|tenant| grant(tenant, "units", 100, 100, vec![])).collect());
}

fn admitted(proxy: &mut Followed, tenant: &str, tries: usize) -> usize {
    proxy.admitted(tenant, tries, |_| true).len()
}

const SETTLED: &str = r#""rules":[{"charges":[{"resource":"units","cost":{"settled":{
    "estimate":20,"by":{"response_header":"x-used"}}}}]}]"#;

#[test]
fn names_wait_for_their_own_buckets_also_under_a_new_table() {
    for pushed in [false, true] {
        let mut proxy = started(1, 1, r#""queue":{"max_wait_ms":5000}"#);
        let mut waiting = vec![];
        for name in ["one", "two", "three"] {
            // The first sighting goes to the bucket that all share, the second to the name's own.
            proxy.advance(2_000);
            assert!(matches!(proxy.open(name).1, Outcome::Admit(_)), "{name}");
            assert!(matches!(proxy.open(name).1, Outcome::Admit(_)), "{name}");
        }
        proxy.advance(2_000);
        for name in ["one", "two", "three"] {
            assert!(matches!(proxy.open(name).1, Outcome::Admit(_)), "{name}");
            let (id, outcome) = proxy.open(name);
            assert!(matches!(outcome, Outcome::Wait { .. }), "{name}: {outcome:?}");
            waiting.push(id);
        }
        if pushed {
            push(&mut proxy, 1, &["somebody", "else"]);
        }
        assert_eq!(proxy.advance(980), [], "1/s");
        let resumed = proxy.advance(40);
        assert_eq!(resumed.len(), 3, "all at once, because each has its own");
        for id in waiting {
            assert!(resumed.contains(&Seen::Resumed(id, Some(Lane::Standard))), "{resumed:?}");
        }
    }
}

#[test]
fn a_waiting_name_that_gets_a_contract_is_charged_to_it() {
    let mut proxy = started(1, 1, r#""queue":{"max_wait_ms":5000}"#);
    assert_eq!(admitted(&mut proxy, "one", 2), 2);
    let (id, outcome) = proxy.open("one");
    assert!(matches!(outcome, Outcome::Wait { .. }), "{outcome:?}");
    push(&mut proxy, 1, &["one"]);
    assert_eq!(proxy.advance(20), [Seen::Resumed(id, Some(Lane::Standard))], "a hundred per second");
}

#[test]
fn true_costs_are_settled_with_the_names_own_bucket() {
    let mut proxy = started(10, 100, SETTLED);
    assert!(matches!(proxy.open("one").1, Outcome::Admit(_)), "from the bucket that all share");
    let (id, outcome) = proxy.open("one");
    assert!(matches!(outcome, Outcome::Admit(_)));
    push(&mut proxy, 1, &["somebody"]);
    // 100 - 20 + 15 are 4 more of 20 each; 80 would be too, with 0 left instead of 15.
    proxy.answered(id, "5");
    assert_eq!(admitted(&mut proxy, "one", 9), 4);
    assert_eq!((proxy.count(Metric::Settled), proxy.count(Metric::RefundedUnits)), (1, 15));
    assert_eq!(admitted(&mut proxy, "one", 9), 1, "15 refunded and 10 that have arrived in the second since");
}

#[test]
fn a_receipt_of_a_lost_slot_settles_nothing() {
    let mut proxy = started(10, 100, SETTLED);
    proxy.open("one");
    let (id, outcome) = proxy.open("one");
    assert!(matches!(outcome, Outcome::Admit(_)));
    proxy.memory.shared.clear();
    proxy.memory.random = [5, 6];
    proxy.advance(1_000);
    proxy.answered(id, "5");
    assert_eq!((proxy.count(Metric::KeptEstimate), proxy.count(Metric::RefundedUnits)), (1, 0));
}

#[test]
fn clients_are_told_of_their_own_bucket_under_the_resources_name() {
    let mut proxy = started(1, 10, r#""answer":{"headers":"draft-10"}"#);
    proxy.open("one");
    let (id, _) = proxy.open("one");
    let told = proxy.worker.on_response_headers(id, true, &mut proxy.memory.response(&[]));
    let field = told.iter().find(|(name, _)| *name == "ratelimit").map(|(_, value)| value.clone());
    assert!(field.as_deref().is_some_and(|value| value.starts_with("\"units\";r=9")), "{field:?}");
    admitted(&mut proxy, "one", 20);
    let (_, Outcome::Refuse(answer)) = proxy.open("one") else { panic!("used up") };
    assert!(answer.body.contains("\"units\""), "{}", answer.body);
    assert!(matches!(proxy.open("two").1, Outcome::Admit(_)), "from what is left in the bucket that all share");
}
