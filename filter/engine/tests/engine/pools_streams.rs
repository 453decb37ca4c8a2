//! What is borrowed, after the decision: waiting for it, settling it, and telling of it.

use forebay_admission::Lane;
use forebay_engine::Outcome;
use forebay_protocol::v1::{Limit, Slot};

use crate::support::{Followed, Seen, grant};

const RESERVED_PER_S: u64 = 100;
const DEBT: u64 = 40;

/// The owner has a reservation, its guest has nothing of its own; `more` goes into the policy.
fn started(more: &str) -> Followed {
    let mut proxy = Followed::new(&format!(
        r#"{{"controller":{{"cluster":"ctl"}},"policy":{{"resources":[{{"name":"units",
            "others":{{"rate_per_s":0,"burst":0}},"pool":{{"name":"main","borrow":true,"debt":{DEBT}}}}}],{more}}}}}"#
    ));
    proxy.advance(100);
    push(&mut proxy, 1, RESERVED_PER_S);
    // So long nothing was used, and the debt can be lent.
    proxy.advance(1_000);
    proxy
}

/// The owner has this reservation from now on.
fn push(proxy: &mut Followed, sequence: u64, reserved_per_s: u64) {
    let pace = Limit { rate_milli_per_s: reserved_per_s * 1_000, burst: reserved_per_s };
    let slot = Slot { id: sequence, starts_in_ms: 0, length_ms: 600_000, amount: reserved_per_s * 600, pace };
    proxy.push(sequence, vec![grant("owner", "units", 0, 0, vec![slot]), grant("guest", "units", 0, 0, vec![])]);
}

fn borrowed(proxy: &mut Followed, tries: usize) -> Vec<u32> {
    proxy.admitted("guest", tries, |lane| lane == Lane::Borrowed)
}

const SETTLED: &str = r#""rules":[{"charges":[{"resource":"units","cost":{"settled":{
    "estimate":20,"by":{"response_header":"x-used"}}}}]}]"#;

#[test]
fn an_unused_borrowed_unit_goes_back_to_the_pool() {
    let mut proxy = started(SETTLED);
    let streams = borrowed(&mut proxy, 5);
    assert_eq!(streams.len() as u64, DEBT / 20, "the debt, in estimates");
    for stream in streams {
        proxy.answered(stream, "10");
    }
    // 2 x 10 came back: one more estimate. Nobody's standard bucket has anything, so it can come from the pool only.
    assert_eq!(borrowed(&mut proxy, 5).len(), 1);
}

#[test]
fn an_underestimate_is_charged_to_the_pool_as_far_as_it_goes() {
    let mut proxy = started(SETTLED);
    let streams = borrowed(&mut proxy, 1);
    // Of the 20 left in the pool 15 more are taken: 5 are left, and 20 need 150 ms.
    proxy.answered(streams[0], "35");
    proxy.advance(100);
    assert_eq!(borrowed(&mut proxy, 1).len(), 0);
    proxy.advance(100);
    assert_eq!(borrowed(&mut proxy, 1).len(), 1);
}

#[test]
fn a_guest_waits_for_what_is_left_idle_next() {
    let mut proxy = started(r#""queue":{"max_wait_ms":2000}"#);
    assert_eq!(borrowed(&mut proxy, DEBT as usize).len() as u64, DEBT);
    let (id, outcome) = proxy.open("guest");
    assert!(matches!(outcome, Outcome::Wait { .. }), "{outcome:?}");
    assert_eq!(proxy.advance(20), [Seen::Resumed(id, Some(Lane::Borrowed))], "100/s");
}

#[test]
fn a_raised_reservation_is_not_lent_for_the_time_before_it() {
    let mut proxy = started(r#""name":"none""#);
    assert_eq!(borrowed(&mut proxy, 100).len() as u64, DEBT);
    proxy.advance(100);
    // 10 have arrived; at the new rate they would be more than the debt.
    push(&mut proxy, 2, 100 * RESERVED_PER_S);
    assert_eq!(borrowed(&mut proxy, 100).len(), 10);
    proxy.advance(50);
    assert_eq!(borrowed(&mut proxy, 100).len() as u64, DEBT);
}

#[test]
fn a_guest_who_came_too_early_borrows_once_something_is_reserved() {
    let mut proxy = started(r#""name":"none""#);
    push(&mut proxy, 2, 0);
    proxy.advance(1_000);
    borrowed(&mut proxy, 100);
    assert_eq!(borrowed(&mut proxy, 1).len(), 0, "nothing is reserved any more");
    push(&mut proxy, 3, RESERVED_PER_S);
    proxy.advance(1_000);
    assert_eq!(borrowed(&mut proxy, 100).len() as u64, DEBT);
}

#[test]
fn the_lane_is_in_provenance() {
    let mut proxy = started(r#""provenance":{"filter_state":true}"#);
    assert_eq!(borrowed(&mut proxy, 1).len(), 1);
    let (_, line) = proxy.memory.filter_state.last().expect("a line");
    assert!(line.starts_with("lane=borrowed;"), "{line}");
}
