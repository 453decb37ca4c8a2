//! One gRPC stream: hears what its proxy asks and what the capacity loop tells, and says what follows from both.

use std::future::{Ready, ready};
use std::marker::PhantomData;
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::server::StreamingService;
use tonic::{Request, Response, Status, Streaming};

use super::conversation::Conversation;
use super::subscription::Meaning;
use crate::metrics::xds::StreamGauge;
use crate::state::Shared;

/// What all streams share.
#[derive(Clone)]
pub(super) struct Streams {
    pub(super) shared: Arc<Shared>,
    pub(super) stopping: watch::Receiver<bool>,
    /// For further streams.
    pub(super) room: Arc<Semaphore>,
}

/// A call's method, as the gRPC library asks for it.
pub(super) struct Method<C> {
    streams: Streams,
    conversation: PhantomData<C>,
}

impl<C> Method<C> {
    pub(super) fn of(streams: Streams) -> Self {
        Self { streams, conversation: PhantomData }
    }
}

impl<C: Conversation> StreamingService<C::Request> for Method<C> {
    type Response = C::Response;
    type ResponseStream = ReceiverStream<Result<C::Response, Status>>;
    type Future = Ready<Result<Response<Self::ResponseStream>, Status>>;

    fn call(&mut self, request: Request<Streaming<C::Request>>) -> Self::Future {
        let Streams { shared, stopping, room } = self.streams.clone();
        let Ok(permit) = room.try_acquire_owned() else {
            shared.metrics.xds.refused_streams.inc();
            return ready(Err(Status::resource_exhausted("too many streams; use one aggregated stream per proxy")));
        };
        // One is under way at a time, and a status may follow it.
        let (says, hears) = mpsc::channel(2);
        let stream = Stream {
            _counted: shared.metrics.xds.streams.opened(),
            _permit: permit,
            conversation: C::default(),
            node: None,
            shared,
        };
        tokio::spawn(stream.run(request.into_inner(), says, stopping));
        ready(Ok(Response::new(ReceiverStream::new(hears))))
    }
}

struct Stream<C> {
    shared: Arc<Shared>,
    conversation: C,
    /// Who asks, as it has said.
    node: Option<String>,
    _counted: StreamGauge,
    _permit: OwnedSemaphorePermit,
}

impl<C: Conversation> Stream<C> {
    /// Until either side ends it.
    async fn run(
        mut self,
        mut requests: Streaming<C::Request>,
        says: mpsc::Sender<Result<C::Response, Status>>,
        mut stopping: watch::Receiver<bool>,
    ) {
        let mut told = self.shared.capacity.endpoints.hear();
        let status = loop {
            let resources = told.borrow_and_update().clone();
            let response = resources.and_then(|resources| self.conversation.say(&resources));
            if let Some(response) = response {
                self.shared.metrics.xds.pushes.inc();
                if says.send(Ok(response)).await.is_err() {
                    return;
                }
            }
            tokio::select! {
                request = requests.message() => match request {
                    Ok(Some(request)) => if let Err(status) = self.hear(request) { break status },
                    Ok(None) => return,
                    // It has broken off, and nobody hears this, or it said what nobody understands.
                    Err(status) => break status,
                },
                changed = told.changed() => if changed.is_err() { return },
                () = says.closed() => return,
                _ = stopping.wait_for(|stopping| *stopping) => break Status::unavailable("the controller stops"),
            }
        };
        // Whoever does not read it any more does not need it.
        let _ = says.try_send(Err(status));
    }

    fn hear(&mut self, request: C::Request) -> Result<(), Status> {
        if let Some(node) = C::node(&request) {
            self.node = Some(node.id.clone());
        }
        let node = self.node.as_deref().unwrap_or_default();
        let meaning = self.conversation.hear(request).map_err(|error| {
            tracing::warn!(node, %error, "a proxy's stream of endpoints is ended");
            Status::resource_exhausted(error.to_string())
        })?;
        let metrics = &self.shared.metrics.xds;
        match meaning {
            Meaning::Taken => {
                metrics.acks.inc();
            }
            Meaning::Refused(why) => {
                metrics.nacks.inc();
                tracing::error!(node, why, "a proxy refuses endpoints; it keeps the last that it took");
            }
            Meaning::Asked | Meaning::Crossed => self.note_unknown(node),
            Meaning::OtherType => {
                tracing::warn!(node, "a proxy asks for more than endpoints; it gets none of it here");
            }
        }
        Ok(())
    }

    fn note_unknown(&self, node: &str) {
        let Some(resources) = self.shared.capacity.endpoints.newest() else { return };
        let unknown = self.conversation.unknown(&resources);
        if !unknown.is_empty() {
            tracing::warn!(node, ?unknown, "a proxy asks for endpoints of services that are not in capacity.services");
        }
    }
}
