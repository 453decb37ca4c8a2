//! The rules for Prometheus that are shipped, tried by its own tool.

use std::io::ErrorKind;
use std::process::Command;

#[test]
fn the_shipped_rules_alert_when_they_should() {
    for arguments in [["check", "rules", "forebay.rules.yaml"], ["test", "rules", "forebay.rules.test.yaml"]] {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/prometheus");
        let output = match Command::new("promtool").args(arguments).current_dir(folder).output() {
            Ok(output) => output,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                eprintln!(
                    "NOT TESTED: the rules in examples/prometheus; promtool is missing: apt-get install prometheus"
                );
                return;
            }
            Err(error) => panic!("{error}"),
        };
        let said = [output.stdout, output.stderr].concat();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&said));
    }
}
