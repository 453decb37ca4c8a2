//! Capacity: the loop that sees what there is, plans what is to be, and has an instance manager make it so.
//!
//! ```text
//! observe -> pay -> plan -> check -> apply -> publish (endpoints, ready capacity, the view for people)
//! ```
//!
//! Level-triggered like the planning of quotas: each turn looks at what is, so a turn that is lost is made up by the next,
//! and an order is said again until it is so. It runs on a thread of its own with a small runtime, because a manager may
//! take its time, and planning computes.
//!
//! What goes wrong is answered so that capacity stays: a manager that does not answer changes nothing, and what is known
//! of its instances stands; a plan that breaks an invariant is not carried out; a pool that refuses, or says that it does
//! and nothing comes, or takes back at once what it gives, is done without for a while ([`refusals`]). A controller that
//! was killed between decision and order decides again from what it then sees: instances are counted at the manager,
//! never remembered here.
//!
//! **Generations.** (epoch, sequence): the epoch is that of the planner of quotas, a new one each start; the sequence begins
//! anywhere, so that of two controllers that were started in one millisecond one is newer. A manager that knows a
//! higher one is somebody else's: this controller stands down until that one is gone ([`standing`]).

pub(crate) mod allocations;
pub(crate) mod asks;
mod assembling;
pub(crate) mod availability;
pub(crate) mod board;
mod calendar;
mod coming;
mod drains;
mod dwell;
pub(crate) mod endpoints;
pub(crate) mod foreseeing;
mod former;
mod interruptions;
mod late;
mod learned;
pub(crate) mod ledger;
mod metering;
mod observed;
mod ordering;
pub(crate) mod performance;
mod publishing;
mod refusals;
mod remembered;
mod room;
mod sampling;
pub(crate) mod selecting;
pub(crate) mod shaping;
pub(crate) mod spending;
pub(crate) mod standing;
pub(crate) mod starting;
mod surplus;
#[cfg(test)]
mod tests;
pub(crate) mod tuning;
mod unreachable;
mod uses;
pub(crate) mod xds;

use std::sync::Arc;
use std::time::Duration;

use forebay_plan::capacity::{
    CapacityInputs, CapacityPlan, Generation, Instance, PlanningLimits, Target, check_capacity, plan_capacity,
};
use forebay_provision::{CALL_WITHIN, InstanceManager, ProvisionError};
use tokio::sync::mpsc::Receiver;

use crate::clock::wall_now_ms;
use crate::config::capacity::CapacitySettings;
use crate::state::{Shared, lock};
use crate::store::capacity::CapacityStore;
use allocations::Allocations;
use asks::Ask;
use drains::Drains;
use dwell::Dwell;
use endpoints::EndpointFiles;
use foreseeing::Foresights;
use former::Former;
use interruptions::Interruptions;
use learned::Learned;
use metering::Meter;
use performance::Performances;
use refusals::Refusals;
use remembered::remembered;
use sampling::Samples;
use shaping::Shaping;
use spending::{Instant, Spending};
use standing::{Change, Look, Standing, StoodDown};
use surplus::Surplus;
use tuning::Tunings;
use unreachable::Unreachable;

/// What was learned of pools is stored under this name.
const POOLS: &str = "pools";
/// And of headroom under this one.
const HEADROOM: &str = "headroom";
/// And of instances at work under this one.
const PERFORMANCE: &str = "performance";
/// The library of sizes under this one.
const SHAPES: &str = "shapes";
/// What was configured at the last start.
const CONFIGURED: &str = "configured";
/// Since when groups have their number.
const DWELL: &str = "dwell";
/// The generation that was last ordered under.
const ORDERED: &str = "ordered";

/// Everything that only the loop touches.
pub(crate) struct CapacityLoop<M> {
    shared: Arc<Shared>,
    settings: CapacitySettings,
    manager: M,
    store: Box<dyn CapacityStore>,
    asks: Receiver<Ask>,
    standing: Standing,
    /// What was ordered last; `None` before the first order.
    ordered: Option<Vec<Target>>,
    instances: Vec<Instance>,
    drains: Drains,
    refusals: Refusals,
    surplus: Surplus,
    interruptions: Interruptions,
    unreachable: Unreachable,
    samples: Samples,
    learned: Learned,
    meter: Meter,
    performances: Performances,
    shaping: Shaping,
    former: Former,
    dwell: Dwell,
    spending: Spending,
    allocations: Allocations,
    recorder: ledger::Recorder,
    tunings: Tunings,
    foresights: Foresights,
    endpoints: Option<EndpointFiles>,
    /// Wall time at the start, and steady time then: a clock that jumps neither costs money nor ends a wait.
    started: (u64, Duration),
}

impl<M: InstanceManager> CapacityLoop<M> {
    /// Reads what must survive a restart. What is ordered comes after `before_first`, which is of a new epoch.
    pub(crate) fn new(
        shared: Arc<Shared>,
        settings: CapacitySettings,
        manager: M,
        mut store: Box<dyn CapacityStore>,
        asks: Receiver<Ask>,
        before_first: Generation,
    ) -> Result<Self, crate::store::StoreError> {
        let started = (wall_now_ms(), shared.clock.steady_now());
        let spending = store.spending()?.unwrap_or_default();
        let stored = store.learned(CONFIGURED)?;
        let (settings, former, configured) = Former::beside(settings, stored.as_deref(), &spending.paid());
        if let Some(text) = configured.filter(|text| stored.as_ref() != Some(text)) {
            store.set_learned(CONFIGURED, &text)?;
        }
        let stored = store.learned(SHAPES)?;
        let shaping = Shaping::of(settings.generated_shapes, &settings.shapes, stored.as_deref());
        let settings = CapacitySettings { shapes: shaping.all(), ..settings };
        let before: Option<(u64, u64)> = remembered("the last order", store.learned(ORDERED)?.as_deref());
        let before = before.map(|(epoch, sequence)| Generation { epoch, sequence });
        Ok(Self {
            spending,
            former,
            allocations: Allocations::of(store.allocations()?),
            endpoints: settings.endpoints.clone().map(EndpointFiles::in_folder),
            shared,
            manager,
            asks,
            standing: Standing::new(before_first, before, settings.decide_every),
            ordered: None,
            instances: Vec::new(),
            drains: Drains::default(),
            refusals: Refusals::default(),
            surplus: Surplus::default(),
            interruptions: Interruptions::default(),
            unreachable: Unreachable::default(),
            samples: Samples::default(),
            learned: Learned::of(&settings.pools, store.learned(POOLS)?.as_deref()),
            meter: Meter::default(),
            performances: Performances::of(&settings, store.learned(PERFORMANCE)?.as_deref()),
            shaping,
            dwell: Dwell::of(store.learned(DWELL)?.as_deref()),
            recorder: ledger::Recorder::default(),
            foresights: Foresights::of(&settings.services),
            tunings: Tunings::of(&settings.services, store.learned(HEADROOM)?.as_deref()),
            started,
            settings,
            store,
        })
    }

    /// Runs until the daemon stops. What runs then goes on running.
    pub(crate) async fn run(mut self) {
        while !self.shared.is_stopping() {
            self.turn().await;
            let pause = tokio::time::sleep(self.settings.decide_every);
            tokio::pin!(pause);
            loop {
                tokio::select! {
                    () = &mut pause => break,
                    ask = self.asks.recv() => match ask {
                        // What was asked for is planned for at once.
                        Some(ask) => if self.answer(ask) { break },
                        None => return,
                    },
                }
            }
        }
    }

    /// Does what is due.
    pub(crate) async fn turn(&mut self) {
        let observed = match tokio::time::timeout(CALL_WITHIN, self.manager.observe()).await {
            Ok(Ok(observed)) => observed,
            Ok(Err(error)) => return self.note_silence(&error),
            Err(_) => return self.note_silence(&timed_out("observe instances")),
        };
        let now = self.now();
        let usage = self.see(observed, now);
        self.measure(&usage, now);
        self.spending.pay(&self.settings, &self.instances, now);
        self.sample();
        let mut inputs = self.inputs(now, None);
        let ended = self.note_supply(&inputs, now);
        if self.foresee(&inputs, &ended, now) {
            inputs = self.inputs(now, None);
        }
        let plan = plan_capacity(&inputs, &PlanningLimits::for_reading(&inputs));
        let findings = self.check(&inputs, &plan);
        self.foresights.note(&plan);
        self.tune(&inputs, &plan, now);
        self.shape(&inputs, now);
        self.allocations.move_on(&inputs, &plan, &self.instances, now);
        self.expect_late(&inputs, now);
        let mut error = None;
        let is_carried_out = findings.is_empty() && self.standing.stood_down().is_none();
        self.dwell.turn(is_carried_out.then_some(&plan), inputs.now_s);
        if is_carried_out {
            error = self.carry_out(&plan, now).await.err();
        }
        if !is_carried_out || error.is_some() {
            self.foresights.note_not_ordered();
        }
        self.store_all();
        self.publish(Arc::new(inputs), plan, findings, error.map(|error| error.to_string()), now);
    }

    /// Invariants that the plan breaks, in words; such a plan is not carried out.
    fn check(&self, inputs: &CapacityInputs, plan: &CapacityPlan) -> Vec<String> {
        let findings: Vec<String> = check_capacity(inputs, plan)
            .iter()
            .filter(|finding| finding.is_violation())
            .map(ToString::to_string)
            .collect();
        if !findings.is_empty() {
            self.shared.metrics.capacity.plans_refused.inc();
            tracing::error!(?findings, "the plan of capacity failed its check and is not carried out");
        }
        findings
    }

    /// A manager that does not answer: what is known stands, nothing is given up, and demand goes on.
    fn note_silence(&mut self, error: &ProvisionError) {
        self.foresee_unseen();
        self.count_error(error);
        self.standing.not_seen();
        tracing::error!(%error, "instances are not seen; what is known of them stands");
        lock(&self.shared.capacity.view).error = Some(error.to_string());
    }

    /// Who is in charge has changed.
    fn note_change(&mut self, change: Change) {
        // What is there was ordered by somebody else.
        self.ordered = None;
        let own = self.standing.generation();
        match (change, self.standing.stood_down()) {
            (Change::StandsDown, Some(StoodDown { taken, .. })) => tracing::warn!(%taken, %own,
                still_for_s = self.standing.still_for().as_secs(),
                "a newer controller keeps the capacity; this one stands down until the other is gone"),
            _ => tracing::warn!(%own, "no newer controller keeps the capacity any more; this one does again"),
        }
    }

    fn look(&self, now: Instant) -> Look {
        Look { steady: self.shared.clock.steady_now(), wall_ms: now.wall_ms }
    }

    fn count_error(&self, error: &ProvisionError) {
        self.shared.metrics.capacity.count_error(error.name());
    }

    fn now(&self) -> Instant {
        let (wall_ms, steady) = self.started;
        let passed = self.shared.clock.steady_now().saturating_sub(steady);
        Instant {
            wall_ms: wall_ms + passed.as_millis() as u64,
            calendar_s: self.shared.clock.calendar_now_s(),
            speed: self.shared.clock.speed(),
        }
    }
}

fn timed_out(operation: &'static str) -> ProvisionError {
    ProvisionError::Unreachable { operation, detail: format!("no answer within {} s", CALL_WITHIN.as_secs()) }
}
