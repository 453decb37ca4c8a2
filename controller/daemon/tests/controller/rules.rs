//! The rules for Prometheus that are shipped, tried by its own tool.

use std::path::PathBuf;
use std::process::Command;

#[test]
fn the_shipped_rules_alert_when_they_should() {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
    let unpacked = PathBuf::from(root).join("target/forebay/prometheus/usr/bin/promtool");
    let promtool = if unpacked.is_file() { unpacked } else { PathBuf::from("promtool") };
    let (rules, tests) = ("forebay.rules.yaml", ["forebay.rules.test.yaml", "forebay.days.test.yaml"]);
    for arguments in [["check", "rules", rules], ["test", "rules", tests[0]], ["test", "rules", tests[1]]] {
        let mut command = Command::new(&promtool);
        let output = command.args(arguments).current_dir(format!("{root}/examples/prometheus")).output();
        let output = output.unwrap_or_else(|error| panic!("promtool: {error}; `cargo xtask setup --all` gets it"));
        let said = [output.stdout, output.stderr].concat();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&said));
    }
}
