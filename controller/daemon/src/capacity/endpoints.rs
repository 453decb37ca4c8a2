//! Endpoints for Envoy: which instances of a service take requests, and how that is written as EDS in a file.
//!
//! An [`Assignment`] is made once per turn and service; the file here and the messages of [`super::xds`] only render it.
//! Instances that serve are `warm`; those that answer and are not warmed yet are there too, without `warm`, for when there is
//! nothing else: Envoy's subset load balancing on the key `warm` falls back to them (see `envoy/standalone/prewarmed.yaml`).
//! Draining ones are named as such, so that requests under way end where they are.
//!
//! One file per service, a `DiscoveryResponse` with one `ClusterLoadAssignment`, named as the service. Envoy watches the file
//! for being moved into place, so it is written beside and renamed, and only when it says something new.
//!
//! Weights follow the work that an instance does, as the plan counts it, 1 to [`MOST_WEIGHT`]. How an instance that is new
//! comes up to its weight is Envoy's `slow_start_config`. Source: Envoy's EDS and `LbEndpoint` documentation.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use forebay_plan::capacity::{Instance, InstanceState};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// Envoy adds weights up in 32 bits; with 100 steps ten thousand endpoints stay far below.
const MOST_WEIGHT: f64 = 100.0;

/// The type of what is said of a service, as `Any` names it.
pub(crate) const ASSIGNMENT_TYPE: &str = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment";
/// Where Envoy's load balancers look for an endpoint's metadata.
pub(crate) const LB_METADATA: &str = "envoy.lb";

/// Of an instance's group, for its endpoint.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Place {
    pub(crate) location: String,
    pub(crate) tier: String,
    /// Work that an instance does, in units per second.
    pub(crate) serves_per_s: f64,
}

/// A service's endpoints: Envoy's `ClusterLoadAssignment`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Assignment {
    /// Its name is that of the cluster, or the cluster's `service_name`.
    pub(crate) service: String,
    /// By region, each in the order of the instances' names.
    pub(crate) regions: BTreeMap<String, Vec<Endpoint>>,
}

/// An instance that takes requests: Envoy's `LbEndpoint`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Endpoint {
    pub(crate) address: SocketAddr,
    pub(crate) health: Health,
    /// 1 to [`MOST_WEIGHT`].
    pub(crate) weight: u32,
    pub(crate) is_warm: bool,
    pub(crate) tier: String,
    pub(crate) shape: String,
    pub(crate) pool: String,
}

/// What Envoy is told of an endpoint's health, of its `HealthStatus`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Health {
    Healthy,
    Draining,
}

impl Assignment {
    /// The endpoints of a service's instances; of each the `place` is known, or it gets none.
    pub(crate) fn of(service: &str, instances: &[Instance], place: impl Fn(&Instance) -> Option<Place>) -> Self {
        let mut of_service: Vec<(&Instance, Place)> = instances
            .iter()
            .filter(|one| one.group.service == service)
            .filter_map(|one| Some((one, place(one)?)))
            .collect();
        of_service.sort_by(|(a, _), (b, _)| a.id.cmp(&b.id));
        let most_per_s = of_service.iter().map(|(_, place)| place.serves_per_s).fold(0.0, f64::max);
        let mut regions: BTreeMap<String, Vec<Endpoint>> = BTreeMap::new();
        for (instance, place) in of_service {
            let location = place.location.clone();
            if let Some(endpoint) = Endpoint::of(instance, place, most_per_s) {
                regions.entry(location).or_default().push(endpoint);
            }
        }
        Self { service: service.to_owned(), regions }
    }

    /// What the content says, so the same content is no news to Envoy either, whichever way it comes and after a restart.
    pub(crate) fn version(&self) -> String {
        version_of(self.resource().to_string())
    }

    /// What Envoy reads from a file.
    pub(crate) fn discovery_response(&self) -> Value {
        let resource = self.resource();
        json!({ "version_info": version_of(resource.to_string()), "resources": [resource] })
    }

    fn resource(&self) -> Value {
        let region = |(region, endpoints): (&String, &Vec<Endpoint>)| {
            let endpoints: Vec<Value> = endpoints.iter().map(Endpoint::to_json).collect();
            json!({ "locality": { "region": region }, "lb_endpoints": endpoints })
        };
        let endpoints: Vec<Value> = self.regions.iter().map(region).collect();
        json!({ "@type": ASSIGNMENT_TYPE, "cluster_name": self.service, "endpoints": endpoints })
    }
}

/// The version that content has.
pub(super) fn version_of(content: impl AsRef<[u8]>) -> String {
    Sha256::digest(content).iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

impl Endpoint {
    fn of(instance: &Instance, place: Place, most_per_s: f64) -> Option<Self> {
        let health = match instance.state {
            InstanceState::Ready | InstanceState::Warming => Health::Healthy,
            InstanceState::Draining => Health::Draining,
            InstanceState::Requested | InstanceState::Starting | InstanceState::Gone => return None,
        };
        Some(Self {
            address: instance.address?,
            health,
            weight: (MOST_WEIGHT * place.serves_per_s / most_per_s).round().clamp(1.0, MOST_WEIGHT) as u32,
            is_warm: instance.state == InstanceState::Ready && !instance.is_interrupted,
            tier: place.tier,
            shape: instance.group.shape.clone(),
            pool: instance.group.pool.clone(),
        })
    }

    fn to_json(&self) -> Value {
        let health = match self.health {
            Health::Healthy => "HEALTHY",
            Health::Draining => "DRAINING",
        };
        json!({
            "endpoint": { "address": { "socket_address": {
                "address": self.address.ip().to_string(), "port_value": self.address.port(),
            } } },
            "health_status": health,
            "load_balancing_weight": self.weight,
            "metadata": { "filter_metadata": { LB_METADATA: {
                "warm": self.is_warm, "tier": self.tier, "shape": self.shape, "pool": self.pool,
            } } },
        })
    }
}

/// Writes files of endpoints.
#[derive(Debug)]
pub(crate) struct EndpointFiles {
    folder: PathBuf,
    /// What was written last, by service.
    written: BTreeMap<String, Value>,
    /// Why a service's file was not written the last time.
    troubles: BTreeMap<String, String>,
}

/// What became of a service's file.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Written {
    /// It says something new.
    New,
    /// There was nothing new to say.
    Same,
    /// It could not be written: the old one stays, and the next call tries again.
    Failed {
        /// Which file, why, and what to do.
        why: String,
        /// Whether it was another reason, or none, the last time.
        is_news: bool,
    },
}

impl EndpointFiles {
    pub(crate) fn in_folder(folder: PathBuf) -> Self {
        Self { folder, written: BTreeMap::new(), troubles: BTreeMap::new() }
    }

    /// Writes a service's file if it says something new.
    pub(crate) fn write(&mut self, service: &str, response: Value) -> Written {
        if self.written.get(service) == Some(&response) {
            self.troubles.remove(service);
            return Written::Same;
        }
        match self.put(service, &response) {
            Ok(()) => {
                self.troubles.remove(service);
                self.written.insert(service.to_owned(), response);
                Written::New
            }
            Err(error) => {
                let file = file_of(&self.folder, service);
                let remedy = "let the controller write into the folder, or name another under capacity.endpoints";
                let why = format!("write endpoints to {}: {error}; {remedy}", file.display());
                let before = self.troubles.insert(service.to_owned(), why.clone());
                Written::Failed { is_news: before.as_ref() != Some(&why), why }
            }
        }
    }

    /// Whether a service has a file.
    pub(crate) fn is_there(&self, service: &str) -> bool {
        file_of(&self.folder, service).is_file()
    }

    fn put(&self, service: &str, response: &Value) -> std::io::Result<()> {
        std::fs::create_dir_all(&self.folder)?;
        let file = file_of(&self.folder, service);
        let beside = file.with_extension("new");
        std::fs::write(&beside, response.to_string())?;
        std::fs::rename(&beside, &file)
    }

    /// What stands against files that are not written.
    pub(crate) fn troubles(&self) -> impl Iterator<Item = &String> {
        self.troubles.values()
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
        let rows: Vec<(String, bool, u64)> = endpoints(&Assignment::of("shop", &instances, place).discovery_response())
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
        let one = Assignment::of("shop", &[a.clone(), b.clone()], place).discovery_response();
        assert_eq!(one, Assignment::of("shop", &[b.clone(), a], place).discovery_response(), "whatever their order");
        assert_eq!(files.write("shop", one.clone()), Written::New);
        assert_eq!(files.write("shop", one), Written::Same);
        let other = Assignment::of("shop", &[b], place).discovery_response();
        assert_eq!(files.write("shop", other.clone()), Written::New);
        let read = std::fs::read_to_string(file_of(&folder.path().join("eds"), "shop")).unwrap();
        assert_eq!(serde_json::from_str::<Value>(&read).unwrap(), other);
    }

    #[test]
    fn a_folder_that_cannot_be_written_is_told_once_with_its_path_and_remedy() {
        let folder = tempfile::tempdir().unwrap();
        let taken = folder.path().join("taken");
        std::fs::write(&taken, "a file where the folder is to be").unwrap();
        let mut files = EndpointFiles::in_folder(taken.join("eds"));
        let response =
            || Assignment::of("shop", &[instance("a", InstanceState::Ready, "Small")], place).discovery_response();
        let Written::Failed { why, is_news } = files.write("shop", response()) else { panic!() };
        assert!(is_news && why.contains("taken/eds/shop.json: ") && why.contains("capacity.endpoints"), "{why}");
        let again = files.write("shop", Value::Null);
        assert_eq!(again, Written::Failed { why: why.clone(), is_news: false }, "whatever was to be written");
        assert!(files.troubles().eq([&why]));
        let Written::Failed { is_news, .. } = files.write("other", response()) else { panic!() };
        assert!(is_news, "another file");

        std::fs::remove_file(&taken).unwrap();
        assert_eq!(files.write("shop", response()), Written::New);
        assert_eq!(files.troubles().count(), 1, "of the other file");
        std::fs::remove_dir_all(&taken).unwrap();
        std::fs::write(&taken, "").unwrap();
        let Written::Failed { is_news, .. } = files.write("shop", Value::Null) else { panic!() };
        assert!(is_news, "it had been written in between");
    }

    #[test]
    fn a_file_is_the_same_byte_by_byte() {
        let instances = [instance("a", InstanceState::Ready, "Small")];
        let expected = [
            r#"{"resources":[{"@type":"type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment","cluster"#,
            r#"_name":"shop","endpoints":[{"lb_endpoints":[{"endpoint":{"address":{"socket_address":{"address":"127"#,
            r#".0.0.1","port_value":8080}}},"health_status":"HEALTHY","load_balancing_weight":100,"metadata":{"filt"#,
            r#"er_metadata":{"envoy.lb":{"pool":"here","shape":"Small","tier":"standard","warm":true}}}}],"locality"#,
            r#"":{"region":"eu-west"}}]}],"version_info":"b99c2174c20e6e21"}"#,
        ];
        assert_eq!(Assignment::of("shop", &instances, place).discovery_response().to_string(), expected.concat());
    }
}
