//! Requests: from `proxy_on_context_create` to `proxy_on_delete`.
//!
//! Envoy's order at the end of a stream is response headers and body, log, done, delete; each is called if exported.
//! A local reply passes `proxy_on_response_headers` too, and its stream ends by itself. The first decision about
//! a stream stays.

use crate::stream::{Decision, Phase, Stream};
use crate::vm::AfterCall;
use crate::{
    Exchange, Headers, HostError, LocalReply, Outcome, Process, Request, Response, RootId, Settled, StreamId, VmId,
};

impl Process {
    /// A whole exchange: the request, then (if it was let through) a 200 from upstream, then the end of the
    /// stream. A paused one stays open: see [`Process::take_settled`], [`Process::finish`], [`Process::reset`].
    pub fn request(&mut self, vm: VmId, request: Request) -> Result<Exchange, HostError> {
        self.begin();
        let stream = match self.open_stream(vm, request)? {
            Opened::Over(exchange) => return Ok(exchange),
            Opened::Held(stream) => return self.peek(stream),
            Opened::Proceeding(stream) => stream,
        };
        self.end(stream, Some(Response::status(200)))
    }

    /// The request phase only: a request that was let through stays open until [`Process::finish`] or
    /// [`Process::reset`].
    pub fn open(&mut self, vm: VmId, request: Request) -> Result<Exchange, HostError> {
        self.begin();
        match self.open_stream(vm, request)? {
            Opened::Over(exchange) => Ok(exchange),
            Opened::Held(stream) | Opened::Proceeding(stream) => self.peek(stream),
        }
    }

    /// The upstream's response arrives (what [`Process::stream_response`] has not brought yet) and the stream ends.
    pub fn finish(&mut self, stream: StreamId, response: Response) -> Result<Exchange, HostError> {
        self.begin();
        self.end(stream, Some(response))
    }

    /// A part of the upstream's response arrives and more will follow: the headers the first time, then these pieces of
    /// the body.
    pub fn stream_response(&mut self, stream: StreamId, response: Response) -> Result<Exchange, HostError> {
        self.begin();
        match self.response_callbacks(stream, response, false) {
            Ok(()) => self.peek(stream),
            Err(trap) => Ok(self.trapped(stream, &trap)),
        }
    }

    /// The client goes away: log, done, delete, without response headers.
    pub fn reset(&mut self, stream: StreamId) -> Result<Exchange, HostError> {
        self.begin();
        self.end(stream, None)
    }

    /// Takes the paused streams that were let go, answered or reset since the last time, in that order.
    pub fn take_settled(&mut self) -> Vec<Settled> {
        std::mem::take(&mut self.settled)
    }

    /// How many streams of the VM are open.
    pub fn open_streams(&self, vm: VmId) -> usize {
        self.vms.get(&vm).map_or(0, |vm| vm.state().streams.len())
    }

    fn open_stream(&mut self, vm: VmId, request: Request) -> Result<Opened, HostError> {
        let root = self.root_for(vm, &request)?;
        let (count, end_of_stream) = (request.headers.len() as u32, u32::from(request.end_of_stream));
        let state = self.vm_mut(vm)?.state_mut();
        let context = state.allocate_context();
        state.streams.insert(context, Stream::new(root, request));
        let stream = StreamId { vm, context };

        let created = self.enter(vm, context, "proxy_on_context_create", |e| &e.on_context_create, (context, root));
        if let Err(trap) = created {
            return Ok(Opened::Over(self.trapped(stream, &trap)));
        }
        if let Some(state) = self.stream_mut(stream) {
            state.phase = Phase::RequestHeaders;
        }
        let params = (context, count, end_of_stream);
        let action = match self.drive(vm, context, "proxy_on_request_headers", |e| &e.on_request_headers, params) {
            Ok(action) => action.unwrap_or(0),
            Err(trap) => return Ok(Opened::Over(self.trapped(stream, &trap))),
        };
        // The flag speaks of this callback, so it is read before anything else runs in the VM.
        let stopped = self.vm_mut(vm)?.state().stop_iteration;
        self.settle(vm);

        let state = self.stream_mut(stream).ok_or(HostError::NoSuchStream { stream })?;
        match &state.decision {
            Some(Decision::LocalReply(_) | Decision::Closed) => Ok(Opened::Over(self.end(stream, None)?)),
            Some(Decision::Continue) => Ok(Opened::Proceeding(stream)),
            None if stopped || action != 0 => {
                state.held = true;
                Ok(Opened::Held(stream))
            }
            None => {
                state.decision = Some(Decision::Continue);
                state.phase = Phase::Proceeding;
                Ok(Opened::Proceeding(stream))
            }
        }
    }

    fn root_for(&mut self, vm: VmId, request: &Request) -> Result<u32, HostError> {
        let roots = &self.vm_mut(vm)?.state().roots;
        let newest = || roots.iter().rev().find(|(_, root)| !root.draining).map(|(context, _)| *context);
        match request.root {
            Some(root) if root.vm == vm && roots.contains_key(&root.context) => Ok(root.context),
            Some(root) => Err(HostError::NoSuchRoot { root }),
            None => newest().ok_or(HostError::NoSuchRoot { root: RootId { vm, context: 0 } }),
        }
    }

    /// Acts on what a callback asked for a stream.
    pub(super) fn decide(&mut self, vm: VmId, action: AfterCall) {
        let (context, decision) = match action {
            AfterCall::Continue(context) => (context, Decision::Continue),
            AfterCall::LocalReply(context, reply) => (context, Decision::LocalReply(reply)),
            AfterCall::Close(context) => (context, Decision::Closed),
            AfterCall::RootDone(_) => return,
        };
        let stream = StreamId { vm, context };
        let Some(state) = self.stream_mut(stream) else {
            return;
        };
        if state.decision.is_some() || state.phase == Phase::Log {
            return;
        }
        let goes_on = decision == Decision::Continue;
        state.decision = Some(decision);
        if !state.held {
            // `open_stream` is on its way with this stream and reads the decision.
            return;
        }
        let exchange = if goes_on { self.peek(stream) } else { self.end(stream, None) };
        if let Ok(exchange) = exchange {
            let at_ns = self.clock().steady_ns;
            self.settled.push(Settled { at_ns, exchange });
        }
    }

    /// Runs the end of a stream: with response headers from upstream, or those of its local reply, or none.
    fn end(&mut self, stream: StreamId, upstream: Option<Response>) -> Result<Exchange, HostError> {
        let state = self.stream_mut(stream).ok_or(HostError::NoSuchStream { stream })?;
        if state.phase == Phase::Log {
            return Err(HostError::NoSuchStream { stream });
        }
        let response = match &state.decision {
            Some(Decision::LocalReply(reply)) => Some(reply_response(reply)),
            _ => upstream,
        };
        if let Err(trap) = self.end_callbacks(stream, response) {
            return Ok(self.trapped(stream, &trap));
        }
        let ended = self.vm_mut(stream.vm)?.state_mut().streams.remove(&stream.context);
        self.world_mut().cancel_calls(stream.vm, Some(stream.context));
        Ok(ended.ok_or(HostError::NoSuchStream { stream })?.into_exchange(stream))
    }

    fn response_callbacks(&mut self, stream: StreamId, response: Response, last: bool) -> Result<(), HostError> {
        let StreamId { vm, context } = stream;
        let state = self.stream_mut(stream).ok_or(HostError::NoSuchStream { stream })?;
        if state.phase != Phase::ResponseBody {
            let params = (context, response.headers.len() as u32, u32::from(last && response.body.is_empty()));
            state.phase = Phase::ResponseHeaders;
            state.response_headers = response.headers;
            self.enter(vm, context, "proxy_on_response_headers", |e| &e.on_response_headers, params)?;
        }
        let pieces = response.body.len();
        for (index, piece) in response.body.into_iter().enumerate() {
            let Some(state) = self.stream_mut(stream) else { break };
            let params = (context, piece.len() as u32, u32::from(last && index + 1 == pieces));
            state.phase = Phase::ResponseBody;
            state.response_body = piece;
            self.enter(vm, context, "proxy_on_response_body", |e| &e.on_response_body, params)?;
        }
        if let Some(state) = self.stream_mut(stream) {
            state.phase = Phase::ResponseBody;
        }
        Ok(())
    }

    fn end_callbacks(&mut self, stream: StreamId, response: Option<Response>) -> Result<(), HostError> {
        let StreamId { vm, context } = stream;
        if let Some(response) = response {
            self.response_callbacks(stream, response, true)?;
        }
        if let Some(state) = self.stream_mut(stream) {
            state.phase = Phase::Log;
        }
        self.enter(vm, context, "proxy_on_log", |e| &e.on_log, context)?;
        self.enter(vm, context, "proxy_on_done", |e| &e.on_done, context)?;
        self.enter(vm, context, "proxy_on_delete", |e| &e.on_delete, context)?;
        Ok(())
    }

    /// The exchange as it stands, the stream going on.
    fn peek(&mut self, stream: StreamId) -> Result<Exchange, HostError> {
        let state = self.stream_mut(stream).ok_or(HostError::NoSuchStream { stream })?;
        Ok(state.to_exchange(stream))
    }

    /// The exchange of a stream whose VM failed; the stream is gone.
    fn trapped(&mut self, stream: StreamId, trap: &HostError) -> Exchange {
        let ended = self.vms.get_mut(&stream.vm).and_then(|vm| vm.state_mut().streams.remove(&stream.context));
        Exchange {
            stream,
            outcome: Outcome::Trapped(trap.to_string()),
            filter_state: ended.map(|stream| stream.filter_state).unwrap_or_default(),
            response_headers: Headers::default(),
        }
    }

    fn stream_mut(&mut self, stream: StreamId) -> Option<&mut Stream> {
        self.vms.get_mut(&stream.vm)?.state_mut().streams.get_mut(&stream.context)
    }
}

/// Where a stream stands after its request headers.
enum Opened {
    Over(Exchange),
    Held(StreamId),
    Proceeding(StreamId),
}

fn reply_response(reply: &LocalReply) -> Response {
    let mut headers = reply.headers.clone();
    headers.0.insert(0, (b":status".to_vec(), reply.status.to_string().into_bytes()));
    let body = if reply.body.is_empty() { Vec::new() } else { vec![reply.body.clone()] };
    Response { headers, body }
}
