//! The `forebay` binary; everything is in the library.

fn main() -> std::process::ExitCode {
    forebay::main()
}
