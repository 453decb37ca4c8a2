//! The newest generation that was taken, kept in the cluster itself, so that a controller that was replaced cannot win.
//!
//! A ConfigMap holds it in an annotation. It is written only over the version that was read: of two controllers that write
//! at once the second is told so (409), reads again, and finds out whether it is the older one. What was written to
//! Deployments carries the generation too and is written over the version that was seen, so an order that was overtaken
//! half-way stops at the first Deployment that the newer one changed.

use forebay_plan::capacity::Generation;
use serde_json::json;

use super::cluster::{CallError, Cluster};
use super::names::{GENERATION, LEDGER};
use super::objects::{ConfigMap, Meta};
use crate::ProvisionError;

/// Tries at writing what others write too.
const TRIES: usize = 5;

/// What was taken in this cluster; `None` before the first order.
pub(super) async fn taken(cluster: &Cluster) -> Result<Option<Generation>, ProvisionError> {
    Ok(read(cluster).await?.and_then(|entry| entry.generation))
}

/// Takes `asked`, if nothing newer was taken.
pub(super) async fn take(cluster: &Cluster, asked: Generation) -> Result<(), ProvisionError> {
    let operation = "take an order";
    let path = cluster.path("api/v1", "configmaps");
    for _ in 0..TRIES {
        let entry = read(cluster).await?;
        let taken = entry.as_ref().and_then(|entry| entry.generation);
        match taken {
            Some(taken) if taken > asked => return Err(ProvisionError::StaleGeneration { asked, taken }),
            Some(taken) if taken == asked => return Ok(()),
            _ => {}
        }
        let annotations = json!({ GENERATION: asked.to_string() });
        let mut object = json!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": { "name": LEDGER, "annotations": annotations },
        });
        let written = match entry {
            None => cluster.create(operation, &path, &object).await,
            Some(entry) => {
                if let Some(version) = object.pointer_mut("/metadata") {
                    version["resourceVersion"] = entry.version.into();
                }
                cluster.replace(operation, &path, LEDGER, &object).await
            }
        };
        match written {
            Ok(()) => return Ok(()),
            Err(CallError::Conflict { .. } | CallError::NotFound { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    let detail = format!("others wrote ConfigMap {LEDGER} {TRIES} times meanwhile");
    Err(ProvisionError::Unreachable { operation, detail })
}

struct Entry {
    generation: Option<Generation>,
    version: String,
}

async fn read(cluster: &Cluster) -> Result<Option<Entry>, ProvisionError> {
    let operation = "read the order that was taken";
    let found: Option<ConfigMap> = cluster.get(operation, &cluster.path("api/v1", "configmaps"), LEDGER).await?;
    let Some(ConfigMap { metadata, .. }) = found else { return Ok(None) };
    match generation(&metadata) {
        // Never take an order over something that cannot be read: it may be of a newer controller.
        None if metadata.annotations.contains_key(GENERATION) => {
            let detail =
                format!("annotation {GENERATION} of ConfigMap {LEDGER} is no generation; remove it to begin anew");
            Err(ProvisionError::Malformed { operation, detail })
        }
        generation => Ok(Some(Entry { generation, version: metadata.resource_version })),
    }
}

/// The generation that an object was written by.
pub(super) fn generation(metadata: &Meta) -> Option<Generation> {
    let (epoch, sequence) = metadata.annotation(GENERATION)?.split_once('.')?;
    Some(Generation { epoch: epoch.parse().ok()?, sequence: sequence.parse().ok()? })
}
