//! What groups are called in a cluster: names that are the same each time, bounded, and valid whatever people call things.
//!
//! The name is for people and ends in a digest of the group, so two groups that look alike stay apart. The exact names of
//! service, pool and shape stand in annotations, which may hold any text; the label is the name, which selectors need.

use forebay_plan::capacity::Group;
use sha2::{Digest, Sha256};

/// Who writes, in `managedFields` and conflicts.
pub(super) const FIELD_MANAGER: &str = "forebay";
/// Label on Deployments and pods: the name of their group.
pub(super) const GROUP: &str = "forebay.dev/group";
/// Label on Deployments and pods that only keep room: the name of their pool's placeholders.
pub(super) const PLACEHOLDER: &str = "forebay.dev/placeholder";
/// Annotations with the exact names.
pub(super) const SERVICE: &str = "forebay.dev/service";
pub(super) const POOL: &str = "forebay.dev/pool";
pub(super) const SHAPE: &str = "forebay.dev/shape";
/// Annotation: the generation of the order that was last written.
pub(super) const GENERATION: &str = "forebay.dev/generation";
/// Annotation: the number of the order, where more are kept until those of another shape are ready.
pub(super) const TARGET: &str = "forebay.dev/target";
/// Annotation: since when more are kept, unix milliseconds.
pub(super) const HELD_SINCE: &str = "forebay.dev/held-since-ms";
/// Annotation: for what, as names of groups with the number that each is to have ready: `name=3 other=1`.
pub(super) const HELD_FOR: &str = "forebay.dev/held-for";
/// Annotation: digest of what was written, so that the same is not written again.
pub(super) const DIGEST: &str = "forebay.dev/digest";
/// Annotation of pods: digest of what they were made of but for their shape; pods of the same may become each other.
pub(super) const KIN: &str = "forebay.dev/kin";
/// Annotation of pods: the name of the group that they are moved to, and since when, unix milliseconds.
pub(super) const MOVES_TO: &str = "forebay.dev/moves-to";
pub(super) const MOVES_SINCE: &str = "forebay.dev/moves-since-ms";
/// Annotation of pods: the name of a group that they could not be moved to.
pub(super) const STAYS: &str = "forebay.dev/not-moved-to";
/// Label by which ReplicaSets tell the versions of a template apart.
pub(super) const TEMPLATE: &str = "pod-template-hash";
/// Annotation of Kubernetes: the version of a Deployment's template, on it and on its ReplicaSets.
pub(super) const REVISION: &str = "deployment.kubernetes.io/revision";
/// Annotation of Kubernetes: which pods of a ReplicaSet go first, the lowest first, among equally ready ones.
pub(super) const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";
/// The ConfigMap that holds the newest generation that was taken.
pub(super) const LEDGER: &str = "forebay-order";
/// The ConfigMaps that hold who was seen, each with a number after it.
pub(super) const ROSTER: &str = "forebay-seen";

/// Longest name of a Deployment: pods add 17 characters to it, and their host names have 63.
const NAME_MAX: usize = 46;
const DIGEST_HEX: usize = 8;

/// The name of a group's Deployment.
pub(super) fn group_name(group: &Group) -> String {
    bounded("fb", &[&group.service, &group.pool, &group.shape])
}

/// The name of a pool's placeholders.
pub(super) fn placeholder_name(pool: &str) -> String {
    bounded("fb-room", &[pool])
}

/// Hexadecimal digest of parts, each apart from the next.
pub(super) fn digest(parts: &[&str]) -> String {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update(part.len().to_le_bytes());
        hasher.update(part.as_bytes());
    }
    hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn bounded(prefix: &str, parts: &[&str]) -> String {
    let readable = parts.iter().fold(prefix.to_owned(), |name, part| format!("{name}-{part}")).to_lowercase();
    let valid = readable.chars().map(|c| if c.is_ascii_lowercase() || c.is_ascii_digit() { c } else { '-' });
    let mut name: String = valid.take(NAME_MAX - DIGEST_HEX - 1).collect();
    name.truncate(name.trim_end_matches('-').len());
    format!("{name}-{}", digest(parts).chars().take(DIGEST_HEX).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_valid_bounded_and_never_shared() {
        let group = |service: &str, pool: &str, shape: &str| Group {
            service: service.to_owned(),
            pool: pool.to_owned(),
            shape: shape.to_owned(),
        };
        let groups = [
            group("web", "spot", "XL"),
            group("web", "spot", "xl"),
            group("web-spot", "", "xl"),
            group("Größe/1", "eu west", "--"),
            group(&"a".repeat(300), "p", "s"),
            group(&"a".repeat(301), "p", "s"),
        ];
        let mut names: Vec<String> = groups.iter().map(group_name).collect();
        for name in &names {
            let is_valid = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
            assert!(name.len() <= NAME_MAX && name.chars().all(is_valid), "{name}");
            assert!(name.starts_with("fb-") && !name.contains("--------"), "{name}");
        }
        assert_eq!(names.first().map(String::as_str), Some(group_name(&groups[0]).as_str()));
        names.sort();
        names.dedup();
        assert_eq!(names.len(), groups.len());
    }
}
