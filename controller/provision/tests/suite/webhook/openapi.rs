//! The document `openapi.yaml` says what the code does: its examples are read by the code's types and written back the same.

use anyhow::{Context, Result, ensure};
use forebay_provision::protocol::{
    APPLY, ApplyAnswer, ApplyRequest, IDEMPOTENCY_KEY, OBSERVE, ObserveAnswer, ObserveRequest, Refused, SIGNATURE,
    TIMESTAMP,
};
use forebay_provision::{Applied, InstanceUsage, Observed};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

fn document() -> Result<Value> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/openapi.yaml");
    Ok(serde_saphyr::from_str(&std::fs::read_to_string(path)?)?)
}

fn example<T: DeserializeOwned + Serialize>(document: &Value, path: &str, place: &str) -> Result<T> {
    let content = format!("/paths/{}/post/{place}/content/application~1json", path.replace('/', "~1"));
    let example =
        document.pointer(&format!("{content}/example")).with_context(|| format!("{content} has no example"))?;
    let read: T = serde_json::from_value(example.clone()).with_context(|| content.clone())?;
    ensure!(serde_json::to_value(&read)? == *example, "{content} has fields that the code does not know");
    Ok(read)
}

#[test]
fn examples_are_what_the_code_reads_and_writes() -> Result<()> {
    let document = document()?;
    example::<ObserveRequest>(&document, OBSERVE, "requestBody")?;
    example::<ApplyRequest>(&document, APPLY, "requestBody")?;
    let view: ObserveAnswer = example(&document, OBSERVE, "responses/200")?;
    let outcome: ApplyAnswer = example(&document, APPLY, "responses/200")?;
    example::<Refused>(&document, APPLY, "responses/409")?;
    let observed = Observed::try_from(view).map_err(anyhow::Error::msg)?;
    let usage = InstanceUsage { id: "vm-0173".to_owned(), cpu_milli: 310.0, memory_mib: 640.0 };
    ensure!(observed.usage == [usage], "one of them is measured: {observed:?}");
    ensure!(observed.unreachable.iter().eq(["cpu-us-spot"]), "{observed:?}");
    ensure!(Applied::try_from(outcome).is_ok(), "examples make sense");
    Ok(())
}

#[test]
fn paths_and_headers_are_those_of_the_code() -> Result<()> {
    let document = document()?;
    let paths: Vec<&String> = document["paths"].as_object().context("paths")?.keys().collect();
    ensure!(paths == [APPLY, OBSERVE], "{paths:?}");
    let mut headers: Vec<&str> = Vec::new();
    for parameter in document["components"]["parameters"].as_object().context("parameters")?.values() {
        headers.extend(parameter["name"].as_str());
    }
    headers.sort_unstable();
    ensure!(headers == [IDEMPOTENCY_KEY, SIGNATURE, TIMESTAMP], "{headers:?}");
    Ok(())
}
