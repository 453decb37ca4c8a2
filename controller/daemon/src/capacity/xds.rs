//! Endpoints over gRPC: Envoy's EDS as a server, for proxies that ask instead of watching a file.
//!
//! `EndpointDiscoveryService` and `AggregatedDiscoveryService` of xDS v3, each in both forms, state of the world and
//! incremental, for `ClusterLoadAssignment` only, on a listener of its own (`capacity.xds.listen`).
//!
//! ```text
//! capacity loop -> resources (one value, replaced as a whole) -> each stream's conversation -> its proxy
//! ```
//!
//! What holds: before the first turn of a start nothing is said, so a proxy that comes back keeps what it has until it is
//! known what there is; afterwards every service has an answer, also one without instances and one that is not
//! configured any more. A stream has one response under
//! way; streams and what each may ask for are bounded; one that does not read, or went away without a word, is found by
//! HTTP/2 pings. When the daemon stops, streams end with `UNAVAILABLE`, and Envoy goes on with what it has and tries again.
//!
//! What it deliberately does not do: TLS and authentication, which are the mesh's; like the rest of the daemon it listens on
//! loopback unless told otherwise. Clusters, routes and listeners are not its business.
//!
//! Source: "xDS REST and gRPC protocol" in Envoy's documentation; `eds.proto` and `ads.proto`.

mod conversation;
mod messages;
mod resources;
mod stream;
mod subscription;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use axum::routing::post;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;
use tonic_prost::ProstCodec;

use crate::config::Config;
use crate::config::capacity::XdsSettings;
use crate::serve::{self, Speaks};
use crate::state::Shared;
use conversation::{Conversation, Delta, StateOfTheWorld};
pub(crate) use resources::Resources;
use stream::Streams;

/// Envoy opens one stream for all clusters (ADS) or one per cluster; each costs a task and about 20 KB: 80 MB at the bound.
const MAX_STREAMS: usize = 4096;
/// [`subscription::MAX_NAMES`] names of 250 bytes.
const MAX_REQUEST_BYTES: usize = 1 << 20;

/// Where the services are called.
const PATHS: [(&str, bool); 4] = [
    ("/envoy.service.endpoint.v3.EndpointDiscoveryService/StreamEndpoints", false),
    ("/envoy.service.endpoint.v3.EndpointDiscoveryService/DeltaEndpoints", true),
    ("/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources", false),
    ("/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources", true),
];

/// What the capacity loop tells and streams hear; `None` before the first turn.
pub(crate) struct Told(watch::Sender<Option<Arc<Resources>>>);

impl Default for Told {
    fn default() -> Self {
        Self(watch::Sender::new(None))
    }
}

impl Told {
    /// Tells streams, if it is news.
    pub(crate) fn tell(&self, resources: Resources) {
        self.0.send_if_modified(|told| {
            let is_news = told.as_deref() != Some(&resources);
            if is_news {
                *told = Some(Arc::new(resources));
            }
            is_news
        });
    }

    /// What was told last.
    pub(super) fn newest(&self) -> Option<Arc<Resources>> {
        self.0.borrow().clone()
    }

    fn hear(&self) -> watch::Receiver<Option<Arc<Resources>>> {
        self.0.subscribe()
    }
}

/// Listened on, and not served yet.
pub(crate) struct Listening {
    listener: TcpListener,
    port_file: Option<PathBuf>,
}

/// Listens, if it is configured; before anything else is started, so that a port that is taken starts nothing.
///
/// # Errors
/// The address cannot be listened on.
pub(crate) async fn listen(config: &Config) -> anyhow::Result<Option<Listening>> {
    let settings = config.capacity.as_ref().and_then(|capacity| capacity.xds.clone());
    let Some(XdsSettings { listen, port_file }) = settings else { return Ok(None) };
    let listener = TcpListener::bind(listen)
        .await
        .with_context(|| format!("listen on {listen}: choose another address with capacity.xds.listen"))?;
    Ok(Some(Listening { listener, port_file }))
}

impl Listening {
    /// Serves until `stopping` becomes true and the streams have ended.
    ///
    /// # Errors
    /// The port file cannot be written.
    pub(crate) fn serve(
        self,
        shared: &Arc<Shared>,
        stopping: &watch::Receiver<bool>,
    ) -> anyhow::Result<JoinHandle<()>> {
        let address = self.listener.local_addr().context("read the address listened on for xDS")?;
        let router = router(Arc::clone(shared), stopping.clone());
        let serving = tokio::spawn(serve::serve(self.listener, router, Speaks::Grpc, stopping.clone()));
        if let Some(file) = &self.port_file {
            serve::write_port_file(file, address)?;
        }
        tracing::info!(%address, "endpoints are served over xDS");
        Ok(serving)
    }
}

fn router(shared: Arc<Shared>, stopping: watch::Receiver<bool>) -> Router {
    let streams = Streams { shared, stopping, room: Arc::new(Semaphore::new(MAX_STREAMS)) };
    let add = |router: Router<Streams>, (path, is_delta)| {
        router.route(path, if is_delta { post(call::<Delta>) } else { post(call::<StateOfTheWorld>) })
    };
    PATHS.into_iter().fold(Router::new(), add).with_state(streams)
}

async fn call<C: Conversation>(State(streams): State<Streams>, request: Request) -> Response {
    let codec = ProstCodec::<C::Response, C::Request>::default();
    let mut grpc = tonic::server::Grpc::new(codec).max_decoding_message_size(MAX_REQUEST_BYTES);
    grpc.streaming(stream::Method::<C>::of(streams), request).await.map(Body::new)
}
