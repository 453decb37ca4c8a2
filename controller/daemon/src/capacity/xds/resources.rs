//! What there is to tell: every service's assignment as a resource, with the version that its content has.
//!
//! Versions are made of content and not counted, so a controller that was started again says the same of the same, and what
//! one proxy took another need not be asked about. The version of the whole is made of those of its parts.

use std::collections::BTreeMap;

use prost::Message;
use prost_types::Any;

use super::messages::ClusterLoadAssignment;
use crate::capacity::endpoints::{ASSIGNMENT_TYPE, Assignment, version_of};

/// A service's endpoints, ready to be sent.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Resource {
    pub(super) version: String,
    pub(super) body: Any,
}

/// All services' endpoints, by service. Those without instances are there, too, and empty.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Resources {
    pub(super) version: String,
    pub(super) by_name: BTreeMap<String, Resource>,
}

impl Resources {
    pub(crate) fn of<'a>(assignments: impl IntoIterator<Item = &'a Assignment>) -> Self {
        let resource = |assignment: &Assignment| {
            let value = ClusterLoadAssignment::from(assignment).encode_to_vec();
            let body = Any { type_url: ASSIGNMENT_TYPE.to_owned(), value };
            (assignment.service.clone(), Resource { version: assignment.version(), body })
        };
        let by_name: BTreeMap<String, Resource> = assignments.into_iter().map(resource).collect();
        let parts: Vec<&str> = by_name.iter().flat_map(|(name, one)| [name.as_str(), &one.version]).collect();
        Self { version: version_of(parts.join("\n")), by_name }
    }
}
