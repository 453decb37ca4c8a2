//! Over real gRPC on loopback: several proxies, the loop that tells them, bounds, metrics and the end.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_stream::wrappers::ReceiverStream;
use tonic::client::GrpcService;
use tonic::{Code, Status, Streaming};
use tonic_prost::ProstCodec;

use super::*;
use crate::capacity::xds::messages::Node;
use crate::capacity::xds::{PATHS, Speaks, router, serve};
use crate::clock::{Clock, ManualClock};
use crate::config::Config;
use crate::observe::{Moment, Observer};
use crate::state::Shared;
use std::sync::Arc;

const WITHIN: Duration = Duration::from_secs(20);

struct Server {
    shared: Arc<Shared>,
    address: SocketAddr,
    stop: watch::Sender<bool>,
    serving: JoinHandle<()>,
}

impl Server {
    async fn start() -> Self {
        let config = Config::parse(std::path::Path::new("forebay.yaml"), "{}").unwrap();
        let clock = Arc::new(ManualClock::new(0.0, 1.0));
        let now = Moment { calendar_s: clock.calendar_now_s(), steady: clock.steady_now() };
        let observer = Observer::new(60, 1.0, config.sync.proxy_stale_after, Vec::new(), Vec::new(), now);
        let shared = Arc::new(Shared::new(config, clock as Arc<dyn Clock>, observer));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopping) = watch::channel(false);
        let router = router(Arc::clone(&shared), stopping.clone());
        let serving = tokio::spawn(serve::serve(listener, router, Speaks::Grpc, stopping));
        Self { shared, address, stop, serving }
    }

    fn tell(&self, services: &[(&str, &[u16])]) {
        self.shared.capacity.endpoints.tell(resources(services));
    }

    /// Waits until the metrics have these lines.
    async fn metrics(&self, lines: &[&str]) {
        let begun = std::time::Instant::now();
        loop {
            let text = self.shared.metrics.text();
            if lines.iter().all(|line| text.lines().any(|one| one == *line)) {
                return;
            }
            assert!(begun.elapsed() < WITHIN, "{lines:?} are not in {text}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// A connection, as the gRPC library asks for it.
struct Connection(SendRequest<tonic::body::Body>);

impl Connection {
    async fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        let (sender, connection) = handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        Self(sender)
    }
}

impl GrpcService<tonic::body::Body> for Connection {
    type ResponseBody = Incoming;
    type Error = hyper::Error;
    type Future = Pin<Box<dyn Future<Output = hyper::Result<hyper::Response<Incoming>>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<hyper::Result<()>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, mut request: hyper::Request<tonic::body::Body>) -> Self::Future {
        // The library leaves the authority to the connection.
        let uri = format!("http://forebay{}", request.uri().path());
        *request.uri_mut() = uri.parse().unwrap();
        Box::pin(self.0.send_request(request))
    }
}

/// A stream of one proxy.
struct Proxy<C: Conversation> {
    asks: mpsc::Sender<C::Request>,
    hears: Streaming<C::Response>,
    _connection: tonic::client::Grpc<Connection>,
}

impl<C: Conversation> Proxy<C>
where
    C::Request: Sync,
    C::Response: Sync,
{
    async fn open(server: &Server, path: usize, first: C::Request) -> Self {
        let (asks, asked) = mpsc::channel(8);
        asks.send(first).await.unwrap();
        let mut connection = tonic::client::Grpc::new(Connection::open(server.address).await);
        connection.ready().await.unwrap();
        let codec = ProstCodec::<C::Request, C::Response>::default();
        let request = tonic::Request::new(ReceiverStream::new(asked));
        let path = PATHS[path].0.parse().unwrap();
        let response = connection.streaming(request, path, codec).await.unwrap();
        Self { asks, hears: response.into_inner(), _connection: connection }
    }

    async fn next(&mut self) -> Result<Option<C::Response>, Status> {
        tokio::time::timeout(WITHIN, self.hears.message()).await.expect("it says something")
    }
}

fn of(node: &str, request: DiscoveryRequest) -> DiscoveryRequest {
    DiscoveryRequest { node: Some(Node { id: node.to_owned() }), ..request }
}

#[tokio::test]
async fn several_proxies_are_told_what_each_asks_for_and_the_end() {
    let server = Server::start().await;
    let mut one = Proxy::<StateOfTheWorld>::open(&server, 0, of("one", asking(&["shop"], ""))).await;
    let mut other = Proxy::<StateOfTheWorld>::open(&server, 2, of("other", asking(&[], ""))).await;
    let mut third = Proxy::<Delta>::open(&server, 3, delta(&["cart"], &[], "")).await;
    server.metrics(&["forebay_xds_streams 3", "forebay_xds_pushes_total 0"]).await;
    server.tell(&[("cart", &[]), ("shop", &[1])]);
    let first = one.next().await.unwrap().unwrap();
    assert_eq!(told(&first), ["shop"]);
    let all = other.next().await.unwrap().unwrap();
    assert_eq!(told(&all), ["cart", "shop"]);
    assert_eq!(delta_told(&third.next().await.unwrap().unwrap()), (vec!["cart"], vec![]));

    one.asks.send(asking(&["shop"], &first.nonce)).await.unwrap();
    let error_detail = Some(ErrorDetail { code: 3, message: "no".to_owned() });
    other.asks.send(DiscoveryRequest { error_detail, ..asking(&[], &all.nonce) }).await.unwrap();
    server.metrics(&["forebay_xds_acks_total 1", "forebay_xds_nacks_total 1", "forebay_xds_pushes_total 3"]).await;
    server.tell(&[("cart", &[]), ("shop", &[1])]);
    server.tell(&[("cart", &[]), ("shop", &[2])]);
    assert_eq!(told(&one.next().await.unwrap().unwrap()), ["shop"]);
    assert_eq!(told(&other.next().await.unwrap().unwrap()), ["shop"], "the same is not said again");
    server.metrics(&["forebay_xds_pushes_total 5"]).await;

    drop(third);
    server.metrics(&["forebay_xds_streams 2"]).await;
    server.stop.send_replace(true);
    assert_eq!(one.next().await.unwrap_err().code(), Code::Unavailable);
    assert_eq!(other.next().await.unwrap_err().code(), Code::Unavailable);
    tokio::time::timeout(WITHIN, server.serving).await.expect("it ends").unwrap();
}

#[tokio::test]
async fn who_asks_for_too_much_is_told_so_and_others_go_on() {
    let server = Server::start().await;
    server.tell(&[("shop", &[1])]);
    let many: Vec<String> = (0..=MAX_NAMES).map(|number| number.to_string()).collect();
    let names: Vec<&str> = many.iter().map(String::as_str).collect();
    let mut greedy = Proxy::<StateOfTheWorld>::open(&server, 0, asking(&names, "")).await;
    assert_eq!(greedy.next().await.unwrap_err().code(), Code::ResourceExhausted);
    let mut long = Proxy::<StateOfTheWorld>::open(&server, 0, asking(&["x".repeat(2 << 20).as_str()], "")).await;
    assert_eq!(long.next().await.unwrap_err().code(), Code::OutOfRange);
    let mut modest = Proxy::<StateOfTheWorld>::open(&server, 0, asking(&["shop"], "")).await;
    assert_eq!(told(&modest.next().await.unwrap().unwrap()), ["shop"]);
}
