//! Signals one by one, at steps of five minutes.

use super::*;

const STEP_S: i64 = 300;

fn calm(step: i64) -> StepEvidence {
    StepEvidence {
        at_s: step * STEP_S,
        loss: 1.0 + ((step * 7919) % 100) as f64 / 100.0,
        worse_than_naive: false,
        // Nineteen of twenty.
        covered: Some(step % 20 != 0),
        changed_from_s: None,
    }
}

/// The first fit that is due in three days, and at which step.
fn first(evidence: impl Fn(i64) -> StepEvidence) -> Option<(i64, Refit)> {
    let schedule = RefitSchedule { every_s: 10 * 86_400, learning_steps: 48, ..RefitSchedule::default() };
    let mut triggers = Triggers::new(schedule, 0.95, 0);
    (1..3 * 288).find_map(|step| Some((step, triggers.observe(&evidence(step))?)))
}

#[test]
fn calm_steps_wait_for_the_schedule_and_a_fit_starts_it_anew() {
    assert_eq!(first(calm), None);
    let mut triggers = Triggers::new(RefitSchedule::default(), 0.95, 0);
    for day in 1..=2 {
        let due = (1..2 * 288).find(|step| triggers.observe(&calm((day - 1) * 288 + step)).is_some());
        assert_eq!(due, Some(288));
        assert_eq!(triggers.observe(&calm(day * 288)).map(|refit| refit.why), Some(RefitTrigger::Scheduled));
        triggers.fitted(RefitTrigger::Scheduled, day * 86_400);
    }
}

#[test]
fn fits_by_schedule_silence_no_signal() {
    let first_after = |every_steps: i64, evidence: &dyn Fn(i64) -> StepEvidence| {
        let schedule = RefitSchedule { every_s: every_steps * STEP_S, least_s: 1_800, ..RefitSchedule::default() };
        let mut triggers = Triggers::new(schedule, 0.95, 0);
        (1..9 * 288).find_map(|step| {
            let refit = triggers.observe(&evidence(step))?;
            if refit.why != RefitTrigger::Scheduled {
                return Some((step, refit.why));
            }
            triggers.fitted(refit.why, step * STEP_S);
            None
        })
    };
    let crept = |step: i64| StepEvidence { loss: calm(step).loss + if step > 600 { 0.3 } else { 0.0 }, ..calm(step) };
    let missed = |step: i64| StepEvidence { covered: Some(step % if step > 600 { 8 } else { 20 } != 0), ..calm(step) };
    for every_steps in [12, 288] {
        assert_eq!(first_after(every_steps, &calm), None);
        let (step, why) = first_after(every_steps, &crept).unwrap();
        assert!(matches!(why, RefitTrigger::Drifted { .. }) && (600..660).contains(&step), "{step}: {why:?}");
        let (step, why) = first_after(every_steps, &missed).unwrap();
        assert!(matches!(why, RefitTrigger::Miscalibrated { .. }) && (600..1200).contains(&step), "{step}: {why:?}");
    }
    let mut triggers = Triggers::new(RefitSchedule::default(), 0.95, 0);
    assert!((1..200).all(|step| triggers.observe(&missed(step)).is_none()) && triggers.coverage().is_some());
    triggers.replaced();
    assert_eq!(triggers.coverage(), None, "another model is judged by what it does");
}

#[test]
fn a_width_that_never_fits_does_not_put_off_the_selection() {
    let mut triggers = Triggers::new(RefitSchedule::default(), 0.95, 0);
    let mut scopes = Vec::new();
    for step in 1..3 * 288 {
        if let Some(refit) = triggers.observe(&StepEvidence { covered: Some(step % 2 == 0), ..calm(step) }) {
            scopes.push(refit.what);
            triggers.fitted(refit.why, step * STEP_S);
        }
    }
    let selections = scopes.iter().filter(|scope| **scope == RefitScope::Select).count();
    assert!(selections >= 2 && scopes.contains(&RefitScope::Recalibrate), "{scopes:?}");
}

#[test]
fn each_signal_is_named_and_waits_for_the_least_gap() {
    let (step, refit) = first(|step| StepEvidence { worse_than_naive: true, ..calm(step) }).unwrap();
    assert_eq!((step, refit), (24, Refit { what: RefitScope::Select, why: RefitTrigger::WorseThanNaive }));

    let (step, refit) = first(|step| StepEvidence { covered: Some(step % 5 != 0), ..calm(step) }).unwrap();
    assert_eq!(refit.what, RefitScope::Recalibrate);
    assert!(matches!(refit.why, RefitTrigger::Miscalibrated { coverage } if coverage < 0.85), "{refit:?}");
    assert!((96..200).contains(&step), "{step}");

    let risen = |step: i64| StepEvidence { loss: calm(step).loss + if step > 200 { 0.5 } else { 0.0 }, ..calm(step) };
    let (step, refit) = first(risen).unwrap();
    assert!(matches!(refit.why, RefitTrigger::Drifted { .. }), "{refit:?}");
    assert!((201..250).contains(&step), "{step}");
}

#[test]
fn a_change_is_let_through_when_there_is_enough_and_until_it_was_fitted() {
    let (from_s, needed) = (4 * STEP_S, 4 + 2 * 288);
    let evidence = |step| StepEvidence { changed_from_s: (step == 10).then_some(from_s), ..calm(step) };
    let (step, refit) = first(evidence).unwrap();
    assert_eq!(step, needed);
    assert_eq!(refit.what, RefitScope::SelectSince { from_s });
    let mut triggers = Triggers::new(RefitSchedule::default(), 0.95, 0);
    let observed = |triggers: &mut Triggers, steps: std::ops::Range<i64>| {
        steps.map(|step| triggers.observe(&evidence(step))).last().flatten().map(|refit| refit.why)
    };
    assert_eq!(observed(&mut triggers, 1..289), Some(RefitTrigger::Scheduled), "meanwhile the schedule goes on");
    triggers.fitted(RefitTrigger::Scheduled, 288 * STEP_S);
    assert_eq!(observed(&mut triggers, 289..289 + 287), None);
    assert_eq!(observed(&mut triggers, needed..needed + 2), Some(RefitTrigger::Changed { from_s }));
    triggers.fitted(RefitTrigger::Changed { from_s }, (needed + 1) * STEP_S);
    assert_eq!(observed(&mut triggers, needed + 2..needed + 9), None);
}

#[test]
fn steps_that_were_not_scored_say_nothing() {
    assert_eq!(first(|step| StepEvidence { loss: f64::NAN, covered: None, ..calm(step) }), None);
}
