//! Starts the capacity loop beside the rest of the daemon, with the manager that is configured.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread::JoinHandle;

use anyhow::Context;
use forebay_plan::capacity::{Generation, Group};
use forebay_provision::kubernetes::Kubernetes;
use forebay_provision::{DryRun, Manager, Process, Webhook};
use tokio::sync::mpsc;

use super::{CapacityLoop, standing};
use crate::clock::wall_now_ms;
use crate::config::capacity::{CapacitySettings, ManagerSettings};
use crate::state::{Shared, lock};
use crate::store::HistoryStore;
use crate::store::sqlite::SqliteStore;

/// Requests that wait for the loop; further ones wait at their connection.
const MAX_ASKS: usize = 64;

/// Starts the loop, if anything is provisioned. It has a connection to the store of its own.
pub(crate) async fn start(shared: &Arc<Shared>) -> anyhow::Result<Option<JoinHandle<()>>> {
    let Some(settings) = shared.config.capacity.clone() else { return Ok(None) };
    let store = SqliteStore::open(&shared.config.data_dir, shared.config.step_s)?;
    // The planner of quotas has taken it at its start.
    let before_first = Generation { epoch: store.epoch()?, sequence: standing::anywhere() };
    let manager = manager(&settings).await.context("start the instance manager")?;
    tracing::info!(manager = manager.name(), services = settings.services.len(), "capacity is planned");
    let (sender, asks) = mpsc::channel(MAX_ASKS);
    let capacity = CapacityLoop::new(Arc::clone(shared), settings, manager, Box::new(store), asks, before_first)?;
    *lock(&shared.capacity.asks) = Some(sender);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let run = move || runtime.block_on(capacity.run());
    Ok(Some(std::thread::Builder::new().name("capacity".to_owned()).spawn(run).context("start the capacity thread")?))
}

async fn manager(settings: &CapacitySettings) -> anyhow::Result<Manager> {
    Ok(match settings.manager.clone() {
        ManagerSettings::DryRun => Manager::DryRun(DryRun::new(most_by_group(settings), wall_now_ms)),
        ManagerSettings::Process(process) => Manager::Process(Process::open(process)?),
        ManagerSettings::Webhook(receiver) => {
            let settings = receiver.with_seed(wall_now_ms());
            Manager::Webhook(Box::new(Webhook::new(settings, || wall_now_ms() / 1000)?))
        }
        ManagerSettings::Kubernetes(settings) => Manager::Kubernetes(Box::new(Kubernetes::connect(*settings).await?)),
    })
}

/// Every group that there may be, with the most instances that its pool has.
fn most_by_group(settings: &CapacitySettings) -> BTreeMap<Group, u32> {
    let mut groups = BTreeMap::new();
    for service in &settings.services {
        for offer in &settings.pools {
            for shape in &settings.shapes {
                let (service, pool) = (service.service.name.clone(), offer.pool.name.clone());
                groups.insert(Group { service, pool, shape: shape.name.clone() }, offer.pool.max_instances);
            }
        }
    }
    groups
}
