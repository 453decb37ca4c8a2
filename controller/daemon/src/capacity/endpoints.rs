//! Endpoints for Envoy: which instances of a service take requests, written as EDS.
//!
//! One file per service, a `DiscoveryResponse` with one `ClusterLoadAssignment`, named as the service. Envoy watches the file
//! for being moved into place, so it is written beside and renamed, and only when it says something new. Instances that
//! serve are `warm`; those that answer and are not warmed yet are there too, without `warm`, for when there is nothing
//! else: Envoy's subset load balancing on the key `warm` falls back to them (see `envoy/standalone/prewarmed.yaml`). Draining
//! ones are named as such, so that requests under way end where they are.
//!
//! Weights follow the work that an instance does, as the plan counts it, 1 to [`MOST_WEIGHT`]. How an instance that is new
//! comes up to its weight is Envoy's `slow_start_config`. Source: Envoy's EDS and `LbEndpoint` documentation.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use forebay_plan::capacity::{Instance, InstanceState};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// Envoy adds weights up in 32 bits; with 100 steps ten thousand endpoints stay far below.
const MOST_WEIGHT: f64 = 100.0;

/// Of an instance's group, for its endpoint.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Place {
    pub(crate) location: String,
    pub(crate) tier: String,
    /// Work that an instance does, in units per second.
    pub(crate) serves_per_s: f64,
}

/// The `DiscoveryResponse` of a service's instances; of each the `place` is known, or it gets none.
pub(crate) fn discovery_response(
    service: &str,
    instances: &[Instance],
    place: impl Fn(&Instance) -> Option<Place>,
) -> Value {
    let mut of_service: Vec<(&Instance, Place)> = instances
        .iter()
        .filter(|one| one.group.service == service)
        .filter_map(|one| Some((one, place(one)?)))
        .collect();
    of_service.sort_by(|(a, _), (b, _)| a.id.cmp(&b.id));
    let most_per_s = of_service.iter().map(|(_, place)| place.serves_per_s).fold(0.0, f64::max);
    let mut localities: BTreeMap<&str, Vec<Value>> = BTreeMap::new();
    for (instance, place) in &of_service {
        if let Some(endpoint) = endpoint(instance, place, most_per_s) {
            localities.entry(&place.location).or_default().push(endpoint);
        }
    }
    let endpoints: Vec<Value> = localities
        .into_iter()
        .map(|(region, endpoints)| json!({ "locality": { "region": region }, "lb_endpoints": endpoints }))
        .collect();
    let assignment = json!({
        "@type": "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment",
        "cluster_name": service,
        "endpoints": endpoints,
    });
    // The version is what the content says, so the same content is no news to Envoy either.
    let digest = Sha256::digest(assignment.to_string());
    let version: String = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    json!({ "version_info": version, "resources": [assignment] })
}

fn endpoint(instance: &Instance, place: &Place, most_per_s: f64) -> Option<Value> {
    let address = instance.address?;
    let health = match instance.state {
        InstanceState::Ready | InstanceState::Warming => "HEALTHY",
        InstanceState::Draining => "DRAINING",
        InstanceState::Requested | InstanceState::Starting | InstanceState::Gone => return None,
    };
    let weight = (MOST_WEIGHT * place.serves_per_s / most_per_s).round().clamp(1.0, MOST_WEIGHT) as u32;
    let is_warm = instance.state == InstanceState::Ready && !instance.is_interrupted;
    Some(json!({
        "endpoint": { "address": { "socket_address": {
            "address": address.ip().to_string(), "port_value": address.port(),
        } } },
        "health_status": health,
        "load_balancing_weight": weight,
        "metadata": { "filter_metadata": { "envoy.lb": {
            "warm": is_warm, "tier": place.tier, "shape": instance.group.shape, "pool": instance.group.pool,
        } } },
    }))
}

/// Writes files of endpoints.
#[derive(Debug)]
pub(crate) struct EndpointFiles {
    folder: PathBuf,
    /// What was written last, by service.
    written: BTreeMap<String, Value>,
}

impl EndpointFiles {
    pub(crate) fn in_folder(folder: PathBuf) -> Self {
        Self { folder, written: BTreeMap::new() }
    }

    /// Writes a service's file if it says something new; whether it does.
    ///
    /// # Errors
    /// The folder cannot be made or the file not written; the old one stays, and the next call tries again.
    pub(crate) fn write(&mut self, service: &str, response: Value) -> std::io::Result<bool> {
        if self.written.get(service) == Some(&response) {
            return Ok(false);
        }
        std::fs::create_dir_all(&self.folder)?;
        let file = file_of(&self.folder, service);
        let beside = file.with_extension("new");
        std::fs::write(&beside, response.to_string())?;
        std::fs::rename(&beside, &file)?;
        self.written.insert(service.to_owned(), response);
        Ok(true)
    }
}

/// Where a service's endpoints are written.
pub(crate) fn file_of(folder: &Path, service: &str) -> PathBuf {
    folder.join(format!("{service}.json"))
}

#[cfg(test)]
mod tests {
    use forebay_plan::capacity::Group;

    use super::*;

    fn instance(id: &str, state: InstanceState, shape: &str) -> Instance {
        Instance {
            id: id.to_owned(),
            group: Group { service: "shop".to_owned(), pool: "here".to_owned(), shape: shape.to_owned() },
            state,
            requested_ms: 0,
            ready_ms: None,
            address: Some("127.0.0.1:8080".parse().unwrap()),
            is_interrupted: false,
        }
    }

    fn place(instance: &Instance) -> Option<Place> {
        let serves_per_s = if instance.group.shape == "Large" { 40.0 } else { 10.0 };
        Some(Place { location: "eu-west".to_owned(), tier: "standard".to_owned(), serves_per_s })
    }

    fn endpoints(response: &Value) -> Vec<Value> {
        let assignment = &response["resources"][0]["endpoints"];
        let localities = assignment.as_array().unwrap().iter();
        localities.flat_map(|one| one["lb_endpoints"].as_array().unwrap().clone()).collect()
    }

    #[test]
    fn those_that_answer_are_endpoints_and_only_those_that_serve_are_warm() {
        let states = [
            ("a", InstanceState::Ready, "Large"),
            ("b", InstanceState::Warming, "Small"),
            ("c", InstanceState::Starting, "Small"),
            ("d", InstanceState::Draining, "Small"),
            ("e", InstanceState::Gone, "Small"),
        ];
        let mut instances: Vec<Instance> = states.map(|(id, state, shape)| instance(id, state, shape)).into();
        instances.push(Instance { address: None, ..instance("f", InstanceState::Ready, "Small") });
        instances.push(Instance { is_interrupted: true, ..instance("g", InstanceState::Ready, "Small") });
        let rows: Vec<(String, bool, u64)> = endpoints(&discovery_response("shop", &instances, place))
            .iter()
            .map(|one| {
                let warm = one["metadata"]["filter_metadata"]["envoy.lb"]["warm"].as_bool().unwrap();
                let health = one["health_status"].as_str().unwrap().to_owned();
                (health, warm, one["load_balancing_weight"].as_u64().unwrap())
            })
            .collect();
        let expected =
            [("HEALTHY", true, 100), ("HEALTHY", false, 25), ("DRAINING", false, 25), ("HEALTHY", false, 25)];
        assert_eq!(rows, expected.map(|(health, warm, weight)| (health.to_owned(), warm, weight)));
    }

    #[test]
    fn the_same_instances_are_no_news() {
        let folder = tempfile::tempdir().unwrap();
        let mut files = EndpointFiles::in_folder(folder.path().join("eds"));
        let (a, b) = (instance("a", InstanceState::Ready, "Small"), instance("b", InstanceState::Ready, "Small"));
        let one = discovery_response("shop", &[a.clone(), b.clone()], place);
        assert_eq!(one, discovery_response("shop", &[b.clone(), a], place), "whatever their order");
        assert!(files.write("shop", one.clone()).unwrap());
        assert!(!files.write("shop", one).unwrap());
        let other = discovery_response("shop", &[b], place);
        assert!(files.write("shop", other.clone()).unwrap());
        let read = std::fs::read_to_string(file_of(&folder.path().join("eds"), "shop")).unwrap();
        assert_eq!(serde_json::from_str::<Value>(&read).unwrap(), other);
    }
}
