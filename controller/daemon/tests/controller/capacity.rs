//! Capacity as people would try it first: the example's configuration, with real processes.

use std::path::Path;

use crate::daemon::Daemon;
use serde_json::Value;

/// Ends what the process manager has started, which outlives the controller.
struct Instances<'a>(&'a Path);

impl Drop for Instances<'_> {
    fn drop(&mut self) {
        let records = std::fs::read_dir(self.0.join("data/processes/instances")).into_iter().flatten().flatten();
        for record in records {
            let text = std::fs::read_to_string(record.path()).unwrap_or_default();
            let record: Value = serde_json::from_str(&text).unwrap_or_default();
            if let Some(pid) = record["process"]["pid"].as_u64() {
                let _ = std::process::Command::new("kill").args(["-9", "--", &format!("-{pid}")]).status();
            }
        }
    }
}

#[test]
fn the_example_of_capacity_runs_and_keeps_its_promises() {
    let folder = tempfile::tempdir().unwrap();
    let example = include_str!("../../../../examples/capacity/forebay.yaml");
    let kept = |line: &&str| !["listen:", "data_dir:"].iter().any(|key| line.starts_with(key));
    let config: Vec<_> = example.lines().filter(kept).collect();
    let _instances = Instances(folder.path());
    let daemon = Daemon::start(folder.path(), &config.join("\n"));
    let capacity = || serde_json::from_str::<Value>(&daemon.text("/v1/capacity")).unwrap_or_default();
    let ready = |capacity: &Value| {
        let instances = capacity["instances"].as_array().cloned().unwrap_or_default();
        instances.iter().filter(|one| one["state"] == "ready").count()
    };
    daemon.eventually("instances", || (ready(&capacity()) >= 1).then_some(()));
    let eds = std::fs::read_to_string(folder.path().join("forebay-data/eds/web.json")).unwrap();
    assert!(eds.contains("\"warm\":true"), "{eds}");
    // All of the contract's 40 a second is covered: that much the pool has, and the shadow is lent beyond it.
    assert!(daemon.metric("forebay_capacity_ready{service=\"web\"}").is_some_and(|ready| ready >= 40.0));
    let shapes: Value = serde_json::from_str(&daemon.text("/v1/shapes")).unwrap();
    assert_eq!((&shapes["mode"], shapes["shapes"].as_array().map(Vec::len)), (&Value::from("propose"), Some(2)));
    assert!(shapes["prices"]["cpu_per_h"].as_f64().is_some_and(|price| (price - 0.0375).abs() < 1e-9), "{shapes}");

    let asked = r#"{"service": "web", "capacity_per_s": 100, "to": "2100-01-01 00:00:00"}"#;
    let (status, answer) = daemon.post_json("/v1/allocations", asked);
    assert_eq!(status, 400, "{answer}");
    let problem: Value = serde_json::from_str(&answer).unwrap();
    assert!(problem["detail"].as_str().unwrap().contains("90 days"), "{answer}");
    let (status, answer) = daemon.post_json("/v1/allocations", r#"{"service": "web", "capacity_per_s": 100}"#);
    assert_eq!(status, 202, "{answer}");
    let made: Value = serde_json::from_str(&answer).unwrap();
    assert!(made["confidence"].as_f64().unwrap() > 0.5 && made["state"] == "pending", "{answer}");
    let path = format!("/v1/allocations/{}", made["id"].as_str().unwrap());
    daemon.eventually("the allocation", || {
        let now: Value = serde_json::from_str(&daemon.text(&path)).ok()?;
        (now["state"] == "allocated").then_some(())
    });
    let (status, answer) = daemon.post_json("/v1/allocations", &asked_in_the_readme());
    assert_eq!(status, 202, "{answer}");
    let (status, answer) = daemon.post_json("/v1/allocations", r#"{"service": "web", "replicas": 1000}"#);
    assert_eq!(status, 422, "{answer}");
    assert!(answer.contains("\"constraint\":\"capacity\""), "{answer}");
    let offers: Value = serde_json::from_str(&daemon.text("/v1/availability?service=web")).unwrap();
    assert_eq!(offers["offers"].as_array().unwrap().len(), 4, "{offers}");
    assert!(offers["offers"].as_array().unwrap().iter().all(|offer| offer["confidence"].is_number()), "{offers}");
    whatever_is_refused_is_a_problem_document(&daemon);
    assert_eq!(daemon.terminate(), Some(0));
}

/// RFC 9457, with what to do about it.
fn whatever_is_refused_is_a_problem_document(daemon: &Daemon) {
    for (path, status, said) in [
        ("/v1/availability", 400, "service"),
        ("/v1/availability?service=nobody", 404, "GET /v1/capacity lists"),
        ("/v1/availability?service=web&region=moon", 404, "no region is called"),
        ("/v1/availability?service=web&from=soon", 400, "RFC 3339"),
        ("/v1/availability?service=web&to=2100-01-01", 400, "90 days"),
        ("/v1/capacity/ledger?service=web&days=0", 400, "days"),
        ("/v1/capacity/ledger?service=web&weeks=1", 400, "weeks"),
        ("/v1/allocations/none", 404, "GET /v1/allocations lists"),
        ("/v1/capacity/tuning", 405, "does not take GET"),
        ("/v1/nothing", 404, "nothing is under /v1/nothing"),
    ] {
        let (got, answer) = daemon.get(path);
        let problem: Value = serde_json::from_slice(&answer).unwrap_or_else(|_| panic!("{path}: {answer:?}"));
        assert_eq!((got, &problem["status"]), (status, &Value::from(status)), "{path}: {problem}");
        assert!(problem["detail"].as_str().is_some_and(|detail| detail.contains(said)), "{path}: {problem}");
    }
    for (body, status) in [("[]".to_owned(), 400), ("x".repeat(20_000), 413)] {
        let (got, answer) = daemon.post_json("/v1/allocations", &body);
        let problem: Value = serde_json::from_str(&answer).unwrap_or_else(|_| panic!("{answer}"));
        assert_eq!((got, &problem["status"]), (status, &Value::from(status)), "{problem}");
    }
}

/// What the shell makes of the README's request.
fn asked_in_the_readme() -> String {
    let readme = include_str!("../../../../README.md");
    let (before, after) = readme.split_once("/v1/allocations -d ").expect("a request in the README");
    let from = before.lines().rev().find(|line| line.trim_start().starts_with("from=")).expect("its beginning");
    let script = format!("{from}\nprintf %s {}", after.lines().next().unwrap_or_default());
    let said = std::process::Command::new("sh").args(["-c", &script]).output().unwrap();
    String::from_utf8(said.stdout).unwrap()
}

#[test]
fn a_port_for_endpoints_that_is_taken_is_told_before_anything_is_started() {
    let folder = tempfile::tempdir().unwrap();
    let held = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = held.local_addr().unwrap();
    let config = format!(
        "listen: 127.0.0.1:0
port_file: {folder}/port
data_dir: {folder}/data
capacity:
  xds: {{ listen: '{taken}' }}
  manager: {{ process: {{ run: [ {{ service: web, program: sleep, arguments: [ '100', '{{port}}' ] }} ] }} }}
  shapes: [ {{ name: Small, offers: {{ cpu: 1 }}, price_per_h: 1 }} ]
  pools: [ {{ name: here, location: local, max_instances: 8, lead_s: 1 }} ]
  services: [ {{ name: web, need_per_unit: {{ cpu: 1 }}, shortage_per_unit_h: 1, min_instances: 1 }} ]
",
        folder = folder.path().display()
    );
    let file = folder.path().join("forebay.yaml");
    std::fs::write(&file, config).unwrap();
    let ended = crate::daemon::forebay(&["controller", "--config", file.to_str().unwrap()]);
    let said = String::from_utf8_lossy(&ended.stderr);
    assert!(!ended.status.success(), "{said}");
    let parts = [&format!("listen on {taken}"), "choose another address with capacity.xds.listen"];
    assert!(parts.iter().all(|part| said.contains(*part)), "{said}");
    assert!(!said.contains("capacity is planned") && !said.contains("ordered"), "{said}");
    assert!(!folder.path().join("data/processes").exists() && !folder.path().join("port").exists());
}
