//! What is said of what comes, and when nothing is.

use std::path::Path;

use forebay_plan::capacity::{GroupSchedule, Outlook, Target};

use super::super::board::ready_milli_per_s;
use super::*;
use crate::config::Config;

/// An instance serves 10 a second, a lead time after it was asked for.
const CONFIG: &str = "
step_s: 60
contracts: [ { tenant: acme, resource: requests, rate_per_s: 20, pool: shop } ]
capacity:
  manager: dry_run
  shapes: [ { name: Small, offers: { cpu: 1 }, price_per_h: 1 } ]
  pools: [ { name: near, location: here, max_instances: 12, lead_s: 100 } ]
  services: [ { name: shop, need_per_unit: { cpu: 0.1 }, shortage_per_unit_h: 10 } ]
";

/// Half a minute into a calendar step.
const NOW: Instant = Instant { wall_ms: 5_000_000, calendar_s: 6_000_030.0, speed: 1.0 };

fn group() -> Group {
    Group { service: "shop".to_owned(), pool: "near".to_owned(), shape: "Small".to_owned() }
}

/// Asked for so many seconds ago.
fn starting(ago_s: u64) -> Instance {
    Instance {
        id: format!("i{ago_s}"),
        group: group(),
        state: InstanceState::Starting,
        requested_ms: NOW.wall_ms - ago_s * 1000,
        ready_ms: None,
        address: None,
        is_interrupted: false,
    }
}

/// Three are ready, beside what is `starting`.
struct World {
    starting: Vec<Instance>,
    ordered: u32,
    steps: [u32; 4],
    offered_per_s: f64,
    now: Instant,
}

impl World {
    fn new(starting: Vec<Instance>, ordered: u32) -> Self {
        Self { starting, ordered, steps: [ordered; 4], offered_per_s: 0.0, now: NOW }
    }

    fn more_in_s(&self) -> Option<f64> {
        let config = Config::parse(Path::new("forebay.yaml"), CONFIG).unwrap();
        let settings = config.capacity.unwrap();
        let outlook = Outlook { observed_per_s: self.offered_per_s, ..Outlook::default() };
        let coming = self.starting.iter().filter(|one| !one.is_interrupted).count() as u32;
        let mut inputs = CapacityInputs {
            now_s: self.now.calendar_s as u64,
            step_s: 60,
            steps: 4,
            services: settings.services.into_iter().map(|one| one.service).collect(),
            shapes: settings.shapes,
            tiers: settings.tiers,
            pools: settings.pools,
            fleet: BTreeMap::from([(group(), Fleet { ready: 3, coming, ..Fleet::default() })]),
            outlooks: BTreeMap::from([("shop".to_owned(), outlook)]),
            ..CapacityInputs::default()
        };
        inputs.pools[0].pool.lead_s *= self.now.speed;
        let schedule = GroupSchedule { group: group(), ready: self.steps.to_vec(), asked: vec![self.ordered; 4] };
        let targets = vec![Target { group: group(), count: self.ordered }];
        let plan = CapacityPlan { targets, schedule: vec![schedule], ..CapacityPlan::default() };
        let ready = ready_milli_per_s(&inputs, &plan);
        assert_eq!(ready["shop"][0], 30_000);
        assert!(ready["shop"][1] <= 30_000 && ready["shop"][2] <= 30_000, "nothing on its way is lent: {ready:?}");
        more_in(&inputs, &plan, &self.starting, self.now).get("shop").map(|one| one.enough.as_secs_f64())
    }
}

#[test]
fn the_first_that_comes_is_ready_a_lead_time_after_it_was_asked_for() {
    assert_eq!(World::new(vec![starting(20), starting(65), starting(5)], 6).more_in_s(), Some(35.0));
    // Although the plan counts what comes as if it were there.
    let calendar_ten_times_as_fast = Instant { speed: 10.0, ..NOW };
    assert_eq!(World { now: calendar_ten_times_as_fast, ..World::new(vec![starting(20)], 4) }.more_in_s(), Some(80.0));
}

#[test]
fn it_is_said_when_there_is_enough_of_what_is_offered() {
    // 30 a second are ready, the three that start have 40, 50 and 60 after 35, 80 and 95 s.
    let with =
        |offered_per_s: f64| World { offered_per_s, ..World::new(vec![starting(20), starting(65), starting(5)], 6) };
    for (offered_per_s, more_in_s) in [(10.0, 35.0), (40.0, 35.0), (41.0, 80.0), (55.0, 95.0), (90.0, 95.0)] {
        assert_eq!(with(offered_per_s).more_in_s(), Some(more_in_s), "{offered_per_s} a second");
    }
    // A later step has 70.
    let later = |offered_per_s: f64| World { steps: [6, 6, 7, 7], ..with(offered_per_s) }.more_in_s();
    assert_eq!((later(50.0), later(65.0), later(500.0)), (Some(80.0), Some(150.0), Some(150.0)));
}

#[test]
fn what_is_not_sure_to_come_says_nothing() {
    assert_eq!(World::new(vec![], 3).more_in_s(), None, "nothing comes");
    assert_eq!(World::new(vec![starting(100)], 4).more_in_s(), None, "it is late");
    assert_eq!(World::new(vec![starting(100), starting(90)], 5).more_in_s(), Some(10.0), "the other one is not");
    assert_eq!(World::new(vec![starting(20)], 3).more_in_s(), None, "it is not wanted any more");
    let doomed = Instance { is_interrupted: true, ..starting(20) };
    assert_eq!(World::new(vec![doomed], 4).more_in_s(), None, "it will be taken away");
    let ordered = World { steps: [3, 3, 5, 5], ..World::new(vec![], 5) };
    assert_eq!(ordered.more_in_s(), None, "whether it comes is seen in the next turn");
}

#[test]
fn what_is_planned_for_later_is_the_same_instant_in_every_turn() {
    let planned = |later_s: u32, steps| {
        let calendar_s = NOW.calendar_s + f64::from(later_s);
        let now = Instant { wall_ms: NOW.wall_ms + u64::from(later_s) * 1000, calendar_s, ..NOW };
        let more_in_s = World { steps, now, ..World::new(vec![], 3) }.more_in_s();
        more_in_s.map(|in_s| calendar_s + in_s)
    };
    // It is planned for 6,000,180: in the third step from now on, and soon in the second.
    for (later_s, steps) in [(0, [3, 3, 4, 4]), (29, [3, 3, 4, 4]), (31, [3, 4, 4, 4]), (89, [3, 4, 4, 4])] {
        assert_eq!(planned(later_s, steps), Some(6_000_180.0), "{later_s} s later");
    }
}
