//! The rights that the manifest to copy gives the manager. The fake holds the manager to them, and a test finds those that
//! nothing uses.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::Value;

use super::api::Call;

/// Rights: group, resource, verb, and whether only within a namespace.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rights(pub(crate) BTreeSet<(String, String, String, bool)>);

impl Rights {
    /// Those of the manifest.
    pub(crate) fn read() -> Result<Self> {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../envoy/kubernetes/rbac.yaml");
        let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        let mut rights = BTreeSet::new();
        for document in serde_saphyr::from_multiple::<Value>(&text)? {
            let is_namespaced = match document["kind"].as_str() {
                Some("Role") => true,
                Some("ClusterRole") => false,
                _ => continue,
            };
            for rule in document["rules"].as_array().into_iter().flatten() {
                for group in texts(&rule["apiGroups"]) {
                    for resource in texts(&rule["resources"]) {
                        for verb in texts(&rule["verbs"]) {
                            rights.insert((group.clone(), resource.clone(), verb, is_namespaced));
                        }
                    }
                }
            }
        }
        Ok(Self(rights))
    }

    pub(crate) fn allow(&self, call: &Call) -> bool {
        let (group, resource, verb, is_namespaced) = call.right();
        let right = |is_namespaced| (group.to_owned(), resource.to_owned(), verb.to_owned(), is_namespaced);
        self.0.contains(&right(is_namespaced)) || self.0.contains(&right(false))
    }
}

fn texts(list: &Value) -> Vec<String> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use anyhow::ensure;
    use forebay_plan::capacity::Group;
    use forebay_provision::InstanceManager;
    use forebay_provision::kubernetes::Placeholders;

    use super::*;
    use crate::driver::Driver;
    use crate::kubernetes::{OnKubernetes, api, order};
    use crate::subject::{Subject, other, steady};

    /// Every test's manager is held to the manifest by the fake; here a life in which all of it is used.
    #[tokio::test]
    async fn no_right_is_given_that_is_not_used() -> Result<()> {
        let mut driver = Driver::<OnKubernetes>::set_up().await?;
        let room = Placeholders {
            shape: "Small".to_owned(),
            count: 1,
            priority_class: "forebay-placeholder".to_owned(),
            image: "registry.k8s.io/pause:3.10".to_owned(),
        };
        driver
            .subject
            .reconfigure(|settings| {
                settings.pools[0].placeholders = Some(room);
                settings.pools[0].node_pool = Some("nodes".to_owned());
            })
            .await?;
        let key = ("karpenter.sh".to_owned(), "nodepools".to_owned(), String::new(), "nodes".to_owned());
        driver.subject.api.world().store.put(key, serde_json::json!({ "metadata": {}, "spec": {} }));
        driver.subject.api.world().store.resize = api::Resize::Known;
        let bigger = Group { shape: "Large".to_owned(), ..steady() };
        for targets in [vec![(steady(), 3), (other(), 1)], vec![(steady(), 1)], vec![(bigger, 1)], vec![]] {
            driver.order(&targets).await?;
            for _ in 0..4 {
                driver.subject.pause().await;
                driver.repeat().await?;
            }
        }
        driver.subject.manager().observe().await?;
        ensure!(driver.subject.manager().troubles().is_empty(), "{:?}", driver.subject.manager().troubles());
        let asked = driver.subject.api.world().asked.clone();
        let used: BTreeSet<_> = asked
            .iter()
            .map(|call| {
                let (group, resource, verb, is_namespaced) = call.right();
                (group.to_owned(), resource.to_owned(), verb.to_owned(), is_namespaced)
            })
            .collect();
        let given = Rights::read()?.0;
        let idle: Vec<_> = given.difference(&used).collect();
        ensure!(idle.is_empty(), "given and never used: {idle:?}");
        let missing: Vec<_> = used.difference(&given).collect();
        ensure!(missing.is_empty(), "used and not given: {missing:?}");
        Ok(())
    }

    #[tokio::test]
    async fn what_was_done_is_said_once() -> Result<()> {
        let subject = OnKubernetes::set_up().await?;
        subject.refuse_starts(&other(), true);
        for sequence in 1..4 {
            subject.manager().apply(&order(sequence, &[(steady(), 2), (other(), 1)])).await?;
        }
        subject.manager().apply(&order(4, &[(steady(), 1), (other(), 1)])).await?;
        let world = subject.api.world();
        let events = api::objects(&world.store, "events");
        let mut reasons: Vec<&str> = events.iter().filter_map(|(_, event)| event["reason"].as_str()).collect();
        reasons.sort_unstable();
        ensure!(reasons == ["CapacityMissing", "ScaledDown", "ScaledUp", "ScaledUp"], "{events:#?}");
        Ok(())
    }
}
