//! Instances as pods of Kubernetes clusters: one Deployment per group, in the cluster of the pool's location.
//!
//! The intuition: Kubernetes already keeps a number of pods alive; what it does not know is how many of which shape in which
//! pool. So a group becomes a Deployment that is a copy of the user's own one, with the shape's resources and the pool's
//! placement, and an order becomes its number. Who wrote last is decided in the cluster itself (`ledger.rs`).
//!
//! Invariants: an order older than one that was taken is refused in every cluster; what is written is written over the
//! version that was seen; only objects with this manager's own label are ever changed or deleted, and the user's Deployment
//! is only read; a cluster that does not answer keeps no other one from its part, and takes no order before it was seen
//! again.
//!
//! What it does not do: make nodes (the cluster's autoscaler does), or decide numbers. It acts when it is asked only; what it
//! looks at is listed once and watched from then on (`watched.rs`).
//!
//! Sources: SPEC C4, C6 and C12; Kubernetes' server-side apply, and the files named below.

mod cluster;
mod failures;
mod karpenter;
mod ledger;
mod lowering;
mod manifest;
mod moving;
mod names;
mod notes;
mod objects;
mod pods;
mod reconcile;
mod resizing;
mod rooms;
mod roster;
mod seen;
mod settings;
mod usage;
mod view;
mod watched;

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use forebay_plan::capacity::{Generation, Instance, Shape, Target};
use futures_util::future::join_all;
use tokio::time::Instant;

use self::cluster::Cluster;
use self::notes::Note;
use self::reconcile::{Part, Work};
use self::roster::Roster;
use self::seen::Seen;
use self::view::View;
use crate::{Applied, FailureKind, GroupFailure, InstanceManager, InstanceUsage, Observed, Order, ProvisionError};

pub use self::settings::{
    Access, ClusterSettings, KubernetesSettings, Placeholders, PoolPlacement, ServiceTemplate, Toleration,
};

/// Keeps groups as Deployments, in one or several clusters.
pub struct Kubernetes {
    settings: KubernetesSettings,
    /// Shapes of the last order beside the configured ones: what is moved between orders needs their sizes.
    ordered: Mutex<Vec<Shape>>,
    clusters: Vec<Managed>,
}

/// How often what instances use is asked for: it cannot be watched, is half a kilobyte for each, and is measured no more often
/// than this by what usually measures it.
const MEASURED_EVERY: Duration = Duration::from_secs(30);

/// How what is watched stands, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watching {
    /// What a list of it is called: `list pods`.
    pub operation: &'static str,
    /// The version that all of it is known up to; empty before the first list.
    pub version: String,
    /// How many there are.
    pub objects: usize,
    /// How often all were listed.
    pub lists: u64,
    /// Why it is not followed, so that each look lists it.
    pub hindered: Option<String>,
}

/// A cluster, and what is known of it.
struct Managed {
    cluster: Cluster,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    seen: Seen,
    /// As it is in the cluster; `None` before it was read.
    roster: Option<Roster>,
    /// Why not all who were seen are in it.
    unwritten: Option<String>,
    generation: Option<Generation>,
    usage: Vec<InstanceUsage>,
    /// When that was asked for; `None` where nothing was measured.
    measured: Option<Instant>,
    lost: Option<ProvisionError>,
    /// Failures of the last order, as far as they were told to the cluster.
    told: BTreeSet<(String, FailureKind)>,
    troubles: Vec<String>,
}

impl Managed {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kubernetes {
    /// Reads how the clusters are reached, and begins to watch them, on the runtime that this is called on.
    ///
    /// # Errors
    /// [`ProvisionError::Malformed`] for a kubeconfig that cannot be used.
    pub async fn connect(settings: KubernetesSettings) -> Result<Self, ProvisionError> {
        let mut clusters = Vec::new();
        for named in &settings.clusters {
            let cluster = Cluster::connect(named, &settings).await?;
            clusters.push(Managed { cluster, known: Mutex::default() });
        }
        Ok(Self { settings, ordered: Mutex::default(), clusters })
    }

    /// Locations whose cluster did not answer the last time, and why: what is observed there is what was known before.
    #[must_use]
    pub fn lost_locations(&self) -> Vec<(String, ProvisionError)> {
        let lost = |managed: &Managed| Some((managed.cluster.location.clone(), managed.known().lost.clone()?));
        self.clusters.iter().filter_map(lost).collect()
    }

    /// How what is watched stands, by location.
    #[must_use]
    pub fn watching(&self) -> Vec<(String, Vec<Watching>)> {
        self.clusters.iter().map(|managed| (managed.cluster.location.clone(), managed.cluster.watching())).collect()
    }

    /// Tells the cluster what was done, and what could not be for the first time.
    async fn tell(&self, managed: &Managed, part: &Part, now_ms: u64) {
        let mut notes = part.notes.clone();
        {
            let mut known = managed.known();
            known.troubles.clone_from(&part.troubles);
            let told = std::mem::take(&mut known.told);
            for failure in &part.applied.failures {
                let about = (names::group_name(&failure.group), failure.kind);
                if !told.contains(&about) {
                    let message = format!("{}: {}", failure.kind.name(), failure.detail);
                    notes.push(Note { about: about.0.clone(), reason: "CapacityMissing", message, is_warning: true });
                }
                known.told.insert(about);
            }
        }
        notes::say(&managed.cluster, &notes, now_ms).await;
    }

    /// The location of a target's pool, or why there is none.
    fn location(&self, target: &Target) -> Result<&str, GroupFailure> {
        let unknown = |detail: String| GroupFailure { group: target.group.clone(), kind: FailureKind::Unknown, detail };
        let placement = self.settings.pools.iter().find(|placement| placement.pool.name == target.group.pool);
        let placement = placement.ok_or_else(|| unknown(format!("no pool {:?} is configured", target.group.pool)))?;
        let location = placement.pool.location.as_str();
        let is_known = self.clusters.iter().any(|managed| managed.cluster.location == location);
        is_known.then_some(location).ok_or_else(|| unknown(format!("no cluster is configured for {location:?}")))
    }

    /// Every size is made alike, whoever thought of it.
    fn settings_with_ordered(&self) -> KubernetesSettings {
        let mut settings = self.settings.clone();
        settings.shapes.extend(self.ordered.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned());
        settings
    }

    async fn observe_one(&self, managed: &Managed, now_ms: u64) -> Result<(), ProvisionError> {
        let (generation, view) = futures_util::future::join(
            ledger::taken(&managed.cluster),
            View::read_with_nodes(&managed.cluster, &self.settings, now_ms),
        )
        .await;
        let (generation, view) = (generation?, view?);
        let moved = moving::go_on(&managed.cluster, &self.settings_with_ordered(), &view, now_ms).await;
        notes::say(&managed.cluster, &moved, now_ms).await;
        lowering::release(&managed.cluster, &self.settings, &view, now_ms).await;
        let is_measured = managed.known().measured.is_some_and(|measured| measured.elapsed() < MEASURED_EVERY);
        let usage = if is_measured { None } else { Some(usage::read(&managed.cluster, &view).await) };
        let is_first = managed.known().roster.is_none();
        let before = if is_first { Some(roster::read(&managed.cluster).await?) } else { None };
        let there: Vec<Instance> = view.members.into_values().flatten().map(|member| member.instance).collect();
        let (before, roster, left_out) = {
            let mut known = managed.known();
            // A generation only rises: a lower one was read before a write that was seen since.
            known.generation = known.generation.max(generation);
            if let Some(usage) = usage {
                known.measured = (!usage.is_empty()).then(Instant::now);
                known.usage = usage;
            }
            if let Some((roster, instances)) = before {
                known.roster = Some(roster);
                known.seen.restore(instances);
            }
            let (roster, left_out) = roster::of(&known.seen.update(there, now_ms));
            (known.roster.clone().unwrap_or_default(), roster, left_out)
        };
        let (written, outcome) = roster::write(&managed.cluster, &before, &roster).await;
        let no_room =
            (left_out > 0).then(|| format!("{left_out} instances have no room in what is kept of who was seen"));
        let mut known = managed.known();
        known.roster = Some(written);
        known.unwritten = outcome.err().map(|error| error.to_string()).or(no_room);
        Ok(())
    }
}

impl InstanceManager for Kubernetes {
    async fn observe(&self) -> Result<Observed, ProvisionError> {
        let now_ms = unix_now_ms();
        let looks = join_all(self.clusters.iter().map(|managed| self.observe_one(managed, now_ms))).await;
        let mut observed = Observed::default();
        let mut failed = None;
        for (managed, looked) in self.clusters.iter().zip(&looks) {
            let mut known = managed.known();
            known.lost = looked.clone().err();
            observed.generation = observed.generation.max(known.generation);
            observed.instances.extend(known.seen.last());
            if known.lost.is_some() {
                let location = &managed.cluster.location;
                let of_place = self.settings.pools.iter().filter(|placement| placement.pool.location == *location);
                observed.unreachable.extend(of_place.map(|placement| placement.pool.name.clone()));
            }
            if looked.is_ok() {
                observed.usage.extend(known.usage.iter().cloned());
            }
            failed = failed.or(known.lost.clone());
        }
        match failed {
            Some(error) if looks.iter().all(Result::is_err) => Err(error),
            _ => Ok(observed),
        }
    }

    async fn apply(&self, order: &Order) -> Result<Applied, ProvisionError> {
        let mut applied = Applied::default();
        let mut routed = Vec::new();
        for target in &order.targets {
            match self.location(target) {
                Ok(location) => routed.push((location, target)),
                Err(failure) => applied.failures.push(failure),
            }
        }
        // Taken everywhere before anything is done anywhere. Where the last look failed, the order was made without knowing
        // what is there, and may leave out what serves: it waits until that is seen again.
        let take = async |managed: &Managed| {
            let lost = managed.known().lost.clone();
            match lost {
                Some(lost) => Err(lost),
                None => ledger::take(&managed.cluster, order.generation).await,
            }
        };
        let taken = join_all(self.clusters.iter().map(take)).await;
        if let Some(Err(stale)) =
            taken.iter().find(|taken| matches!(taken, Err(ProvisionError::StaleGeneration { .. })))
        {
            return Err(stale.clone());
        }
        let now_ms = unix_now_ms();
        self.ordered.lock().unwrap_or_else(PoisonError::into_inner).clone_from(&order.shapes);
        let settings = &self.settings_with_ordered();
        let works = self.clusters.iter().zip(taken).map(|(managed, taken)| {
            let location = managed.cluster.location.as_str();
            let targets = routed.iter().filter(|(place, _)| *place == location).map(|(_, target)| *target).collect();
            let work = Work { cluster: &managed.cluster, settings, generation: order.generation, targets, now_ms };
            async move {
                let carried_out = match taken {
                    Ok(()) => work.carry_out().await,
                    Err(error) => Err(error),
                };
                if let Ok(part) = &carried_out {
                    self.tell(managed, part, now_ms).await;
                }
                let carried_out = carried_out.map(|part| part.applied);
                (work.targets, carried_out)
            }
        });
        let outcomes = join_all(works).await;
        let lost: BTreeSet<usize> =
            outcomes.iter().enumerate().filter(|(_, (_, outcome))| outcome.is_err()).map(|(place, _)| place).collect();
        for (place, (targets, outcome)) in outcomes.into_iter().enumerate() {
            match outcome {
                Ok(part) => {
                    applied.started += part.started;
                    applied.stopped += part.stopped;
                    applied.failures.extend(part.failures);
                }
                Err(error @ ProvisionError::StaleGeneration { .. }) => return Err(error),
                Err(error) if lost.len() == self.clusters.len() => return Err(error),
                Err(error) => {
                    let place = self.clusters.get(place).map_or("", |managed| managed.cluster.location.as_str());
                    let detail = format!("the cluster of {place:?} is lost: {error}");
                    applied.failures.extend(targets.into_iter().map(|target| GroupFailure {
                        group: target.group.clone(),
                        kind: FailureKind::Failed,
                        detail: detail.clone(),
                    }));
                }
            }
        }
        Ok(applied)
    }

    /// Room that the last order could not keep, `NodePool`s that it could not limit, what cannot be watched, and what cannot be
    /// written down of who was seen.
    fn troubles(&self) -> Vec<String> {
        let unwatched = |managed: &Managed| {
            let hindered = |one: Watching| Some(format!("each look has to {}: {}", one.operation, one.hindered?));
            managed.cluster.watching().into_iter().filter_map(hindered).collect::<Vec<_>>()
        };
        let of = |managed: &Managed| {
            let known = managed.known();
            let unwritten = known.unwritten.iter().cloned();
            [known.troubles.clone(), unwatched(managed), unwritten.collect()].concat()
        };
        self.clusters.iter().flat_map(of).collect()
    }
}

/// Unix milliseconds; a clock before 1970 counts as 1970.
fn unix_now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
