//! The manager on the cluster that `KUBECONFIG` names, in a namespace of its own that is deleted afterwards; the same steps
//! on the fake, so that they are known to hold somewhere.
//!
//! Only what any cluster can be asked for without rights over its admission and its nodes: the whole suite needs a cluster
//! whose starts can be held and refused.

use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use forebay_plan::capacity::Generation;
use forebay_provision::kubernetes::{Access, ClusterSettings, Kubernetes, KubernetesSettings};
use forebay_provision::{InstanceManager, ProvisionError};
use kube::core::Request;
use kube::core::params::{DeleteParams, PostParams};
use serde_json::{Value, json};

use super::api::Api;
use super::{order, settings};
use crate::driver::ready;
use crate::subject::steady;

/// Longest that a real cluster may take to pull an image and start two pods of it.
const SETTLES_WITHIN: Duration = Duration::from_secs(180);
const REQUEST_WITHIN: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_millis(500);
const NOT_RUN: &str = "\nKUBECONFIG IS NOT SET: the Kubernetes manager was tested on the fake API server ONLY.";
const IMAGE: &str = "registry.k8s.io/pause:3.10";

#[tokio::test]
async fn on_a_real_cluster() -> Result<()> {
    let Some(file) = std::env::var_os("KUBECONFIG").filter(|file| !file.is_empty()) else {
        // Not `eprintln!`, which cargo keeps to itself where a test passes.
        writeln!(std::io::stderr(), "{NOT_RUN}")?;
        return Ok(());
    };
    let file = PathBuf::from(file);
    let client = client(&file).await?;
    let seconds = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_secs();
    live_in(&client, file, &format!("forebay-test-{seconds}"), || {}, LOOK_EVERY).await
}

#[tokio::test]
async fn the_same_on_the_fake() -> Result<()> {
    let api = Api::start(None).await?;
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("kubeconfig");
    std::fs::write(&file, api.kubeconfig())?;
    let client = client(&file).await?;
    live_in(&client, file, "forebay-test-1", || api.step(), Duration::from_millis(1)).await
}

async fn client(file: &PathBuf) -> Result<kube::Client> {
    let kubeconfig = kube::config::Kubeconfig::read_from(file)?;
    let config = kube::Config::from_custom_kubeconfig(kubeconfig, &Default::default()).await?;
    Ok(kube::Client::try_from(config)?)
}

/// Makes the namespace, lives in it, and deletes it whatever came of it.
async fn live_in(
    client: &kube::Client,
    file: PathBuf,
    namespace: &str,
    step: impl Fn(),
    look_every: Duration,
) -> Result<()> {
    let object = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": namespace } });
    create(client, "/api/v1/namespaces", &object).await?;
    let labels = json!({ "app": "web-template" });
    let template = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "web-template" },
        "spec": {
            "replicas": 0, "selector": { "matchLabels": labels },
            "template": {
                "metadata": { "labels": labels },
                "spec": { "containers": [{ "name": "app", "image": IMAGE }], "terminationGracePeriodSeconds": 1 },
            },
        },
    });
    create(client, &format!("/apis/apps/v1/namespaces/{namespace}/deployments"), &template).await?;
    let access = Access::Kubeconfig { file: Some(file), context: None };
    let cluster = ClusterSettings { location: "here".to_owned(), access, namespace: namespace.to_owned() };
    let mut settings = KubernetesSettings { request_within: REQUEST_WITHIN, ..settings(vec![cluster]) };
    // As little as any cluster has.
    settings.shapes[0].offers.cpu_milli = 10.0;
    settings.shapes[0].offers.memory_mib = 16.0;
    let lived = live(settings, step, look_every).await;
    let delete = Request::new("/api/v1/namespaces").delete(namespace, &DeleteParams::background())?;
    client.request::<Value>(delete).await.context("delete the namespace of the test")?;
    lived
}

async fn live(settings: KubernetesSettings, step: impl Fn(), look_every: Duration) -> Result<()> {
    let manager = Kubernetes::connect(settings.clone()).await?;
    ensure!(manager.observe().await?.generation.is_none(), "no order was given yet");
    for (sequence, count) in [(1, 2), (2, 3), (3, 1)] {
        let order = order(sequence, &[(steady(), count)]);
        let applied = manager.apply(&order).await?;
        ensure!(applied.failures.is_empty(), "{applied:?}");
        let deadline = Instant::now() + SETTLES_WITHIN;
        loop {
            step();
            let observed = manager.observe().await?;
            if ready(&observed, &steady()).len() == count as usize {
                break;
            }
            ensure!(Instant::now() < deadline, "{count} not within {SETTLES_WITHIN:?}: {observed:#?}");
            tokio::time::sleep(look_every).await;
        }
        let again = manager.apply(&order).await?;
        ensure!((again.started, again.stopped) == (0, 0), "{again:?}");
    }
    let restarted = Kubernetes::connect(settings).await?;
    let stale = order(2, &[(steady(), 3)]);
    let taken = Generation { epoch: 1, sequence: 3 };
    let expected = ProvisionError::StaleGeneration { asked: stale.generation, taken };
    ensure!(restarted.apply(&stale).await == Err(expected));
    ensure!(ready(&restarted.observe().await?, &steady()).len() == 1);
    restarted.apply(&order(4, &[])).await?;
    Ok(())
}

async fn create(client: &kube::Client, path: &str, object: &Value) -> Result<()> {
    let request = Request::new(path).create(&PostParams::default(), object.to_string().into_bytes())?;
    client.request::<Value>(request).await.with_context(|| path.to_owned())?;
    Ok(())
}
