//! Pools and shapes that are not configured any more and that instances still are of.
//!
//! The intuition: whoever renames a shape or takes a pool out of the configuration means what is bought from now on, not that
//! everything which serves be ended at the next start. An instance of which neither price nor capacity is known counts for
//! nothing, so a service would lose all of its replicas at once and wait a lead time for others. So what is configured is
//! written down at each start, and what is missing at the next is put beside the configuration for as long as instances of it
//! are paid for: a shape as one that nothing more is bought of, a pool as one that has no shapes. They are counted, paid for,
//! endpoints, and replaced as retired shapes are: kept until what takes their place is ready.
//!
//! It deliberately keeps no services: who takes one out of the configuration means its instances. Only its name is kept, because
//! proxies may go on asking for it or watching its file: they are told of its instances until these are gone, and then that
//! there are none. Without a word they would keep addresses that are soon somebody else's.

use std::collections::BTreeSet;

use forebay_plan::capacity::{Instance, PoolOffer, Shape, Target, Tier};
use serde::{Deserialize, Serialize};

use super::remembered::remembered;
use crate::config::capacity::CapacitySettings;

/// Names of former services that are kept, the newest: with 250 bytes each a quarter of a megabyte.
const MAX_FORMER_SERVICES: usize = 1000;

/// What was configured, as it is stored.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Configured {
    shapes: Vec<Shape>,
    tiers: Vec<Tier>,
    pools: Vec<PoolOffer>,
    /// Names of all services there ever were, former ones first.
    #[serde(default)]
    services: Vec<String>,
}

/// See the module's text.
#[derive(Debug, Default)]
pub(super) struct Former {
    shapes: Vec<Shape>,
    /// Names, the oldest first.
    services: Vec<String>,
}

impl Former {
    /// Puts what is missing beside `settings`, with what was stored at the last start and the instances that were paid for
    /// last; returns also what is to be stored.
    pub(super) fn beside(
        settings: CapacitySettings,
        stored: Option<&str>,
        paid: &[Instance],
    ) -> (CapacitySettings, Self, Option<String>) {
        let before: Configured = remembered("what was configured", stored);
        let CapacitySettings { mut shapes, mut tiers, mut pools, .. } = settings;
        let own_services: Vec<&String> = settings.services.iter().map(|of| &of.service.name).collect();
        let is_former = |name: &String| !own_services.contains(&name);
        let mut former_services: Vec<String> = before.services.into_iter().filter(is_former).collect();
        former_services.drain(..former_services.len().saturating_sub(MAX_FORMER_SERVICES));
        let services = former_services.iter().chain(own_services).cloned().collect();
        let is_served = |one: &&Instance| settings.services.iter().any(|of| of.service.name == one.group.service);
        let paid: Vec<&Instance> = paid.iter().filter(is_served).collect();
        let is_missing = |shape: &Shape| {
            shapes.iter().all(|own| own.name != shape.name) && paid.iter().any(|one| one.group.shape == shape.name)
        };
        let former: Vec<Shape> = before.shapes.into_iter().filter(is_missing).collect();
        let is_missing = |offer: &PoolOffer| {
            pools.iter().all(|own| own.pool.name != offer.pool.name)
                && paid.iter().any(|one| one.group.pool == offer.pool.name)
        };
        let former_pools: Vec<PoolOffer> = before.pools.into_iter().filter(is_missing).collect();
        let is_missing = |tier: &Tier| {
            tiers.iter().all(|own| own.name != tier.name) && former_pools.iter().any(|of| of.pool.tier == tier.name)
        };
        let former_tiers: Vec<Tier> = before.tiers.into_iter().filter(is_missing).collect();
        for shape in &former {
            tracing::warn!(shape.name, "a shape is not configured any more; what runs of it is replaced");
        }
        for offer in &former_pools {
            tracing::warn!(pool = offer.pool.name, "a pool is not configured any more; what runs there is replaced");
        }
        shapes.extend(former.iter().cloned());
        tiers.extend(former_tiers);
        // No shape has this name.
        let sells_nothing = |offer| PoolOffer { shapes: BTreeSet::from([String::new()]), ..offer };
        pools.extend(former_pools.into_iter().map(sells_nothing));
        let now = Configured { shapes, tiers, pools, services };
        let text = serde_json::to_string(&now).ok();
        let Configured { shapes, tiers, pools, .. } = now;
        let own = Self { shapes: former, services: former_services };
        (CapacitySettings { shapes, tiers, pools, ..settings }, own, text)
    }

    /// Names of the services that were configured once.
    pub(super) fn services(&self) -> &[String] {
        &self.services
    }

    /// Names of the shapes that nothing more is bought of.
    pub(super) fn retired(&self) -> impl Iterator<Item = String> {
        self.shapes.iter().map(|shape| shape.name.clone())
    }

    /// Those that targets name, for managers that are not configured with them any more.
    pub(super) fn described(&self, targets: &[Target]) -> Vec<Shape> {
        let named = |shape: &&Shape| targets.iter().any(|target| target.group.shape == shape.name);
        self.shapes.iter().filter(named).cloned().collect()
    }
}
