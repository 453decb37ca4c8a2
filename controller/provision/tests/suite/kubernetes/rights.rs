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
