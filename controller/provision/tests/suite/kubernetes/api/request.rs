//! A request as Kubernetes' API names it: verb, resource, name, and what it carries.

use std::collections::BTreeMap;

use axum::http::request::Parts;
use serde_json::Value;

use super::Answer;
use super::store::status;

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Call {
    /// As rights name it: `get`, `list`, `watch`, `create`, `update`, `patch` or `delete`.
    pub(crate) verb: &'static str,
    pub(crate) group: String,
    /// With its subresource, if one is asked for.
    pub(crate) resource: String,
    pub(crate) namespace: Option<String>,
    pub(crate) name: Option<String>,
    pub(crate) query: BTreeMap<String, String>,
    /// Whether the body is for server-side apply.
    pub(crate) is_apply: bool,
    /// Whether the body is a strategic merge patch.
    pub(crate) is_strategic: bool,
    pub(crate) body: Value,
}

impl PartialOrd for Call {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Call {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.right().cmp(&other.right())
    }
}

impl Call {
    /// Reads a request; the answer to one that makes no sense.
    pub(crate) fn read(parts: &Parts, body: &[u8]) -> Result<Self, Answer> {
        let path = parts.uri.path().trim_matches('/').to_owned();
        let mut segments = path.split('/');
        let group = match segments.next() {
            Some("api") => String::new(),
            Some("apis") => segments.next().unwrap_or_default().to_owned(),
            _ => return Err(status(404, "NotFound", &path)),
        };
        let version = segments.next();
        if version != Some("v1") && version != Some("v1beta1") {
            return Err(status(404, "NotFound", &path));
        }
        let mut rest: Vec<&str> = segments.collect();
        let mut namespace = None;
        if rest.first() == Some(&"namespaces") && rest.len() > 2 {
            namespace = rest.get(1).map(|name| (*name).to_owned());
            rest.drain(..2);
        }
        let mut rest = rest.into_iter();
        let mut resource = rest.next().unwrap_or_default().to_owned();
        let name = rest.next().map(str::to_owned);
        if let Some(subresource) = rest.next() {
            resource = format!("{resource}/{subresource}");
        }
        let query = parts.uri.query().unwrap_or_default().split('&').filter_map(|pair| pair.split_once('='));
        let query: BTreeMap<String, String> = query.map(|(key, value)| (key.to_owned(), decoded(value))).collect();
        let verb = match (parts.method.as_str(), &name) {
            ("GET", Some(_)) => "get",
            ("GET", None) if query.get("watch").is_some_and(|watch| watch == "true") => "watch",
            ("GET", None) => "list",
            ("POST", None) => "create",
            ("PUT", Some(_)) => "update",
            ("PATCH", Some(_)) => "patch",
            ("DELETE", Some(_)) => "delete",
            (method, _) => return Err(status(405, "MethodNotAllowed", method)),
        };
        let content = parts.headers.get("content-type").and_then(|content| content.to_str().ok()).unwrap_or_default();
        let body = if body.is_empty() { Ok(Value::Null) } else { serde_json::from_slice(body) };
        let body = body.map_err(|error| status(400, "BadRequest", &error.to_string()))?;
        let is_apply = content.starts_with("application/apply-patch");
        let is_strategic = content == "application/strategic-merge-patch+json";
        if verb == "patch" && !is_apply && !is_strategic && content != "application/merge-patch+json" {
            return Err(status(415, "UnsupportedMediaType", content));
        }
        Ok(Self { verb, group, resource, namespace, name, query, is_apply, is_strategic, body })
    }

    pub(crate) fn is_change(&self) -> bool {
        !matches!(self.verb, "get" | "list" | "watch")
    }

    /// Whether it asks what a version of a group has, which every user may (`system:discovery`).
    pub(crate) fn is_discovery(&self) -> bool {
        self.verb == "list" && self.resource.is_empty()
    }

    pub(crate) fn is_list(&self) -> bool {
        self.verb == "list"
    }

    pub(crate) fn is_watch(&self) -> bool {
        self.verb == "watch"
    }

    /// What a right is about.
    pub(crate) fn right(&self) -> (&str, &str, &str, bool) {
        (&self.group, &self.resource, self.verb, self.namespace.is_some())
    }

    pub(crate) fn without_content(&self) -> Self {
        Self { name: None, query: BTreeMap::new(), body: Value::Null, ..self.clone() }
    }

    pub(crate) fn asks(&self, key: &str) -> &str {
        self.query.get(key).map_or("", String::as_str)
    }
}

/// Undoes percent encoding.
fn decoded(text: &str) -> String {
    let mut bytes = text.bytes();
    let mut plain = Vec::new();
    while let Some(byte) = bytes.next() {
        let hex: Option<u8> = (byte == b'%').then(|| {
            let pair = [bytes.next().unwrap_or_default(), bytes.next().unwrap_or_default()];
            u8::from_str_radix(&String::from_utf8_lossy(&pair), 16).unwrap_or_default()
        });
        plain.push(hex.unwrap_or(if byte == b'+' { b' ' } else { byte }));
    }
    String::from_utf8_lossy(&plain).into_owned()
}
