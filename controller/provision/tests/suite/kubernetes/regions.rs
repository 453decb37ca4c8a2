//! Two clusters, a pool in each: what is lost of one is kept, and holds the other up in nothing.

use std::time::Duration;

use anyhow::Result;
use forebay_plan::capacity::Group;
use forebay_provision::kubernetes::{Access, ClusterSettings, Kubernetes, KubernetesSettings};
use tempfile::TempDir;

use super::api::Api;
use super::rights::Rights;
use super::{NAMESPACE, connect_again, settings, template};
use crate::conformance::conforms;
use crate::subject::{Scattered, Subject, other};

conforms!(InTwoRegions: scattered);

/// What is told to open watches arrives meanwhile; checks look again until it has.
const PAUSE: Duration = Duration::from_millis(2);

/// The manager, with `reserved` here and `spot` there.
pub(crate) struct InTwoRegions {
    pub(crate) here: Api,
    pub(crate) there: Api,
    manager: Kubernetes,
    settings: KubernetesSettings,
    _folder: TempDir,
}

impl Subject for InTwoRegions {
    type Manager = Kubernetes;

    async fn set_up() -> Result<Self> {
        let (here, there) = (Api::start(Some(Rights::read()?)).await?, Api::start(Some(Rights::read()?)).await?);
        there.world().store.count_uids_from(1_000_000);
        let folder = tempfile::tempdir()?;
        let mut clusters = Vec::new();
        for (location, api) in [("here", &here), ("there", &there)] {
            let key = ("apps".to_owned(), "deployments".to_owned(), NAMESPACE.to_owned(), "web-template".to_owned());
            api.world().store.put(key, template("web-template"));
            let file = folder.path().join(location);
            std::fs::write(&file, api.kubeconfig())?;
            let access = Access::Kubeconfig { file: Some(file), context: None };
            clusters.push(ClusterSettings { location: location.to_owned(), access, namespace: NAMESPACE.to_owned() });
        }
        let mut settings = settings(clusters);
        settings.pools[1].pool.location = "there".to_owned();
        let manager = Kubernetes::connect(settings.clone()).await?;
        Ok(Self { here, there, manager, settings, _folder: folder })
    }

    fn manager(&self) -> &Kubernetes {
        &self.manager
    }

    async fn restart(&mut self) -> Result<()> {
        self.manager = connect_again(&self.settings).await?;
        Ok(())
    }

    async fn pause(&self) {
        self.here.step();
        self.there.step();
        tokio::time::sleep(PAUSE).await;
    }

    fn hold_starts(&self, group: &Group, is_held: bool) {
        let held = &mut self.of(group).world().cluster.held;
        held.remove(group);
        held.extend(is_held.then(|| group.clone()));
    }

    fn refuse_starts(&self, group: &Group, is_refused: bool) {
        let refused = &mut self.of(group).world().cluster.refused;
        refused.remove(group);
        refused.extend(is_refused.then(|| group.clone()));
    }

    fn take_away(&self, id: &str) {
        for api in [&self.here, &self.there] {
            let mut world = api.world();
            let pods = super::api::objects(&world.store, "pods");
            for (key, _) in pods.iter().filter(|(_, pod)| super::api::uid(pod) == id) {
                world.store.remove(key);
            }
        }
    }

    fn running(&self, group: &Group) -> usize {
        self.of(group).running(group)
    }

    fn ever_started(&self, group: &Group) -> usize {
        self.of(group).world().cluster.started.get(group).copied().unwrap_or_default()
    }
}

impl InTwoRegions {
    fn of(&self, group: &Group) -> &Api {
        self.at(&group.pool)
    }

    fn at(&self, pool: &str) -> &Api {
        if pool == other().pool { &self.there } else { &self.here }
    }
}

impl Scattered for InTwoRegions {
    fn lose(&self, pool: &str, is_lost: bool) {
        self.at(pool).world().is_lost = is_lost;
    }
}
