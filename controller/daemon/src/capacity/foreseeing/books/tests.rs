//! What is to be covered, step by step, of what was seen.

use super::super::Seen;
use super::super::opening::Replay;
use super::*;

const STEP_S: u32 = 1800;
const SCALE: Scale = Scale { step_s: STEP_S, per_replica: 10.0, lead_steps: 2 };
const FIRST_STEP: i64 = 200_000;

fn foreseen(short_steps_share: f64) -> Foreseen {
    Foreseen { guaranteed_per_s: 15.0, ..Foreseen::new(short_steps_share) }
}

fn open(one: &mut Foreseen, seen: &[Seen]) {
    one.take_opened(Replay::of(SCALE, one.short_steps_share, seen).opened());
}

/// Half-hours with a busy stretch each day, which forecasts know.
fn seen(steps: i64) -> Vec<Seen> {
    let demand_per_s = |step: i64| if step % 48 < 6 { 90.0 } else { 30.0 };
    let of_step = |step: i64| {
        let highest = (step..=step + 2).map(demand_per_s).fold(0.0, f64::max);
        let sight =
            Sight { demand_per_s: demand_per_s(step - 1), served: Some(true), upper: [highest; QUANTILES.len()] };
        Seen { service: "shop".to_owned(), start_s: step * i64::from(STEP_S), sight, is_retold: false }
    };
    (FIRST_STEP..FIRST_STEP + steps).map(of_step).collect()
}

fn outlook(step: i64, rows: &[f64]) -> Outlook {
    Outlook {
        observed_per_s: 0.0,
        first_step_s: step.unsigned_abs() * u64::from(STEP_S),
        levels: LEVELS.to_vec(),
        steps: rows.iter().map(|row| LEVELS.map(|level| row * level / 0.5).to_vec()).collect(),
    }
}

fn firsts(outlook: &Outlook) -> Vec<f64> {
    for row in &outlook.steps {
        assert!(
            row.len() == LEVELS.len() && row.iter().all(|value| value == &row[0]),
            "the same at all levels: {row:?}"
        );
    }
    outlook.steps.iter().map(|row| row[0]).collect()
}

#[test]
fn books_that_prove_nothing_cover_the_quantile_that_leaves_the_share() {
    let mut one = foreseen(0.05);
    let covered = one.covered(outlook(FIRST_STEP, &[10.0, 20.0]), STEP_S);
    assert_eq!(firsts(&covered), [19.0, 38.0]);
    open(&mut one, &seen(40));
    assert_eq!(
        one.covered(outlook(FIRST_STEP + 39, &[10.0, 20.0]), STEP_S),
        outlook_of(FIRST_STEP + 39, &[19.0, 38.0])
    );
}

fn outlook_of(step: i64, rows: &[f64]) -> Outlook {
    let steps = rows.iter().map(|row| vec![*row; LEVELS.len()]).collect();
    Outlook { steps, ..outlook(step, &[]) }
}

#[test]
fn what_is_asked_for_now_is_covered_until_it_is_ready_and_later_steps_by_the_same_factor() {
    let mut one = foreseen(0.05);
    open(&mut one, &seen(14 * 48));
    let step = FIRST_STEP + 14 * 48 - 1;
    let live = one.live.as_ref().unwrap();
    assert!(live.is_proven() && live.in_charge() != Source::LastValue, "{}", live.account());
    let now = live.covered_per_s();
    assert!((20.0..=40.0).contains(&now), "{now}");
    let covered = firsts(&one.covered(outlook(step, &[30.0, 30.0, 30.0, 30.0, 90.0, 0.0]), STEP_S));
    assert_eq!(&covered[..3], [now; 3]);
    assert!(covered[4] > 2.0 * covered[3] && covered[5] == 15.0, "never less than guaranteed: {covered:?}");
    // Without any forecast, and when the step after has begun and nothing was decided of it.
    assert_eq!(firsts(&one.covered(outlook(step, &[]), STEP_S)), [now; 3]);
    assert_eq!(firsts(&one.covered(outlook(step + 1, &[]), STEP_S)), [now; 2]);
    let mut unsound = outlook(step, &[30.0; 4]);
    unsound.steps[3] = vec![1.0];
    assert_eq!(one.covered(unsound, STEP_S).steps[3], [1.0], "what makes no sense is the planner's to refuse");
}

#[test]
fn steps_that_nobody_looked_at_teach_nothing() {
    let mut one = foreseen(0.05);
    let mut rows = seen(14 * 48);
    rows.drain(300..400);
    open(&mut one, &rows);
    let live = one.live.as_ref().unwrap();
    assert_eq!(live.lived().steps, 14 * 48 - 100 - 1);
    assert_eq!((one.since_step, one.step), (Some(FIRST_STEP), Some(FIRST_STEP + 14 * 48 - 1)));
}
