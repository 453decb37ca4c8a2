//! What the HTTP interface refuses, and in which words: every path of `/v1` alike, as a problem document (RFC 9457).

use serde_json::Value;

use crate::daemon::Daemon;

/// Paths and what they take.
const PATHS: [(&str, &str); 12] = [
    ("/v1/sync", "POST"),
    ("/v1/plan", "GET"),
    ("/v1/forecasts", "GET"),
    ("/v1/forecasts/choices", "GET"),
    ("/v1/anomalies", "GET POST"),
    ("/v1/capacity", "GET"),
    ("/v1/capacity/decisions", "GET"),
    ("/v1/capacity/ledger", "GET"),
    ("/v1/capacity/tuning", "POST"),
    ("/v1/shapes", "GET"),
    ("/v1/availability", "GET"),
    ("/v1/allocations", "GET POST"),
];

fn started(folder: &std::path::Path) -> Daemon {
    let contracts: Vec<String> =
        ["a", "b", "c"].map(|tenant| format!("{{ tenant: {tenant}, resource: requests, rate_per_s: 10 }}")).into();
    Daemon::start(folder, &format!("contracts: [ {} ]", contracts.join(", ")))
}

/// The detail of the problem document that a call is refused with.
#[track_caller]
fn refused(daemon: &Daemon, (method, target): (&str, &str), body: &[u8], status: u16) -> (String, String) {
    let (got, head, answer) = daemon.ask(method, target, body);
    let place = format!("{method} {target}");
    let text = String::from_utf8_lossy(&answer);
    assert_eq!(got, status, "{place}: {text}");
    assert!(head.contains("content-type: application/problem+json"), "{place}: {head}");
    let problem: Value = serde_json::from_slice(&answer).unwrap_or_else(|_| panic!("{place}: {text}"));
    assert_eq!(problem["status"], status, "{place}: {problem}");
    assert!(problem["title"].as_str().is_some_and(|title| !title.is_empty()), "{place}: {problem}");
    (problem["detail"].as_str().unwrap_or_default().to_owned(), head)
}

#[test]
fn every_path_refuses_methods_queries_and_bodies_with_problem_documents() {
    let folder = tempfile::tempdir().unwrap();
    let daemon = started(folder.path());
    for (path, methods) in PATHS {
        let (detail, head) = refused(&daemon, ("PUT", path), b"", 405);
        assert!(detail.contains(path) && detail.contains("PUT"), "{detail}");
        let allowed = head.lines().find(|line| line.starts_with("allow:")).unwrap_or_else(|| panic!("{path}: {head}"));
        assert!(methods.split(' ').all(|method| allowed.contains(&method.to_lowercase())), "{path}: {allowed}");
        if methods.contains("GET") {
            let (detail, _) = refused(&daemon, ("GET", &format!("{path}?tennant=a")), b"", 400);
            assert!(detail.contains("tennant"), "{path}: {detail}");
        }
        if methods.contains("POST") && path != "/v1/sync" {
            refused(&daemon, ("POST", path), b"[]", 400);
            refused(&daemon, ("POST", path), &vec![b'x'; 20_000], 413);
            let (detail, _) = refused(&daemon, ("POST", &format!("{path}?dry_run=true")), b"{}", 400);
            assert!(detail.contains("dry_run"), "{path}: {detail}");
        }
    }
    refused(&daemon, ("POST", "/v1/sync"), b"garbage", 400);
    refused(&daemon, ("POST", "/v1/sync"), &vec![0; 6 << 20], 413);
    for wrong in ["/v1", "/v1/", "/v1/plan/", "/v1/anomalies/0", "/v2/plan", "/", "/v1/allocations/a/b"] {
        refused(&daemon, ("GET", wrong), b"", 404);
    }
    refused(&daemon, ("GET", "/v1/allocations/%ff"), b"", 400);
    refused(&daemon, ("GET", "/v1/allocations/none?verbose=1"), b"", 400);
    assert_eq!(daemon.get("/healthz").0, 200);
}

#[test]
fn lists_of_keys_come_in_pages_and_windows_are_bounded() {
    let folder = tempfile::tempdir().unwrap();
    let daemon = started(folder.path());
    let read = |target: &str| serde_json::from_str::<Value>(&daemon.text(target)).unwrap();
    for (path, list) in
        [("/v1/plan", "grants"), ("/v1/plan", "report"), ("/v1/forecasts", "keys"), ("/v1/anomalies", "keys")]
    {
        let tenants = |query: &str| {
            let answer = read(&format!("{path}{query}"));
            let rows = answer[list].as_array().unwrap().iter();
            let tenants: Vec<_> = rows.map(|row| row["tenant"].as_str().unwrap().to_owned()).collect();
            (tenants.join(""), answer["total"].as_u64().unwrap(), answer["next_offset"].as_u64())
        };
        daemon.eventually("the first records", || (tenants("").1 == 3).then_some(()));
        assert_eq!(tenants(""), ("abc".to_owned(), 3, None), "{path}");
        assert_eq!(tenants("?limit=2"), ("ab".to_owned(), 3, Some(2)), "{path}");
        assert_eq!(tenants("?limit=2&offset=2"), ("c".to_owned(), 3, None), "{path}");
        assert_eq!(tenants("?tenant=b&resource=requests"), ("b".to_owned(), 1, None), "{path}");
        for (wrong, said) in [
            ("limit=0", "between 1 and 10000"),
            ("limit=10001", "10000"),
            ("limit=-1", "invalid digit"),
            ("offset=x", "invalid digit"),
        ] {
            let (detail, _) = refused(&daemon, ("GET", &format!("{path}?{wrong}")), b"", 400);
            assert!(detail.contains(said), "{path}?{wrong}: {detail}");
        }
    }
    let (detail, _) = refused(&daemon, ("GET", "/v1/anomalies?from=soon"), b"", 400);
    assert!(detail.contains("RFC 3339"), "{detail}");
    refused(&daemon, ("GET", "/v1/anomalies?from=2026-01-02&to=2026-01-01"), b"", 400);
    let (detail, _) = refused(&daemon, ("GET", "/v1/forecasts/choices?tenant=a&resource=requests&limit=257"), b"", 400);
    assert!(detail.contains("256"), "{detail}");
    let (detail, _) = refused(&daemon, ("GET", "/v1/forecasts/choices?tenant=z&resource=requests"), b"", 404);
    assert!(detail.contains("z/requests") && detail.contains("GET /v1/forecasts"), "{detail}");
    assert_eq!(read("/v1/forecasts/choices?tenant=a&resource=requests&limit=1")["total"], 0);
}

#[test]
fn words_about_anomalies_are_refused_with_what_to_say_instead() {
    let folder = tempfile::tempdir().unwrap();
    let daemon = started(folder.path());
    let body = |tenant: &str, from_s: &str, to_s: &str, more: &str| {
        format!(
            "{{\"tenant\": \"{tenant}\", \"resource\": \"requests\", \"from_s\": {from_s}, \"to_s\": {to_s}, {more}, \"by\": \"ana\"}}"
        )
    };
    let normal = "\"word\": \"normal\"";
    let hostile = "\"word\": \"hostile\", \"rate_per_s\": 0";
    for (body, status, said) in [
        (body("a", "1767225600", "1767225600", normal), 400, "before to_s"),
        (body("a", "-9223372036854775808", "1767225600", normal), 400, "between"),
        (body("a", "1767225600", "9223372036854775807", normal), 400, "between"),
        (body("a", "1767225600", "1767229200", "\"word\": \"odd\""), 400, "odd"),
        (body("a", "1767225600", "1767229200", hostile), 400, "above 0"),
        (body("nobody", "1767225600", "1767229200", normal), 404, "nobody/requests has no contract"),
    ] {
        let (detail, _) = refused(&daemon, ("POST", "/v1/anomalies"), body.as_bytes(), status);
        assert!(detail.contains(said), "{body}: {detail}");
    }
    for from_s in [1_767_225_600, 1_767_312_000] {
        let word = body("a", &from_s.to_string(), &(from_s + 3600).to_string(), normal);
        assert_eq!(daemon.post_json("/v1/anomalies", &word).0, 200);
    }
    let shown = |query: &str| {
        let answer: Value = serde_json::from_str(&daemon.text(&format!("/v1/anomalies{query}"))).unwrap();
        answer["keys"][0]["entries"].as_array().map(Vec::len)
    };
    assert_eq!(shown(""), Some(2));
    assert_eq!(shown("?from=2026-01-01&to=2026-01-02"), Some(1));
    assert_eq!(shown("?from=2026-01-01%2000:59:59"), Some(2));
    assert_eq!(shown("?from=2026-01-03"), Some(0));
}
