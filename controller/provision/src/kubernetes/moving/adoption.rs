//! Goes on with pods that are marked to move: asks for their size, hands those that have it to their new Deployment, gives up
//! those that will not have it. Called with every look and every order, and begins anew each time from what is there.

use std::collections::BTreeMap;
use std::time::Duration;

use forebay_plan::capacity::Group;
use futures_util::future::join_all;
use serde_json::{Value, json};

use super::super::cluster::{CallError, Cluster};
use super::super::lowering::{held_since, set_number};
use super::super::manifest::{self, Rendered};
use super::super::names::{
    DELETION_COST, DIGEST, GROUP, HELD_FOR, HELD_SINCE, MOVES_SINCE, MOVES_TO, REVISION, SHAPE, TARGET, TEMPLATE,
};
use super::super::notes::Note;
use super::super::objects::{Deployment, Pod, ReplicaSet, holding};
use super::super::pods::{Member, group_of};
use super::super::reconcile::AT_ONCE;
use super::super::resizing::{self, Progress};
use super::super::settings::KubernetesSettings;
use super::super::view::View;
use super::{give_up, is_kin, settled};

/// Looks until controllers have taken notice of a number, and the pause before the second; each is twice the one before.
/// Together 310 ms: what takes longer is gone on with at the next look.
const LOOKS: usize = 6;
const FIRST_PAUSE: Duration = Duration::from_millis(10);
/// Tries at lowering a Deployment that its controller writes meanwhile.
const TRIES: usize = 5;

/// Goes on with all moves of a cluster; returns what there is to say about them.
pub(in super::super) async fn go_on(
    cluster: &Cluster,
    settings: &KubernetesSettings,
    view: &View,
    now_ms: u64,
) -> Vec<Note> {
    let mut notes = Vec::new();
    let mut marked: BTreeMap<&str, Vec<(&str, &Member)>> = BTreeMap::new();
    for (from, members) in &view.members {
        for member in members.iter().filter(|member| member.is_wanted()) {
            if let Some(to) = member.moves_to() {
                marked.entry(to).or_default().push((from, member));
            }
        }
    }
    for (to, members) in marked {
        let Some(found) = view.groups.get(to) else { continue };
        let Some(group) = group_of(&found.metadata) else { continue };
        let Ok(size) = manifest::of_group(cluster, settings, view, &group) else { continue };
        let target = Target { name: to, group, size, found };
        target.receive((cluster, settings), view, (&members, now_ms), &mut notes).await;
    }
    own_orphans(cluster, view).await;
    notes
}

/// Where pods move to.
struct Target<'a> {
    name: &'a str,
    group: Group,
    size: Rendered,
    found: &'a Deployment,
}

impl Target<'_> {
    async fn receive(
        &self,
        (cluster, settings): (&Cluster, &KubernetesSettings),
        view: &View,
        (members, now_ms): (&[(&str, &Member)], u64),
        notes: &mut Vec<Note>,
    ) {
        let (mut done, mut underway) = (Vec::new(), 0);
        for (from, member) in members {
            let metadata = &member.pod.metadata;
            let since_ms = metadata.annotation(MOVES_SINCE).and_then(|since| since.parse().ok()).unwrap_or(now_ms);
            let since = Duration::from_millis(now_ms.saturating_sub(since_ms));
            let mut progress = resizing::progress(&member.pod, &self.size, (since, settings.resize_within));
            if !is_kin(member, &self.size) {
                progress = Progress::Never("the template was changed meanwhile".to_owned());
            }
            if progress == Progress::Unasked {
                progress = self.ask(cluster, &metadata.name).await;
            }
            match progress {
                Progress::Done => done.push((*from, *member)),
                Progress::Underway | Progress::Unasked => underway += 1,
                Progress::Never(reason) => {
                    let own = manifest::of_group(cluster, settings, view, &member.instance.group).ok();
                    // Right after a restart its own size may be known only with the next order; later it is a retired one.
                    if own.is_none() && since < 2 * settings.resize_within {
                        underway += 1;
                        continue;
                    }
                    give_up(cluster, (&metadata.name, &metadata.uid), own.as_ref(), Some(self.name)).await;
                    let message = format!("pod {} is replaced, not resized: {reason}", metadata.name);
                    notes.push(Note { about: self.name.to_owned(), reason: "NotResized", message, is_warning: false });
                }
            }
        }
        let moved = self.adopt(cluster, view, (&done, underway)).await;
        if moved > 0 {
            let message = format!("{moved} resized and moved here in place");
            notes.push(Note { about: self.name.to_owned(), reason: "MovedInPlace", message, is_warning: false });
        }
    }

    /// Asks for the size; what the server refuses for what it is will never be.
    async fn ask(&self, cluster: &Cluster, pod: &str) -> Progress {
        match cluster.resize("resize a pod", pod, &resizing::asked(&self.size)).await {
            Err(CallError::Refused { detail, .. }) => Progress::Never(detail),
            // Also where it was asked for and the answer was lost: the next look tells.
            _ => Progress::Underway,
        }
    }

    /// Hands over those that have their size, and returns how many they were.
    async fn adopt(&self, cluster: &Cluster, view: &View, (done, underway): (&[(&str, &Member)], u32)) -> u32 {
        let before = self.found.replicas();
        let target = self.found.metadata.annotation(TARGET).and_then(|target| target.parse().ok()).unwrap_or(before);
        // As many as were asked for, less those that are still to come this way.
        let number = before.max(u32::saturating_sub(target, underway));
        if number > before && set_number(cluster, self.found, number, json!({})).await.is_err() {
            return 0;
        }
        if done.is_empty() || self.found.metadata.annotation(DIGEST) != Some(&self.size.digest) {
            return 0;
        }
        let Some(hash) = self.noticed(cluster, number).await else { return 0 };
        let room = number.saturating_sub(settled(view, self.name)) as usize;
        let mut moved: BTreeMap<&str, u32> = BTreeMap::new();
        for (from, member) in done.iter().take(room) {
            if self.relabel(cluster, member, &hash).await.is_ok() {
                *moved.entry(*from).or_default() += 1;
            }
        }
        for (from, count) in &moved {
            lower_by(cluster, from, *count).await;
        }
        moved.values().sum()
    }

    /// The template's hash, once the ReplicaSet that has it was brought to `number`; `None` if that takes too long.
    async fn noticed(&self, cluster: &Cluster, number: u32) -> Option<String> {
        let mut pause = FIRST_PAUSE;
        for look in 0..LOOKS {
            if look > 0 {
                tokio::time::sleep(pause).await;
                pause *= 2;
            }
            let (deployment, set) = current_set(cluster, self.name).await?;
            let is_seen = deployment.status.observed_generation >= deployment.metadata.generation;
            let has_acted = set.status.observed_generation >= set.metadata.generation && set.spec.replicas >= number;
            if is_seen && has_acted {
                return set.metadata.label(TEMPLATE).map(str::to_owned);
            }
        }
        None
    }

    async fn relabel(&self, cluster: &Cluster, member: &Member, hash: &str) -> Result<(), CallError> {
        let fields = json!({ "metadata": {
            "uid": member.pod.metadata.uid,
            "labels": { GROUP: self.name, TEMPLATE: hash },
            "annotations": { SHAPE: self.group.shape, MOVES_TO: null, MOVES_SINCE: null, DELETION_COST: null },
        } });
        let path = cluster.path("api/v1", "pods");
        cluster.merge("move a pod", &path, (&member.pod.metadata.name, None), &fields).await
    }
}

/// A Deployment as it is now, and the ReplicaSet of its present template.
pub(super) async fn current_set(cluster: &Cluster, name: &str) -> Option<(Deployment, ReplicaSet)> {
    let selector = format!("{GROUP}={name}");
    let deployments = cluster.path("apis/apps/v1", "deployments");
    let deployment = cluster.list::<Deployment>("read a Deployment", &deployments, &selector).await.ok()?.pop()?;
    let sets = cluster.path("apis/apps/v1", "replicasets");
    let sets = cluster.list::<ReplicaSet>("list ReplicaSets", &sets, &selector).await.ok()?;
    let revision = deployment.metadata.annotation(REVISION)?.to_owned();
    let set = sets.into_iter().find(|set| set.metadata.annotation(REVISION) == Some(&revision))?;
    Some((deployment, set))
}

/// Lowers a Deployment by what was moved out of it. Its controller writes it at the same time, so the version that counts is
/// read anew each time; what fails is made good by the next order.
async fn lower_by(cluster: &Cluster, name: &str, count: u32) {
    let selector = format!("{GROUP}={name}");
    for _ in 0..TRIES {
        let path = cluster.path("apis/apps/v1", "deployments");
        let read = cluster.list::<Deployment>("read a Deployment", &path, &selector).await;
        let Some(found) = read.ok().and_then(|mut found| found.pop()) else { return };
        // Never below what serves there: a write that was said to be done and was not leaves its pod behind.
        let Some(left) = serving(cluster, &selector).await else { return };
        let target = found.metadata.annotation(TARGET).and_then(|target| target.parse().ok()).unwrap_or(0);
        let number = found.replicas().saturating_sub(count).max(target).max(left);
        if number >= found.replicas() {
            return;
        }
        let is_over = number == target && held_since(&found).is_some();
        let annotations = if is_over { json!({ HELD_SINCE: null, HELD_FOR: null }) } else { json!({}) };
        match set_number(cluster, &found, number, annotations).await {
            Err(CallError::Conflict { .. }) => {}
            _ => return,
        }
    }
}

/// How many pods are ready now.
async fn serving(cluster: &Cluster, selector: &str) -> Option<u32> {
    let pods = cluster.list::<Pod>("list pods", &cluster.path("api/v1", "pods"), selector).await.ok()?;
    let serves =
        |pod: &&Pod| pod.metadata.deletion_timestamp.is_none() && holding(&pod.status.conditions, "Ready").is_some();
    Some(pods.iter().filter(serves).count() as u32)
}

/// Pods that were released and that nobody adopted, because the template changed in that moment, get the present one's hash:
/// the ReplicaSet that has it adopts them, and ends what it has too many.
async fn own_orphans(cluster: &Cluster, view: &View) {
    for (name, members) in &view.members {
        let is_orphan = |member: &&Member| member.is_wanted() && !member.pod.metadata.is_controlled();
        let orphans: Vec<&Member> = members.iter().filter(is_orphan).collect();
        if orphans.is_empty() {
            continue;
        }
        let Some((_, set)) = current_set(cluster, name).await else { continue };
        let Some(hash) = set.metadata.label(TEMPLATE) else { continue };
        let strays: Vec<(&str, Value)> = orphans
            .iter()
            .filter(|member| member.pod.metadata.label(TEMPLATE) != Some(hash))
            .map(|member| {
                let metadata = &member.pod.metadata;
                (metadata.name.as_str(), json!({ "metadata": { "uid": metadata.uid, "labels": { TEMPLATE: hash } } }))
            })
            .collect();
        let path = cluster.path("api/v1", "pods");
        for chunk in strays.chunks(AT_ONCE) {
            join_all(chunk.iter().map(|(pod, fields)| cluster.merge("own a pod", &path, (pod, None), fields))).await;
        }
    }
}
