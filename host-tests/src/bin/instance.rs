//! An instance of a service, for the demo and the tests: see the library's `instance`.

use clap::Parser;
use forebay_host_tests::instance::{Nature, serve};

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    serve(Nature::parse()).await
}
