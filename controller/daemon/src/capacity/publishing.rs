//! What a turn leaves behind: what a restart must not lose, and what the rest of the daemon, Envoy and people read.

use std::ops::Range;
use std::sync::Arc;

use forebay_plan::capacity::{CapacityInputs, CapacityPlan, Generation, Instance, Service};
use forebay_provision::InstanceManager;

use super::board::View;
use super::endpoints::{Assignment, EndpointFiles, Place, Written};
use super::foreseeing;
use super::ledger::Supply;
use super::performance::KnownFactor;
use super::spending::Instant;
use super::uses::Use;
use super::xds::Resources;
use super::{CapacityLoop, DWELL, HEADROOM, ORDERED, PERFORMANCE, POOLS, SHAPES, board, coming, ledger};
use crate::state::lock;
use crate::store::StoreError;

impl<M: InstanceManager> CapacityLoop<M> {
    /// Writes down what a restart must not lose; what fails is written with the next turn. Whether all is written.
    pub(super) fn store_all(&mut self) -> bool {
        let stored = self
            .store
            .set_spending(&self.spending)
            .and_then(|()| self.store.set_allocations(&self.allocations.take_changed()))
            .and_then(|()| match self.dwell.take_changed() {
                Some(dwell) => self.store.set_learned(DWELL, &dwell),
                None => Ok(()),
            })
            .and_then(|()| match self.learned.take_changed() {
                Some(learned) => self.store.set_learned(POOLS, &learned),
                None => Ok(()),
            })
            .and_then(|()| match self.performances.take_changed() {
                Some(learned) => self.store.set_learned(PERFORMANCE, &learned),
                None => Ok(()),
            })
            .and_then(|()| match self.shaping.take_changed() {
                Some(library) => self.store.set_learned(SHAPES, &library),
                None => Ok(()),
            });
        let is_stored = self.note_stored(stored);
        if !is_stored {
            self.allocations.all_changed();
            self.dwell.all_changed();
            self.learned.all_changed();
            self.performances.all_changed();
            self.shaping.all_changed();
        }
        is_stored
    }

    /// Counts and tells what could not be written; whether it was.
    fn note_stored(&self, stored: Result<(), StoreError>) -> bool {
        if let Err(error) = &stored {
            self.shared.metrics.store_errors.inc();
            tracing::error!(%error, "capacity");
        }
        stored.is_ok()
    }

    /// Notes what is ready and paid; returns what was in the step that has ended, if one has.
    pub(super) fn note_supply(&mut self, inputs: &CapacityInputs, now: Instant) -> Vec<Supply> {
        let ended = self.recorder.note(now.calendar_s, inputs.step_s, &ledger::supplied(inputs));
        let stored = self.store.add_supply(&ended);
        self.note_stored(stored);
        ended
    }

    /// Lets services that say how often they may be short follow demand while instances are not seen.
    pub(super) fn foresee_unseen(&mut self) {
        let now = self.now();
        let inputs = self.inputs(now, None);
        self.foresee(&inputs, &[], now);
        self.foresights.note_not_ordered();
    }

    /// Lets services that say how often they may be short follow what came; whether something else is to be covered.
    pub(super) fn foresee(&mut self, inputs: &CapacityInputs, ended: &[Supply], now: Instant) -> bool {
        let demand = lock(&self.shared.capacity.demand).clone();
        let store = &self.store;
        let seen = |service: &str, span: Range<i64>| {
            store.seen(service, span.start, span.end).unwrap_or_else(|error| {
                tracing::error!(%error, "capacity");
                Vec::new()
            })
        };
        let known = foreseeing::Known {
            config: &self.shared.config,
            inputs,
            demand: &demand,
            lead_s: &|pool| now.speed * self.learned.lead_s(pool, now),
            ended,
            seen: &seen,
        };
        let moved = self.foresights.move_on(&known);
        for (service, ended) in &moved.ended {
            self.shared.metrics.foresight.count(service, *ended);
        }
        let stored = self.store.add_seen(&moved.rows);
        self.note_stored(stored);
        moved.is_new
    }

    /// Lets headrooms follow what came of them.
    pub(super) fn tune(&mut self, inputs: &CapacityInputs, plan: &CapacityPlan, now: Instant) {
        let config = &self.shared.config;
        let store = &self.store;
        let lived = |service: &str, from_s: i64, to_s: i64| {
            let lived = store.supply(service, from_s, to_s).and_then(|supply| {
                let keys = config.keys_of(service);
                let offered = store.offered(&keys, from_s, to_s)?;
                Ok(supply.into_iter().filter_map(|one| Some((*offered.get(&one.start_s)?, one))).collect())
            });
            lived.unwrap_or_else(|error| {
                tracing::error!(%error, "capacity");
                Vec::new()
            })
        };
        if self.tunings.move_on(inputs, plan, now, lived) {
            self.store_tunings();
        }
    }

    pub(super) fn store_tunings(&mut self) {
        if let Some(text) = self.tunings.as_text() {
            let stored = self.store.set_learned(HEADROOM, &text);
            self.note_stored(stored);
        }
    }

    pub(super) fn note_decision(&mut self, plan: &CapacityPlan, now: Instant) {
        let decision = board::decision_json(self.standing.generation(), plan, now.wall_ms);
        let stored = self.store.note_decision(now.wall_ms, &decision.to_string());
        self.note_stored(stored);
    }

    pub(super) fn store_generation(&mut self, generation: Generation) {
        let text = format!("[{},{}]", generation.epoch, generation.sequence);
        let stored = self.store.set_learned(ORDERED, &text);
        self.note_stored(stored);
    }

    /// Endpoints, ready capacity, and the view.
    pub(super) fn publish(
        &mut self,
        inputs: Arc<CapacityInputs>,
        plan: CapacityPlan,
        findings: Vec<String>,
        error: Option<String>,
        now: Instant,
    ) {
        let ready = board::ready_milli_per_s(&inputs, &plan);
        let is_enough = |service: &str| {
            let now_per_s = ready.get(service).and_then(|steps| steps.first()).copied().unwrap_or(0) as f64 / 1000.0;
            let need = plan.report.services.iter().find(|line| line.service == service);
            need.is_some_and(|line| now_per_s >= line.need_per_s)
        };
        self.tell_endpoints(&inputs, (is_enough, now));
        self.shared.metrics.capacity.note(&inputs, &plan, &ready);
        let known = self.performances.known(&self.settings.performance);
        self.shared.metrics.capacity.note_work(&known);
        self.shared.metrics.foresight.note(self.foresights.figures());
        self.shared.metrics.capacity.note_shapes(self.shaping.figures());
        self.shared.metrics.capacity.note_use(self.performances.uses().iter().map(Use::peaks));
        self.shared.metrics.capacity.standing_down.set(i64::from(self.standing.stood_down().is_some()));
        let more_in = coming::more_in(&inputs, &plan, &self.instances, now);
        self.shared.capacity.set_ready(ready, &more_in, self.shared.clock.steady_now());
        self.shared.bell.ring();
        let troubles = self.troubles();
        *lock(&self.shared.capacity.view) = View {
            at_ms: now.wall_ms,
            generation: self.standing.generation(),
            stood_down: self.standing.stood_down(),
            instances: self.instances.clone(),
            refusals: self.refusals.present(now.wall_ms).map(|(pool, one)| (pool.clone(), one.why.clone())).collect(),
            troubles,
            allocations: self.allocations.all().cloned().collect(),
            learned: Arc::new(self.learned.clone()),
            tuning: self.tunings.as_json(),
            foresight: self.foresights.as_json(inputs.step_s),
            performance: known.into_iter().map(KnownFactor::as_json).collect(),
            utilisation: self.performances.uses().iter().map(Use::as_json).collect(),
            shapes: self.shaping.as_json(&inputs.fleet),
            inputs: Some(inputs),
            plan,
            findings,
            error,
        };
    }

    /// What the manager could not do beside what was ordered, logged when it is new, and what endpoints could not be written.
    fn troubles(&self) -> Vec<String> {
        let mut troubles = self.manager.troubles();
        let before = lock(&self.shared.capacity.view);
        for trouble in troubles.iter().filter(|trouble| !before.troubles.contains(trouble)) {
            tracing::warn!(trouble, "the instance manager could not do something beside what was ordered");
        }
        troubles.extend(self.endpoints.iter().flat_map(EndpointFiles::troubles).cloned());
        troubles
    }

    /// Every service's endpoints, for files and for proxies that ask; those of former services, too, until proxies know that
    /// there are none.
    fn tell_endpoints(&mut self, inputs: &CapacityInputs, (is_enough, now): (impl Fn(&str) -> bool, Instant)) {
        let former = self.former.services();
        let place = |instance: &Instance| {
            let offer = inputs.pools.iter().find(|offer| offer.pool.name == instance.group.pool)?;
            // Of a former service nobody knows what its requests need; its instances share them evenly while they last.
            let evenly = || former.contains(&instance.group.service).then_some(1.0);
            Some(Place {
                location: offer.pool.location.clone(),
                tier: offer.pool.tier.clone(),
                serves_per_s: board::serves_per_s(inputs, &instance.group).or_else(evenly)?,
            })
        };
        // Endpoints in a pool that was not seen since the start are not known: those that were told before it stand, until
        // the pool is given up and what is known is enough.
        let is_known = |name: &&String| {
            let of = self.settings.services.iter().map(|one| &one.service).find(|service| service.name == **name);
            let mut unknown = inputs.pools.iter().map(|offer| &offer.pool).filter(|pool| {
                let is_of = |service: &Service| service.locations.contains(&pool.location);
                let may_serve = of.is_none_or(|service| service.locations.is_empty() || is_of(service));
                may_serve && self.unreachable.is_unknown(&pool.name)
            });
            unknown.all(|pool| self.unreachable.is_given_up(&pool.name, now.wall_ms) && is_enough(name))
        };
        let services = self.settings.services.iter().map(|one| &one.service.name).chain(former);
        let assignments: Vec<Assignment> =
            services.filter(is_known).map(|service| Assignment::of(service, &self.instances, place)).collect();
        if self.settings.xds.is_some() {
            self.shared.capacity.endpoints.tell(Resources::of(&assignments));
        }
        let Some(files) = &mut self.endpoints else { return };
        for assignment in &assignments {
            let service = &assignment.service;
            if former.contains(service) && !files.is_there(service) {
                // Nobody watches it, or somebody took it away.
                continue;
            }
            match files.write(service, assignment.discovery_response()) {
                Written::New => tracing::debug!(service, "endpoints written"),
                Written::Same => {}
                Written::Failed { why, is_news } => {
                    self.shared.metrics.capacity.endpoint_errors.inc();
                    if is_news {
                        tracing::error!(
                            service,
                            why,
                            "endpoints are not written; the old ones stand, it is tried each turn"
                        );
                    }
                }
            }
        }
    }
}
