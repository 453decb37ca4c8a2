use serde_json::{Value, json};

use super::*;

const NOW_MS: u64 = 1_800_000_000_000;

fn pod(name: &str, status: Value) -> Pod {
    let object = json!({
        "metadata": { "name": name, "uid": name, "creationTimestamp": "2026-11-01T00:00:00Z" },
        "status": status,
    });
    serde_json::from_value(object).expect("a pod")
}

fn ready_since(time: &str) -> Value {
    json!({
        "phase": "Running", "podIP": "10.0.0.7",
        "conditions": [
            { "type": "PodScheduled", "status": "True" },
            { "type": "Ready", "status": "True", "lastTransitionTime": time },
        ],
    })
}

fn group() -> Group {
    Group { service: "web".to_owned(), pool: "spot".to_owned(), shape: "Small".to_owned() }
}

fn seen(pod: &Pod, warm_s: u64) -> Instance {
    instance(pod, group(), Serving { port: 80, warm_after: Duration::from_secs(warm_s) }, NOW_MS)
}

fn member(name: &str, age_ms: u64, state: InstanceState) -> Member {
    let pod = pod(name, json!({}));
    let instance = Instance { state, requested_ms: NOW_MS - age_ms, ..seen(&pod, 0) };
    Member { pod: Arc::new(pod), instance }
}

fn names<'a>(members: impl IntoIterator<Item = &'a Member>) -> Vec<&'a str> {
    members.into_iter().map(|member| member.pod.metadata.name.as_str()).collect()
}

#[test]
fn a_pod_goes_through_the_states_of_an_instance() {
    let scheduled = json!({ "phase": "Pending", "conditions": [{ "type": "PodScheduled", "status": "True" }] });
    let waiting = json!({ "phase": "Pending", "conditions": [{ "type": "PodScheduled", "status": "False" }] });
    let ready = ready_since("2026-11-01T00:05:00Z");
    let states = [json!({}), waiting, scheduled, ready.clone(), json!({ "phase": "Failed" })];
    let states = states.map(|status| seen(&pod("a", status), 0).state);
    let expected = [
        InstanceState::Requested,
        InstanceState::Requested,
        InstanceState::Starting,
        InstanceState::Ready,
        InstanceState::Gone,
    ];
    assert_eq!(states, expected);
    let serving = seen(&pod("a", ready.clone()), 60);
    assert_eq!(serving.ready_ms.map(|ready_ms| ready_ms - serving.requested_ms), Some(360_000));
    assert_eq!(serving.address.map(|address| address.to_string()).as_deref(), Some("10.0.0.7:80"));
    // Warm a century from now.
    let warming = seen(&pod("a", ready.clone()), 100 * 365 * 86_400);
    assert_eq!((warming.state, warming.ready_ms), (InstanceState::Warming, None));
    let mut going = pod("a", ready);
    going.metadata.deletion_timestamp = going.metadata.creation_timestamp;
    assert_eq!(seen(&going, 0).state, InstanceState::Draining);
}

#[test]
fn notices_of_all_kinds_are_seen() {
    let node = |name: &str, taint: &str, condition: &str| -> Node {
        let object = json!({
            "metadata": { "name": name },
            "spec": { "taints": [{ "key": taint, "effect": "NoSchedule" }] },
            "status": { "conditions": [{ "type": condition, "status": "True" }] },
        });
        serde_json::from_value(object).expect("a node")
    };
    let nodes = [
        node("aws", "aws-node-termination-handler/spot-itn", "Ready"),
        node("karpenter", "karpenter.sh/disrupted", "Ready"),
        node("gke", "cloud.google.com/impending-node-termination", "Ready"),
        node("unreachable", "node.kubernetes.io/unreachable", "Ready"),
        node("azure", "example.com/own", "PreemptScheduled"),
        node("fine", "example.com/own", "Ready"),
    ];
    let interrupted = interrupted_nodes(&nodes.map(Arc::new));
    assert_eq!(interrupted.iter().collect::<Vec<_>>(), ["aws", "azure", "gke", "karpenter", "unreachable"]);
    let target = json!({ "phase": "Running", "conditions": [{ "type": "DisruptionTarget", "status": "True" }] });
    assert!(seen(&pod("a", target), 0).is_interrupted);
}

#[test]
fn what_is_not_ready_goes_first_then_what_goes_anyway_then_the_youngest() {
    let mut members = vec![
        member("old", 900, InstanceState::Ready),
        member("young", 100, InstanceState::Ready),
        member("noticed", 800, InstanceState::Ready),
        member("warming", 700, InstanceState::Warming),
        member("waiting", 600, InstanceState::Requested),
        member("draining", 1, InstanceState::Draining),
    ];
    members[2].instance.is_interrupted = true;
    assert_eq!(names(victims(&members, 9)), ["waiting", "warming", "noticed", "young", "old"]);
    assert_eq!(names(victims(&members, 2)), ["waiting", "warming"]);
}

#[test]
fn what_the_number_has_no_room_for_counts_as_draining() {
    let mut members = vec![
        member("old", 900, InstanceState::Ready),
        member("marked", 800, InstanceState::Ready),
        member("young", 100, InstanceState::Ready),
    ];
    Arc::make_mut(&mut members[1].pod).metadata.annotations.insert(DELETION_COST.to_owned(), "-1000".to_owned());
    mark_surplus(&mut members, 3);
    assert!(members.iter().all(Member::is_wanted));
    mark_surplus(&mut members, 1);
    assert_eq!(names(members.iter().filter(|member| member.is_wanted())), ["old"]);

    // While a template is rolled out there is one more for a while.
    let mut rolling = vec![member("old", 900, InstanceState::Ready), member("new", 1, InstanceState::Starting)];
    Arc::make_mut(&mut rolling[1].pod).metadata.labels.insert(TEMPLATE.to_owned(), "2".to_owned());
    mark_surplus(&mut rolling, 1);
    assert!(rolling.iter().all(Member::is_wanted));
}
