//! Lead times against what is known of them.

use proptest::prelude::*;

use super::*;

const NOW_S: i64 = 1_700_000_000;
const HALF_LIFE: HalfLife = HalfLife { observations: 100.0, seconds: 14.0 * 86_400.0 };

fn lead_times() -> LeadTimes {
    LeadTimes::new(DeclaredLead::of(120.0), HALF_LIFE)
}

fn close(one: f64, other: f64) -> bool {
    (one - other).abs() <= 1e-6 * other.abs().max(1.0)
}

#[test]
fn nothing_learned_is_what_was_declared() {
    let lead = lead_times().estimate_shape("Small", NOW_S, &[], &[]);
    assert!(close(lead.quantile(0.95), 120.0) && close(lead.quantile(0.5), 60.0), "{}", lead.quantile(0.95));
    assert!(close(lead_times().lead_s(NOW_S, &[]), 120.0));
    assert!(close(lead.ready_within(120.0), 0.95) && lead.ready_within(0.0) == 0.0);
}

#[test]
fn many_starts_outweigh_the_declaration_and_fade_back_to_it() {
    let mut leads = lead_times();
    (0..200).for_each(|start| leads.observe_ready("Small", 30.0 + f64::from(start % 10), NOW_S).unwrap());
    let learned = leads.lead_s(NOW_S, &[]);
    assert!((38.0..=60.0).contains(&learned), "{learned}");
    assert!((33.0..=36.0).contains(&leads.estimate(NOW_S, &[]).quantile(0.5)));
    let later = leads.lead_s(NOW_S + 365 * 86_400, &[]);
    assert!((later / 120.0 - 1.0).abs() < 0.01, "{later}");
    // A slower provider is believed within a few dozens of starts.
    (0..60).for_each(|_| leads.observe_ready("Small", 300.0, NOW_S).unwrap());
    assert!(leads.lead_s(NOW_S, &[]) >= 300.0);
}

#[test]
fn what_is_still_starting_or_never_came_counts_as_long() {
    let mut leads = lead_times();
    (0..20).for_each(|_| leads.observe_ready("Small", 40.0, NOW_S).unwrap());
    let without = leads.lead_s(NOW_S, &[]);
    let with = leads.lead_s(NOW_S, &[600.0; 8]);
    assert!(with > 300.0 && without < 100.0, "{without} and {with}");
    // Young ones say nothing about the tail.
    let with_young = leads.lead_s(NOW_S, &[10.0; 8]);
    assert!((with_young / without - 1.0).abs() < 0.01, "{without} and {with_young}");
    (0..8).for_each(|_| leads.observe_never("Small", 600.0, NOW_S).unwrap());
    assert!(leads.lead_s(NOW_S, &[]) > 600.0);
}

#[test]
fn a_shape_is_like_its_pool_until_it_has_starts_of_its_own() {
    let mut leads = lead_times();
    (0..100).for_each(|_| leads.observe_ready("Small", 40.0, NOW_S).unwrap());
    let median = |leads: &LeadTimes, shape: &str| leads.estimate_shape(shape, NOW_S, &[], &[]).quantile(0.5);
    assert!((40.0..42.0).contains(&median(&leads, "XL")), "{}", median(&leads, "XL"));
    (0..30).for_each(|_| leads.observe_ready("XL", 200.0, NOW_S).unwrap());
    assert!(close(median(&leads, "XL"), 200.0), "{}", median(&leads, "XL"));
    assert!(median(&leads, "Small") < 41.0);
}

#[test]
fn waiting_changes_what_remains() {
    let mut leads = lead_times();
    // Two kinds of start: images in the cache, and images to fetch.
    (0..100).for_each(|start| leads.observe_ready("S", if start % 2 == 0 { 20.0 } else { 100.0 }, NOW_S).unwrap());
    let lead = leads.estimate(NOW_S, &[]);
    assert!(lead.ready_within(25.0) > 0.45);
    assert!(lead.ready_within_after(25.0, 30.0) < 0.2, "the quick ones are over");
    assert!(lead.ready_within_after(75.0, 30.0) > 0.85);
    assert!((65.0..75.0).contains(&lead.remaining(0.5, 30.0)), "{}", lead.remaining(0.5, 30.0));
}

#[test]
fn impossible_times_are_refused_and_memory_is_bounded() {
    let mut leads = lead_times();
    for lead_s in [-1.0, f64::NAN, f64::INFINITY, 1e9] {
        assert!(matches!(leads.observe_ready("S", lead_s, NOW_S), Err(LearningError::Value { .. })));
    }
    assert_eq!(leads, lead_times());
    for start in 0..2_000_i64 {
        leads.observe_ready(&format!("shape {}", start % 100), 50.0, NOW_S + start).unwrap();
    }
    assert_eq!((leads.pool.0.len(), leads.shapes.len()), (MAX_STARTS, MAX_SHAPES));
    let stored = serde_json::to_string(&leads).unwrap();
    assert_eq!(serde_json::from_str::<LeadTimes>(&stored).unwrap(), leads);
}

/// Kaplan and Meier by their own formula, on unweighted starts.
fn kaplan_meier(starts: &[(u32, bool)], lead_s: f64) -> f64 {
    let mut ready: Vec<u32> = starts.iter().filter(|start| start.1).map(|start| start.0).collect();
    ready.sort_unstable();
    ready.dedup();
    ready.into_iter().filter(|time| f64::from(*time) <= lead_s).fold(1.0, |survival, time| {
        let at_risk = starts.iter().filter(|start| start.0 >= time).count() as f64;
        let events = starts.iter().filter(|start| start.1 && start.0 == time).count() as f64;
        survival * (1.0 - events / at_risk)
    })
}

proptest! {
    #[test]
    fn with_hardly_any_declaration_it_is_kaplan_and_meier(
        starts in prop::collection::vec((1_u32..40, any::<bool>()), 1..60), asked in 0_u32..39,
    ) {
        let declared = DeclaredLead { weight_starts: 1e-9, ..DeclaredLead::of(20.0) };
        let mut leads = LeadTimes::new(declared, HalfLife { observations: f64::INFINITY, seconds: f64::INFINITY });
        for (lead_s, ready) in &starts {
            if *ready { leads.observe_ready("S", f64::from(*lead_s), NOW_S).unwrap() }
            else { leads.observe_never("S", f64::from(*lead_s), NOW_S).unwrap() }
        }
        // Beyond the last start Kaplan and Meier know nothing.
        let last = starts.iter().map(|start| start.0).max().unwrap();
        if asked < last {
            let found = leads.estimate(NOW_S, &[]).survival(f64::from(asked));
            let expected = kaplan_meier(&starts, f64::from(asked));
            prop_assert!((found - expected).abs() < 1e-5, "{} and {}", found, expected);
        }
    }

    #[test]
    fn survival_falls_and_quantiles_invert_it(
        starts in prop::collection::vec((0.0_f64..1e4, any::<bool>()), 0..80),
        p in 0.01_f64..0.99, waited in 0.0_f64..1e4,
    ) {
        let mut leads = lead_times();
        for (lead_s, ready) in &starts {
            if *ready { leads.observe_ready("S", *lead_s, NOW_S).unwrap() }
            else { leads.observe_never("S", *lead_s, NOW_S).unwrap() }
        }
        let lead = leads.estimate(NOW_S, &[]);
        let survivals: Vec<f64> = (0..300).map(|at| lead.survival(f64::from(at) * 50.0)).collect();
        prop_assert!(survivals.windows(2).all(|pair| pair[1] <= pair[0] + 1e-12));
        let remaining = lead.remaining(p, waited);
        prop_assert!(lead.ready_within_after(remaining, waited) >= p - 1e-9);
        prop_assert!(remaining < 1e-3 || lead.ready_within_after(0.99 * remaining, waited) <= p + 1e-9);
    }
}
