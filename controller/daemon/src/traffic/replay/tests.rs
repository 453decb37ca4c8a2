//! The replay against real servers on this machine's loopback.

use std::io::Write as _;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::sync::{Barrier, Notify};

use super::*;
use crate::traffic::schedule::Pace;

type Reply = Result<Response<Full<Bytes>>, std::io::Error>;

fn ok(lane: &str) -> Reply {
    Ok(Response::builder().header("x-lane", lane).body(Full::from("hello")).unwrap())
}

fn status(status: StatusCode) -> Reply {
    Ok(Response::builder().status(status).body(Full::default()).unwrap())
}

/// A server that answers with `handler`; returns its address.
async fn serve<F, R>(handler: F) -> String
where
    F: Fn(Request<Incoming>) -> R + Clone + Send + 'static,
    R: Future<Output = Reply> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let handler = handler.clone();
            tokio::spawn(async move {
                let service = service_fn(handler);
                // A handler's error closes the connection without an answer, which is what some tests want.
                drop(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await);
            });
        }
    });
    format!("http://{address}")
}

/// A plan for a trace with steps of one real second.
fn plan(rows: &str, targets: &[&str], change: impl FnOnce(&mut ReplayArgs)) -> anyhow::Result<Plan> {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    write!(file, "timestamp,tenant,rate_per_s\n{rows}").unwrap();
    let mut args = ReplayArgs {
        trace: file.path().to_owned(),
        targets: targets.iter().map(|target| (*target).to_owned()).collect(),
        tenant: None,
        values: Values::Rate,
        speed: 60.0,
        rate_scale: 1.0,
        start_at: None,
        from: None,
        to: None,
        step_s: None,
        arrivals: Arrivals::Even,
        seed: 1,
        path: "/".into(),
        tenant_header: "x-tenant".into(),
        headers: Vec::new(),
        connections: 256,
        out: None,
        json: false,
    };
    change(&mut args);
    Plan::new(&args)
}

async fn never() {
    std::future::pending::<()>().await;
}

#[tokio::test]
async fn answers_do_not_decide_when_requests_leave() {
    // No answer is given before all 40 requests are there: a sender that waits for answers would never end.
    let all_there = Arc::new(Barrier::new(40));
    let url = serve(move |_| {
        let all_there = Arc::clone(&all_there);
        async move {
            all_there.wait().await;
            ok("reserved")
        }
    })
    .await;
    let plan = plan("0,a,30\n60,a,10\n", &[&url], |args| args.speed = 240.0).unwrap();
    assert_eq!(plan.length(), Duration::from_millis(500));
    let plan = Plan { pace: Pace { rate_scale: 4.0, ..plan.pace }, ..plan };
    let report = replay(&plan, never()).await.unwrap();
    let totals = report.targets[0].totals;
    assert_eq!(totals, Counts { offered: 40, admitted: 40, reserved: 40, ..Counts::default() });
    let per_step: Vec<_> = report.targets[0].tenants[0].steps.iter().map(|step| step.counts.offered).collect();
    assert_eq!(per_step, [30, 10]);
    assert_eq!(report.targets[0].connections, 40);
}

#[tokio::test]
async fn a_request_that_waits_for_a_connection_is_late_and_not_skipped() {
    // The server takes 30 ms for each, requests come every 10 ms, and there is one connection.
    let url = serve(|_| async {
        sleep(Duration::from_millis(30)).await;
        ok("standard")
    })
    .await;
    let plan = plan("0,a,20\n60,a,0\n", &[&url], |args| args.connections = 1).unwrap();
    let plan = Plan { pace: Pace { speed: 300.0, rate_scale: 5.0, ..plan.pace }, ..plan };
    let report = replay(&plan, never()).await.unwrap();
    let target = &report.targets[0];
    assert_eq!((target.totals.offered, target.totals.standard, target.connections), (20, 20, 1));
    assert!(target.late >= 18, "{} late", target.late);
    assert_eq!(target.late, target.tenants[0].late);
    assert!(target.lateness_ms.max > 300.0, "the last one waits for 19 others: {:?}", target.lateness_ms);
}

#[tokio::test]
async fn every_target_gets_the_same_requests_and_outcomes_are_told_apart() {
    let extra_seen = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&extra_seen);
    let mixed = serve(move |request| {
        let tenant = request.headers()["x-customer"].to_str().unwrap_or_default().to_owned();
        let as_asked =
            request.headers().get("x-extra").is_some_and(|value| value == "yes") && request.uri() == "/p?q=1";
        seen.fetch_add(usize::from(as_asked), Ordering::Relaxed);
        async move {
            match tenant.as_str() {
                "busy" => status(StatusCode::TOO_MANY_REQUESTS),
                "broken" => status(StatusCode::BAD_GATEWAY),
                "gone" => Err(std::io::Error::other("closed without an answer")),
                lane => ok(lane),
            }
        }
    })
    .await;
    let plain = serve(|_| async { status(StatusCode::OK) }).await;
    let rows = "0,busy,7\n0,broken,5\n0,gone,3\n0,reserved,11\n0,borrowed,2\n60,busy,0\n";
    let targets = [format!("mixed={mixed}"), format!("plain={plain}")];
    let plan = plan(rows, &[&targets[0], &targets[1]], |args| {
        args.tenant_header = "x-customer".into();
        args.headers = vec!["x-extra: yes".into()];
        args.path = "/p?q=1".into();
    })
    .unwrap();
    let report = replay(&plan, never()).await.unwrap();
    let [mixed, plain] = &report.targets[..] else { panic!("two targets") };
    assert_eq!((mixed.target.as_str(), plain.target.as_str()), ("mixed", "plain"));
    let wanted = Counts {
        offered: 28,
        admitted: 13,
        reserved: 11,
        borrowed: 2,
        refused: 7,
        errors: 5,
        failed: 3,
        ..Counts::default()
    };
    assert_eq!(mixed.totals, wanted);
    assert_eq!(plain.totals, Counts { offered: 28, admitted: 28, none: 28, ..Counts::default() });
    assert_eq!(extra_seen.load(Ordering::Relaxed), 28);
    assert_eq!(mixed.admitted_per_bucket.iter().sum::<u32>(), 13);
    // The file names four tenants for the first step only: their second step is missing, not zero.
    assert_eq!(report.missing_steps["gone"], 1);
    assert_eq!(report.missing_steps["busy"], 0);
}

#[tokio::test]
async fn an_interrupt_ends_the_run_with_what_was_counted() {
    let fifth = Arc::new(Notify::new());
    let (seen, tell) = (Arc::new(AtomicUsize::new(0)), Arc::clone(&fifth));
    let url = serve(move |_| {
        if seen.fetch_add(1, Ordering::Relaxed) == 4 {
            tell.notify_one();
        }
        async { ok("standard") }
    })
    .await;
    let plan = plan("0,a,50\n60,a,50\n", &[&url], |args| args.speed = 0.01).unwrap();
    let report = replay(&plan, fifth.notified()).await.unwrap();
    let totals = report.targets[0].totals;
    assert!(report.interrupted);
    assert!((5..1000).contains(&totals.offered), "{totals:?}");
    assert_eq!(totals.standard + totals.unanswered, totals.offered);
}

#[tokio::test]
async fn steps_begin_at_the_wanted_instant() {
    let first = Arc::new(Mutex::new(None));
    let note = Arc::clone(&first);
    let url = serve(move |_| {
        note.lock().unwrap().get_or_insert_with(SystemTime::now);
        async { ok("standard") }
    })
    .await;
    let start = SystemTime::now() + Duration::from_millis(500);
    let unix_ms = start.duration_since(UNIX_EPOCH).unwrap().as_millis() as u64;
    let with_start = |unix_ms| plan("0,a,10\n60,a,0\n", &[&url], |args| args.start_at = Some(unix_ms)).unwrap();
    let report = replay(&with_start(unix_ms), never()).await.unwrap();
    assert_eq!(report.started_unix_ms, unix_ms);
    let due = UNIX_EPOCH + Duration::from_millis(unix_ms + 50);
    let first = first.lock().unwrap().unwrap();
    assert!(first >= due, "10 requests/s begin half a distance after the start");
    let past = replay(&with_start(unix_ms), never()).await.unwrap_err().to_string();
    assert!(past.contains("in the past; name an instant ahead"), "{past}");
}

#[test]
fn counts_per_step_become_rates() {
    let plan = plan("0,a,120\n60,a,30\n", &["http://localhost"], |args| args.values = Values::Count).unwrap();
    assert_eq!(plan.trace.series[0].1, [2.0, 0.5]);
}

#[test]
fn unusable_arguments_are_refused_with_a_reason() {
    type Change = fn(&mut ReplayArgs);
    let cases: [(Change, &str); 8] = [
        (|args| args.speed = 0.0, "--speed 0: write calendar seconds per real second, above 0"),
        (|args| args.rate_scale = -1.0, "--rate-scale -1: write a factor from 0"),
        (|args| args.from = Some("noon".into()), "--from \"noon\" is no time"),
        (|args| args.from = Some("2026-01-01".into()), "the chosen part is empty"),
        (|args| args.headers = vec!["nonsense".into()], "write NAME: VALUE"),
        (|args| args.tenant_header = "a b".into(), "is no header name"),
        (|args| args.targets.push("http://localhost:80".into()), "the name \"localhost:80\" is taken"),
        (|args| args.path = "x".into(), "does not begin with /"),
    ];
    for (change, reason) in cases {
        let message = plan("0,a,1\n60,a,1\n", &["http://localhost"], change).unwrap_err().to_string();
        assert!(message.contains(reason), "{message}");
    }
}

#[test]
fn what_is_missing_or_repaired_is_said() {
    let summary = plan("0,a,1\n120,a,1\n60,b,1\n0,b,2\n0,b,4\n", &["x=http://localhost"], |_| ()).unwrap().summary();
    assert!(summary.contains("1 row(s) out of order sorted, 1 duplicate(s) averaged"), "{summary}");
    assert!(summary.contains("a: 1 step(s) are missing in the trace"), "{summary}");
    assert!(summary.contains("from 1970-01-01 00:00:00 to 1970-01-01 00:03:00: 3 step(s) of 60 s"), "{summary}");
}
