//! The wasm modules: choosing a toolchain, building them, and the hash that tells Envoy one build from another.
//!
//! Invariant: the module that Envoy loads and the build hash in `target/forebay` belong together; the hash is written
//! last. Envoy keys its VMs by the VM configuration among others, and may go on with old code when only the file
//! changed; that is why the hash exists and goes into that configuration.
//!
//! Two ways to a wasm32 standard library. A toolchain of rustup brings it ready-made. Where rustup is missing or cannot
//! download, Debian's packages `rustc-web`, `rust-web-src` and `lld-19` do: cargo then compiles the standard library
//! itself. Debian's compiler is older than ours (1.85), which is what holds the filter crates' `rust-version` back.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::failure::{Failure, probe, run};
use crate::packages;
use crate::workspace::Workspace;

const TARGET: &str = "wasm32-unknown-unknown";
/// Name in the artefact folder, crate, its features, and the file that cargo makes of the crate.
type Module = (&'static str, &'static str, &'static str, &'static str);

const MODULES: [Module; 3] = [
    ("forebay_filter.wasm", "forebay-filter", "", "forebay_filter.wasm"),
    ("forebay_filter_streams.wasm", "forebay-filter", "streams", "forebay_filter.wasm"),
    ("empty_filter.wasm", "forebay-empty-filter", "", "forebay_empty_filter.wasm"),
];
const DEBIAN_RUSTC: &str = "/usr/bin/rustc";
const DEBIAN_LINKER: &str = "wasm-ld-19";
const DEBIAN_PACKAGES: [&str; 3] = ["rustc-web", "rust-web-src", "lld-19"];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Toolchain {
    /// The compiler that runs us has the target's standard library.
    Installed,
    /// Debian's compiler, and a standard library compiled from Debian's sources.
    Debian,
}

/// Builds the modules and puts them, with the build hash, into the artefact folder.
pub(crate) fn build_modules(workspace: &Workspace) -> Result<(), Failure> {
    let toolchain = choose_toolchain()?;
    // A folder of its own: the two toolchains share no compiled crate, and a build here blocks no other cargo.
    let target_dir = workspace.target().join(match toolchain {
        Toolchain::Installed => "wasm",
        Toolchain::Debian => "wasm-debian",
    });
    let mut filters = Vec::new();
    // One after the other: the first two are one crate with different features, and cargo names their files alike.
    for (artefact, package, features, file) in MODULES {
        let mut cargo = workspace.cargo();
        cargo.args(["build", "--quiet", "--release", "--target", TARGET, "--target-dir"]).arg(&target_dir);
        cargo.args(["--package", package, "--features", features]);
        if toolchain == Toolchain::Debian {
            // Debian's compiler is a stable one; the variable lets it take the one unstable flag that cargo needs.
            cargo
                .arg("-Zbuild-std=std,panic_abort")
                .env("RUSTC", DEBIAN_RUSTC)
                .env("RUSTC_BOOTSTRAP", "1")
                .env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", DEBIAN_LINKER);
        }
        run(&mut cargo)?;
        let content = read(&target_dir.join(TARGET).join("release").join(file))?;
        put(&workspace.artefact(artefact)?, &content)?;
        println!("    target/forebay/{artefact}: {} KiB, {}", content.len() / 1024, content_hash(&content));
        if package == "forebay-filter" {
            filters.extend(content);
        }
    }
    workspace.write_artefact("build-hash", &content_hash(&filters))
}

fn choose_toolchain() -> Result<Toolchain, Failure> {
    let forced = std::env::var("FOREBAY_WASM_TOOLCHAIN").ok();
    match forced.as_deref() {
        Some("debian") => provide_debian(),
        Some("rustup") => provide_rustup(),
        None | Some("") => provide_rustup().or_else(|rustup_failure| {
            println!("    {}", rustup_failure.what);
            println!("    trying Debian's compiler instead");
            provide_debian().map_err(|debian_failure| Failure {
                what: format!("no way to compile for {TARGET}: {}", debian_failure.what),
                remedy: Some(format!(
                    "rustup target add {TARGET}    # or, without rustup:\n{}",
                    debian_failure.remedy.unwrap_or_default()
                )),
                exit_code: debian_failure.exit_code,
            })
        }),
        Some(other) => Err(Failure::new(format!("FOREBAY_WASM_TOOLCHAIN is `{other}`; it can be rustup or debian"))
            .with_remedy("unset FOREBAY_WASM_TOOLCHAIN")),
    }
}

fn provide_rustup() -> Result<Toolchain, Failure> {
    if standard_library_is_installed() {
        println!("    the installed toolchain compiles for {TARGET}");
        return Ok(Toolchain::Installed);
    }
    println!("    the installed toolchain has no standard library for {TARGET}: asking rustup for it");
    let remedy = format!("rustup target add {TARGET}");
    run(Command::new("rustup").args(["target", "add", TARGET])).map_err(|failure| failure.with_remedy(&remedy))?;
    if standard_library_is_installed() {
        return Ok(Toolchain::Installed);
    }
    Err(Failure::new(format!("rustup added {TARGET}, but not to the toolchain that cargo uses here"))
        .with_remedy(remedy))
}

/// rustc names the folder whether or not it exists, so look for the library in it.
fn standard_library_is_installed() -> bool {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let Some(folder) = probe(Command::new(rustc).args(["--print", "target-libdir", "--target", TARGET])) else {
        return false;
    };
    std::fs::read_dir(folder).is_ok_and(|mut entries| {
        entries.any(|entry| entry.is_ok_and(|entry| entry.file_name().to_string_lossy().starts_with("libstd-")))
    })
}

fn provide_debian() -> Result<Toolchain, Failure> {
    let ready = Path::new(DEBIAN_RUSTC).exists()
        && Path::new("/usr/lib/rustlib/src/rust/library/Cargo.lock").exists()
        && probe(Command::new(DEBIAN_LINKER).arg("--version")).is_some();
    if !ready {
        packages::install(&DEBIAN_PACKAGES, "the compiler, standard library sources and linker for wasm32")?;
    }
    let version = probe(Command::new(DEBIAN_RUSTC).arg("--version"))
        .ok_or_else(|| Failure::new(format!("{DEBIAN_RUSTC} does not run")))?;
    println!("    Debian's compiler: {version}; it compiles the standard library too, once (about 45 s on two cores)");
    Ok(Toolchain::Debian)
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    std::fs::read(path).map_err(|error| Failure::new(format!("cannot read {}: {error}", path.display())))
}

/// Replaces a file as a whole, so that an Envoy that starts meanwhile never reads half a module; an unchanged file is
/// left alone.
fn put(path: &Path, content: &[u8]) -> Result<(), Failure> {
    if std::fs::read(path).is_ok_and(|present| present == content) {
        return Ok(());
    }
    let partial: PathBuf = path.with_extension("wasm.partial");
    std::fs::write(&partial, content)
        .and_then(|()| std::fs::rename(&partial, path))
        .map_err(|error| Failure::new(format!("cannot write {}: {error}", path.display())))
}

/// FNV-1a, 64 bits, as hex (Fowler, Noll, Vo; draft-eastlake-fnv). It tells builds apart; it protects against nothing.
fn content_hash(content: &[u8]) -> String {
    let hash = content
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3));
    format!("{hash:016x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_content_hash_is_the_published_fnv_1a() {
        // Test vectors of the draft.
        assert_eq!(content_hash(b""), "cbf29ce484222325");
        assert_eq!(content_hash(b"a"), "af63dc4c8601ec8c");
        assert_eq!(content_hash(b"foobar"), "85944171f73967e8");
    }
}
