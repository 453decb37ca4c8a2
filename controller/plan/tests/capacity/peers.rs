//! What others got wrong when they chose capacity, as regression tests: reports of open-source autoscalers and planners, and
//! where each is tested. Those of this file are the planner's; the others lie where the fault could be.
//!
//! | report | what went wrong | tested by |
//! |---|---|---|
//! | ai-dynamo #8583 | budget of devices ignored | `a_budget_is_not_ignored_when_demand_asks_for_more`, `no_budget_is_ever_exceeded_and_nothing_flips_within_its_dwell` |
//! | ai-dynamo #14493 | negative forecasts | `negative_and_absurd_forecasts_change_nothing`; forecast `predictions_are_finite_in_order_and_scale_with_the_unit` |
//! | ai-dynamo #7620 | forecasts of the past | `a_forecast_of_the_past_is_none`; forecast `forecasts_lie_in_the_future` |
//! | ai-dynamo #14238, crane #787 | a model that no naive one was compared with | forecast `the_gate_trips_late_and_recovers_only_when_as_good`; plan `a_pattern_goes_by_forecast_and_noise_stays_reactive` |
//! | kthena #1364 | a prediction turned scaling upside down | `more_demand_never_means_fewer_instances`, `lower_forecasts_never_take_away_what_is_needed_now` |
//! | llm-d-autoscaling #1499 | no lower bound to compare with | `foresight_costs_less_than_any_reactive_setting_even_in_hindsight` |
//! | karpenter #735, #1019, #1851, #2705; aws #7146 | moves for a trifle | `prices_that_tremble_move_nothing`, `what_is_free_to_move_is_not_moved_for_a_trifle` |
//! | karpenter #1430, #1440, #1686, #2883 | churn: up and down again | `a_group_goes_down_only_after_its_dwell`, `prices_that_tremble_move_nothing` |
//! | aws #3577, #3921, #6642, #8536, #8868 | the same nodes replaced without end | `what_was_planned_is_planned_again` |
//! | aws #6984 | moved to what cannot be had, and back | `a_replacement_that_is_not_to_be_had_costs_nothing_that_serves` |
//! | aws #4026, #8298, #7490; kueue #2560 | no way out where a class has nothing | `a_pool_that_has_nothing_is_done_without`; daemon `a_pool_that_lies_or_refuses_is_done_without` |
//! | karpenter #702; aws #2508, #5489 | no least share that is not spot | `instances_are_on_spot_only_where_all_may_be_or_it_is_asked_for` |
//! | karpenter #3176 | waited for an object that was gone already | provision `what_is_deleted_before_it_was_seen_holds_nothing_up` |
//! | kubernetes #55630, #141298 | pods that ended were counted | provision `pods_that_ended_well_are_not_counted` |
//! | kubernetes #30471 | one pod without measurements hid the others | provision `one_that_is_not_measured_hides_no_other` |
//! | keda #6659 | a fallback overrode higher demand | `without_a_forecast_what_is_observed_is_served_and_what_runs_stays` |
//! | keda #7239, #7411 | no fallback from zero | `without_a_forecast_what_is_observed_is_served_and_what_runs_stays` |
//! | keda #5409, #5666 | to and fro while a source fails now and then | `a_forecast_that_comes_and_goes_moves_nothing` |
//! | keda #6053 | gave up after the first failure | provision `what_passes_is_tried_again_and_nothing_else`; daemon `what_merely_failed_is_tried_again_soon` |
//! | code-dot-org PR #68963 | schedules in the wrong zone | forecast `forecasts_in_a_zone_follow_its_clock_over_a_change`, `days_with_a_change_of_the_clock_have_23_and_25_hours` |
//! | cronhpa #12 | holidays | forecast `the_holidays_of_a_year`, `with_a_calendar_events_are_known_beforehand_and_disturb_nothing_afterwards` |

use forebay_plan::capacity::{Fleet, GroupReason, Outlook, PoolOffer, ServiceReason};

use super::worlds::{self, inputs, plain};
use super::{Budget, BudgetScope, CapacityInputs, CapacityPlan, count, group, plan};

#[test]
fn a_budget_is_not_ignored_when_demand_asks_for_more() {
    // ai-dynamo #8583: a budget of 32 devices, 50 asked for.
    let mut inputs = plain();
    inputs.outlooks.insert("shop".to_owned(), worlds::flat(&inputs, 2_000.0));
    let unlimited = plan(&inputs);
    let committed = |plan: &CapacityPlan| plan.report.budgets.first().map_or(0, |budget| budget.committed_micros);
    inputs.budgets.push(Budget {
        name: "all".to_owned(),
        scope: BudgetScope::Whole,
        limit_micros: 60_000,
        spent_micros: 10_000,
        ends_s: inputs.now_s + 3_600,
    });
    let made = plan(&inputs);
    assert!(committed(&made) <= 50_000, "{:?}", made.report.budgets);
    assert!(made.targets.iter().map(|target| target.count).sum::<u32>() > 0);
    assert!(count(&made)["large"] < count(&unlimited)["large"]);
    let reason = &made.report.services[0].reason;
    assert!(
        matches!(reason, ServiceReason::BudgetShort { .. } | ServiceReason::BelowFloorByBudget { .. }),
        "{reason:?}"
    );
}

#[test]
fn negative_and_absurd_forecasts_change_nothing() {
    // ai-dynamo #14493: a Kalman filter forecast negative demand.
    let mut inputs = plain();
    let sane = plan(&inputs);
    for absurd in [-50.0, f64::NAN, f64::INFINITY] {
        let outlook = inputs.outlooks.get_mut("shop").expect("the service has an outlook");
        outlook.steps.iter_mut().for_each(|row| row.fill(absurd));
        inputs.fleet = [(group("large"), Fleet { ready: 5, ..Fleet::default() })].into();
        let made = plan(&inputs);
        assert_eq!(count(&made)["large"], 5, "{absurd}: what runs stays");
        assert_eq!(made.report.services[0].reason, ServiceReason::NoOutlook);
        assert_eq!(made.report.groups[0].reason, GroupReason::HeldWithoutOutlook);
    }
    assert!(count(&sane)["large"] > 0);
}

#[test]
fn a_forecast_of_the_past_is_none() {
    // ai-dynamo #7620: Prophet forecast into the past.
    let mut inputs = plain();
    let outlook = inputs.outlooks.get_mut("shop").expect("the service has an outlook");
    outlook.first_step_s = inputs.now_s - 100 * u64::from(inputs.step_s);
    outlook.steps.iter_mut().flatten().for_each(|value| *value = 100_000.0);
    let made = plan(&inputs);
    assert_eq!(made.report.services[0].reason, ServiceReason::NoOutlook);
    // 100 units per second are observed: two large ones and two small.
    assert!((100.0..=120.0).contains(&made.report.services[0].planned_per_s), "{:?}", made.report.services);
}

#[test]
fn more_demand_never_means_fewer_instances() {
    // kthena #1364: a prediction overwrote the target and turned scaling upside down.
    let mut last = 0.0;
    for demand in [10.0, 100.0, 250.0, 900.0, 4_000.0] {
        let mut inputs = plain();
        inputs.outlooks.insert("shop".to_owned(), Outlook { observed_per_s: 10.0, ..worlds::flat(&inputs, demand) });
        let planned = plan(&inputs).report.services[0].planned_per_s;
        assert!(planned >= last && planned >= demand, "{demand}: {planned} after {last}");
        last = planned;
    }
}

#[test]
fn prices_that_tremble_move_nothing() {
    let mut inputs = plain();
    let mut other = inputs.pools[0].clone();
    other.pool.name = "other".to_owned();
    inputs.pools.push(other);
    let mut running = None;
    for minute in 0..120 {
        let made = plan(&inputs);
        inputs.dwell.remember(&made, inputs.now_s);
        inputs.fleet = made
            .targets
            .iter()
            .map(|target| (target.group.clone(), Fleet { ready: target.count, ..Fleet::default() }))
            .collect();
        assert_eq!(running.get_or_insert_with(|| made.targets.clone()), &made.targets, "minute {minute}");
        inputs.now_s += 60;
        // By up to two percent, now one is cheaper and now the other.
        inputs.pools[0].pool.price_milli = 1_000 + 20 * (minute % 2);
        inputs.pools[1].pool.price_milli = 1_000 + 7 * (minute % 3);
        inputs.outlooks.insert("shop".to_owned(), worlds::flat(&inputs, 100.0));
    }
}

/// Plans until one is already so, where pools of some dozen instances start one or two with each.
const SETTLES_WITHIN: usize = 100;
const STAYS_FOR: usize = 3;

/// As if everything that was planned had come, and what was not were gone.
fn carry_out(inputs: &mut CapacityInputs, made: &CapacityPlan) {
    let ready = |count| Fleet { ready: count, ..Fleet::default() };
    inputs.fleet = made.targets.iter().map(|target| (target.group.clone(), ready(target.count))).collect();
}

/// Karpenter for AWS #3577, #3921, #6642, #8536 and #8868: nodes were replaced by their like for hours. Where nothing changes
/// but that plans are carried out, as slowly as pools start, there comes one that says what is already so, and it stays.
#[test]
fn what_was_planned_is_planned_again() {
    for seed in 0..300 {
        let mut inputs = inputs(seed);
        let mut last = None;
        let mut next = |inputs: &mut CapacityInputs| {
            let made = plan(inputs);
            carry_out(inputs, &made);
            last.replace(made.targets.clone()) == Some(made.targets)
        };
        assert!((0..SETTLES_WITHIN).any(|_| next(&mut inputs)), "seed {seed}: never the same twice");
        assert!((0..STAYS_FOR).all(|_| next(&mut inputs)), "seed {seed}: it does not stay so");
    }
}

/// Karpenter for AWS #6984: nodes were given up for cheaper ones that could not be had, and bought again, in a circle.
#[test]
fn a_replacement_that_is_not_to_be_had_costs_nothing_that_serves() {
    let mut inputs = plain();
    let small = Fleet { ready: 10, ..Fleet::default() };
    inputs.fleet.insert(group("small"), small);
    inputs.shapes[0].price_micros_per_h *= 6;
    for minute in 0..60 {
        let made = plan(&inputs);
        assert_eq!(count(&made)["small"], 10, "minute {minute}: it serves until others do");
        inputs.dwell.remember(&made, inputs.now_s);
        // What was ordered beside it does not come; every other minute the pool says that it has none.
        let coming = made.targets.iter().filter(|target| target.group != group("small"));
        let refuses = minute % 2 == 1;
        inputs.pools[0].startable = refuses.then_some(0);
        inputs.fleet = coming
            .map(|target| {
                (target.group.clone(), Fleet { coming: if refuses { 0 } else { target.count }, ..Fleet::default() })
            })
            .collect();
        inputs.fleet.insert(group("small"), small);
        inputs.now_s += 60;
        inputs.outlooks.insert("shop".to_owned(), worlds::flat(&inputs, 100.0));
    }
}

/// Karpenter for AWS #4026, #7490 and #8298, Kueue #2560: nothing else was tried, or too late, where the cheapest class had none.
#[test]
fn a_pool_that_has_nothing_is_done_without() {
    let mut inputs = plain();
    let mut cheap = inputs.pools[0].clone();
    cheap.pool.name = "cheap".to_owned();
    cheap.pool.price_milli /= 2;
    inputs.pools.push(PoolOffer { price_max_milli: cheap.pool.price_milli, ..cheap });
    let of = |made: &CapacityPlan, pool: &str| -> u32 {
        made.targets.iter().filter(|target| target.group.pool == pool).map(|target| target.count).sum()
    };
    let wished = plan(&inputs);
    assert!(of(&wished, "cheap") > 0 && of(&wished, "od") == 0, "{:?}", wished.targets);
    inputs.pools[1].startable = Some(0);
    let made = plan(&inputs);
    assert!(of(&made, "cheap") == 0 && made.report.services[0].planned_per_s >= 100.0, "{:?}", made.report.services);
}

/// KEDA #6659: a fallback that took the place of a failed source overrode the higher demand that another one saw. #7239 and
/// #7411: from nothing there was no fallback at all.
#[test]
fn without_a_forecast_what_is_observed_is_served_and_what_runs_stays() {
    for (ready, observed_per_s) in [(2, 400.0), (0, 100.0), (9, 10.0), (0, 0.0)] {
        let mut inputs = plain();
        inputs.fleet.insert(group("large"), Fleet { ready, ..Fleet::default() });
        let none = Outlook { observed_per_s, steps: Vec::new(), ..worlds::flat(&inputs, 0.0) };
        inputs.outlooks.insert("shop".to_owned(), none);
        let made = plan(&inputs);
        assert_eq!(made.report.services[0].reason, ServiceReason::NoOutlook);
        let runs_per_s = 40.0 * f64::from(ready);
        let planned_per_s = made.report.services[0].planned_per_s;
        assert!(planned_per_s >= observed_per_s.max(runs_per_s), "{ready} run, {observed_per_s}: {planned_per_s}");
    }
}

/// KEDA #5409 and #5666: while a source failed now and then, numbers went to and fro between the fallback's and the others.
#[test]
fn a_forecast_that_comes_and_goes_moves_nothing() {
    let mut inputs = plain();
    let mut running = None;
    for minute in 0..120 {
        let known = Outlook { observed_per_s: 400.0, ..worlds::flat(&inputs, 400.0) };
        let is_known = minute % 3 != 1;
        let outlook = if is_known { known } else { Outlook { steps: Vec::new(), ..known } };
        inputs.outlooks.insert("shop".to_owned(), outlook);
        let made = plan(&inputs);
        inputs.dwell.remember(&made, inputs.now_s);
        carry_out(&mut inputs, &made);
        assert_eq!(running.get_or_insert_with(|| made.targets.clone()), &made.targets, "minute {minute}");
        inputs.now_s += 60;
    }
}
