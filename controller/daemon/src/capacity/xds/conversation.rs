//! The protocol as two state machines, requests in and responses out: state of the world, and incremental ("delta").
//!
//! No I/O and no clock: a stream feeds requests as they come ([`Conversation::hear`]) and asks what is to be said
//! ([`Conversation::say`]) after each and whenever resources changed.
//!
//! - *Names that do not exist.* State of the world cannot say so for endpoints: nothing is sent of them, Envoy goes on without
//!   after its `initial_fetch_timeout` and keeps what it had. An empty assignment would take away what works, for a
//!   service that some other controller tells of. Services that were configured here once do exist. The incremental form lists them as removed, as it must.
//! - *Asked again.* A request in state of the world that neither answers a response nor changes the names wants the same
//!   again: Envoy asks so when a cluster was replaced and is warmed anew, and waits for it.
//! - *Requests that cross a response* are not answers to it, and with one response under way they are no late answers either:
//!   they say what is wanted. Nothing is sent for them until the answer has come, as the protocol asks for; but what such
//!   a request left out and a later one wants again is sent again, or the proxy would wait for it.
//! - *Other types* on an aggregated stream are heard and not answered; the endpoints on the same stream go on.
//!
//! Source: "xDS REST and gRPC protocol" in Envoy's documentation.

use super::messages::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse, ErrorDetail, NamedResource,
    Node,
};
use super::resources::Resources;
use super::subscription::{Handshake, Meaning, Subscription, TooManyNames};
use crate::capacity::endpoints::ASSIGNMENT_TYPE;

/// One stream's side of the protocol.
pub(super) trait Conversation: Default + Send + 'static {
    type Request: prost::Message + Default + 'static;
    type Response: prost::Message + Default + 'static;

    /// Who asks, where the request says so.
    fn node(request: &Self::Request) -> Option<&Node>;

    /// Takes a request.
    ///
    /// # Errors
    /// The stream asks for more than there can be; it is to be ended.
    fn hear(&mut self, request: Self::Request) -> Result<Meaning, TooManyNames>;

    /// What is to be sent now, if anything.
    fn say(&mut self, resources: &Resources) -> Option<Self::Response>;

    /// Names that are asked for and do not exist.
    fn unknown(&self, resources: &Resources) -> Vec<&str>;
}

/// An empty type is that of the service called.
fn is_of_assignments(type_url: &str) -> bool {
    type_url.is_empty() || type_url == ASSIGNMENT_TYPE
}

fn refusal(detail: Option<ErrorDetail>) -> Option<String> {
    detail.map(|detail| detail.message)
}

/// Each request names everything that is wanted.
#[derive(Clone, Debug, Default)]
pub(super) struct StateOfTheWorld {
    subscription: Subscription,
    handshake: Handshake,
    has_asked: bool,
}

impl Conversation for StateOfTheWorld {
    type Request = DiscoveryRequest;
    type Response = DiscoveryResponse;

    fn node(request: &DiscoveryRequest) -> Option<&Node> {
        request.node.as_ref()
    }

    fn hear(&mut self, request: DiscoveryRequest) -> Result<Meaning, TooManyNames> {
        if !is_of_assignments(&request.type_url) {
            return Ok(Meaning::OtherType);
        }
        let meaning = self.handshake.meaning(&request.response_nonce, refusal(request.error_detail));
        self.has_asked = true;
        let changed = self.subscription.replace(request.resource_names)?;
        if matches!(meaning, Meaning::Asked | Meaning::Crossed) && !changed {
            self.subscription.forget_sent();
        }
        Ok(meaning)
    }

    fn say(&mut self, resources: &Resources) -> Option<DiscoveryResponse> {
        if !self.has_asked || !self.handshake.is_free() {
            return None;
        }
        let news = self.subscription.take_news(resources);
        if news.is_empty() {
            return None;
        }
        Some(DiscoveryResponse {
            version_info: resources.version.clone(),
            resources: news.into_iter().map(|(_, one)| one.body.clone()).collect(),
            type_url: ASSIGNMENT_TYPE.to_owned(),
            nonce: self.handshake.begin(),
        })
    }

    fn unknown(&self, resources: &Resources) -> Vec<&str> {
        self.subscription.unknown(resources)
    }
}

/// Each request says what is wanted more and less.
#[derive(Clone, Debug, Default)]
pub(super) struct Delta {
    subscription: Subscription,
    handshake: Handshake,
    has_asked: bool,
}

impl Conversation for Delta {
    type Request = DeltaDiscoveryRequest;
    type Response = DeltaDiscoveryResponse;

    fn node(request: &DeltaDiscoveryRequest) -> Option<&Node> {
        request.node.as_ref()
    }

    fn hear(&mut self, request: DeltaDiscoveryRequest) -> Result<Meaning, TooManyNames> {
        if !is_of_assignments(&request.type_url) {
            return Ok(Meaning::OtherType);
        }
        // Without a nonce it is no answer; with whichever nonce, what it wants more and less counts.
        let meaning = match request.response_nonce.as_str() {
            "" => Meaning::Asked,
            nonce => self.handshake.meaning(nonce, refusal(request.error_detail)),
        };
        let is_first = !std::mem::replace(&mut self.has_asked, true);
        if is_first || !request.resource_names_subscribe.is_empty() {
            self.subscription.add(request.resource_names_subscribe)?;
        }
        self.subscription.remove(&request.resource_names_unsubscribe);
        if is_first {
            self.subscription.has(request.initial_resource_versions);
        }
        Ok(meaning)
    }

    fn say(&mut self, resources: &Resources) -> Option<DeltaDiscoveryResponse> {
        if !self.has_asked || !self.handshake.is_free() {
            return None;
        }
        let removed_resources = self.subscription.take_gone(resources);
        let news = self.subscription.take_news(resources);
        if news.is_empty() && removed_resources.is_empty() {
            return None;
        }
        let resources_sent = news.into_iter().map(|(name, one)| NamedResource {
            version: one.version.clone(),
            resource: Some(one.body.clone()),
            name: name.clone(),
        });
        Some(DeltaDiscoveryResponse {
            system_version_info: resources.version.clone(),
            resources: resources_sent.collect(),
            type_url: ASSIGNMENT_TYPE.to_owned(),
            nonce: self.handshake.begin(),
            removed_resources,
        })
    }

    fn unknown(&self, resources: &Resources) -> Vec<&str> {
        self.subscription.unknown(resources)
    }
}
