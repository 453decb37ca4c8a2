//! `forebay config`: checks configurations without running them, and tells what there is to configure.

use std::path::PathBuf;

use anyhow::Context;
use clap::{Args, Subcommand};

use crate::config::Config;
use crate::config::schema::{reference, schema};

/// Arguments of `forebay config`.
#[derive(Debug, Args)]
pub(crate) struct ConfigArgs {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Check configurations, together with the policies that they name; exit code 78 when something is wrong
    Check {
        /// YAML files
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
    },
    /// Print the JSON Schema of configurations, for editors
    Schema,
    /// Print every field with its meaning, type, default and limits, as Markdown
    Reference,
}

/// Does what was asked.
pub(crate) fn run(args: &ConfigArgs) -> anyhow::Result<()> {
    match &args.verb {
        Verb::Check { files } => {
            for file in files {
                Config::load(Some(file))?;
                println!("{}: fit for use", file.display());
            }
        }
        Verb::Schema => print!("{}", published()?),
        Verb::Reference => print!("{}", reference(&schema())),
    }
    Ok(())
}

/// The schema as it is published.
fn published() -> anyhow::Result<String> {
    Ok(serde_json::to_string_pretty(&schema()).context("write the schema")? + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCHEMA: &str = include_str!("../../../examples/configuration/forebay.schema.json");
    const REFERENCE: &str = include_str!("../../../examples/configuration/README.md");

    #[test]
    fn what_is_published_is_current() {
        let folder = "examples/configuration";
        assert!(published().unwrap() == SCHEMA, "forebay config schema > {folder}/forebay.schema.json");
        assert!(reference(&schema()) == REFERENCE, "forebay config reference > {folder}/README.md");
    }
}
