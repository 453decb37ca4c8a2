//! What only an administrator may do to the cluster: what a test prepares, and what befalls the manager.

use std::path::Path;

use anyhow::{Context, Result};
use kube::core::Request;
use kube::core::params::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Client, Config};
use serde_json::{Value, json};

/// Does what only an administrator may.
#[derive(Clone)]
pub(super) struct Admin(Client);

impl Admin {
    pub(super) async fn connect(file: &Path) -> Result<Self> {
        let kubeconfig = kube::config::Kubeconfig::read_from(file)?;
        let config = Config::from_custom_kubeconfig(kubeconfig, &Default::default()).await?;
        Ok(Self(Client::try_from(config)?))
    }

    pub(super) async fn list(&self, path: &str) -> Result<Vec<Value>> {
        let list: Value = self.0.request(Request::new(path).list(&ListParams::default())?).await?;
        Ok(list["items"].as_array().cloned().unwrap_or_default())
    }

    pub(super) async fn get(&self, path: &str, name: &str) -> Result<Value> {
        Ok(self.0.request(Request::new(path).get(name, &Default::default())?).await?)
    }

    pub(super) async fn create(&self, path: &str, object: &Value) -> Result<()> {
        let request = Request::new(path).create(&PostParams::default(), object.to_string().into_bytes())?;
        self.0.request::<Value>(request).await.with_context(|| format!("create in {path}"))?;
        Ok(())
    }

    /// What is there already stays.
    pub(super) async fn provide(&self, path: &str, object: &Value) -> Result<()> {
        match self.create(path, object).await {
            Err(error) if is_code(&error, 409) => Ok(()),
            done => done,
        }
    }

    pub(super) async fn patch(&self, path: &str, name: &str, change: &Value) -> Result<()> {
        let request = Request::new(path).patch(name, &PatchParams::default(), &Patch::Strategic(change))?;
        self.0.request::<Value>(request).await.with_context(|| format!("patch {path}/{name}"))?;
        Ok(())
    }

    /// As `patch`, of a kind that the server knows no strategy for.
    pub(super) async fn merge(&self, path: &str, name: &str, change: &Value) -> Result<()> {
        let request = Request::new(path).patch(name, &PatchParams::default(), &Patch::Merge(change))?;
        self.0.request::<Value>(request).await.with_context(|| format!("merge into {path}/{name}"))?;
        Ok(())
    }

    pub(super) async fn patch_status(&self, path: &str, name: &str, change: &Value) -> Result<()> {
        let patch = Patch::Strategic(change);
        let request = Request::new(path).patch_subresource("status", name, &PatchParams::default(), &patch)?;
        self.0.request::<Value>(request).await.with_context(|| format!("patch the status of {path}/{name}"))?;
        Ok(())
    }

    /// At once; what is gone already is as it should be.
    pub(super) async fn delete(&self, path: &str, name: &str) -> Result<()> {
        let at_once = DeleteParams { grace_period_seconds: Some(0), ..DeleteParams::background() };
        match self.0.request::<Value>(Request::new(path).delete(name, &at_once)?).await {
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            Err(error) => Err(error).with_context(|| format!("delete {path}/{name}")),
            Ok(_) => Ok(()),
        }
    }
}

pub(super) fn is_code(error: &anyhow::Error, code: u16) -> bool {
    matches!(error.downcast_ref::<kube::Error>(), Some(kube::Error::Api(status)) if status.code == code)
}

/// An object with a name and nothing else.
pub(super) fn named(version: &str, kind: &str, name: &str) -> Value {
    json!({ "apiVersion": version, "kind": kind, "metadata": { "name": name } })
}
