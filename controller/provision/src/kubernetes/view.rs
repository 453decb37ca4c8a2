//! One look at a cluster, at what is watched of it: the groups that are kept there, their pods, and the users' Deployments that are their templates.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::future::try_join;

use super::cluster::{CallError, Cluster};
use super::names::GROUP;
use super::objects::{Deployment, Pod};
use super::pods::{Member, Members, Serving, group_of, instance, interrupted_nodes, mark_surplus};
use super::settings::KubernetesSettings;

/// Port of instances whose service is no longer configured: they only drain.
const NO_PORT: u16 = 0;

/// What there is in a cluster.
pub(super) struct View {
    /// Deployments of groups, by name.
    pub(super) groups: BTreeMap<String, Arc<Deployment>>,
    /// All others, by name.
    pub(super) others: BTreeMap<String, Arc<Deployment>>,
    /// Pods of groups, by the name of the group's Deployment.
    pub(super) members: Members,
}

impl View {
    /// Looks at Deployments and pods; none is older than what this manager wrote.
    pub(super) async fn read(cluster: &Cluster, settings: &KubernetesSettings, now_ms: u64) -> Result<Self, CallError> {
        let (deployments, pods) = try_join(cluster.deployments.look(), cluster.pods.look()).await?;
        let named = deployments.into_iter().map(|deployment| (deployment.metadata.name.clone(), deployment));
        let (groups, others): (BTreeMap<_, _>, BTreeMap<_, _>) =
            named.partition(|(name, deployment)| deployment.metadata.label(GROUP) == Some(name));
        let mut view = Self { groups, others, members: Members::new() };
        for pod in pods {
            view.add(pod, settings, now_ms);
        }
        for (name, members) in &mut view.members {
            mark_surplus(members, view.groups.get(name).map_or(0, |group| group.replicas()));
        }
        Ok(view)
    }

    /// Reads nodes too, for notices that instances will be taken away.
    pub(super) async fn read_with_nodes(
        cluster: &Cluster,
        settings: &KubernetesSettings,
        now_ms: u64,
    ) -> Result<Self, CallError> {
        let (mut view, nodes) = try_join(Self::read(cluster, settings, now_ms), cluster.nodes.look()).await?;
        let interrupted = interrupted_nodes(&nodes);
        for member in view.members.values_mut().flatten() {
            member.instance.is_interrupted |= interrupted.contains(&member.pod.spec.node_name);
        }
        Ok(view)
    }

    /// The pods of a group.
    pub(super) fn members(&self, name: &str) -> &[Member] {
        self.members.get(name).map_or(&[], Vec::as_slice)
    }

    fn add(&mut self, pod: Arc<Pod>, settings: &KubernetesSettings, now_ms: u64) {
        let (Some(name), Some(group)) = (pod.metadata.label(GROUP), group_of(&pod.metadata)) else { return };
        let service = settings.services.iter().find(|service| service.service == group.service);
        let serving = service.map_or(Serving { port: NO_PORT, warm_after: Default::default() }, |service| Serving {
            port: service.port,
            warm_after: service.warm_after,
        });
        let instance = instance(&pod, group, serving, now_ms);
        self.members.entry(name.to_owned()).or_default().push(Member { pod, instance });
    }
}
