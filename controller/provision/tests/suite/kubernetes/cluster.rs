//! The suite on a real API server with its real controllers: `cargo xtask cluster` builds and starts them, and names them in
//! `FOREBAY_CLUSTER`.
//!
//! Real are storage, versions, watches, server-side apply, validation, admission, quotas, rights, and the controllers that make
//! Deployments into pods and collect what lost its owner. Played are nodes and what runs on them ([`nodes`]): no registry has
//! a kubelet that runs without a machine of its own. Nothing here stands still: what the fake does between two calls takes a
//! real cluster some time, so what a controller has to notice first is looked for until it is there.
//!
//! Each test has a namespace of its own, which goes with the cluster. The manager has the rights of the manifest to copy and no
//! others; what the test does to the cluster it does as an administrator. Where something is to go wrong between the two, a
//! [`relay`] is in between.

mod admin;
mod belongings;
mod following;
mod nodes;
mod place;
mod regions;
mod relay;
mod scale;

use std::io::Write;
use std::path::PathBuf;
use std::sync::{LazyLock, OnceLock, mpsc};
use std::time::Duration;

use anyhow::{Context, Result};
use forebay_plan::capacity::Group;
use forebay_provision::kubernetes::{Kubernetes, KubernetesSettings};
use tokio::runtime::Runtime;

use self::place::Place;
use super::{connect_again, settings};
use crate::conformance::conforms;
use crate::subject::{Fault, Noticed, Remote, Subject};

conforms!(OnCluster: all, noticed);
conforms!(BehindRelay: remote);

/// Names the kubeconfig, whose current context is an administrator's and whose context `forebay` is the manager's.
const CLUSTER: &str = "FOREBAY_CLUSTER";
const NOT_RUN: &str =
    "\nFOREBAY_CLUSTER IS NOT SET: the suite was not run on a real API server (`cargo xtask cluster`).";
/// Whom the manifest of rights names.
const MANAGER: &str = "forebay";
const REQUEST_WITHIN: Duration = Duration::from_secs(15);
/// So that what hangs is given up, and tried again, within the suite's patience; where it does not, nothing is measured by it.
const RELAYED_WITHIN: Duration = Duration::from_secs(8);
/// Several servers share the machine with the suite, and perhaps with much else.
const SLOWNESS: u32 = 6;
/// Longest that a controller may take to notice what the test prepares.
const NOTICED_WITHIN: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(50);

/// What goes on while a test stands still, such as the nodes, and requests of those who cannot wait for them.
static BESIDE: LazyLock<Runtime> = LazyLock::new(|| {
    let mut threads = tokio::runtime::Builder::new_multi_thread();
    threads.worker_threads(2).enable_all().build().expect("threads for what is beside a test")
});

/// Where the cluster is; says once that there is none.
fn kubeconfig() -> Option<PathBuf> {
    static TOLD: OnceLock<()> = OnceLock::new();
    let file = std::env::var_os(CLUSTER).filter(|file| !file.is_empty());
    if file.is_none() {
        // Not `eprintln!`, which cargo keeps to itself where a test passes.
        TOLD.get_or_init(|| _ = writeln!(std::io::stderr(), "{NOT_RUN}"));
    }
    file.map(PathBuf::from)
}

/// Carries out a request from where nothing can be awaited.
fn at_once<T: Send + 'static>(request: impl Future<Output = Result<T>> + Send + 'static) -> Result<T> {
    let (done, outcome) = mpsc::channel();
    BESIDE.spawn(async move { done.send(request.await) });
    outcome.recv_timeout(NOTICED_WITHIN).context("a request of the test itself")?
}

/// The manager, and its namespace of the cluster, behind a relay or not.
struct Managed<const IS_RELAYED: bool> {
    manager: Kubernetes,
    settings: KubernetesSettings,
    place: Place,
}

type OnCluster = Managed<false>;
type BehindRelay = Managed<true>;

impl<const IS_RELAYED: bool> Managed<IS_RELAYED> {
    /// With other settings than the suite's.
    async fn with(change: impl FnOnce(&mut KubernetesSettings)) -> Result<Self> {
        let place = Place::make(IS_RELAYED).await?;
        let request_within = if IS_RELAYED { RELAYED_WITHIN } else { REQUEST_WITHIN };
        let mut settings = KubernetesSettings { request_within, ..settings(vec![place.settings("here")?]) };
        change(&mut settings);
        let manager = Kubernetes::connect(settings.clone()).await?;
        Ok(Self { manager, settings, place })
    }
}

impl<const IS_RELAYED: bool> Subject for Managed<IS_RELAYED> {
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
        Self::with(|_| {}).await
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
        self.place.nodes.hold(group, is_held);
    }

    fn refuse_starts(&self, group: &Group, is_refused: bool) {
        self.place.refuse_starts(group, is_refused);
    }

    fn take_away(&self, id: &str) {
        self.place.nodes.take_away(id).expect("a pod is taken away");
    }

    fn running(&self, group: &Group) -> usize {
        self.place.nodes.running(group)
    }

    fn ever_started(&self, group: &Group) -> usize {
        self.place.nodes.ever_started(group)
    }
}

impl Noticed for OnCluster {
    fn announce(&self, id: &str) {
        self.place.nodes.announce(id).expect("a node is tainted");
    }
}

impl Remote for BehindRelay {
    fn fault_next(&self, fault: Fault) {
        self.place.relay().fault_next(fault);
    }

    fn keep_view(&self) {
        self.place.relay().keep_view().expect("lists are kept");
    }

    fn show_old_view(&self) {
        self.place.relay().show_old_view();
    }
}
