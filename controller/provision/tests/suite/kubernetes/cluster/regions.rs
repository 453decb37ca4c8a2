//! Two regions on a real server: a namespace and a relay each, of which one closes. What a manager knows of a cluster is what
//! comes from its address, so that a region whose connections are refused is lost.

use anyhow::Result;
use forebay_plan::capacity::Group;
use forebay_provision::kubernetes::{Kubernetes, KubernetesSettings};

use super::place::Place;
use super::{PAUSE, RELAYED_WITHIN, SLOWNESS, connect_again, kubeconfig, settings};
use crate::conformance::conforms;
use crate::subject::{Scattered, Subject, other};

conforms!(InTwoRegions: scattered);

/// The manager, with `reserved` here and `spot` there.
struct InTwoRegions {
    here: Place,
    there: Place,
    manager: Kubernetes,
    settings: KubernetesSettings,
}

impl InTwoRegions {
    fn of(&self, pool: &str) -> &Place {
        if pool == other().pool { &self.there } else { &self.here }
    }
}

impl Subject for InTwoRegions {
    type Manager = Kubernetes;

    fn is_there() -> bool {
        kubeconfig().is_some()
    }

    fn slowness() -> u32 {
        SLOWNESS
    }

    fn takes_back() -> bool {
        true
    }

    async fn set_up() -> Result<Self> {
        let (here, there) = (Place::make(true).await?, Place::make(true).await?);
        let clusters = vec![here.settings("here")?, there.settings("there")?];
        let mut settings = KubernetesSettings { request_within: RELAYED_WITHIN, ..settings(clusters) };
        settings.pools[1].pool.location = "there".to_owned();
        let manager = Kubernetes::connect(settings.clone()).await?;
        Ok(Self { here, there, manager, settings })
    }

    fn manager(&self) -> &Kubernetes {
        &self.manager
    }

    async fn restart(&mut self) -> Result<()> {
        self.manager = connect_again(&self.settings).await?;
        Ok(())
    }

    async fn pause(&self) {
        tokio::time::sleep(PAUSE).await;
    }

    fn hold_starts(&self, group: &Group, is_held: bool) {
        self.of(&group.pool).nodes.hold(group, is_held);
    }

    fn refuse_starts(&self, group: &Group, is_refused: bool) {
        self.of(&group.pool).refuse_starts(group, is_refused);
    }

    fn take_away(&self, id: &str) {
        let taken = self.here.nodes.take_away(id).or_else(|_| self.there.nodes.take_away(id));
        taken.expect("a pod is taken away");
    }

    fn running(&self, group: &Group) -> usize {
        self.of(&group.pool).nodes.running(group)
    }

    fn ever_started(&self, group: &Group) -> usize {
        self.of(&group.pool).nodes.ever_started(group)
    }
}

impl Scattered for InTwoRegions {
    fn lose(&self, pool: &str, is_lost: bool) {
        let relay = self.of(pool).relay();
        if is_lost {
            relay.close();
        } else {
            relay.open().expect("the way to the region is open again");
        }
    }
}
