//! Which manager is configured, behind the one trait. Adding a manager is one file, one row here and one in the suite.

#[cfg(feature = "kubernetes")]
use crate::kubernetes::Kubernetes;
use crate::{Applied, DryRun, InstanceManager, Observed, Order, Process, ProvisionError, Webhook};

/// Any manager.
pub enum Manager {
    /// Processes of this machine.
    Process(Process),
    /// Says what it would do.
    DryRun(DryRun),
    /// Whoever speaks the protocol of orders.
    Webhook(Box<Webhook>),
    /// Deployments of Kubernetes clusters.
    #[cfg(feature = "kubernetes")]
    Kubernetes(Box<Kubernetes>),
}

impl Manager {
    /// The name in configuration, answers and labels.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Process(_) => "process",
            Self::DryRun(_) => "dry_run",
            Self::Webhook(_) => "webhook",
            #[cfg(feature = "kubernetes")]
            Self::Kubernetes(_) => "kubernetes",
        }
    }
}

impl InstanceManager for Manager {
    async fn observe(&self) -> Result<Observed, ProvisionError> {
        match self {
            Self::Process(manager) => manager.observe().await,
            Self::DryRun(manager) => manager.observe().await,
            Self::Webhook(manager) => manager.observe().await,
            #[cfg(feature = "kubernetes")]
            Self::Kubernetes(manager) => manager.observe().await,
        }
    }

    async fn apply(&self, order: &Order) -> Result<Applied, ProvisionError> {
        match self {
            Self::Process(manager) => manager.apply(order).await,
            Self::DryRun(manager) => manager.apply(order).await,
            Self::Webhook(manager) => manager.apply(order).await,
            #[cfg(feature = "kubernetes")]
            Self::Kubernetes(manager) => manager.apply(order).await,
        }
    }

    fn troubles(&self) -> Vec<String> {
        match self {
            Self::Process(manager) => manager.troubles(),
            Self::DryRun(manager) => manager.troubles(),
            Self::Webhook(manager) => manager.troubles(),
            #[cfg(feature = "kubernetes")]
            Self::Kubernetes(manager) => manager.troubles(),
        }
    }
}
