//! Makes one cluster's part of an order true: each group's Deployment is written as it is to be, or left as it is.
//!
//! The intuition: look, compare, write what differs over the version that was seen, and wait until the cluster's own
//! controllers have taken notice, so that a quota is known with this order and not with the next. Who was overtaken by a
//! write in between (409) begins again from a new look; who meets a newer generation stops.
//!
//! How numbers come down, and what is kept until another shape is ready, is `lowering.rs`; what moves to another shape in
//! place is `moving.rs`.

mod noticing;

use std::collections::BTreeMap;

use forebay_plan::capacity::{Generation, Group, InstanceState, Target};
use futures_util::future::join_all;
use serde_json::json;

use super::cluster::{CallError, Cluster};
use super::failures::{Standing, failure, kind_of_refusal};
use super::lowering::{Held, is_of_same_place, mark, set_number};
use super::manifest::{self, Rendered};
use super::moving::{self, Moves, Wanted};
use super::names::{DIGEST, GENERATION, HELD_FOR, HELD_SINCE, TARGET, group_name};
use super::notes::Note;
use super::objects::Deployment;
use super::pods::group_of;
use super::settings::KubernetesSettings;
use super::view::View;
use super::{karpenter, ledger, rooms};
use crate::{Applied, FailureKind, GroupFailure, ProvisionError};

/// Times that others may write in between.
const ROUNDS: usize = 5;
/// Writes to one cluster that run side by side.
pub(super) const AT_ONCE: usize = 16;

/// One cluster's part of an order.
pub(super) struct Work<'a> {
    pub(super) cluster: &'a Cluster,
    pub(super) settings: &'a KubernetesSettings,
    pub(super) generation: Generation,
    pub(super) targets: Vec<&'a Target>,
    pub(super) now_ms: u64,
}

/// What came of one cluster's part.
#[derive(Debug, Default)]
pub(super) struct Part {
    pub(super) applied: Applied,
    /// What was done, for people.
    pub(super) notes: Vec<Note>,
    /// What could not be done beside the groups.
    pub(super) troubles: Vec<String>,
}

/// What came of one group.
enum Done {
    /// It was so already.
    Nothing,
    /// It was written.
    Written { started: u32, stopped: u32 },
    /// It cannot be.
    Failed(GroupFailure),
    /// Somebody wrote in between.
    Overtaken,
    /// Somebody newer wrote it.
    Stale(Generation),
}

/// A group, and how many it is to have.
#[derive(Clone, Copy)]
struct Wish<'a> {
    name: &'a str,
    group: &'a Group,
    count: u32,
    /// Whether the order names it.
    is_named: bool,
}

impl Wish<'_> {
    fn wanted(&self) -> Wanted<'_> {
        Wanted { name: self.name, group: self.group, count: self.count }
    }
}

/// What was decided for all groups together.
#[derive(Clone, Copy)]
struct Decided<'a> {
    named: &'a BTreeMap<String, &'a Target>,
    moves: &'a Moves,
}

impl Work<'_> {
    /// Carries it out.
    pub(super) async fn carry_out(&self) -> Result<Part, ProvisionError> {
        let named: BTreeMap<String, &Target> =
            self.targets.iter().map(|target| (group_name(&target.group), *target)).collect();
        let mut part = Part::default();
        for _ in 0..ROUNDS {
            let mut view = View::read(self.cluster, self.settings, self.now_ms).await?;
            let left_out = view.groups.iter().filter(|(name, _)| !named.contains_key(*name));
            let left_out: Vec<(String, Group)> =
                left_out.filter_map(|(name, found)| Some((name.clone(), group_of(&found.metadata)?))).collect();
            let mut wishes: Vec<Wish<'_>> = Vec::new();
            wishes.extend(named.iter().map(|(name, target)| Wish {
                name,
                group: &target.group,
                count: target.count,
                is_named: true,
            }));
            wishes.extend(left_out.iter().map(|(name, group)| Wish { name, group, count: 0, is_named: false }));

            let wanted: Vec<Wanted<'_>> = wishes.iter().map(Wish::wanted).collect();
            if moving::mark_unmarked((self.cluster, self.settings), &view, &wanted).await {
                view = View::read(self.cluster, self.settings, self.now_ms).await?;
            }
            let moves = Moves::choose((self.cluster, self.settings), &view, &wanted).await;
            let decided = Decided { named: &named, moves: &moves };
            let (mut was_overtaken, mut has_written) = (false, false);
            part.applied.failures.clear();
            for chunk in wishes.chunks(AT_ONCE) {
                let done = join_all(chunk.iter().map(|wish| self.bring(&view, *wish, &decided))).await;
                for (wish, done) in chunk.iter().zip(done) {
                    match done {
                        Done::Nothing => {}
                        Done::Written { started, stopped } => {
                            has_written = true;
                            part.written(wish.name, started, stopped);
                        }
                        Done::Failed(failure) => part.applied.failures.push(failure),
                        Done::Overtaken => was_overtaken = true,
                        Done::Stale(taken) => {
                            return Err(ProvisionError::StaleGeneration { asked: self.generation, taken });
                        }
                    }
                }
            }
            if !was_overtaken {
                has_written |= moves.begin(self.cluster, self.now_ms).await;
                part.troubles = rooms::keep(self.cluster, self.settings, &view).await;
                part.troubles.extend(karpenter::limit(self.cluster, self.settings).await);
                let seen = if has_written {
                    noticing::until_noticed(self.cluster, |name| named.contains_key(name)).await?;
                    View::read(self.cluster, self.settings, self.now_ms).await?
                } else {
                    view
                };
                part.notes.extend(moving::go_on(self.cluster, self.settings, &seen, self.now_ms).await);
                let lacking = karpenter::lacking(self.cluster, self.settings).await;
                self.add_failures(&seen, &named, &lacking, &mut part.applied);
                return Ok(part);
            }
        }
        let detail = format!("others changed Deployments {ROUNDS} times meanwhile");
        Err(ProvisionError::Unreachable { operation: "write Deployments", detail })
    }

    /// Brings one group to its number.
    async fn bring(&self, view: &View, wish: Wish<'_>, decided: &Decided<'_>) -> Done {
        let found = view.groups.get(wish.name);
        if let Some(taken) = found.and_then(|found| ledger::generation(&found.metadata))
            && taken > self.generation
        {
            return Done::Stale(taken);
        }
        let written = match found {
            None if wish.count == 0 => return Done::Nothing,
            None if view.others.contains_key(wish.name) => {
                let detail = format!("Deployment {} exists and is not Forebay's; rename or delete it", wish.name);
                return Done::Failed(failed(wish.group, FailureKind::Failed, detail));
            }
            Some(found) if !wish.is_named => self.end(view, wish, found, decided).await,
            _ => match self.rendered(view, wish.group) {
                Ok(rendered) => self.write(view, wish, rendered, decided).await,
                // What cannot be written anew can still be given back.
                Err(failure) => match found.filter(|found| found.replicas() > wish.count) {
                    Some(found) => self.lower(view, wish, found).await,
                    None => return Done::Failed(failure),
                },
            },
        };
        match written {
            Ok(done) => done,
            Err(CallError::Conflict { .. } | CallError::NotFound { .. }) => Done::Overtaken,
            Err(CallError::Refused { detail, .. }) => {
                Done::Failed(failed(wish.group, kind_of_refusal(&detail), detail))
            }
            Err(error) => Done::Failed(failed(wish.group, FailureKind::Failed, error.to_string())),
        }
    }

    /// The group's Deployment as it is to be, without its number.
    fn rendered(&self, view: &View, group: &Group) -> Result<Rendered, GroupFailure> {
        manifest::of_group(self.cluster, self.settings, view, group)
            .map_err(|detail| failed(group, FailureKind::Unknown, detail))
    }

    async fn write(
        &self,
        view: &View,
        wish: Wish<'_>,
        rendered: Rendered,
        decided: &Decided<'_>,
    ) -> Result<Done, CallError> {
        let found = view.groups.get(wish.name);
        let before = found.map_or(0, |found| found.replicas());
        let mut annotations = vec![(GENERATION, self.generation.to_string()), (TARGET, wish.count.to_string())];
        // What is on its way here in place is not started.
        let moving = decided.moves.count(wish.name);
        let mut replicas = if wish.count > before { before.max(wish.count.saturating_sub(moving)) } else { wish.count };
        if let Some(held) = found.and_then(|found| self.held(view, wish, found, decided)) {
            replicas = before;
            annotations.extend([(HELD_SINCE, held.since_ms.to_string()), (HELD_FOR, held.waits_for)]);
        }
        let is_so = found.is_some_and(|found| {
            let says = |key, text: &str| found.metadata.annotation(key) == Some(text);
            replicas == before && says(DIGEST, &rendered.digest) && says(TARGET, &wish.count.to_string())
        });
        if is_so {
            return Ok(Done::Nothing);
        }
        let stopped = if replicas < before { mark(self.cluster, view, wish.name, replicas).await? } else { 0 };
        let version = found.map(|found| found.metadata.resource_version.as_str());
        let mut deployment = rendered.object;
        manifest::number(&mut deployment, replicas, &annotations, version);
        let path = self.cluster.path("apis/apps/v1", "deployments");
        // One that is there is this manager's own, by its label; a new one must not take anybody's.
        let is_own = found.is_some();
        self.cluster.apply("apply a Deployment", &path, wish.name, (&deployment, is_own)).await?;
        Ok(Done::Written { started: replicas.saturating_sub(before), stopped })
    }

    /// Lowers the number and nothing else.
    async fn lower(&self, view: &View, wish: Wish<'_>, found: &Deployment) -> Result<Done, CallError> {
        let stopped = mark(self.cluster, view, wish.name, wish.count).await?;
        let annotations = json!({
            GENERATION: self.generation.to_string(),
            TARGET: wish.count.to_string(),
            HELD_SINCE: null,
            HELD_FOR: null,
        });
        set_number(self.cluster, found, wish.count, annotations).await?;
        Ok(Done::Written { started: 0, stopped })
    }

    /// Keeps a group that is to end at its number for now.
    async fn hold(&self, found: &Deployment, held: Held) -> Result<Done, CallError> {
        let annotations = json!({
            GENERATION: self.generation.to_string(),
            TARGET: "0",
            HELD_SINCE: held.since_ms.to_string(),
            HELD_FOR: held.waits_for,
        });
        set_number(self.cluster, found, found.replicas(), annotations).await?;
        Ok(Done::Written { started: 0, stopped: 0 })
    }

    /// Ends a group that no order names: first its pods, then its Deployment.
    async fn end(
        &self,
        view: &View,
        wish: Wish<'_>,
        found: &Deployment,
        decided: &Decided<'_>,
    ) -> Result<Done, CallError> {
        if found.replicas() > 0 {
            return match self.held(view, wish, found, decided) {
                Some(held) if found.metadata.annotation(HELD_FOR) == Some(&held.waits_for) => Ok(Done::Nothing),
                Some(held) => self.hold(found, held).await,
                None => self.lower(view, wish, found).await,
            };
        }
        let has_pods = view.members(wish.name).iter().any(|member| member.instance.state != InstanceState::Gone);
        if has_pods || found.status.replicas > 0 || found.status.observed_generation < found.metadata.generation {
            return Ok(Done::Nothing);
        }
        let path = self.cluster.path("apis/apps/v1", "deployments");
        let version = found.metadata.resource_version.as_str();
        self.cluster.delete("delete a Deployment", &path, (wish.name, version)).await?;
        Ok(Done::Written { started: 0, stopped: 0 })
    }

    /// Whether a group keeps more than it is to have, for now.
    fn held(&self, view: &View, wish: Wish<'_>, found: &Deployment, decided: &Decided<'_>) -> Option<Held> {
        let others = decided.named.iter().filter(|(_, other)| is_of_same_place(&other.group, wish.group));
        let others: Vec<_> = others.map(|(name, other)| (name.as_str(), other.count)).collect();
        Held::of(view, (found, wish.count), &others, (self.now_ms, self.settings.surge_within))
    }

    fn add_failures(
        &self,
        view: &View,
        named: &BTreeMap<String, &Target>,
        lacking: &BTreeMap<String, String>,
        applied: &mut Applied,
    ) {
        for (name, target) in named {
            let Some(deployment) = view.groups.get(name) else { continue };
            let standing = Standing {
                group: &target.group,
                deployment,
                members: view.members(name),
                lacking: lacking.get(&target.group.pool).map(String::as_str),
                now_ms: self.now_ms,
                unschedulable_after: self.settings.unschedulable_after,
            };
            let is_named = applied.failures.iter().any(|failure| failure.group == target.group);
            applied.failures.extend(failure(standing).filter(|_| !is_named));
        }
    }
}

impl Part {
    fn written(&mut self, name: &str, started: u32, stopped: u32) {
        self.applied.started += started;
        self.applied.stopped += stopped;
        let mut note = |reason, message| {
            self.notes.push(Note { about: name.to_owned(), reason, message, is_warning: false });
        };
        if started > 0 {
            note("ScaledUp", format!("{started} more, as planned"));
        }
        if stopped > 0 {
            note("ScaledDown", format!("{stopped} told to drain, as planned"));
        }
    }
}

fn failed(group: &Group, kind: FailureKind, detail: String) -> GroupFailure {
    GroupFailure { group: group.clone(), kind, detail }
}
