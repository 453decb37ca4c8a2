//! Marks pods with what they were made of, where their Deployment is from before there was such a mark.
//!
//! Once, and for each pod that such a Deployment makes later: an annotation on a pod replaces nothing. Only pods of the present
//! template are marked: of others it is not known what they were made of, and they are on their way out.

use futures_util::future::join_all;
use serde_json::{Value, json};

use super::super::cluster::Cluster;
use super::super::manifest;
use super::super::names::{KIN, TEMPLATE};
use super::super::pods::Member;
use super::super::reconcile::AT_ONCE;
use super::super::settings::KubernetesSettings;
use super::super::view::View;
use super::Wanted;
use super::adoption::current_set;

/// Marks what has no mark; whether there was anything. What fails is tried again with the next order.
pub(in super::super) async fn mark_unmarked(
    (cluster, settings): (&Cluster, &KubernetesSettings),
    view: &View,
    wanted: &[Wanted<'_>],
) -> bool {
    if settings.resize_within.is_zero() {
        return false;
    }
    let mut marks: Vec<(String, Value)> = Vec::new();
    for one in wanted {
        let is_unmarked = |member: &&Member| member.is_wanted() && member.pod.metadata.annotation(KIN).is_none();
        let unmarked: Vec<&Member> = view.members(one.name).iter().filter(is_unmarked).collect();
        if unmarked.is_empty() {
            continue;
        }
        let Ok(rendered) = manifest::of_group(cluster, settings, view, one.group) else { continue };
        if !rendered.is_unmarked {
            continue;
        }
        let Some((_, set)) = current_set(cluster, one.name).await else { continue };
        let Some(hash) = set.metadata.label(TEMPLATE) else { continue };
        for member in unmarked.into_iter().filter(|member| member.pod.metadata.label(TEMPLATE) == Some(hash)) {
            let metadata = &member.pod.metadata;
            let mark = json!({ "uid": metadata.uid, "annotations": { KIN: rendered.kin } });
            marks.push((metadata.name.clone(), json!({ "metadata": mark })));
        }
    }
    let path = cluster.path("api/v1", "pods");
    for chunk in marks.chunks(AT_ONCE) {
        join_all(chunk.iter().map(|(pod, fields)| cluster.merge("mark a pod", &path, (pod, None), fields))).await;
    }
    !marks.is_empty()
}
