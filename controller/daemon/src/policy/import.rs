//! `forebay policy import`: limits that other rate limiters are configured with, as a policy of Forebay.
//!
//! It reads Envoy configuration (`local_ratelimit` filters and the `rate_limits` actions of routes), the descriptors of
//! envoyproxy/ratelimit, and Envoy Gateway's BackendTrafficPolicy; several files make one policy. The reading is three
//! small translators into [`draft::Draft`], one limit each with the requests that it is about and whose bucket it is;
//! [`assemble`] makes rules, resources and contracts of them.
//!
//! Two things differ on purpose. An Envoy request may meet many descriptors and must pass each; a Forebay request
//! matches one rule, whose charges are taken all or none. And a limit of n per unit becomes a bucket of n that refills
//! evenly, not a window that opens at once. What cannot be said in a policy is never dropped in silence: it becomes a
//! [`draft::Note`] with its place and why.
//!
//! What is printed has passed the same check as any policy.

mod assemble;
mod draft;
mod envoy;
mod gateway;
mod service;
#[cfg(test)]
mod tests;

use std::path::PathBuf;

use anyhow::{Context, bail};
use clap::Args;
use forebay_protocol::policy::Policy;
use serde_json::Value;

use crate::files;
use draft::Import;

/// Largest file that is read, in bytes: a dump of a large mesh has a few megabytes.
const MAX_FILE_BYTES: u64 = 64 << 20;

/// Arguments of `forebay policy import`.
#[derive(Debug, Args)]
pub(crate) struct ImportArgs {
    /// YAML or JSON: Envoy configuration, envoyproxy/ratelimit descriptors, BackendTrafficPolicy
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Fail (exit code 1) when anything could not be carried over
    #[arg(long)]
    strict: bool,
}

/// Runs `forebay policy import`.
pub(crate) fn run(args: &ImportArgs) -> anyhow::Result<()> {
    let mut sources = Vec::new();
    for file in &args.files {
        let bytes = files::open(file)?.metadata().map_or(0, |metadata| metadata.len());
        anyhow::ensure!(bytes <= MAX_FILE_BYTES, "{}: {bytes} bytes; at most {MAX_FILE_BYTES}", file.display());
        let text = files::text(file)?;
        sources.push((file.display().to_string(), text));
    }
    let (policy, import) = import(&sources)?;
    print!(
        "{}",
        serde_saphyr::to_string(&compact(serde_json::to_value(&policy)?)).context("write the policy as YAML")?
    );
    for note in &import.notes {
        eprintln!("{note}");
    }
    let (limits, notes) = (import.drafts.len(), import.notes.len());
    eprintln!("forebay: {limits} limits read, {notes} notes on what is different or could not be carried over");
    if args.strict && notes > 0 {
        bail!("{notes} notes, and --strict was given");
    }
    Ok(())
}

/// The policy of these `(name, text)` files, and what was read.
fn import(sources: &[(String, String)]) -> anyhow::Result<(Policy, Import)> {
    let mut documents = Vec::new();
    for (name, text) in sources {
        let parsed: Vec<Value> = serde_saphyr::from_multiple(text).with_context(|| format!("{name} is no YAML"))?;
        documents.extend(parsed.into_iter().filter(|document| !document.is_null()).map(|value| (name.as_str(), value)));
    }
    let mut import = Import::default();
    // Actions first: they say what the keys of all descriptors mean.
    for (name, document) in &documents {
        envoy::read_actions(name, document, &mut import);
    }
    for (name, document) in &documents {
        if document["kind"] == "BackendTrafficPolicy" {
            gateway::read(name, document, &mut import);
        } else if document["domain"].is_string() && document["descriptors"].is_array() {
            service::read(name, document, &mut import);
        } else if !envoy::read_local(name, document, &mut import) {
            import.note(*name, "there is no rate limit in it that is known here");
        }
    }
    if import.drafts.is_empty() {
        let notes: Vec<_> = import.notes.iter().map(ToString::to_string).collect();
        bail!("no limit could be read:\n{}", notes.join("\n"));
    }
    let policy = assemble::policy(&mut import)?;
    Ok((policy, import))
}

/// Without what says nothing: nulls, and what is empty or `false` by default.
fn compact(value: Value) -> Value {
    match value {
        Value::Object(fields) => {
            let says_something = |name: &str, value: &Value| {
                let empty = value.is_null() || *value == Value::Array(vec![]) || *value == Value::Bool(false);
                // An empty list of charges means unlimited, a missing one means the only resource.
                !empty && value.as_object().is_none_or(|fields| !fields.is_empty())
                    || (name == "charges" && value.is_array())
            };
            let fields = fields.into_iter().map(|(name, value)| (name, compact(value)));
            let defaults = ["exempt", "tags", "guard"];
            Value::Object(
                fields
                    .filter(|(name, value)| !defaults.contains(&name.as_str()) && says_something(name, value))
                    .collect(),
            )
        }
        Value::Array(items) => Value::Array(items.into_iter().map(compact).collect()),
        other => other,
    }
}
