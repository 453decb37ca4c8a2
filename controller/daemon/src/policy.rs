//! `forebay policy`: checks policy documents, prints their schema, and makes one of another rate limiter's ([`import`]).
//!
//! The check is the filter's own, so what passes here is what a proxy takes. Findings go to stdout, one a line, as
//! `CODE FILE: PATH: REASON; REMEDY`.

mod import;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::{Args, Subcommand};
use forebay_protocol::policy::{Code, Finding, Policy};

use crate::files;

/// Arguments of `forebay policy`.
#[derive(Debug, Args)]
pub(crate) struct PolicyArgs {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Check policy documents; exit code 78 when something is wrong
    Check {
        /// YAML or JSON files
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
    },
    /// Print the JSON Schema of policy documents
    Schema,
    /// Turn other rate limiters' configuration into a policy, and say what it cannot carry over
    Import(import::ImportArgs),
}

/// Some documents are wrong; what is, has been printed.
#[derive(Debug, thiserror::Error)]
#[error("{findings} findings in {files} of the files")]
pub(crate) struct Refused {
    findings: usize,
    files: usize,
}

/// Does what was asked.
pub(crate) fn run(args: &PolicyArgs) -> anyhow::Result<()> {
    match &args.verb {
        Verb::Schema => print!("{}", schema()?),
        Verb::Import(args) => import::run(args)?,
        Verb::Check { files } => {
            let mut refused = Refused { findings: 0, files: 0 };
            for file in files {
                let text = files::text(file)?;
                let findings = check(file, &text);
                print!("{}", lines(file, &findings));
                refused.findings += findings.len();
                refused.files += usize::from(!findings.is_empty());
            }
            if refused.findings > 0 {
                return Err(refused.into());
            }
        }
    }
    Ok(())
}

/// Reads and checks the text of a document. YAML is read as a superset of JSON; a file named `.json` must be JSON.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn read(file: &Path, text: &str) -> Result<Policy, Vec<Finding>> {
    let is_json = file.extension().is_some_and(|extension| extension == "json");
    let policy: Result<Policy, Finding> = if is_json {
        serde_json::from_str(text)
            .map_err(|error| shape(error.line() as u64, error.column() as u64, &error.to_string()))
    } else {
        serde_saphyr::from_str(text).map_err(|error| {
            let error = error.without_snippet();
            let (line, column) = error.location().map_or((0, 0), |at| (at.line(), at.column()));
            shape(line, column, &error.to_string())
        })
    };
    let policy = policy.map_err(|finding| vec![finding])?;
    policy.check()?;
    Ok(policy)
}

fn check(file: &Path, text: &str) -> Vec<Finding> {
    read(file, text).err().unwrap_or_default()
}

/// Both readers end their message with the place, which stands at the front here.
fn shape(line: u64, column: u64, text: &str) -> Finding {
    let text = text.lines().next().unwrap_or_default();
    let reason = text.split(" at line ").next().unwrap_or(text).to_owned();
    let remedy = "see envoy/policy.example.yaml, or `forebay policy schema` for every field".to_owned();
    Finding { code: Code::SHAPE, path: format!("line {line} column {column}"), reason, remedy }
}

/// The findings as they are printed.
pub(crate) fn lines(file: &Path, findings: &[Finding]) -> String {
    if findings.is_empty() {
        return format!("{}: fit for use\n", file.display());
    }
    findings.iter().fold(String::new(), |mut text, finding| {
        let Finding { code, path, reason, remedy } = finding;
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{code} {}: {path}: {reason}; {remedy}", file.display());
        text
    })
}

/// The published schema: `envoy/policy.schema.json`.
fn schema() -> anyhow::Result<String> {
    let schema = schemars::schema_for!(Policy);
    Ok(serde_json::to_string_pretty(&schema).context("write the schema")? + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXAMPLE: &str = include_str!("../../../envoy/policy.example.yaml");
    const LLM: &str = include_str!("../../../envoy/policy.llm.yaml");
    const SCHEMA: &str = include_str!("../../../envoy/policy.schema.json");

    fn codes(file: &str, text: &str) -> Vec<String> {
        let findings = check(Path::new(file), text);
        findings.iter().map(|finding| format!("{} {}", finding.code, finding.path)).collect()
    }

    #[test]
    fn the_published_schema_is_current() {
        assert_eq!(schema().unwrap(), SCHEMA, "forebay policy schema > envoy/policy.schema.json");
    }

    #[test]
    fn the_examples_are_fit_for_use_as_yaml_and_as_json() {
        for text in [EXAMPLE, LLM] {
            assert_eq!(codes("policy.example.yaml", text), [] as [String; 0]);
            let policy: Policy = serde_saphyr::from_str(text).unwrap();
            let json = serde_json::to_string(&policy).unwrap();
            assert_eq!(codes("policy.json", &json), [] as [String; 0]);
            assert_eq!(serde_json::from_str::<Policy>(&json).unwrap(), policy);
        }
    }

    #[test]
    fn three_lines_are_a_policy() {
        let text = "resources:\n  - name: requests\n    others: { rate_per_s: 10, burst: 20 }\n";
        assert_eq!(codes("three.yaml", text), [] as [String; 0]);
    }

    #[test]
    fn findings_name_code_file_place_reason_and_remedy() {
        let text = "resources:\n  - { name: r, others: { rate_per_s: -1 } }\nguard: { mode: codel }\n";
        let printed = lines(Path::new("bad.yaml"), &check(Path::new("bad.yaml"), text));
        let lines: Vec<_> = printed.lines().collect();
        assert!(
            lines[0]
                .starts_with("FB0102 bad.yaml: resources[0].others.rate_per_s: the rate is out of range; choose 0 to")
        );
        assert!(lines[1].starts_with("FB0606 bad.yaml: guard.target_ms: codel knows no latency"));
        assert_eq!(lines.len(), 2);
    }

    #[test]
    fn an_unknown_field_is_refused_with_its_place() {
        let text = "resources:\n  - { name: r, others: { rate_per_s: 1 } }\nrulez: []\n";
        assert_eq!(codes("bad.yaml", text), ["FB0001 line 3 column 1"]);
        assert!(check(Path::new("bad.yaml"), text)[0].reason.contains("rulez"));
        assert_eq!(codes("bad.json", "{"), ["FB0001 line 1 column 1"]);
    }
}
