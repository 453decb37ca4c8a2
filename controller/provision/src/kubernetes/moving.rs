//! Moves running replicas to another shape without restarting them: the pod is resized in place, then changes its Deployment.
//!
//! The intuition: an order that takes from one shape of a service and pool and gives to another wants the same pods in
//! another size. Where the cluster resizes pods, they stay: they keep their process, connections and warm caches.
//!
//! **Why the pod changes its Deployment.** A Deployment never resizes: a changed template is a new ReplicaSet and new pods
//! (kubernetes #136697 asks for better, and is open), and there is no strategy that leaves the pods alone, as `OnDelete`
//! does elsewhere. A pod that is resized and stays in its Deployment, as the vertical pod autoscaler leaves it, comes back
//! in the old size whenever a node is drained or the template rolls out; the autoscaler mends that with an admission webhook,
//! which a capacity planner has no business to put in front of every pod. But whose a pod is, is decided by labels alone: a
//! ReplicaSet releases pods that its selector no longer matches, and adopts orphans that it does match, and compares no
//! template (`claimObject`, kubernetes `pkg/controller/controller_ref_manager.go`). So each Deployment here has pods of its
//! own shape at rest, and whatever replaces one of them is of the right size.
//!
//! **How.** Everything is in the cluster, so a controller that is killed anywhere leaves work that the next look goes on with:
//! 1. [`Moves::choose`]: pods that serve, of the same making but for their size (`forebay.dev/kin`), are marked with where they go.
//! 2. They are resized; until that is in force they count and serve as what they were.
//! 3. The new Deployment's number rises, and only when its ReplicaSet controller has acted on that the pod gets its labels
//!    (`moving/adoption.rs`). The other way around that controller would find one too many, and might end one that serves.
//! 4. The old Deployment's number falls.
//!
//! Between 3 and 4 each ReplicaSet lacks a pod for a moment and asks for one; as soon as the other write arrives that pod,
//! which is not ready yet, is the first to go. That is the price of never ending one that serves: two pods that live for a
//! fraction of a second, which a quota or an admission webhook may see.
//!
//! **When it does not work** (the cluster has no `pods/resize`, the node cannot hold it, it takes longer than
//! [`KubernetesSettings::resize_within`](super::KubernetesSettings::resize_within), the server refuses), the pod gets its own
//! size back, is not tried again for that shape, and the order is met by surge and drain (`lowering.rs`).
//!
//! What it does not do: resize for a shape whose *amounts* changed under its name. Libraries of shapes give a new size a new
//! name; who edits a size by hand gets a rolling update of the user's own strategy.
//!
//! Sources: KEP-1287; the vertical pod autoscaler's AEP-4016 and its limit for deferred resizes; cloudnative-pg #11116 (when
//! to fall back); typesense-operator #241 (what comes of a template that is not kept in line).

mod adoption;
mod making;

use std::collections::BTreeMap;

use forebay_plan::capacity::{Group, InstanceState};
use futures_util::future::join_all;
use serde_json::json;

use super::cluster::Cluster;
use super::lowering::is_of_same_place;
use super::manifest::{self, Rendered};
use super::names::{KIN, MOVES_SINCE, MOVES_TO, STAYS};
use super::pods::Member;
use super::reconcile::AT_ONCE;
use super::resizing;
use super::settings::KubernetesSettings;
use super::view::View;

pub(super) use adoption::go_on;
pub(super) use making::mark_unmarked;

/// A group, how many it is to have, and its pods.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted<'a> {
    pub(super) name: &'a str,
    pub(super) group: &'a Group,
    pub(super) count: u32,
}

/// What an order moves in place.
#[derive(Clone, Debug, Default)]
pub(super) struct Moves {
    /// How many are on their way to each group, marked before or now.
    underway: BTreeMap<String, u32>,
    /// To be marked: pod, its uid, and where it goes.
    starts: Vec<(String, String, String)>,
    /// Marked, and not wanted there any more: pod, its uid, and its own size.
    returns: Vec<(String, String, Option<Rendered>)>,
}

impl Moves {
    /// Decides what an order moves in place: no more than one shape has too many and another too few.
    pub(super) async fn choose(
        (cluster, settings): (&Cluster, &KubernetesSettings),
        view: &View,
        wanted: &[Wanted<'_>],
    ) -> Self {
        let mut moves = Self::default();
        let mut spare: BTreeMap<&str, u32> = wanted.iter().map(|one| (one.name, surplus(view, one))).collect();
        let rendered = |one: &Wanted<'_>| manifest::of_group(cluster, settings, view, one.group).ok();
        let targets: Vec<(&Wanted<'_>, Option<Rendered>)> = wanted
            .iter()
            .filter(|to| to.count > 0 && wanted.iter().any(|from| is_of_same_place(from.group, to.group)))
            .map(|to| (to, rendered(to)))
            .collect();
        for from in wanted {
            for member in view.members(from.name).iter().filter(|member| member.is_wanted()) {
                let Some(name) = member.moves_to() else { continue };
                let target = targets.iter().find(|(to, _)| to.name == name && is_of_same_place(from.group, to.group));
                let is_wanted = target.is_some_and(|(to, size)| {
                    let has_room = moves.count(to.name) < to.count.saturating_sub(settled(view, to.name));
                    has_room && size.as_ref().is_some_and(|size| is_kin(member, size))
                });
                let left = spare.entry(from.name).or_default();
                if is_wanted && *left > 0 {
                    *left -= 1;
                    *moves.underway.entry(name.to_owned()).or_default() += 1;
                } else {
                    let metadata = &member.pod.metadata;
                    moves.returns.push((metadata.name.clone(), metadata.uid.clone(), rendered(from)));
                }
            }
        }
        if settings.resize_within.is_zero() {
            return moves;
        }
        for (to, size) in &targets {
            let Some(size) = size else { continue };
            moves.add(view, (to, size), wanted, &mut spare);
        }
        let operation = "ask whether pods can be resized";
        if !moves.starts.is_empty() && !cluster.has(operation, "pods/resize").await.unwrap_or(false) {
            for (_, _, to) in std::mem::take(&mut moves.starts) {
                moves.underway.entry(to).and_modify(|count| *count -= 1);
            }
        }
        moves
    }

    /// Adds pods that can go to a group which has too few.
    fn add<'a>(
        &mut self,
        view: &View,
        (to, size): (&Wanted<'_>, &Rendered),
        wanted: &[Wanted<'a>],
        spare: &mut BTreeMap<&'a str, u32>,
    ) {
        let present = view.groups.get(to.name).map_or(0, |group| group.replicas());
        let mut missing = to.count.saturating_sub(present.saturating_add(self.count(to.name)));
        for from in wanted.iter().filter(|from| is_of_same_place(from.group, to.group)) {
            let left = spare.entry(from.name).or_default();
            let mut candidates: Vec<&Member> =
                view.members(from.name).iter().filter(|member| may_move(member, to.name, size)).collect();
            candidates.sort_by_key(|member| (member.instance.requested_ms, member.pod.metadata.name.clone()));
            for member in candidates.into_iter().take(missing.min(*left) as usize) {
                let metadata = &member.pod.metadata;
                self.starts.push((metadata.name.clone(), metadata.uid.clone(), to.name.to_owned()));
                *self.underway.entry(to.name.to_owned()).or_default() += 1;
                *left -= 1;
                missing -= 1;
            }
        }
    }

    /// How many are on their way to a group.
    pub(super) fn count(&self, name: &str) -> u32 {
        self.underway.get(name).copied().unwrap_or_default()
    }

    /// Marks what begins to move, and gives back their size to those that are to stay. Whether anything was written; what
    /// fails is decided again with the next order.
    pub(super) async fn begin(&self, cluster: &Cluster, now_ms: u64) -> bool {
        let path = cluster.path("api/v1", "pods");
        for chunk in self.returns.chunks(AT_ONCE) {
            join_all(chunk.iter().map(|(pod, uid, size)| give_up(cluster, (pod, uid), size.as_ref(), None))).await;
        }
        let marks: Vec<_> = self
            .starts
            .iter()
            .map(|(pod, uid, to)| {
                let annotations = json!({ MOVES_TO: to, MOVES_SINCE: now_ms.to_string() });
                (pod.as_str(), json!({ "metadata": { "uid": uid, "annotations": annotations } }))
            })
            .collect();
        for chunk in marks.chunks(AT_ONCE) {
            join_all(chunk.iter().map(|(pod, fields)| cluster.merge("mark a pod", &path, (pod, None), fields))).await;
        }
        !(self.returns.is_empty() && self.starts.is_empty())
    }
}

/// Gives a pod its own size back, then takes the mark off; `tried` is the group that it is not to be tried for again.
async fn give_up(cluster: &Cluster, (pod, uid): (&str, &str), own: Option<&Rendered>, tried: Option<&str>) {
    // In this order: who is killed in between finds it marked. A server that refuses to take memory back leaves it larger
    // than it is counted, until it is replaced.
    if let Some(own) = own {
        let _ = cluster.resize("resize a pod back", pod, &resizing::asked(own)).await;
    }
    let mut annotations = json!({ MOVES_TO: null, MOVES_SINCE: null });
    if let Some(tried) = tried {
        annotations[STAYS] = tried.into();
    }
    let fields = json!({ "metadata": { "uid": uid, "annotations": annotations } });
    let _ = cluster.merge("unmark a pod", &cluster.path("api/v1", "pods"), (pod, None), &fields).await;
}

/// How many more a group has than it is to have.
fn surplus(view: &View, one: &Wanted<'_>) -> u32 {
    let has = view.members(one.name).iter().filter(|member| member.is_wanted()).count() as u32;
    has.saturating_sub(one.count)
}

/// How many of a group are up, and would be missed.
fn settled(view: &View, name: &str) -> u32 {
    let is_up = |member: &&Member| matches!(member.instance.state, InstanceState::Warming | InstanceState::Ready);
    view.members(name).iter().filter(is_up).count() as u32
}

fn is_kin(member: &Member, size: &Rendered) -> bool {
    member.pod.metadata.annotation(KIN) == Some(&size.kin)
}

fn may_move(member: &Member, to: &str, size: &Rendered) -> bool {
    let is_free = member.moves_to().is_none() && member.pod.metadata.annotation(STAYS) != Some(to);
    let serves = member.instance.state == InstanceState::Ready && !member.instance.is_interrupted;
    is_free && serves && is_kin(member, size) && resizing::may_be(&member.pod, size)
}
