//! The rights that the manifest to copy gives the manager. The fake holds the manager to them, and a test finds those that
//! nothing uses.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::Value;

use super::api::Call;

/// Group, resource, verb, and whether only within a namespace.
pub(crate) type Right = (String, String, String, bool);

/// Rights, each with the names of the objects that it is limited to; none where it is to all.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rights(pub(crate) BTreeMap<Right, BTreeSet<String>>);

impl Rights {
    /// Those of the manifest.
    pub(crate) fn read() -> Result<Self> {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../envoy/kubernetes/rbac.yaml");
        let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        let mut rights: BTreeMap<Right, BTreeSet<String>> = BTreeMap::new();
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
                            let right = (group.clone(), resource.clone(), verb, is_namespaced);
                            rights.entry(right).or_default().extend(texts(&rule["resourceNames"]));
                        }
                    }
                }
            }
        }
        Ok(Self(rights))
    }

    pub(crate) fn allow(&self, call: &Call) -> bool {
        let right = of(call);
        let anywhere = (right.0.clone(), right.1.clone(), right.2.clone(), false);
        let is_of =
            |names: &BTreeSet<String>| names.is_empty() || call.name.as_ref().is_some_and(|name| names.contains(name));
        [right, anywhere].iter().filter_map(|right| self.0.get(right)).any(is_of)
    }

    /// Names that rights to ConfigMaps are limited to.
    pub(crate) fn config_maps(&self) -> BTreeSet<String> {
        self.0.iter().filter(|(right, _)| right.1 == "configmaps").flat_map(|(_, names)| names.clone()).collect()
    }
}

/// The right that a call takes.
pub(crate) fn of(call: &Call) -> Right {
    let (group, resource, verb, is_namespaced) = call.right();
    (group.to_owned(), resource.to_owned(), verb.to_owned(), is_namespaced)
}

fn texts(list: &Value) -> Vec<String> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}
