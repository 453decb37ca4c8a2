//! Sizes of instance that are found from what instances use: proposed, taken up, retired.
//!
//! Once in [`ShapingSettings::every`] what instances used is put beside what they have, and sizes are proposed that the same
//! use would be cheaper in ([`propose_shapes`]). With `propose` that is all: they are shown with their saving. With `use` they
//! enter a library, bounded in number, and the planner may choose them, as any other size, by what services declare that
//! they need; what no instance was of for [`ShapingSettings::retire_after`] is retired. Every change stands in the library's
//! trail, which is stored.
//!
//! What a kind of replica uses counts in proportion: its scarcer resource, CPU or memory, as if all of it were used, the other
//! by what is stayed within 95 % of the time beside it, widened while little was seen. For how full instances are is the
//! planner's decision (guarantees, headroom), and no smaller size changes it; proportions are what a size can fit better. A
//! kind that was seen for less than [`ShapingSettings::every`], or that uses less than [`LEAST_SHARE`] of both, says nothing.
//! Amounts that nobody measures (disk, network, accelerators) count as the service declares them.
//!
//! Times are real. What a size costs that nobody sells yet is the configuration's prices of a core and a GiB, or else what
//! the prices of the configured sizes say ([`Prices::fitted`]): an estimate, and shown as one.

use std::collections::{BTreeMap, BTreeSet};

use forebay_plan::capacity::price::units_per_s;
use forebay_plan::capacity::shapes::{
    NotedChange, ObservedDemand, Proposal, ShapeChange, ShapeLibrary, cost_micros_per_h, propose_shapes,
};
use forebay_plan::capacity::{Amounts, CapacityInputs, Fleet, Group, Instance, InstanceState, Shape, Target};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::remembered::remembered;
use super::spending::Instant;
use super::uses::Use;
use crate::config::capacity::{Prices, ShapeMode, ShapingSettings};

/// Changes that are shown, the newest.
const SHOWN_CHANGES: usize = 100;
/// What idles says nothing of proportions: most of its use is there without any work.
const LEAST_SHARE: f64 = 0.3;
/// Clusters are drawn from it: the same use gives the same proposals.
const SEED: u64 = 1;
const CONTROLLER: &str = "controller";

/// What a restart must not lose.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Kept {
    library: ShapeLibrary,
    /// When it was last looked for new ones, unix seconds.
    looked_s: Option<i64>,
}

/// See the module's text.
#[derive(Debug)]
pub(super) struct Shaping {
    settings: ShapingSettings,
    /// The operator's, which are nobody else's to change.
    configured: Vec<Shape>,
    prices: Prices,
    kept: Kept,
    proposals: Vec<Proposal>,
    /// What the use at the last look costs an hour, in micros.
    cost_micros_per_h: f64,
    is_changed: bool,
}

impl Shaping {
    /// Beside what is configured, with what was stored.
    pub(super) fn of(settings: ShapingSettings, configured: &[Shape], stored: Option<&str>) -> Self {
        let kept: Kept = remembered("the library of shapes", stored);
        let prices = settings.prices.unwrap_or_else(|| Prices::fitted(configured));
        let configured = configured.to_vec();
        Self { settings, configured, prices, kept, proposals: Vec::new(), cost_micros_per_h: 0.0, is_changed: false }
    }

    /// All sizes that instances may be of.
    pub(super) fn all(&self) -> Vec<Shape> {
        self.configured.iter().chain(self.generated()).cloned().collect()
    }

    /// Those of the library; one whose name the operator has given to another since is the operator's.
    fn generated(&self) -> impl Iterator<Item = &Shape> {
        self.kept.library.known().filter(|shape| self.configured.iter().all(|own| own.name != shape.name))
    }

    /// Names of those that nothing more is bought of.
    pub(super) fn retired(&self) -> BTreeSet<String> {
        let in_use: BTreeSet<&str> = self.kept.library.in_use().map(|shape| shape.name.as_str()).collect();
        self.generated().map(|shape| shape.name.clone()).filter(|name| !in_use.contains(name.as_str())).collect()
    }

    /// Those that targets name and that no manager is configured with.
    pub(super) fn described(&self, targets: &[Target]) -> Vec<Shape> {
        let named = |shape: &&Shape| targets.iter().any(|target| target.group.shape == shape.name);
        self.generated().filter(named).cloned().collect()
    }

    /// Does what is due. Whether the library changed.
    pub(super) fn move_on(
        &mut self,
        uses: &[Use],
        inputs: &CapacityInputs,
        instances: &[Instance],
        now: Instant,
    ) -> bool {
        let version = self.kept.library.version();
        let at_s = now.wall_s().unsigned_abs();
        self.retire(instances, at_s);
        let every_s = self.settings.every.as_secs() as i64;
        let is_due = self.kept.looked_s.is_none_or(|looked_s| now.wall_s().saturating_sub(looked_s) >= every_s);
        let known: Vec<&Use> = uses.iter().filter(|one| now.wall_s() - one.since_s() >= every_s).collect();
        if is_due && self.settings.mode != ShapeMode::Off && !known.is_empty() {
            self.look(&known, inputs, now);
        }
        let is_new = self.kept.library.version() != version;
        self.is_changed |= is_new;
        is_new
    }

    /// Retires what is not used, or not wanted any more, and forgets what is retired and gone.
    fn retire(&mut self, instances: &[Instance], at_s: u64) {
        let library = &mut self.kept.library;
        if self.settings.mode != ShapeMode::Use {
            let in_use: Vec<String> = library.in_use().map(|shape| shape.name.clone()).collect();
            for name in in_use {
                // It is in use, so it can be retired.
                let _ = library.retire(&name, at_s, CONTROLLER, "generated shapes are not to be used any more");
            }
        }
        let mut counts: BTreeMap<String, u32> = BTreeMap::new();
        for one in instances.iter().filter(|one| one.state != InstanceState::Gone) {
            *counts.entry(one.group.shape.clone()).or_default() += 1;
        }
        library.observe(&counts, at_s, self.settings.retire_after.as_secs());
    }

    /// Looks for new ones.
    fn look(&mut self, uses: &[&Use], inputs: &CapacityInputs, now: Instant) {
        self.kept.looked_s = Some(now.wall_s());
        self.is_changed = true;
        let demands: Vec<ObservedDemand> = uses.iter().filter_map(|one| demand(one, inputs)).collect();
        let there: Vec<Shape> = self.configured.iter().chain(self.kept.library.in_use()).cloned().collect();
        self.cost_micros_per_h = cost_micros_per_h(&demands, &there);
        let prices = self.prices;
        let price = |amounts: &Amounts| prices.micros_per_h(amounts);
        self.proposals = propose_shapes(&demands, &there, price, self.settings.min_saving, SEED);
        // What is known by that name already is not proposed, however its price has changed.
        self.proposals
            .retain(|one| self.kept.library.known().chain(&self.configured).all(|own| own.name != one.shape.name));
        for one in &self.proposals {
            let saving_per_h = one.saving_micros_per_h as f64 / 1e6;
            tracing::info!(
                shape = one.shape.name,
                saving_per_h,
                saving_share = one.saving_share,
                replicas = one.replicas,
                mode = self.settings.mode.name(),
                "what instances use would be cheaper in another shape"
            );
        }
        if self.settings.mode == ShapeMode::Use {
            self.take_up(now.wall_s().unsigned_abs());
        }
    }

    /// Adds what is proposed, as far as there is room.
    fn take_up(&mut self, at_s: u64) {
        let library = &mut self.kept.library;
        let room = self.settings.most.saturating_sub(library.in_use().count());
        for one in self.proposals.drain(..self.proposals.len().min(room)) {
            let why = format!(
                "saves {:.4} an hour, {:.1} % of what instances cost, for {:.1} of them",
                one.saving_micros_per_h as f64 / 1e6,
                100.0 * one.saving_share,
                one.replicas
            );
            if let Err(error) = library.add(one.shape, at_s, CONTROLLER, &why) {
                tracing::warn!(%error, "a shape is not taken up");
            }
        }
    }

    /// The manager does not know a shape: if it is one that was taken up, nothing more is bought of it, and its pool is not to
    /// blame. Whether that was so.
    pub(super) fn give_up(&mut self, name: &str, detail: &str, now: Instant) -> bool {
        let is_generated = self.generated().any(|shape| shape.name == *name);
        if is_generated {
            let why = format!("the manager cannot make it: {detail}");
            // One that is retired already is only said again.
            self.is_changed |= self.kept.library.retire(name, now.wall_s().unsigned_abs(), CONTROLLER, &why).is_ok();
        }
        is_generated
    }

    /// To be stored, if it has changed since the last time.
    pub(super) fn take_changed(&mut self) -> Option<String> {
        let text = self.is_changed.then(|| serde_json::to_string(&self.kept).ok()).flatten();
        self.is_changed = false;
        text
    }

    /// What could not be stored is stored later.
    pub(super) fn all_changed(&mut self) {
        self.is_changed = true;
    }

    /// Shapes in use and retired ones that have instances, proposals, and what they would save an hour; for metrics.
    pub(super) fn figures(&self) -> Figures {
        let retired = self.retired().len();
        let saving_micros = self.proposals.iter().map(|one| one.saving_micros_per_h as f64).sum::<f64>();
        Figures {
            in_use: self.generated().count() - retired,
            retired,
            proposed: self.proposals.len(),
            saving_per_h: saving_micros / 1e6,
        }
    }

    /// For people.
    pub(super) fn as_json(&self, fleet: &BTreeMap<Group, Fleet>) -> Value {
        let retired = self.retired();
        let instances = |name: &str| {
            let of_shape = fleet.iter().filter(|(group, _)| group.shape == name);
            of_shape.map(|(_, fleet)| fleet.wanted() + fleet.draining).sum::<u32>()
        };
        let row = |shape: &Shape, source: &str| {
            let mut row = shape_json(shape);
            row["source"] = json!(source);
            row["state"] = json!(if retired.contains(&shape.name) { "retired" } else { "in_use" });
            row["instances"] = json!(instances(&shape.name));
            row
        };
        let shapes: Vec<Value> = self
            .configured
            .iter()
            .map(|shape| row(shape, "configured"))
            .chain(self.generated().map(|shape| row(shape, "generated")))
            .collect();
        let proposal = |one: &Proposal| {
            let mut row = shape_json(&one.shape);
            row["saving_per_h"] = json!(one.saving_micros_per_h as f64 / 1e6);
            row["saving_share"] = json!(one.saving_share);
            row["replicas"] = json!(one.replicas);
            row
        };
        let trail = self.kept.library.trail().iter().rev().take(SHOWN_CHANGES);
        json!({
            "mode": self.settings.mode.name(), "version": self.kept.library.version(), "shapes": shapes,
            "looked_unix_s": self.kept.looked_s, "cost_per_h": self.cost_micros_per_h / 1e6,
            "prices": {
                "cpu_per_h": self.prices.cpu_per_h, "memory_gib_per_h": self.prices.memory_gib_per_h,
                "are_fitted": self.settings.prices.is_none(),
            },
            "proposals": self.proposals.iter().map(proposal).collect::<Vec<_>>(),
            "trail": trail.map(change_json).collect::<Vec<_>>(),
        })
    }
}

/// How many of each there are.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Figures {
    pub(crate) in_use: usize,
    pub(crate) retired: usize,
    pub(crate) proposed: usize,
    /// In the currency.
    pub(crate) saving_per_h: f64,
}

/// What a kind of replica takes when it is full. `None` where that is not known, or service or shape are not among the inputs.
fn demand(one: &Use, inputs: &CapacityInputs) -> Option<ObservedDemand> {
    let (service, shape, [cpu, memory]) = one.peaks();
    let service = inputs.services.iter().find(|known| known.name == service)?;
    let shape = inputs.shapes.iter().find(|known| known.name == shape)?;
    let units = inputs.pools.iter().filter_map(|offer| {
        let tier = inputs.tiers.iter().find(|tier| tier.name == offer.pool.tier)?;
        Some(units_per_s(service, shape, tier, offer))
    });
    let units = units.fold(0.0, f64::max);
    let (offers, need) = (shape.offers.as_array(), service.need_per_unit.as_array());
    let mut peak = [0.0; 6];
    for (resource, amount) in peak.iter_mut().enumerate() {
        *amount = (need[resource] * units).min(offers[resource]);
    }
    let mut peak = Amounts::from_array(peak);
    let scarcer = cpu.max(memory);
    if scarcer < LEAST_SHARE {
        return None;
    }
    let caution = one.caution();
    peak.cpu_milli = shape.offers.cpu_milli * (cpu / scarcer * caution).min(1.0);
    peak.memory_mib = shape.offers.memory_mib * (memory / scarcer * caution).min(1.0);
    Some(ObservedDemand { peak, replicas: one.instances() })
}

fn shape_json(shape: &Shape) -> Value {
    let offers = shape.offers;
    json!({
        "name": shape.name, "cpu": offers.cpu_milli / 1000.0, "memory_mib": offers.memory_mib,
        "storage_gib": offers.storage_gib, "disk_iops": offers.disk_iops, "network_mbps": offers.network_mbps,
        "gpus": offers.gpus, "price_per_h": shape.price_micros_per_h as f64 / 1e6, "performance": shape.performance,
    })
}

fn change_json(change: &NotedChange) -> Value {
    let (what, shape) = match &change.change {
        ShapeChange::Added(shape) => ("added", &shape.name),
        ShapeChange::Retired(name) => ("retired", name),
        ShapeChange::Removed(name) => ("removed", name),
    };
    json!({
        "version": change.version, "at_unix_s": change.at_s, "who": change.who, "why": change.why, "change": what,
        "shape": shape,
    })
}
