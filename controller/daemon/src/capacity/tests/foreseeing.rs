//! A service that says how often it may be short: the loop decides as the policy that is judged in simulations, over days,
//! restarts included.

use std::sync::Arc;
use std::time::Duration;

use forebay_plan::capacity::{Group, InstanceState};
use forebay_plan::simulation::{
    Aim, Course, Foresight, Mishaps, Outlook, QUANTILES, Sight, Trial, World, references, simulate,
};

use super::outside::Outside;
use super::{FIRST_STEP, Rig, STEP_S};
use crate::capacity::foreseeing::Seen;
use crate::clock::{Clock, ManualClock};
use crate::planning::capacity::{CapacityDemand, LEVELS, PoolDemand};
use crate::state::lock;
use crate::store::capacity::CapacityStore;
use crate::store::sqlite::SqliteStore;

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
        let served = step < 2 || self.served(step - 1);
        let sight = Sight { demand_per_s: self.demand[step - 1], served, upper };
        Seen { service: "shop".to_owned(), start_s: start_s(step), sight }
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
async fn what_pools_do_not_have_teaches_no_caution() {
    let judged = Judged::weeks(14);
    let from = judged.quiet_from(7 * DAY);
    let factor = |rig: &Rig| lock(&rig.shared.capacity.view).foresight[0]["factor"].as_f64().unwrap();
    let mut free = rig(&judged, from);
    free.live(&judged, from).await;
    let before = factor(&free);
    let mut small = free.restarted_as(&CONFIG.replace("max_instances: 90", "max_instances: 2"));
    for step in from + 1..from + DAY {
        small.live(&judged, step).await;
    }
    let view = lock(&small.shared.capacity.view).clone();
    assert_eq!(view.plan.report.services[0].reason.name(), "pools_exhausted");
    assert!(factor(&small) < 1.1 * before, "{} after {before}", factor(&small));
    assert!(view.foresight[0]["lived"]["short_share"].as_f64().unwrap() < 0.05, "{:?}", view.foresight);
}
