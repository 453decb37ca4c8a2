//! The configurations for Istio and Envoy Gateway: right by the published schemas, and taken by the real Envoy.
//!
//! Two judges, because neither sees all. The schemas (`host-tests/schemas/crd.py`) know the resources' fields and
//! nothing of the filter; Envoy, with the filter in it, reads what each resource turns into. That step is done here the
//! way the two control planes do it: an EnvoyFilter's patches are merged, a JSON patch is applied, and a plugin's
//! configuration becomes one string.

use std::io::Write;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use forebay_host_tests::artefacts::{Artefacts, workspace_root};
use forebay_host_tests::bootstrap::{Bootstrap, Listener};
use forebay_host_tests::envoy::validate;
use forebay_host_tests::filters;
use serde_json::{Value, json};

const RESOURCES: [&str; 8] = [
    "envoy/istio/wasmplugin.yaml",
    "envoy/istio/trafficextension.yaml",
    "envoy/istio/envoyfilter.yaml",
    "envoy/istio/stats.yaml",
    "envoy/gateway/envoyextensionpolicy.yaml",
    "envoy/gateway/envoyproxy.yaml",
    "envoy/istio/destinationrule.yaml",
    "envoy/istio/virtualservice.yaml",
];

/// A YAML file of the repository.
pub(crate) fn document(path: &str) -> Result<Value> {
    let text = std::fs::read_to_string(workspace_root()?.join(path)).with_context(|| path.to_owned())?;
    serde_saphyr::from_str(&text).with_context(|| path.to_owned())
}

/// What the published schemas have against these resources, one line each.
fn findings(documents: &[Value]) -> Result<String> {
    let root = workspace_root()?;
    let schemas = root.join("target/forebay/schemas");
    if !schemas.join("schemas.json").is_file() {
        bail!("{} is missing: run `cargo xtask setup --all` first", schemas.display());
    }
    let mut child = Command::new("python3")
        .arg(root.join("host-tests/schemas/crd.py"))
        .arg("check")
        .arg(&schemas)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot run python3")?;
    child.stdin.take().context("a pipe")?.write_all(&serde_json::to_vec(documents)?)?;
    let output = child.wait_with_output()?;
    if !output.stderr.is_empty() {
        bail!("{}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

#[test]
fn every_resource_follows_its_published_schema() -> Result<()> {
    let mut shipped = 0;
    for folder in ["envoy/istio", "envoy/gateway"] {
        let files = std::fs::read_dir(workspace_root()?.join(folder))?;
        shipped += files.flatten().filter(|file| file.path().extension().is_some_and(|kind| kind == "yaml")).count();
    }
    assert_eq!(shipped, RESOURCES.len(), "a file is not in the list");
    let documents = RESOURCES.into_iter().map(document).collect::<Result<Vec<_>>>()?;
    assert_eq!(findings(&documents)?, "");
    Ok(())
}

#[test]
fn the_schemas_find_what_is_wrong() -> Result<()> {
    let wrong = |path: &str, pointer: &str, value: Value| -> Result<String> {
        let mut document = document(path)?;
        let (parent, field) = pointer.rsplit_once('/').context("a pointer")?;
        let parent = document.pointer_mut(parent).with_context(|| format!("{path} has no {parent}"))?;
        parent[field] = value;
        findings(&[document])
    };
    let [plugin, extension, filter, _, policy, proxy, rule, service] = RESOURCES;
    let cases = [
        (plugin, "/spec/failStrategy", json!("FAIL_RESTART"), "FAIL_RELOAD"),
        (plugin, "/spec/sha256", json!("zz"), "does not match"),
        (plugin, "/spec/failstrategy", json!("FAIL_OPEN"), "no such field"),
        (extension, "/spec/wasm/phase", json!("STATS"), "no such field"),
        (extension, "/spec/wasm/url", json!(7), "int instead of string"),
        (filter, "/spec/configPatches/0/patch/operation", json!("INSERT"), "INSERT_BEFORE"),
        (policy, "/spec/wasm/0/failStrategy", json!("FAIL_RELOAD"), "no such field"),
        (policy, "/spec/wasm/0/code/type", json!("File"), "HTTP, Image"),
        (proxy, "/spec/bootstrap/type", json!("Patch"), "JSONPatch"),
        (rule, "/spec/trafficPolicy/loadBalancer/simple", json!("LEAST"), "LEAST_REQUEST"),
        (rule, "/spec/subsets/0/label", json!({}), "no such field"),
        (service, "/spec/http/0/route/0/destination/subset", json!(1), "int instead of string"),
    ];
    for (path, pointer, value, said) in cases {
        let found = wrong(path, pointer, value)?;
        assert!(found.contains(said) && found.lines().count() == 1, "{path} {pointer}: {found}");
    }
    Ok(())
}

/// A subset that no rule declares is a route to nowhere.
#[test]
fn the_routes_of_the_virtual_service_lead_to_what_the_destination_rule_declares() -> Result<()> {
    let (rule, service) = (document("envoy/istio/destinationrule.yaml")?, document("envoy/istio/virtualservice.yaml")?);
    let group = &rule["spec"]["subsets"][0]["labels"]["forebay.dev/group"];
    let preferred = &rule["spec"]["trafficPolicy"]["loadBalancer"]["localityLbSetting"]["failoverPriority"][0];
    assert_eq!(preferred, &json!(format!("forebay.dev/group={}", group.as_str().context("a name")?)));
    for route in service["spec"]["http"].as_array().context("routes")? {
        let destination = &route["route"][0]["destination"];
        assert_eq!(destination["host"], rule["spec"]["host"]);
        let subset = &destination["subset"];
        assert!(subset.is_null() || *subset == rule["spec"]["subsets"][0]["name"], "{subset}");
    }
    Ok(())
}

#[test]
fn the_plugin_configurations_are_taken_by_the_filter() -> Result<()> {
    let artefacts = Artefacts::find()?;
    for (path, pointer) in [
        ("envoy/istio/wasmplugin.yaml", "/spec/pluginConfig"),
        ("envoy/istio/trafficextension.yaml", "/spec/wasm/pluginConfig"),
        ("envoy/gateway/envoyextensionpolicy.yaml", "/spec/wasm/0/config"),
    ] {
        let document = document(path)?;
        let config = document.pointer(pointer).with_context(|| format!("{path} has no {pointer}"))?;
        let with = |config: &Value| {
            let filter = filters::forebay(&artefacts, "", config);
            let listener = Listener::new("main", vec![filter]);
            let upstream = ([127, 0, 0, 1], 1).into();
            let bootstrap = Bootstrap::new("hosts").upstream(&[upstream]).listener(listener);
            validate(&artefacts, &bootstrap.to_json("").to_string())
        };
        with(config).context(path)?;
        let mut wrong = config.clone();
        wrong["policy"]["contracts"][0]["burst"] = json!(-1);
        let error = with(&wrong).err().with_context(|| format!("{path}: a wrong burst is taken"))?;
        assert!(error.to_string().contains("contracts[0].burst: -1, expected"), "{error}");
    }
    Ok(())
}

#[test]
fn the_envoy_filters_merge_into_a_bootstrap_that_envoy_takes() -> Result<()> {
    let artefacts = Artefacts::find()?;
    let mut bootstrap = Bootstrap::new("istio")
        .upstream(&[([127, 0, 0, 1], 1).into()])
        .listener(Listener::new("main", vec![]))
        .to_json("");
    let manager = "/static_resources/listeners/0/filter_chains/0/filters/0";
    let mut applied = 0;
    for path in ["envoy/istio/envoyfilter.yaml", "envoy/istio/stats.yaml"] {
        for patch in document(path)?["spec"]["configPatches"].as_array().context("patches")? {
            let value = &patch["patch"]["value"];
            match (patch["applyTo"].as_str(), patch["patch"]["operation"].as_str()) {
                (Some("BOOTSTRAP"), Some("MERGE")) => merge(&mut bootstrap, value),
                (Some("NETWORK_FILTER"), Some("MERGE")) => {
                    merge(bootstrap.pointer_mut(manager).context("the connection manager")?, value);
                }
                (Some("HTTP_FILTER"), Some("INSERT_BEFORE")) => {
                    let filters = bootstrap.pointer_mut(&format!("{manager}/typed_config/http_filters"));
                    filters.and_then(Value::as_array_mut).context("the filters")?.insert(0, value.clone());
                }
                other => bail!("{path}: no rule to apply {other:?}"),
            }
            applied += 1;
        }
    }
    assert_eq!(applied, 3);
    let text = at_home(&artefacts, &bootstrap)?;
    validate(&artefacts, &text)?;
    let config = bootstrap.pointer(&format!("{manager}/typed_config/http_filters/0/typed_config/config"));
    let config = config.context("the filter")?;
    assert_eq!((&config["failure_policy"], &config["vm_config"]["vm_id"]), (&json!("FAIL_RELOAD"), &json!("forebay")));
    // The judge sees all of it: a field that Envoy does not know, a rate that the filter does not take.
    for (good, bad) in
        [("reload_config", "reload_configuration"), ("\\\"rate_per_s\\\": 10,", "\\\"rate_per_s\\\": -1,")]
    {
        let wrong = text.replace(good, bad);
        assert_ne!(wrong, text, "{good} is in it");
        assert!(validate(&artefacts, &wrong).is_err(), "{bad} is taken");
    }
    Ok(())
}

#[test]
fn the_envoy_proxy_patches_a_bootstrap_that_envoy_takes() -> Result<()> {
    let artefacts = Artefacts::find()?;
    let mut bootstrap = Bootstrap::new("gateway")
        .upstream(&[([127, 0, 0, 1], 1).into()])
        .listener(Listener::new("main", vec![]))
        .to_json("");
    for patch in
        document("envoy/gateway/envoyproxy.yaml")?["spec"]["bootstrap"]["jsonPatches"].as_array().context("patches")?
    {
        assert_eq!(patch["op"], "add");
        let path = patch["path"].as_str().context("a path")?;
        let (parent, field) = path.rsplit_once('/').context("a path")?;
        let parent = bootstrap.pointer_mut(parent).with_context(|| format!("the bootstrap has no {parent}"))?;
        match (parent, field) {
            (Value::Array(items), "-") => items.push(patch["value"].clone()),
            (Value::Object(fields), field) => drop(fields.insert(field.to_owned(), patch["value"].clone())),
            (other, field) => bail!("cannot add {field} to {other}"),
        }
    }
    let clusters = bootstrap["static_resources"]["clusters"].as_array().context("clusters")?;
    assert!(clusters.iter().any(|cluster| cluster["name"] == "forebay_controller"));
    validate(&artefacts, &at_home(&artefacts, &bootstrap)?)
}

/// The text of a bootstrap with the places of this machine in it.
fn at_home(artefacts: &Artefacts, bootstrap: &Value) -> Result<String> {
    let module = artefacts.forebay_filter.to_str().context("a path in UTF-8")?;
    Ok(bootstrap.to_string().replace("/etc/forebay/forebay_filter.wasm", module))
}

/// Merges as protobuf does, and Istio with it: fields of messages one by one, lists appended.
fn merge(into: &mut Value, from: &Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (name, value) in from {
                merge(into.entry(name.clone()).or_insert(Value::Null), value);
            }
        }
        (Value::Array(into), Value::Array(from)) => into.extend(from.iter().cloned()),
        (into, from) => *into = from.clone(),
    }
}
