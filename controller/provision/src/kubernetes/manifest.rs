//! The Deployment of a group, as it is to be: the user's template with the shape's resources and the pool's placement.
//!
//! Everything that the user wrote in the template stays, but for what a shape or a pool is about. The selector is this
//! manager's own label only, so that neither Deployment takes the other's pods; the template's labels stay on the pods, so
//! the user's Services reach them.
//!
//! **A mark is no change.** Pods carry the digest of their making (`forebay.dev/kin`) in an annotation. Deployments from before
//! there was one lack it in their template, and to add it would be another template, so that every pod is replaced for nothing.
//! So a Deployment that differs by the mark alone keeps its template; its pods get the mark one by one (`moving/making.rs`),
//! and the template with its next change.
//!
//! What Kubernetes has no request for, disk operations and network bandwidth, is left to the choice of nodes. A CPU limit is
//! set only where the user has one: it would throttle instances that have room beside them.

use forebay_plan::capacity::{Amounts, CostClass, Group, Shape};
use serde_json::{Map, Value, json};

use super::cluster::Cluster;
use super::names::{DIGEST, GROUP, KIN, PLACEHOLDER, POOL, SERVICE, SHAPE, digest, group_name, placeholder_name};
use super::settings::{KubernetesSettings, Placeholders, PoolPlacement, ServiceTemplate};
use super::view::View;

/// Fields of the user's Deployment that are copied beside its template.
const COPIED: &[&str] = &["strategy", "minReadySeconds", "progressDeadlineSeconds"];
/// Old versions of a template that are kept: nobody rolls a copy back.
const HISTORY: u32 = 1;

/// What a Deployment is made of.
#[derive(Clone, Copy, Debug)]
pub(super) struct Parts<'a> {
    pub(super) group: &'a Group,
    pub(super) shape: &'a Shape,
    pub(super) placement: &'a PoolPlacement,
    pub(super) service: &'a ServiceTemplate,
    /// `spec` of the user's Deployment.
    pub(super) spec: &'a Value,
}

/// A group's Deployment as it is to be, without its number.
#[derive(Clone, Debug)]
pub(super) struct Rendered {
    pub(super) object: Value,
    /// Of the whole of it.
    pub(super) digest: String,
    /// Of what its pods are but for their shape.
    pub(super) kin: String,
    /// The container that has the shape's size.
    pub(super) container: String,
    /// That container's resources.
    pub(super) resources: Value,
    /// Whether pods are made without the mark of their making.
    pub(super) is_unmarked: bool,
}

/// Renders a group from the template in the cluster, or says in words what is not configured, not there or wrong.
pub(super) fn of_group(
    cluster: &Cluster,
    settings: &KubernetesSettings,
    view: &View,
    group: &Group,
) -> Result<Rendered, String> {
    let placement = settings.pools.iter().find(|placement| placement.pool.name == group.pool);
    let placement = placement.ok_or_else(|| format!("no pool {:?} is configured", group.pool))?;
    let shape = settings.shapes.iter().find(|shape| shape.name == group.shape);
    let shape = shape.ok_or_else(|| format!("no shape {:?} is configured", group.shape))?;
    let service = settings.services.iter().find(|service| service.service == group.service);
    let service = service.ok_or_else(|| format!("no service {:?} is configured", group.service))?;
    let template = view.others.get(&service.deployment).ok_or_else(|| {
        let (name, place) = (&service.deployment, &cluster.namespace);
        format!("no Deployment {name:?} in namespace {place:?} to take {:?} from; create it", group.service)
    })?;
    let parts = Parts { group, shape, placement, service, spec: &template.spec };
    let unmarked = deployment(parts, false)?;
    let found = view.groups.get(&group_name(group));
    let is_unmarked = found.is_some_and(|found| found.metadata.annotation(DIGEST) == Some(&unmarked.digest));
    if is_unmarked { Ok(unmarked) } else { deployment(parts, true) }
}

/// The Deployment of a group, whose pods are made with the mark of their making or without; or what is wrong with the template.
fn deployment(parts: Parts<'_>, is_marked: bool) -> Result<Rendered, String> {
    let name = group_name(parts.group);
    let labels = json!({ GROUP: name });
    let named = json!({ SERVICE: parts.group.service, POOL: parts.group.pool, SHAPE: parts.group.shape });
    let mut template = parts.spec.get("template").cloned().unwrap_or_default();
    within(&mut template, "metadata", |metadata| {
        metadata.retain(|key, _| key == "labels" || key == "annotations");
    });
    within(&mut template, "spec", |pod| place(pod, parts.placement));
    let kin = digest(&[&template.to_string()]);
    within(&mut template, "metadata", |metadata| {
        extend(metadata, "labels", &labels);
        extend(metadata, "annotations", &named);
        if is_marked {
            extend(metadata, "annotations", &json!({ KIN: kin }));
        }
    });
    let sized = within(&mut template, "spec", |pod| give_resources(pod, parts.service, parts.shape))?;
    let mut spec = json!({
        "selector": { "matchLabels": labels },
        "template": template,
        "revisionHistoryLimit": HISTORY,
    });
    for field in COPIED {
        if let (Some(value), Some(spec)) = (parts.spec.get(*field), spec.as_object_mut()) {
            spec.insert((*field).to_owned(), value.clone());
        }
    }
    let (object, digest) = finished(&name, (labels, named), spec);
    let container = sized.get("name").and_then(Value::as_str).unwrap_or_default().to_owned();
    let resources = sized.get("resources").cloned().unwrap_or_default();
    Ok(Rendered { object, digest, kin, container, resources, is_unmarked: !is_marked })
}

/// Pods that only keep room in a pool.
pub(super) fn room(placement: &PoolPlacement, room: &Placeholders, shape: &Shape) -> (Value, String) {
    let name = placeholder_name(&placement.pool.name);
    let labels = json!({ PLACEHOLDER: name });
    let requests = quantities(&shape.offers);
    let mut pod = json!({
        "priorityClassName": room.priority_class,
        "terminationGracePeriodSeconds": 0,
        "containers": [{ "name": "room", "image": room.image, "resources": { "requests": requests, "limits": requests } }],
    });
    if let Some(pod) = pod.as_object_mut() {
        place(pod, placement);
    }
    let named = json!({ POOL: placement.pool.name });
    let template = json!({ "metadata": { "labels": labels, "annotations": named }, "spec": pod });
    let spec = json!({
        "replicas": room.count,
        "selector": { "matchLabels": labels },
        "template": template,
        "revisionHistoryLimit": HISTORY,
    });
    finished(&name, (labels, named), spec)
}

/// Writes a finished Deployment over the version that was seen, if one was.
pub(super) fn write_over(deployment: &mut Value, version: Option<&str>) {
    if let Some(version) = version {
        within(deployment, "metadata", |metadata| metadata.insert("resourceVersion".to_owned(), version.into()));
    }
}

/// Writes into a finished Deployment what changes with every order.
pub(super) fn number(deployment: &mut Value, replicas: u32, annotations: &[(&str, String)], version: Option<&str>) {
    within(deployment, "metadata", |metadata| {
        for (key, text) in annotations {
            extend(metadata, "annotations", &json!({ *key: text }));
        }
    });
    write_over(deployment, version);
    within(deployment, "spec", |spec| spec.insert("replicas".to_owned(), replicas.into()));
}

fn finished(name: &str, (labels, annotations): (Value, Value), spec: Value) -> (Value, String) {
    let digest = digest(&[&spec.to_string()]);
    let mut annotations = annotations;
    extend_all(&mut annotations, &json!({ DIGEST: digest }));
    let deployment = json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": { "name": name, "labels": labels, "annotations": annotations },
        "spec": spec,
    });
    (deployment, digest)
}

/// Gives the shape's resources to the service's container, and returns that container.
fn give_resources(pod: &mut Map<String, Value>, service: &ServiceTemplate, shape: &Shape) -> Result<Value, String> {
    let place = format!("the template of service {:?}, Deployment {:?}", service.service, service.deployment);
    let containers = pod.get_mut("containers").and_then(Value::as_array_mut);
    let mut containers = containers.into_iter().flatten();
    let container = match &service.container {
        Some(name) => containers.find(|container| container.get("name").and_then(Value::as_str) == Some(name)),
        None => containers.next(),
    };
    let Some(container) = container else {
        return Err(format!("{place}: has no container {:?}; name one that it has", service.container));
    };
    let requests = quantities(&shape.offers);
    let mut limits = requests.clone();
    within(container, "resources", |resources| {
        let has_cpu_limit = resources.get("limits").is_some_and(|limits| limits.get("cpu").is_some());
        if let Some(limits) = limits.as_object_mut().filter(|_| !has_cpu_limit) {
            limits.remove("cpu");
        }
        extend(resources, "requests", &requests);
        extend(resources, "limits", &limits);
    });
    Ok(container.clone())
}

/// Amounts as Kubernetes writes them; what a shape has none of is left out.
pub(super) fn quantities(offers: &Amounts) -> Value {
    let mut quantities = Map::new();
    let mut put = |name: &str, amount: f64, unit: &str| {
        if amount >= 1.0 {
            quantities.insert(name.to_owned(), format!("{}{unit}", amount.floor()).into());
        }
    };
    put("cpu", offers.cpu_milli, "m");
    put("memory", offers.memory_mib, "Mi");
    put("ephemeral-storage", offers.storage_gib, "Gi");
    put("nvidia.com/gpu", offers.gpus, "");
    quantities.into()
}

fn place(pod: &mut Map<String, Value>, placement: &PoolPlacement) {
    let mut selector: Map<String, Value> =
        placement.node_selector.iter().map(|(key, value)| (key.clone(), value.as_str().into())).collect();
    if let Some(node_pool) = &placement.node_pool {
        selector.insert("karpenter.sh/nodepool".to_owned(), node_pool.as_str().into());
        selector.insert("karpenter.sh/capacity-type".to_owned(), capacity_type(placement.pool.class).into());
    }
    if !selector.is_empty() {
        extend(pod, "nodeSelector", &selector.into());
    }
    let tolerations = placement.tolerations.iter().map(|toleration| {
        let mut written = json!({ "key": toleration.key });
        let operator = if toleration.value.is_some() { "Equal" } else { "Exists" };
        extend_all(&mut written, &json!({ "operator": operator }));
        if let Some(value) = &toleration.value {
            extend_all(&mut written, &json!({ "value": value }));
        }
        if let Some(effect) = &toleration.effect {
            extend_all(&mut written, &json!({ "effect": effect }));
        }
        written
    });
    let tolerations: Vec<Value> = tolerations.collect();
    if !tolerations.is_empty() {
        let all = pod.entry("tolerations").or_insert_with(|| json!([]));
        if let Some(all) = all.as_array_mut() {
            all.extend(tolerations);
        }
    }
}

/// As Karpenter calls them.
fn capacity_type(class: CostClass) -> &'static str {
    match class {
        CostClass::Reserved => "reserved",
        CostClass::Spot => "spot",
        CostClass::OnDemand => "on-demand",
    }
}

/// Changes the object at `key`, made where there is none.
fn within<T>(value: &mut Value, key: &str, change: impl FnOnce(&mut Map<String, Value>) -> T) -> T {
    let mut child = value.get_mut(key).and_then(Value::as_object_mut).map(std::mem::take).unwrap_or_default();
    let made = change(&mut child);
    let mut map = value.as_object_mut().map(std::mem::take).unwrap_or_default();
    map.insert(key.to_owned(), child.into());
    *value = map.into();
    made
}

fn extend(map: &mut Map<String, Value>, key: &str, with: &Value) {
    extend_all(map.entry(key).or_insert_with(|| json!({})), with);
}

fn extend_all(value: &mut Value, with: &Value) {
    if let (Some(map), Some(with)) = (value.as_object_mut(), with.as_object()) {
        map.extend(with.clone());
    }
}
