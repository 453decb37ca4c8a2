//! The inputs as the planner reads them: what may serve whom, and at what price, with names turned into positions.
//!
//! A service is planned in *parts*: each part is the demand of origins that the same pools may serve, so that a latency
//! limit becomes a list of candidates and nothing else. A candidate is a shape in a pool, with what it holds, what it is
//! counted as and when it can first serve.
//!
//! Interruptions enter here once. Instances of a pool that is interrupted with chance `p` an hour are missing for the
//! lead time `h` (in hours) that their replacement takes: a share `p h` of them is counted as missing (on-demand cover or
//! more of the same makes up for it), and what being short costs meanwhile is added to the price. So spot is chosen where
//! it is cheaper *with* its risk; how much of a service may vanish at once is the service's own limit.

use std::collections::BTreeMap;

use crate::capacity::price::{hourly_micros, list_micros, units_per_s};
use crate::capacity::{CapacityInputs, CostClass, Group, Micros, Outlook, Pool, Service, Shape, Tier};

/// What a reserved pool's list price is divided by when candidates are compared: it is used first, and the smaller shape
/// still wins where both do.
const PREPAID_DIVISOR: f64 = 1_000.0;
/// What being short is counted as at least, in multiples of the dearest candidate: a need that was decided is met wherever
/// there is capacity.
const SHORT_OVER_DEAREST: f64 = 10.0;
/// What an instance fewer than a part must have is counted as, in multiples of the dearest instance: more than places are
/// worth to those who are short.
const LACKING_OVER_DEAREST: f64 = 20.0;
/// Steps that are planned at most.
pub(super) const MAX_STEPS: usize = 1_000;

/// A shape in a pool, for one service.
#[derive(Clone, Debug)]
pub(super) struct Candidate {
    /// Position among the pools.
    pub(super) pool: usize,
    /// Position among the shapes.
    pub(super) shape: usize,
    /// Units per second that it serves.
    pub(super) units: f64,
    /// What it is counted as, less the share that is missing at any time; units per second.
    pub(super) counted: f64,
    /// What an hour of it is compared by, risk and all; micros.
    pub(super) cost: f64,
    /// What an hour of it costs at present; micros.
    pub(super) hourly: Micros,
    /// What starting one costs, because it is paid while it comes; micros.
    pub(super) start: f64,
    /// What ending one costs, because it is paid while it drains; micros.
    pub(super) end: f64,
    /// Whether it may be taken away.
    pub(super) is_spot: bool,
    /// First step in which it serves if it is asked for now.
    pub(super) first_step: usize,
    /// Steps whose need must be asked for now, because the next plan would be too late.
    pub(super) window: usize,
}

impl Candidate {
    /// Compared price of a unit per second in an hour, `extra` micros an hour being added to the instance.
    pub(super) fn ratio(&self, extra: f64) -> f64 {
        (self.cost + extra) / self.counted
    }
}

/// Demand of one service that the same pools may serve.
#[derive(Clone, Debug)]
pub(super) struct Part {
    /// Position among the services.
    pub(super) service: usize,
    /// Share of the service's demand.
    pub(super) share: f64,
    /// Ordered by pool, then by what they hold.
    pub(super) candidates: Vec<Candidate>,
    /// Positions of the candidates by what they hold alone.
    pub(super) by_size: Vec<usize>,
    /// First step in which it may have any of them, whatever its lead time.
    pub(super) first_free: usize,
    /// Largest share that spot may cover; 1 where there is nothing else.
    pub(super) spot_share: f64,
    /// What an hour short of a unit per second is counted as; micros.
    pub(super) short_cost: f64,
    /// An origin that no pool is near enough to.
    pub(super) unreachable: Option<String>,
}

/// The inputs by position.
pub(super) struct World<'a> {
    pub(super) inputs: &'a CapacityInputs,
    pub(super) tiers: Vec<Option<&'a Tier>>,
    /// Ordered by service.
    pub(super) parts: Vec<Part>,
    pub(super) steps: usize,
    /// By pool and step: instances that it can have.
    pub(super) room: Vec<Vec<u32>>,
    /// By pool: instances that exist, whatever their state.
    pub(super) present: Vec<u32>,
    /// By pool: instances that are ready or coming, and that nothing takes away.
    lasting: Vec<u32>,
    /// What an hour of the dearest candidate is compared by, at least 1; micros.
    pub(super) dearest: f64,
}

impl<'a> World<'a> {
    pub(super) fn new(inputs: &'a CapacityInputs) -> Self {
        let find = |name: &str| inputs.tiers.iter().find(|tier| tier.name == name);
        let tiers = inputs.pools.iter().map(|offer| find(&offer.pool.tier)).collect();
        let positions: BTreeMap<&str, usize> =
            inputs.pools.iter().enumerate().map(|(i, offer)| (offer.pool.name.as_str(), i)).collect();
        let mut present = vec![0_u32; inputs.pools.len()];
        let mut lasting = vec![0_u32; inputs.pools.len()];
        for (group, fleet) in &inputs.fleet {
            if let Some(pool) = positions.get(group.pool.as_str()) {
                present[*pool] = present[*pool].saturating_add(fleet.wanted().saturating_add(fleet.draining));
                lasting[*pool] = lasting[*pool].saturating_add(fleet.coming.saturating_add(fleet.ready));
            }
        }
        let mut world =
            Self { inputs, tiers, parts: Vec::new(), steps: 0, room: Vec::new(), present, lasting, dearest: 1.0 };
        world.parts = (0..inputs.services.len()).flat_map(|service| world.parts_of(service)).collect();
        let candidates = world.parts.iter().flat_map(|part| &part.candidates);
        world.dearest = candidates.map(|of| of.cost).fold(1.0, f64::max);
        // A horizon that ends before what is asked for now serves would have nothing to decide.
        let windows = world.parts.iter().flat_map(|part| &part.candidates).map(|candidate| candidate.window);
        world.steps = inputs.steps.max(windows.max().unwrap_or(1)).clamp(1, MAX_STEPS);
        let rooms = |pool| (0..world.steps).map(|step| world.room_at(pool, step)).collect();
        world.room = (0..inputs.pools.len()).map(rooms).collect();
        world
    }

    /// Unix seconds at which a step begins.
    pub(super) fn begins_s(&self, step: usize) -> u64 {
        self.inputs.now_s.saturating_add((step as u64).saturating_mul(u64::from(self.inputs.step_s.max(1))))
    }

    /// What an hour of an instance fewer than a part must have is counted as, whatever it would hold; micros.
    pub(super) fn lacking_cost(&self) -> f64 {
        LACKING_OVER_DEAREST * self.dearest
    }

    /// Positions of the parts of a service.
    pub(super) fn positions_serving(&self, service: usize) -> std::ops::Range<usize> {
        let from = self.parts.partition_point(|part| part.service < service);
        from..self.parts.partition_point(|part| part.service <= service)
    }

    /// The parts of a service.
    pub(super) fn parts_serving(&self, service: usize) -> &[Part] {
        &self.parts[self.positions_serving(service)]
    }

    /// What the demand of a service observed now needs, in units per second.
    pub(super) fn floor_per_s(&self, service: usize) -> f64 {
        self.inputs.outlooks.get(&self.inputs.services[service].name).map_or(0.0, Outlook::floor_per_s)
    }

    pub(super) fn service(&self, part: &Part) -> &'a Service {
        &self.inputs.services[part.service]
    }

    pub(super) fn group(&self, part: &Part, candidate: &Candidate) -> Group {
        Group {
            service: self.service(part).name.clone(),
            pool: self.inputs.pools[candidate.pool].pool.name.clone(),
            shape: self.inputs.shapes[candidate.shape].name.clone(),
        }
    }

    /// Instances that a pool can have in a step: its size less maintenance, and where it refuses no more than will stay.
    fn room_at(&self, pool: usize, step: usize) -> u32 {
        let offer = &self.inputs.pools[pool];
        let end_s = self.begins_s(step + 1).max(self.begins_s(step) + u64::from(self.inputs.decide_every_s));
        let size = size_of(self.inputs, &offer.pool, self.begins_s(step), end_s);
        offer.startable.map_or(size, |more| size.min(self.lasting[pool].saturating_add(more)))
    }

    fn parts_of(&self, service: usize) -> Vec<Part> {
        let of = &self.inputs.services[service];
        let fits = |pool: &Pool| of.locations.is_empty() || of.locations.contains(&pool.location);
        let allowed: Vec<usize> = (0..self.inputs.pools.len()).filter(|p| fits(&self.inputs.pools[*p].pool)).collect();
        let mut parts: BTreeMap<Vec<usize>, (f64, Option<String>)> = BTreeMap::new();
        for (name, share) in origins(of) {
            let (pools, is_reachable) = self.near(of, name, &allowed);
            let part = parts.entry(pools).or_default();
            part.0 += share;
            if !is_reachable {
                part.1 = name.map(str::to_owned);
            }
        }
        parts.into_iter().map(|(pools, (share, far))| self.part(service, &pools, share, far)).collect()
    }

    /// The pools that may serve an origin; the nearest ones, and `false`, where none is near enough.
    fn near(&self, service: &Service, origin: Option<&str>, allowed: &[usize]) -> (Vec<usize>, bool) {
        let (Some(limit), Some(origin)) = (&service.latency, origin) else {
            return (allowed.to_vec(), true);
        };
        let ms = |pool: &usize| self.inputs.latencies.ms(origin, &self.inputs.pools[*pool].pool.location);
        let within: Vec<usize> = allowed.iter().copied().filter(|pool| ms(pool) <= limit.max_ms).collect();
        if !within.is_empty() {
            return (within, true);
        }
        let nearest = allowed.iter().map(ms).fold(f64::INFINITY, f64::min);
        (allowed.iter().copied().filter(|pool| ms(pool) <= nearest).collect(), false)
    }

    fn part(&self, service: usize, pools: &[usize], share: f64, unreachable: Option<String>) -> Part {
        let of = &self.inputs.services[service];
        let mut candidates: Vec<Candidate> = Vec::new();
        for pool in pools {
            let mut of_pool: Vec<Candidate> =
                (0..self.inputs.shapes.len()).filter_map(|shape| self.candidate(of, *pool, shape)).collect();
            of_pool.sort_by(|a, b| a.counted.total_cmp(&b.counted).then(a.cost.total_cmp(&b.cost)));
            // What holds no more and costs no less than another is never chosen anew; it may still be running.
            candidates.extend(of_pool);
        }
        let mut by_size: Vec<usize> = (0..candidates.len()).collect();
        by_size.sort_by(|a, b| candidates[*a].counted.total_cmp(&candidates[*b].counted));
        let has_stable = candidates.iter().any(|candidate| !candidate.is_spot);
        let dearest = candidates.iter().map(|candidate| candidate.ratio(0.0)).fold(0.0, f64::max);
        Part {
            service,
            share,
            spot_share: if has_stable { of.spot_max_share.clamp(0.0, 1.0) } else { 1.0 },
            short_cost: (of.shortage_micros_per_unit_h as f64).max(SHORT_OVER_DEAREST * dearest).max(1.0),
            first_free: candidates.iter().map(|candidate| candidate.first_step).max().unwrap_or(0),
            candidates,
            by_size,
            unreachable,
        }
    }

    fn candidate(&self, service: &Service, pool: usize, shape: usize) -> Option<Candidate> {
        let offer = &self.inputs.pools[pool];
        let tier = self.tiers[pool]?;
        let of: &Shape = &self.inputs.shapes[shape];
        if self.inputs.retired_shapes.contains(&of.name) {
            return None;
        }
        if !service.may_buy(of, tier, offer) {
            return None;
        }
        let units = units_per_s(service, of, tier, offer);
        let lead_s = if offer.pool.lead_s.is_finite() { offer.pool.lead_s.max(0.0) } else { 0.0 };
        let class = offer.pool.class;
        let chance = if class == CostClass::Reserved { 0.0 } else { offer.pool.interruption_per_h };
        let missing = (chance * lead_s / 3600.0).clamp(0.0, 1.0);
        let counted = units * (1.0 - missing);
        let list = list_micros(of, tier, offer.pool.price_milli) as f64;
        let price = if class == CostClass::Reserved { list / PREPAID_DIVISOR } else { list };
        let step_s = f64::from(self.inputs.step_s.max(1));
        let reach_s = lead_s + f64::from(self.inputs.decide_every_s);
        (counted > 0.0).then(|| Candidate {
            pool,
            shape,
            units,
            counted,
            // A free instance would make every other infinitely dear beside it; a micro an hour keeps ratios meaningful.
            cost: (price + missing * units * service.shortage_micros_per_unit_h as f64).max(1.0),
            hourly: hourly_micros(of, tier, class, offer.pool.price_milli),
            start: price * lead_s / 3600.0,
            end: if service.drain_s.is_finite() { price * service.drain_s.max(0.0) / 3600.0 } else { 0.0 },
            is_spot: class == CostClass::Spot,
            first_step: ((lead_s / step_s) as usize).min(MAX_STEPS - 1),
            window: ((reach_s / step_s).ceil() as usize).clamp(1, MAX_STEPS),
        })
    }
}

/// Where a service's demand comes from, with the share of each; all of it from nowhere where latency does not matter.
fn origins(service: &Service) -> Vec<(Option<&str>, f64)> {
    let named = service.latency.iter().flat_map(|limit| &limit.origins).filter(|origin| origin.share > 0.0);
    let named: Vec<_> = named.map(|origin| (Some(origin.name.as_str()), origin.share)).collect();
    let sum: f64 = named.iter().map(|(_, share)| share).sum();
    if !(sum.is_finite() && sum > 0.0) {
        return vec![(None, 1.0)];
    }
    named.into_iter().map(|(name, share)| (name, share / sum)).collect()
}

/// Instances that a pool can have within `[from_s, to_s)`: its size less maintenance.
pub(in crate::capacity) fn size_of(inputs: &CapacityInputs, pool: &Pool, from_s: u64, to_s: u64) -> u32 {
    let windows = inputs.maintenance.iter().filter(|window| window.pool == pool.name);
    let off = windows.fold(0_u32, |off, window| off.saturating_add(window.takes(pool.max_instances, from_s, to_s)));
    pool.max_instances.saturating_sub(off)
}
