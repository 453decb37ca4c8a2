//! The loop while instances work: what they are seen to do and to use, and what becomes of it.

use std::sync::Arc;
use std::time::Duration;

use forebay_plan::capacity::InstanceState;
use forebay_protocol::{Counters, Generation, Report, Row, SyncStats};

use super::outside::{Outside, Work};
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
