//! The loop while instances work: what they are seen to do and to use, and what becomes of it.

use std::sync::Arc;
use std::time::Duration;

use forebay_plan::capacity::InstanceState;
use forebay_protocol::{Counters, Generation, Report, Row, SyncStats};

use super::outside::{Fault, Outside, Work};
use super::{CONFIG, FIRST_STEP, Rig, STEP_S};
use crate::clock::{Clock, ManualClock};
use crate::state::lock;

/// Cores that do half of what is declared.
const SLOW: Work = Work { units_per_s: 20.0, core_units_per_s: 5.0, memory_mib: 600.0 };

fn rig(text: &str) -> Rig {
    let clock = Arc::new(ManualClock::new((FIRST_STEP * STEP_S) as f64, 1.0));
    let outside = Arc::new(Outside::new(Arc::clone(&clock)));
    Rig::in_folder(tempfile::tempdir().unwrap(), clock, outside, text)
}

impl Rig {
    /// Periods of five minutes in which all that is offered is admitted.
    async fn work(&mut self, work: Work, periods: u64) {
        self.outside.work(work);
        for _ in 0..10 * periods {
            self.clock.advance(Duration::from_secs(30));
            let now_s = self.clock.steady_now().as_secs();
            let units = (work.units_per_s * now_s as f64) as u64;
            let counters = Counters { standard_requests: units, standard_units: units, ..Counters::default() };
            let row = Row { tenant: "acme".to_owned(), resource: "requests".to_owned(), counters };
            let report = Report {
                proxy: "p".to_owned(),
                boot_id: 1,
                sequence: now_s,
                uptime_ms: 1_000 * now_s,
                generation: Generation::default(),
                speaks: vec![1],
                rows: vec![row],
                stats: SyncStats::default(),
                extensions: Vec::new(),
            };
            let now = self.shared.now();
            self.shared.observer().report(&report, now);
            self.expect(|_| 20.0);
            self.capacity.turn().await;
        }
    }

    fn ready(&self) -> usize {
        self.count(InstanceState::Ready)
    }
}

#[tokio::test]
async fn slow_cores_are_learned_and_more_are_ordered_also_after_a_restart() {
    let mut rig = rig(CONFIG);
    rig.work(SLOW, 8).await;
    assert_eq!(rig.ready(), 3, "as declared, until there is evidence");
    rig.work(SLOW, 42).await;
    let ready = rig.ready();
    assert!((4..=5).contains(&ready), "20 a second at 5 for each take 4, at the upper quantiles 5: {ready}");
    let view = lock(&rig.shared.capacity.view).clone();
    let (learned, planned) = (view.performance[0]["learned"].as_f64(), view.performance[0]["planned_with"].as_f64());
    assert!(learned.zip(planned).is_some_and(|(a, b)| a < 0.75 && b < 0.75), "{:?}", view.performance);
    assert_eq!(view.utilisation[0]["service"], "shop");
    let metrics = rig.shared.metrics.text();
    assert!(metrics.contains("forebay_capacity_performance_planned{service=\"shop\",pool=\"near\"} 0."), "{metrics}");
    assert!(metrics.contains("forebay_capacity_utilisation{service=\"shop\",shape=\"Small\",resource=\"cpu\"}"));
    // The work of an instance that is lent and balanced by.
    let lent = rig.shared.capacity.ready().milli_per_s["shop"][0];
    assert!(lent < 1_000 * 8 * ready as u64, "{lent} of {ready} instances");
    let mut rig = rig.restarted();
    rig.expect(|_| 20.0);
    rig.turns(60).await;
    assert_eq!(rig.ready(), ready, "what was learned is known after a restart");
}

#[tokio::test]
async fn what_is_only_watched_or_off_orders_nothing() {
    for (mode, rows) in [("watch", 1), ("off", 0)] {
        let mut rig = rig(&format!("{CONFIG}  performance: {{ mode: {mode} }}\n"));
        rig.work(SLOW, 40).await;
        assert_eq!(rig.ready(), 3, "{mode}");
        assert_eq!(lock(&rig.shared.capacity.view).performance.len(), rows, "{mode}");
    }
}

/// A service that takes memory and hardly a core, in shapes that have four GiB a core.
const MEMORY: &str = "
step_s: 60
forecast: { horizon_steps: 8 }
contracts: [ { tenant: acme, resource: requests, rate_per_s: 20, shadow_max_per_s: 400, pool: shop } ]
capacity:
  decide_every_s: 5
  manager: dry_run
  shapes: [ { name: Small, offers: { cpu: 1, memory_mib: 4096 }, price_per_h: 0.05 } ]
  pools: [ { name: near, location: here, max_instances: 12, lead_s: 100 } ]
  services:
    - { name: shop, need_per_unit: { cpu: 0.01, memory_mib: 400 }, shortage_per_unit_h: 10, guaranteed_share: 0, min_dwell_s: 120, drain_s: 10 }
";
const PRICES: &str = "prices: { cpu_per_h: 0.03, memory_gib_per_h: 0.005 }";
/// Of three instances each uses a fifteenth of its core.
const LIGHT: Work = Work { units_per_s: 20.0, core_units_per_s: 100.0, memory_mib: 4_000.0 };

fn shapes(rig: &Rig) -> serde_json::Value {
    lock(&rig.shared.capacity.view).shapes.clone()
}

#[tokio::test]
async fn a_shape_is_proposed_from_what_instances_use_and_nothing_is_ordered_of_it() {
    let mut rig = rig(&format!("{MEMORY}  generated_shapes: {{ every_h: 0.2, {PRICES} }}\n"));
    rig.work(LIGHT, 3).await;
    assert!(shapes(&rig)["proposals"].as_array().is_some_and(Vec::is_empty), "seen for too short");
    rig.work(LIGHT, 4).await;
    let shown = shapes(&rig);
    assert_eq!((shown["mode"].as_str(), shown["version"].as_u64()), (Some("propose"), Some(0)));
    let proposal = &shown["proposals"][0];
    assert_eq!((proposal["name"].as_str(), proposal["price_per_h"].as_f64()), (Some("g-250m-4096Mi"), Some(0.0275)));
    assert!(proposal["saving_share"].as_f64().is_some_and(|share| (0.4..0.5).contains(&share)), "{proposal}");
    assert!(rig.outside.instances().iter().all(|one| one.group.shape == "Small"));
    // What idles says nothing of proportions.
    let mut idle = self::rig(&format!("{MEMORY}  generated_shapes: {{ every_h: 0.2, {PRICES} }}\n"));
    idle.work(Work { memory_mib: 400.0, ..LIGHT }, 7).await;
    assert!(shapes(&idle)["proposals"].as_array().is_some_and(Vec::is_empty), "{}", shapes(&idle));
    let metrics = rig.shared.metrics.text();
    assert!(metrics.contains("forebay_capacity_generated_shapes{state=\"proposed\"} 1"), "{metrics}");
    assert!(metrics.contains("forebay_capacity_proposed_shapes_saving_per_hour 0.0"), "{metrics}");
}

#[tokio::test]
async fn a_shape_is_taken_up_kept_over_a_restart_and_retired_while_its_instances_still_count() {
    let text = format!("{MEMORY}  generated_shapes: {{ mode: use, every_h: 0.2, retire_after_h: 1, {PRICES} }}\n");
    let mut rig = rig(&text);
    rig.work(LIGHT, 10).await;
    let of =
        |rig: &Rig, shape: &str| rig.outside.count(|one| one.group.shape == shape && one.state == InstanceState::Ready);
    let found = "g-250m-4096Mi";
    assert_eq!((of(&rig, found), of(&rig, "Small")), (3, 0), "{}", shapes(&rig));
    assert!(rig.outside.described().contains(&found.to_owned()), "the manager is told what it is");
    let shown = shapes(&rig);
    assert_eq!(
        (shown["trail"][0]["change"].as_str(), shown["trail"][0]["shape"].as_str()),
        (Some("added"), Some(found))
    );
    let spent = lock(&rig.shared.capacity.view).plan.report.services[0].ready_per_s;
    assert!(spent > 20.0, "they count as ready: {spent}");
    // Used all the time, it is not retired; the operator then wants none any more.
    let mut rig = rig.restarted_as(&text.replace("mode: use", "mode: propose"));
    rig.expect(|_| 20.0);
    rig.turns(1).await;
    let shown = shapes(&rig);
    assert_eq!(shown["shapes"][1]["state"], "retired", "{shown}");
    assert_eq!(shown["shapes"][1]["instances"], 3);
    assert_eq!(rig.shared.capacity.ready().milli_per_s["shop"][0], 30_720, "3 that hold 10.24 a second");
    rig.work(LIGHT, 4).await;
    assert_eq!((of(&rig, found), of(&rig, "Small")), (0, 3));
    let changes: Vec<_> =
        shapes(&rig)["trail"].as_array().unwrap().iter().map(|one| one["change"].to_string()).collect();
    assert_eq!(changes, ["\"removed\"", "\"retired\"", "\"added\""], "newest first");
}

#[tokio::test]
async fn a_shape_that_the_manager_cannot_make_is_retired_and_its_pool_goes_on() {
    let mut rig = rig(&format!("{MEMORY}  generated_shapes: {{ mode: use, every_h: 0.2, {PRICES} }}\n"));
    rig.outside.set(Some(Fault::Knows("Small")));
    rig.work(LIGHT, 9).await;
    assert_eq!(rig.ready(), 3);
    let shown = shapes(&rig);
    let retired = shown["trail"].as_array().unwrap().iter().find(|one| one["change"] == "retired").unwrap();
    assert!(retired["why"].as_str().unwrap().contains("no such size"), "{retired}");
    assert!(lock(&rig.shared.capacity.view).refusals.is_empty(), "the pool is not to blame");
}
