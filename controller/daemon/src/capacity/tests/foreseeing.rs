//! A service that says how often it may be short: the loop decides as the policy that is judged in simulations, over days,
//! restarts included.

use std::sync::Arc;
use std::time::Duration;

use forebay_plan::capacity::{Group, InstanceState};
use forebay_plan::simulation::{
    Aim, Course, Foresight, Mishaps, Outlook, QUANTILES, Sight, Trial, World, references, simulate,
};

use super::outside::{Fault, Outside};
use super::{FIRST_STEP, Rig, STEP_S};
use crate::capacity::foreseeing::Seen;
use crate::clock::{Clock, ManualClock};
use crate::planning::capacity::{CapacityDemand, LEVELS, PoolDemand};
use crate::state::lock;
use crate::store::capacity::CapacityStore;
use crate::store::sqlite::SqliteStore;
use crate::store::{HistoryStore, Point};

/// Of an hour, in which an instance comes two steps after it was asked for.
const HALF_HOUR_S: i64 = 1800;
const DAY: usize = 48;
const LEAD_MS: u64 = 3_290_000;
const LEAD_STEPS: usize = 2;
/// When within a step the loop looks, in seconds: just before and just after what was asked for is ready, so that an instance
/// that comes before the step it was asked for counts for next to nothing in the one before.
const LOOKS_S: [i64; 4] = [1, 900, 1480, 1510];
const SHARE: f64 = 0.02;
/// An instance serves 10 a second.
const EACH_PER_S: f64 = 10.0;

const CONFIG: &str = "
step_s: 1800
forecast: { horizon_steps: 3 }
contracts: [ { tenant: acme, resource: requests, rate_per_s: 20, shadow_max_per_s: 4000, pool: shop } ]
capacity:
  decide_every_s: 5
  manager: dry_run
  shapes: [ { name: Small, offers: { cpu: 1 }, price_per_h: 1 } ]
  pools: [ { name: near, location: here, max_instances: 90, lead_s: 3290 } ]
  services:
    - { name: shop, need_per_unit: { cpu: 0.1 }, short_steps_share: 0.02, guaranteed_share: 0, min_dwell_s: 0, drain_s: 10 }
";

/// A trace with what was forecast of it, and what the policy makes of both.
struct Judged {
    demand: Vec<f64>,
    outlook: Outlook,
    course: Course,
    /// How the gate stood.
    by_forecast: usize,
}

impl Judged {
    /// Weeks with a busy stretch each day that forecasts know, and now and then a higher step that they do not.
    fn weeks(days: usize) -> Self {
        let noise = |step: usize| ((step as f64 * 12.9898).sin() * 43_758.545).fract().abs();
        let busy = |step: usize| if step % DAY / 6 == 4 { 52.0 } else { 24.0 };
        let of_step = |step: usize| busy(step) + 9.0 * noise(step) + if noise(step + 1) > 0.98 { 8.0 } else { 0.0 };
        let demand: Vec<f64> = (0..days * DAY).map(of_step).collect();
        let highest = |step: usize| (step..=step + LEAD_STEPS).map(|step| busy(step) + 4.0).fold(0.0, f64::max);
        let upper =
            |p: f64| (0..demand.len()).map(|step| f64::from((highest(step) + 10.0 * (p - 0.5)) as f32)).collect();
        let outlook = Outlook { from: 0, upper: QUANTILES.map(upper).to_vec() };
        let world = world(&demand);
        let aim = Aim { allowed: SHARE, day_steps: DAY };
        let trial = Trial { world: world.clone(), steps: 1..demand.len() / 2, mishaps: Mishaps::default() };
        let mut foresight = Foresight::new(&world, aim, Some(&outlook)).guarded_by(references(&trial, aim));
        let course = simulate(&world, 1..demand.len(), &mut foresight);
        let by_forecast = foresight.account().by_forecast;
        Self { demand, outlook, course, by_forecast }
    }

    fn wanted(&self, step: usize) -> usize {
        self.course.paid[step - 1]
    }

    fn ready(&self, step: usize) -> usize {
        self.course.ready[step - 1]
    }

    fn served(&self, step: usize) -> bool {
        world(&self.demand).replicas(self.demand[step]) <= self.ready(step)
    }

    fn seen(&self, step: usize) -> Seen {
        let upper = std::array::from_fn(|place| self.outlook.upper[place][step]);
        let served = Some(step < 2 || self.served(step - 1));
        let sight = Sight { demand_per_s: self.demand[step - 1], served, upper };
        Seen { service: "shop".to_owned(), start_s: start_s(step), sight, is_retold: false }
    }

    /// A step in which nothing is on its way and all was served before, from `step` on.
    fn quiet_from(&self, step: usize) -> usize {
        let is_quiet = |step: &usize| {
            self.wanted(step - 1) == self.ready(step - 1) && self.served(step - 1) && self.served(step - 2)
        };
        (step..self.demand.len()).find(is_quiet).unwrap()
    }
}

fn world(demand: &[f64]) -> World<'_> {
    World { demand, step_s: HALF_HOUR_S as u32, per_replica: EACH_PER_S, lead_steps: LEAD_STEPS }
}

/// Of the calendar.
fn start_s(step: usize) -> i64 {
    FIRST_STEP * STEP_S / HALF_HOUR_S * HALF_HOUR_S + step as i64 * HALF_HOUR_S
}

fn rig(judged: &Judged, from: usize) -> Rig {
    let clock = Arc::new(ManualClock::new((start_s(from) - 100) as f64, 1.0));
    let outside = Arc::new(Outside::new(Arc::clone(&clock)));
    outside.takes(LEAD_MS);
    let group = Group { service: "shop".to_owned(), pool: "near".to_owned(), shape: "Small".to_owned() };
    outside.place(&group, if from > 1 { judged.ready(from - 1) } else { 0 });
    let folder = tempfile::tempdir().unwrap();
    let rows: Vec<Seen> = (1..from).map(|step| judged.seen(step)).collect();
    SqliteStore::open(folder.path(), STEP_S as u32).unwrap().add_seen(&rows).unwrap();
    Rig::in_folder(folder, clock, outside, CONFIG)
}

impl Rig {
    fn tell(&self, judged: &Judged, step: usize) {
        let upper =
            |level: &f64| QUANTILES.iter().position(|p| p == level).map(|place| judged.outlook.upper[place][step]);
        let row = LEVELS.map(|level| upper(&level).unwrap_or(1_000.0));
        let pool = PoolDemand {
            pool: "shop".to_owned(),
            steps: vec![row; LEAD_STEPS + 1],
            last_per_s: judged.demand[step - 1],
            guaranteed_per_s: 0.0,
            unforecast_keys: 0,
        };
        let first_step = start_s(step) / HALF_HOUR_S;
        *lock(&self.shared.capacity.demand) = CapacityDemand { first_step, pools: vec![pool] };
    }

    /// Lives through a step; what was to be covered at each look, and the instances that were asked for.
    async fn live(&mut self, judged: &Judged, step: usize) -> Vec<(f64, usize)> {
        let mut wanted = Vec::new();
        for look_s in LOOKS_S {
            let until = (start_s(step) + look_s) as f64 - self.clock.calendar_now_s();
            self.clock.advance(Duration::from_secs_f64(until));
            self.tell(judged, step);
            self.capacity.turn().await;
            let view = lock(&self.shared.capacity.view).clone();
            let covered = view.foresight[0]["covered_per_s"].as_f64().unwrap();
            let asked: u32 = view.plan.targets.iter().map(|target| target.count).sum();
            wanted.push((covered, asked as usize));
        }
        wanted
    }
}

#[tokio::test]
async fn what_is_wanted_is_what_the_judged_policy_wants_over_days_and_restarts() {
    let judged = Judged::weeks(14);
    assert!(judged.by_forecast > 5 * DAY, "{}", judged.by_forecast);
    let from = judged.quiet_from(7 * DAY);
    let restarted_at = judged.quiet_from(from + 60);
    let mut rig = rig(&judged, from);
    let (mut asked, mut ready) = (0, 0);
    for step in from..from + 3 * DAY {
        if step == restarted_at {
            rig = rig.restarted_as(CONFIG);
        }
        let decided = rig.live(&judged, step).await;
        let wanted = judged.wanted(step);
        assert_eq!(lock(&rig.shared.capacity.view).foresight[0]["lead_steps"], LEAD_STEPS, "step {step}");
        assert_eq!(decided, [(EACH_PER_S * wanted as f64, wanted); LOOKS_S.len()], "step {step}, from {from}");
        asked += wanted;
        ready += rig.count(InstanceState::Ready);
    }
    assert!(asked > 3 * DAY * 3 && ready > 3 * DAY * 3, "there was something to decide: {asked}, {ready}");
    let view = lock(&rig.shared.capacity.view).clone();
    let told = &view.foresight[0];
    assert_eq!(
        (told["gate"].as_str(), told["short_steps_share"].as_f64()),
        (Some("by_forecast"), Some(SHARE)),
        "{told}"
    );
    let short_share = told["lived"]["short_share"].as_f64().unwrap();
    let steps = from + 3 * DAY - 2;
    let short = (1..steps).filter(|step| !judged.served(*step)).count();
    assert!((short_share - short as f64 / (steps - 1) as f64).abs() < 1e-3, "{told}: {short} of {steps}");
    let metrics = rig.shared.metrics.text();
    for line in [
        "capacity_short_steps_allowed{service=\"shop\"} 0.02",
        "capacity_foresight_gate{service=\"shop\",gate=\"by_forecast\"} 1",
    ] {
        assert!(metrics.contains(line), "{metrics}");
    }
}

#[tokio::test]
async fn a_service_that_nothing_was_seen_of_covers_the_quantile_that_leaves_the_share() {
    let judged = Judged::weeks(2);
    let mut rig = rig(&judged, 1);
    let (_, instances) = rig.live(&judged, 1).await[0];
    // Between the quantiles at 97.5 and at 99 per cent.
    let [low, high] = [4, 5].map(|place| judged.outlook.upper[place][1] / EACH_PER_S);
    assert!((low.ceil() as usize..=high.ceil() as usize).contains(&instances), "{low} {instances} {high}");
    assert_eq!(lock(&rig.shared.capacity.view).foresight[0]["gate"], "learning");
}

#[tokio::test]
async fn a_budget_binds_whatever_share_is_stated() {
    let judged = Judged::weeks(14);
    let from = judged.quiet_from(7 * DAY);
    // A budget holds where decisions come as often as they are said to.
    let text = CONFIG.replace("decide_every_s: 5", "decide_every_s: 900").replace("lead_s: 3290", "lead_s: 2600");
    let text = format!("{text}  budgets: [ {{ name: all, limit: 40, per: day }} ]\n");
    let mut rig = rig(&judged, from).restarted_as(&text);
    rig.outside.takes(2_600_000);
    let mut spent_micros = 0;
    for step in from..from + DAY {
        rig.live(&judged, step).await;
        spent_micros = spent_micros.max(lock(&rig.shared.capacity.view).plan.report.budgets[0].spent_micros);
    }
    assert!((30_000_000..=40_000_000).contains(&spent_micros), "three an hour would cost 72 a day: {spent_micros}");
}

#[tokio::test]
async fn days_of_want_leave_the_factor_where_it_would_have_been_without() {
    let judged = Judged::weeks(14);
    let from = judged.quiet_from(7 * DAY);
    let factor = |rig: &Rig| lock(&rig.shared.capacity.view).foresight[0]["factor"].as_f64().unwrap();
    let mut free = rig(&judged, from);
    free.live(&judged, from).await;
    let mut small = rig(&judged, from);
    small.live(&judged, from).await;
    small = small.restarted_as(&CONFIG.replace("max_instances: 90", "max_instances: 2"));
    let until = from + 4 * DAY;
    for step in from + 1..until {
        free.live(&judged, step).await;
        small.live(&judged, step).await;
        assert!((factor(&small) / factor(&free) - 1.0).abs() < 1e-9, "step {step}");
    }
    let view = lock(&small.shared.capacity.view).clone();
    assert_eq!(view.plan.report.services[0].reason.name(), "pools_exhausted");
    assert!(view.foresight[0]["lived"]["short_share"].as_f64().unwrap() < 0.05, "{:?}", view.foresight);
    let metrics = small.shared.metrics.text();
    let counted = |outcome: &str| {
        let name = format!("capacity_followed_steps_total{{service=\"shop\",outcome=\"{outcome}\"}} ");
        let line = metrics.lines().find_map(|line| line.strip_prefix("forebay_")?.strip_prefix(&name));
        line.map_or(0.0, |count| count.parse().unwrap())
    };
    assert!(counted("denied") > 3.0 * DAY as f64, "{metrics}");
    assert_eq!((counted("short"), counted("unseen")), (0.0, 1.0), "that of the restart: {metrics}");
    // And when there are places again it wants what it would have.
    small = small.restarted_as(CONFIG);
    for step in until..until + DAY / 2 {
        let (covered, _) = small.live(&judged, step).await[0];
        assert_eq!(covered, EACH_PER_S * judged.wanted(step) as f64, "step {step}");
    }
}

#[tokio::test]
async fn days_in_which_a_manager_is_silent_are_followed_and_count_as_what_was_wanted() {
    let judged = Judged::weeks(14);
    let from = judged.quiet_from(7 * DAY);
    let mut rig = rig(&judged, from);
    rig.live(&judged, from).await;
    rig.outside.set(Some(Fault::Down));
    let heard = from + 3 * DAY;
    for step in from + 1..heard {
        rig.live(&judged, step).await;
    }
    rig.outside.set(None);
    for step in heard..heard + DAY {
        for (covered, asked) in rig.live(&judged, step).await {
            let wanted = judged.wanted(step);
            assert_eq!((covered, asked), (EACH_PER_S * wanted as f64, wanted), "step {step}");
        }
    }
}

/// Books of a demand that was imported, and of which nobody saw anything.
#[tokio::test]
async fn a_service_with_imported_history_begins_calibrated_and_says_on_what() {
    let judged = Judged::weeks(14);
    let from = 14 * DAY - 4;
    let folder = tempfile::tempdir().unwrap();
    let key = forebay_plan::Key::new("acme", "requests");
    let points = (0..from).map(|step| Point { key: key.clone(), start_s: start_s(step), value: judged.demand[step] });
    let mut store = SqliteStore::open(folder.path(), STEP_S as u32).unwrap();
    store.replace(&mut points.collect::<Vec<_>>().into_iter()).unwrap();
    let clock = Arc::new(ManualClock::new((start_s(from) - 100) as f64, 1.0));
    let outside = Arc::new(Outside::new(Arc::clone(&clock)));
    outside.takes(LEAD_MS);
    let text = format!("data_dir: '{}'\n{CONFIG}", folder.path().display());
    let mut rig = Rig::in_folder(folder, clock, outside, &text);
    let told = |rig: &Rig| lock(&rig.shared.capacity.view).foresight[0].clone();
    rig.live(&judged, from).await;
    assert!(told(&rig)["calibrated"].is_null() && told(&rig)["gate"] == "learning", "{}", told(&rig));
    // It is told again on a thread of its own.
    let begun = std::time::Instant::now();
    while told(&rig)["calibrated"].is_null() {
        assert!(begun.elapsed() < Duration::from_secs(120), "{}", told(&rig));
        std::thread::yield_now();
        rig.capacity.turn().await;
    }
    let of = told(&rig);
    let first = (0.4 * from as f64) as usize;
    assert_eq!(of["calibrated"]["since_s"], start_s(first), "{of}");
    assert_eq!(of["calibrated"]["of_history"], from - first, "{of}");
    assert_eq!(of["gate"], "by_forecast", "{of}");
    assert!(of["lived"]["judged_steps"] == 0 && of["lived"]["short_share"].is_null(), "{of}");
    assert!(!rig.shared.metrics.text().contains("capacity_short_steps{"), "nothing was lived");

    // It is stored: after a restart it is there with the first turn.
    rig = rig.restarted_as(&text);
    rig.live(&judged, from + 1).await;
    let again = told(&rig);
    assert_eq!((&again["gate"], &again["calibrated"]["of_history"]), (&of["gate"], &of["calibrated"]["of_history"]));
    assert_eq!(again["calibrated"]["steps"], from + 1 - first, "all but the first, which nothing was decided before");
}
