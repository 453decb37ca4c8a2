//! Karpenter, where a pool names its `NodePool`: limits and weight follow the pool, and claims say why nodes do not come.
//!
//! The `NodePool` itself is the user's: which machines it may make is not known here. Only `spec.limits` and `spec.weight`
//! are applied, without force: where the user set them to something else, the user's stays and that is said.
//!
//! Source: karpenter.sh/v1, `NodePool` and `NodeClaim`; NodeClaims that lack capacity are deleted soon, so what is seen here
//! comes on top of what the pods say.

use std::collections::BTreeMap;

use forebay_plan::capacity::{Amounts, CostClass};
use serde::Deserialize;
use serde_json::{Value, json};

use super::cluster::{CallError, Cluster};
use super::manifest::quantities;
use super::objects::{Condition, Meta, condition};
use super::settings::{KubernetesSettings, PoolPlacement};

const POOLS: &str = "/apis/karpenter.sh/v1/nodepools";
const CLAIMS: &str = "/apis/karpenter.sh/v1/nodeclaims";
/// Label on claims and nodes.
const POOL_LABEL: &str = "karpenter.sh/nodepool";

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct NodePool {
    spec: Value,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct NodeClaim {
    metadata: Meta,
    status: ClaimStatus,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct ClaimStatus {
    conditions: Vec<Condition>,
}

/// Brings the `NodePool`s of the cluster's pools to their limits; what could not be done, in words.
pub(super) async fn limit(cluster: &Cluster, settings: &KubernetesSettings) -> Vec<String> {
    let mut troubles = Vec::new();
    for (placement, name) in placements(cluster, settings) {
        let wanted = wanted(placement, settings);
        let trouble = match cluster.get::<NodePool>("read a NodePool", POOLS, name).await {
            Ok(None) => Some(format!("pool {:?}: there is no NodePool {name:?}; create it", placement.pool.name)),
            Ok(Some(found)) if is_so(&found.spec, &wanted) => None,
            Ok(Some(_)) => {
                let object = json!({
                    "apiVersion": "karpenter.sh/v1",
                    "kind": "NodePool",
                    "metadata": { "name": name },
                    "spec": wanted,
                });
                match cluster.apply("limit a NodePool", POOLS, name, (&object, false)).await {
                    Ok(()) => None,
                    Err(CallError::Conflict { detail, .. }) => {
                        Some(format!("NodePool {name:?} is left as it is: {detail}"))
                    }
                    Err(error) => Some(error.to_string()),
                }
            }
            Err(error) => Some(error.to_string()),
        };
        troubles.extend(trouble);
    }
    troubles
}

/// Pools whose nodes were asked for and do not come, with what Karpenter says. Empty where there is no Karpenter.
pub(super) async fn lacking(cluster: &Cluster, settings: &KubernetesSettings) -> BTreeMap<String, String> {
    if placements(cluster, settings).next().is_none() {
        return BTreeMap::new();
    }
    // What cannot be read here is said by the pods too, only later.
    let claims = cluster.list::<NodeClaim>("list NodeClaims", CLAIMS, POOL_LABEL).await.unwrap_or_default();
    let lacking = claims.iter().filter_map(|claim| {
        let launched = condition(&claim.status.conditions, "Launched")?;
        let lacks = launched.status != "True" && launched.reason.contains("InsufficientCapacity");
        Some((claim.metadata.label(POOL_LABEL)?, launched)).filter(|_| lacks)
    });
    let mut pools = BTreeMap::new();
    for (name, launched) in lacking {
        for (placement, _) in placements(cluster, settings).filter(|(_, node_pool)| *node_pool == name) {
            pools.insert(placement.pool.name.clone(), format!("NodePool {name}: {}", launched.message));
        }
    }
    pools
}

fn placements<'a>(
    cluster: &'a Cluster,
    settings: &'a KubernetesSettings,
) -> impl Iterator<Item = (&'a PoolPlacement, &'a str)> {
    let here = settings.pools.iter().filter(|placement| placement.pool.location == cluster.location);
    here.filter_map(|placement| Some((placement, placement.node_pool.as_deref()?)))
}

/// Room for as many of the largest shape as the pool may have; used up in the order of cost classes.
fn wanted(placement: &PoolPlacement, settings: &KubernetesSettings) -> Value {
    let count = f64::from(placement.pool.max_instances);
    let largest = |amount: fn(&Amounts) -> f64| {
        count * settings.shapes.iter().map(|shape| amount(&shape.offers)).fold(0.0, f64::max)
    };
    let limits = Amounts {
        cpu_milli: largest(|offers| offers.cpu_milli),
        memory_mib: largest(|offers| offers.memory_mib),
        ..Amounts::default()
    };
    let weight = match placement.pool.class {
        CostClass::Reserved => 100,
        CostClass::Spot => 50,
        CostClass::OnDemand => 10,
    };
    json!({ "limits": quantities(&limits), "weight": weight })
}

fn is_so(spec: &Value, wanted: &Value) -> bool {
    let limits = wanted["limits"].as_object();
    let has_limits = limits.is_none_or(|limits| limits.iter().all(|(key, value)| spec["limits"][key] == *value));
    has_limits && spec["weight"] == wanted["weight"]
}
