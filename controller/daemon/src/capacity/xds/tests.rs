//! The protocol without a network: what is said to which requests, and a proxy at the other end of slow wires as oracle.

mod grpc;
mod wires;

use std::collections::BTreeMap;
use std::net::SocketAddr;

use super::conversation::{Conversation, Delta, StateOfTheWorld};
use super::messages::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse, ErrorDetail,
};
use super::resources::Resources;
use super::subscription::{MAX_NAMES, Meaning, TooManyNames};
use crate::capacity::endpoints::{ASSIGNMENT_TYPE, Assignment, Endpoint, Health};

/// Services by name, each with endpoints on these ports.
fn resources(services: &[(&str, &[u16])]) -> Resources {
    let endpoint = |port: &u16| Endpoint {
        address: SocketAddr::from(([127, 0, 0, 1], *port)),
        health: Health::Healthy,
        weight: 7,
        is_warm: true,
        tier: "standard".to_owned(),
        shape: "Small".to_owned(),
        pool: "near".to_owned(),
    };
    let assignments: Vec<Assignment> = services
        .iter()
        .map(|(service, ports)| Assignment {
            service: (*service).to_owned(),
            regions: [("here".to_owned(), ports.iter().map(endpoint).collect())].into(),
        })
        .collect();
    Resources::of(&assignments)
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn asking(wanted: &[&str], nonce: &str) -> DiscoveryRequest {
    DiscoveryRequest { resource_names: names(wanted), response_nonce: nonce.to_owned(), ..DiscoveryRequest::default() }
}

/// The services that a response tells of.
fn told(response: &DiscoveryResponse) -> Vec<String> {
    let name = |any: &prost_types::Any| {
        let assignment: super::messages::ClusterLoadAssignment = prost::Message::decode(&any.value[..]).unwrap();
        assignment.cluster_name
    };
    assert_eq!(response.type_url, ASSIGNMENT_TYPE);
    response.resources.iter().map(name).collect()
}

#[test]
fn what_is_wanted_is_told_once_and_then_what_is_new() {
    let mut stream = StateOfTheWorld::default();
    let first = resources(&[("cart", &[]), ("shop", &[1])]);
    assert_eq!(stream.say(&first), None, "nobody has asked");
    assert_eq!(stream.hear(asking(&["shop"], "")).unwrap(), Meaning::Asked);
    let response = stream.say(&first).unwrap();
    assert_eq!(told(&response), ["shop"]);
    assert_eq!(response.version_info, first.version);
    let second = resources(&[("cart", &[3]), ("shop", &[1, 2])]);
    assert_eq!(stream.say(&second), None, "one at a time");
    assert_eq!(stream.hear(asking(&["shop"], &response.nonce)).unwrap(), Meaning::Taken);
    let response = stream.say(&second).unwrap();
    assert_eq!(told(&response), ["shop"]);
    stream.hear(asking(&["shop"], &response.nonce)).unwrap();
    assert_eq!(stream.say(&second), None, "no news");
    let third = resources(&[("cart", &[4]), ("shop", &[1, 2])]);
    assert_eq!(stream.say(&third), None, "no news of what is wanted");
    assert_eq!(stream.hear(asking(&["shop", "cart"], &response.nonce)).unwrap(), Meaning::Asked);
    assert_eq!(told(&stream.say(&third).unwrap()), ["cart"]);
}

#[test]
fn what_was_refused_is_not_sent_again_before_it_changes() {
    let mut stream = StateOfTheWorld::default();
    stream.hear(asking(&["shop"], "")).unwrap();
    let response = stream.say(&resources(&[("shop", &[1])])).unwrap();
    let error_detail = Some(ErrorDetail { code: 3, message: "no such port".to_owned() });
    let refusal = DiscoveryRequest { error_detail, ..asking(&["shop"], &response.nonce) };
    assert_eq!(stream.hear(refusal).unwrap(), Meaning::Refused("no such port".to_owned()));
    assert_eq!(stream.say(&resources(&[("shop", &[1])])), None);
    assert!(stream.say(&resources(&[("shop", &[2])])).is_some());
}

#[test]
fn everything_is_told_to_who_names_nothing_or_a_star_and_nothing_to_who_names_nothing_any_more() {
    let there = resources(&[("cart", &[]), ("shop", &[1])]);
    for wanted in [&[][..], &["*"], &["*", "shop"]] {
        let mut stream = StateOfTheWorld::default();
        stream.hear(asking(wanted, "")).unwrap();
        let response = stream.say(&there).unwrap();
        assert_eq!(told(&response), ["cart", "shop"], "{wanted:?}: also what has no instances");
        stream.hear(asking(wanted, &response.nonce)).unwrap();
        let later = stream.say(&resources(&[("cart", &[]), ("shop", &[2])])).unwrap();
        assert_eq!(told(&later), ["shop"]);
    }
    let mut stream = StateOfTheWorld::default();
    stream.hear(asking(&["shop"], "")).unwrap();
    let nonce = stream.say(&there).unwrap().nonce;
    stream.hear(asking(&[], &nonce)).unwrap();
    assert_eq!(stream.say(&resources(&[("shop", &[2])])), None);
}

#[test]
fn what_does_not_exist_is_not_told_empty_and_comes_when_it_does() {
    let mut stream = StateOfTheWorld::default();
    stream.hear(asking(&["shpo"], "")).unwrap();
    let there = resources(&[("shop", &[1])]);
    assert_eq!(stream.say(&there), None);
    assert_eq!(stream.unknown(&there), ["shpo"]);
    assert_eq!(told(&stream.say(&resources(&[("shpo", &[])])).unwrap()), ["shpo"]);
}

#[test]
fn the_same_asked_again_is_told_again() {
    let mut stream = StateOfTheWorld::default();
    let there = resources(&[("cart", &[]), ("shop", &[1])]);
    stream.hear(asking(&["shop"], "")).unwrap();
    let first = stream.say(&there).unwrap().nonce;
    stream.hear(asking(&["shop"], &first)).unwrap();
    assert_eq!(stream.hear(asking(&["shop"], &first)).unwrap(), Meaning::Asked);
    let second = stream.say(&there).unwrap();
    assert_eq!(told(&second), ["shop"]);
    // It crosses the response: not wanted for a moment, then wanted anew.
    assert_eq!(stream.hear(asking(&["cart"], &first)).unwrap(), Meaning::Crossed);
    assert_eq!(stream.hear(asking(&["shop"], &first)).unwrap(), Meaning::Crossed);
    assert_eq!(stream.say(&there), None, "the answer is on its way");
    assert_eq!(stream.hear(asking(&["shop"], &second.nonce)).unwrap(), Meaning::Taken);
    assert_eq!(told(&stream.say(&there).unwrap()), ["shop"]);
}

#[test]
fn other_types_and_too_many_names_are_not_served() {
    let mut stream = StateOfTheWorld::default();
    let type_url = "type.googleapis.com/envoy.config.cluster.v3.Cluster".to_owned();
    let clusters = DiscoveryRequest { type_url, ..asking(&[], "") };
    assert_eq!(stream.hear(clusters).unwrap(), Meaning::OtherType);
    assert_eq!(stream.say(&resources(&[("shop", &[1])])), None);
    let many = (0..=MAX_NAMES).map(|number| number.to_string()).collect();
    let request = DiscoveryRequest { resource_names: many, ..asking(&[], "") };
    assert_eq!(stream.hear(request), Err(TooManyNames(MAX_NAMES + 1)));
}

fn delta(more: &[&str], less: &[&str], nonce: &str) -> DeltaDiscoveryRequest {
    DeltaDiscoveryRequest {
        resource_names_subscribe: names(more),
        resource_names_unsubscribe: names(less),
        response_nonce: nonce.to_owned(),
        ..DeltaDiscoveryRequest::default()
    }
}

fn delta_told(response: &DeltaDiscoveryResponse) -> (Vec<&str>, Vec<&str>) {
    let sent = response.resources.iter().map(|one| one.name.as_str()).collect();
    (sent, response.removed_resources.iter().map(String::as_str).collect())
}

#[test]
fn incrementally_what_is_missing_is_said_and_what_is_had_is_not() {
    let there = resources(&[("cart", &[]), ("shop", &[1])]);
    let version = |name: &str| there.by_name[name].version.clone();
    let mut stream = Delta::default();
    let had = [("shop", version("shop")), ("cart", "old".to_owned())];
    let initial_resource_versions: BTreeMap<String, String> =
        had.map(|(name, version)| (name.to_owned(), version)).into();
    let request = DeltaDiscoveryRequest { initial_resource_versions, ..delta(&["shop", "cart", "shpo"], &[], "") };
    assert_eq!(stream.hear(request).unwrap(), Meaning::Asked);
    let response = stream.say(&there).unwrap();
    assert_eq!(delta_told(&response), (vec!["cart"], vec!["shpo"]), "not what it has");
    assert_eq!(stream.hear(delta(&[], &[], &response.nonce)).unwrap(), Meaning::Taken);
    assert_eq!(stream.say(&there), None);
    // What is wanted again is told again.
    stream.hear(delta(&["shop"], &["cart"], "")).unwrap();
    let response = stream.say(&there).unwrap();
    assert_eq!(delta_told(&response), (vec!["shop"], vec![]));
    stream.hear(delta(&[], &[], &response.nonce)).unwrap();
    let later = resources(&[("cart", &[9]), ("shop", &[1]), ("shpo", &[])]);
    assert_eq!(delta_told(&stream.say(&later).unwrap()), (vec!["shpo"], vec![]));
}

#[test]
fn incrementally_everything_is_told_to_who_names_nothing_at_first() {
    let there = resources(&[("cart", &[]), ("shop", &[1])]);
    let mut stream = Delta::default();
    stream.hear(delta(&[], &[], "")).unwrap();
    let response = stream.say(&there).unwrap();
    assert_eq!(delta_told(&response), (vec!["cart", "shop"], vec![]));
    stream.hear(delta(&["shop"], &["*"], &response.nonce)).unwrap();
    let response = stream.say(&resources(&[("cart", &[5]), ("shop", &[2])])).unwrap();
    assert_eq!(delta_told(&response), (vec!["shop"], vec![]));
}

#[test]
fn messages_are_the_bytes_of_the_published_numbers() {
    // Written down by hand from the protocol files: field number << 3 | wire type, length, content.
    let there = resources(&[("s", &[80])]);
    let socket = b"\x12\x09127.0.0.1\x18\x50";
    let field = |number: u8, content: &[u8]| [&[number << 3 | 2, content.len() as u8], content].concat();
    let text = |name: &str, value: &str| {
        field(1, &[field(1, name.as_bytes()), field(2, &field(3, value.as_bytes()))].concat())
    };
    let warm = field(1, &[field(1, b"warm"), field(2, b"\x20\x01")].concat());
    let fields = [text("pool", "near"), text("shape", "Small"), text("tier", "standard"), warm].concat();
    let metadata = field(1, &[field(1, b"envoy.lb"), field(2, &fields)].concat());
    let endpoint =
        [field(1, &field(1, &field(1, socket))), b"\x10\x01".to_vec(), field(3, &metadata), field(4, b"\x08\x07")];
    let region = [field(1, &field(1, b"here")), field(2, &endpoint.concat())].concat();
    let assignment = [field(1, b"s"), field(2, &region)].concat();
    assert_eq!(there.by_name["s"].body.value, assignment);
}
