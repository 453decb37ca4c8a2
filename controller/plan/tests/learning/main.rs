//! The tuner in a simulated world: it finds what is better, loses no more than it may, ends when the world turns, and does
//! the same with the same seed.

mod world;

use anyhow::Result;
use forebay_plan::learning::tuner::{Arm, Band, KilledBy, State, Tuner, TunerSettings};
use world::{CALM_SPOT, RIGHT, Step, TOO_BOLD, TOO_CAREFUL, Truth, World, acting, careful_nights, live, mean};

fn automatic() -> TunerSettings {
    TunerSettings { is_automatic: true, ..TunerSettings::default() }
}

fn best(truth: Truth) -> Arm {
    let band = Band::default();
    let loss = |arm: &Arm| world::expected_micros(0, truth, *arm);
    let arms = (0..band.arms()).map(|arm| band.arm(arm));
    arms.min_by(|one, other| loss(one).total_cmp(&loss(other))).unwrap_or(Arm::BASELINE)
}

fn over_baseline(steps: &[Step]) -> f64 {
    mean(steps, |step| step.loss) / mean(steps, |step| step.baseline) - 1.0
}

#[test]
fn the_worlds_are_what_they_are_called() {
    assert_eq!(best(RIGHT), Arm::BASELINE);
    assert!(best(TOO_CAREFUL).headroom < 1.0 && best(TOO_BOLD).headroom > 1.0);
    assert!(best(CALM_SPOT).spot_shift > 0.0);
}

#[test]
fn where_the_planner_is_too_careful_it_is_shown_to_be_better_acts_and_regret_levels_off() -> Result<()> {
    for seed in 0..2 {
        let mut tuner = Tuner::new(automatic())?;
        let steps = live(&mut tuner, World::Steady(TOO_CAREFUL), 1_500, seed, true)?;
        let acts = steps.iter().position(|step| matches!(step.state, State::Acting { .. }));
        let acts = acts.unwrap_or_else(|| panic!("seed {seed}: never acts: {:?}", tuner.report()));
        assert!((200..800).contains(&acts), "seed {seed}: acts from {acts}");
        assert!(steps[..acts].iter().all(|step| step.decision.in_force == Arm::BASELINE), "seed {seed}: only watched");
        let (early, late) = (&steps[..400], &steps[1_100..]);
        let [early, late] = [early, late].map(|steps| mean(steps, |step| step.regret));
        assert!(late < 0.4 * early, "seed {seed}: regret per epoch {early} and {late}");
        assert!(over_baseline(&steps[acts..]) < -0.03, "seed {seed}: {}", over_baseline(&steps[acts..]));
    }
    Ok(())
}

#[test]
fn exploring_in_force_it_learns_without_replays_and_stays_within_its_share() -> Result<()> {
    let settings = TunerSettings { watching_share: 0.3, ..automatic() };
    let mut late = 0.0;
    for seed in 0..3 {
        let mut tuner = Tuner::new(settings.clone())?;
        let steps = live(&mut tuner, World::Steady(TOO_CAREFUL), 1_500, seed, false)?;
        let explored = mean(&steps[500..], |step| f64::from(u8::from(step.decision.in_force != Arm::BASELINE)));
        assert!(explored > 0.1, "seed {seed}: {explored}");
        assert!(over_baseline(&steps) < settings.alpha, "seed {seed}: {}", over_baseline(&steps));
        late += over_baseline(&steps[1_000..]) / 3.0;
    }
    assert!(late < -0.01, "{late}");
    Ok(())
}

#[test]
fn where_the_baseline_is_best_no_more_than_the_share_is_lost_even_by_one_let_loose() -> Result<()> {
    let (mut kept, seeds) = (0, 10);
    for seed in 0..seeds {
        let mut tuner = acting(&Tuner::new(automatic())?)?;
        let steps = live(&mut tuner, World::Steady(RIGHT), 500, seed, false)?;
        kept += u64::from(over_baseline(&steps) <= automatic().alpha);
        // By expectation, without the luck of the demand, always.
        let excess = mean(&steps, |step| step.regret - step.baseline_regret);
        assert!(excess <= automatic().alpha, "seed {seed}: {excess}");
    }
    assert!(kept >= seeds - 1, "{kept} of {seeds}");
    Ok(())
}

#[test]
fn where_the_baseline_is_best_it_is_not_proposed() -> Result<()> {
    let mut proposed = 0;
    for seed in 0..10 {
        let mut tuner = Tuner::new(TunerSettings { is_automatic: false, ..automatic() })?;
        let steps = live(&mut tuner, World::Steady(RIGHT), 500, seed, true)?;
        proposed += u32::from(steps.iter().any(|step| matches!(step.state, State::Proposed { .. })));
        assert!(steps.iter().all(|step| step.decision.in_force == Arm::BASELINE), "seed {seed}: nobody accepted");
    }
    assert!(proposed <= 1, "{proposed} of 10");
    Ok(())
}

#[test]
fn when_the_world_turns_it_is_killed() -> Result<()> {
    let turns = 1_000;
    for seed in 0..3 {
        let mut tuner = Tuner::new(automatic())?;
        let steps = live(&mut tuner, World::Shifted(TOO_CAREFUL, TOO_BOLD, turns), 1_150, seed, true)?;
        assert!(matches!(steps[turns].state, State::Acting { .. }), "seed {seed}: {:?}", steps[turns].state);
        let killed = steps.iter().position(|step| matches!(step.state, State::Killed { .. }));
        let killed = killed.unwrap_or_else(|| panic!("seed {seed}: {:?}", tuner.report()));
        assert!((turns..turns + 150).contains(&killed), "seed {seed}: killed at {killed}");
        assert!(steps[killed..].iter().all(|step| step.decision.in_force == Arm::BASELINE));
        assert!(!matches!(tuner.state(), State::Killed { by: KilledBy::Hand }));
    }
    Ok(())
}

#[test]
fn the_kill_switch_ends_it_at_once_and_evidence_begins_anew() -> Result<()> {
    let mut tuner = acting(&Tuner::new(automatic())?)?;
    live(&mut tuner, World::Steady(TOO_CAREFUL), 300, 1, true)?;
    tuner.kill();
    let steps = live(&mut tuner, World::Steady(TOO_CAREFUL), 50, 2, true)?;
    assert!(steps.iter().all(|step| step.decision.in_force == Arm::BASELINE && step.decision.propensity == 1.0));
    assert!(tuner.accept().is_err());
    tuner.watch_again()?;
    assert_eq!((tuner.state(), tuner.evaluation().settled), (State::Watching, 0));
    assert!(tuner.watch_again().is_err());
    Ok(())
}

#[test]
fn the_same_seed_gives_the_same_trace_and_a_stored_tuner_goes_on() -> Result<()> {
    let settings = TunerSettings { watching_share: 0.5, ..automatic() };
    let world = World::By(careful_nights);
    let [mut one, mut other, mut third] = [0; 3].map(|_| Tuner::new(settings.clone()).expect("valid settings"));
    let trace = live(&mut one, world, 200, 7, true)?;
    assert_eq!(trace, live(&mut other, world, 200, 7, true)?);
    assert_ne!(trace, live(&mut third, world, 200, 8, true)?);
    assert_eq!(one, other);
    let band: Vec<Arm> = (0..settings.band.arms()).map(|arm| settings.band.arm(arm)).collect();
    assert!(trace.iter().all(|step| band.contains(&step.decision.in_force) && step.decision.propensity > 0.0));
    let restored: Tuner = serde_json::from_str(&serde_json::to_string(&one)?)?;
    let mut resumed = Tuner::resumed(settings.clone(), restored.clone())?;
    assert_eq!(resumed.decisions().len(), 200);
    live(&mut resumed, world, 10, 9, true)?;
    // Another band has other steps to learn.
    let other_band = TunerSettings { band: Band::new(vec![1.0, 1.1], vec![0.0])?, ..settings };
    assert_eq!(Tuner::resumed(other_band, restored)?.decisions().len(), 0);
    Ok(())
}
