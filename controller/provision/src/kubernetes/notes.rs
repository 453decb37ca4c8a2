//! Events in the cluster about what was done, for people who ask `kubectl describe`.
//!
//! Best effort: an event that cannot be written changes nothing. What is said once is not said again while it stays so.

use futures_util::future::join_all;
use serde_json::json;

use super::cluster::Cluster;
use super::names::{FIELD_MANAGER, digest};

/// Events of one order; what is beyond is not said.
const EVENTS_MAX: usize = 100;
const SUFFIX_HEX: usize = 16;
/// Longest message that Kubernetes takes, in bytes.
const MESSAGE_MAX: usize = 1024;

/// What is said about a Deployment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Note {
    /// The Deployment's name.
    pub(super) about: String,
    /// In CamelCase.
    pub(super) reason: &'static str,
    pub(super) message: String,
    pub(super) is_warning: bool,
}

/// Writes events.
pub(super) async fn say(cluster: &Cluster, notes: &[Note], now_ms: u64) {
    let path = cluster.path("api/v1", "events");
    let time = jiff::Timestamp::from_millisecond(now_ms as i64).unwrap_or_default().to_string();
    let events: Vec<_> = notes
        .iter()
        .take(EVENTS_MAX)
        .map(|note| {
            let unique = digest(&[&note.about, note.reason, &note.message, &time]);
            let name = format!("{}.{}", note.about, unique.chars().take(SUFFIX_HEX).collect::<String>());
            let message: String = note.message.chars().take(MESSAGE_MAX / char::MAX.len_utf8()).collect();
            json!({
                "apiVersion": "v1",
                "kind": "Event",
                "metadata": { "name": name },
                "involvedObject": {
                    "apiVersion": "apps/v1",
                    "kind": "Deployment",
                    "name": note.about,
                    "namespace": cluster.namespace,
                },
                "reason": note.reason,
                "message": message,
                "type": if note.is_warning { "Warning" } else { "Normal" },
                "firstTimestamp": time,
                "lastTimestamp": time,
                "count": 1,
                "source": { "component": FIELD_MANAGER },
            })
        })
        .collect();
    join_all(events.iter().map(|event| cluster.create("write an event", &path, event))).await;
}
