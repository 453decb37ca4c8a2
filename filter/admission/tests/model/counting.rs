//! What is counted beside the decisions: the counterfactual and the demand against its forecast.

use forebay_admission::{Bursts, DemandState, Expected, Grant, Lane, Nanos, Slot, Tally, Verdict};

use crate::support::{Proxy, limit, one};

/// 200 requests per second against a standard 100 and a shadow of 60, in slots of a second that predict 150 and at most
/// 180.
#[test]
fn what_the_shadow_is_worth_and_what_the_forecast_missed() {
    let slot = |id| Slot {
        id,
        start: Nanos(id * Nanos::SECOND),
        end: Nanos((id + 1) * Nanos::SECOND),
        amount: 60,
        pace: limit(60, 10),
    };
    let standard = limit(100, 20);
    let grant = Grant { standard, safe: standard, slots: (0..10).map(slot).collect(), pool: None };
    let mut proxy = Proxy::new(1, &[grant]);
    let (mut state, mut lanes, mut before) = (DemandState::default(), [0u64; 3], 0);
    for request in 0..2_000u64 {
        match proxy.request(0, &one(1), Nanos(request * 5 * Nanos::MILLI)) {
            Verdict::Admit(Lane::Reserved) => lanes[0] += 1,
            Verdict::Admit(_) => lanes[1] += 1,
            Verdict::Refuse { .. } => lanes[2] += 1,
        }
        if request % 40 == 39 {
            let offered = proxy.workers[0][0].counts().offered();
            let slot = request * 5 / 1_000 + 1;
            state.absorb(slot, Tally { requests: offered.requests - before, units: offered.units - before });
            state.expect(slot, Expected { predicted: 150, upper: 180 });
            before = offered.requests;
        }
    }
    let counts = proxy.workers[0][0].counts();
    // Alone, the plain bucket admits its burst and its rate until the last request at 9.995 s: 1,019 of 2,000.
    assert_eq!(counts.would_have_refused_plain.requests, 981, "{counts:?}");
    assert_eq!(counts.would_have_refused_plain.units + 1_019, lanes.iter().sum::<u64>());
    let gained = counts.rescued.requests - counts.worse_than_plain.requests;
    assert_eq!(gained, lanes[0] + lanes[1] - 1_019, "what was admitted beyond the plain bucket: {counts:?}");
    assert!(lanes[0] >= 590, "{lanes:?}");
    assert_eq!(counts.in_slot.requests, 2_000, "a slot was always running: the shadow alone would have had {lanes:?}");
    assert_eq!(state.bursts, Bursts { slots: 10, units: 10 * 20 });
    assert_eq!(state.last.ratio_milli(), Some(200_000 / 150));
}
