//! Arrows go down only: every crate of this workspace may use the ones listed here and no other one of them.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use forebay_host_tests::artefacts::workspace_root;

/// Crate, and what of the workspace it may depend on. Development dependencies are not layers, but for the filter
/// crates, which test themselves alone.
const LAYERS: &[(&str, &str, &[&str])] = &[
    ("filter/admission", "forebay-admission", &[]),
    ("filter/protocol", "forebay-protocol", &["forebay-admission"]),
    ("filter/engine", "forebay-engine", &["forebay-admission", "forebay-protocol"]),
    // In nothing that is shipped: it also fuzzes what the controller reads.
    ("filter/fuzz", "forebay-fuzz", &["forebay-admission", "forebay-engine", "forebay-forecast", "forebay-protocol"]),
    ("filter/wasm", "forebay-filter", &["forebay-admission", "forebay-engine"]),
    ("controller/forecast", "forebay-forecast", &[]),
    ("controller/plan", "forebay-plan", &["forebay-admission", "forebay-forecast"]),
    ("controller/provision", "forebay-provision", &["forebay-plan"]),
    ("controller/daemon", "forebay", &["forebay-forecast", "forebay-plan", "forebay-protocol", "forebay-provision"]),
];

/// Pure crates take time, randomness and storage as arguments. These words would bring them in by the back door.
const PURE: &[&str] =
    &["filter/admission", "filter/protocol", "filter/engine", "controller/forecast", "controller/plan"];
const IMPURE: &[&str] = &[
    "std::time::",
    "SystemTime",
    "Instant::now",
    "std::env",
    "std::fs",
    "std::net",
    "std::thread",
    "tokio",
    "println!",
];

#[test]
fn arrows_go_down_only() -> Result<()> {
    let mut names = BTreeMap::new();
    for (folder, name, _) in LAYERS {
        names.insert(*name, *folder);
    }
    for (folder, name, allowed) in LAYERS {
        let path = workspace_root()?.join(folder).join("Cargo.toml");
        let manifest = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        assert!(manifest.contains(&format!("name = \"{name}\"")), "{folder} is {name}");
        let section = manifest.split("\n[").find(|section| section.starts_with("dependencies]")).unwrap_or_default();
        for line in section.lines().skip(1) {
            let dependency = line.split(['.', ' ', '=']).next().unwrap_or_default();
            let ours = names.contains_key(dependency);
            assert!(!ours || allowed.contains(&dependency), "{name} must not depend on {dependency}");
        }
    }
    Ok(())
}

#[test]
fn pure_crates_have_no_clock_no_files_and_no_threads() -> Result<()> {
    for folder in PURE {
        let mut files = vec![workspace_root()?.join(folder).join("src")];
        let mut read = 0;
        while let Some(path) = files.pop() {
            if path.is_dir() {
                for entry in std::fs::read_dir(&path)? {
                    files.push(entry?.path());
                }
                continue;
            }
            let text = std::fs::read_to_string(&path)?;
            read += 1;
            for word in IMPURE {
                assert!(!text.contains(word), "{} uses {word}", path.display());
            }
        }
        assert!(read > 0, "{folder} has no source files");
    }
    Ok(())
}
