//! The schema beside the checks: what one refuses the other refuses, and what the schema states is what the program does.
//!
//! Whole configurations that use every field are taken apart field by field. Each limit is tried on both sides, each default
//! written out, each object given a field that it does not know.

use std::collections::BTreeSet;
use std::path::Path;

use jsonschema::Validator;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::schema;
use crate::config::Config;

const POLICY: &str = "resources:\n  - { name: requests, others: { rate_per_s: 1 } }\n";
/// Everything but the manager. The clock is slow, so that the horizon is longer than the longest lead time.
const WHOLE: &str = "
listen: 127.0.0.1:0
port_file: port
data_dir: data
step_s: 300
clock: { speed: 0.01, calendar_start: '2026-01-01', steady_start_unix_ms: 1 }
forecast:
  { quantile: 0.9, horizon_steps: 90, refit_every_steps: 12, history_weeks: 4, network: { cpu_seconds: 5 }, search: { trials: 4 },
    events: [ { file: a.ics, zone: UTC, keys: [ 'acme/*' ], pools: [ shop ] } ] }
sync: { grant_validity_s: 20, watch_hold_s: 10, proxy_stale_after_s: 5 }
pools: [ { name: web, capacity_per_s: 100 } ]
policy: policy.yaml
contracts:
  - { tenant: acme, resource: requests, rate_per_s: 5, burst: 7, shadow_max_per_s: 9, pool: shop, weight: 2 }
log: { format: json, level: debug }
capacity:
  decide_every_s: 2
  endpoints: eds
  xds: { listen: 127.0.0.1:0, port_file: xds.port }
  tiers:
    - { name: spot, price_factor: 0.3, volatility_per_h: 0.05, cpu_performance: 0.8, memory_performance: 0.9 }
  shapes:
    - { name: Small, price_per_h: 0.085, performance: 1.1,
        offers: { cpu: 2, memory_mib: 4096, storage_gib: 1, disk_iops: 1, network_mbps: 1, gpus: 1 } }
  pools:
    - { name: a, location: eu, max_instances: 4294967295, lead_s: 30, compute: gpu, billing_min_s: 60, shapes: [ Small ] }
    - { name: b, location: eu, class: spot, tier: spot, max_instances: 9, lead_s: 30, price_factor: 0, price_factor_max: 2 }
  services:
    - { name: shop, tenant: acme, shortage_per_unit_h: 0.02, min_instances: 1,
        locations: [ eu ], latency: { max_ms: 50, origins: { eu: 3, us: 1 } }, scaling: { reactive: { target: 0.7, every_s: 15 } },
        need_per_unit: { cpu: 0.01, memory_mib: 1, storage_gib: 0, disk_iops: 0, network_mbps: 0, gpus: 0 },
        min_performance: 0.1, min_dwell_s: 60, drain_s: 5, guaranteed_share: 0.5 }
    - { name: bank, need_per_unit: { cpu: 0.01 }, short_steps_share: 0.01, scaling: forecast }
    - { name: feed, need_per_unit: { cpu: 0.01 }, shortage_per_unit_h: 1, spot_max_share: 0.5,
        tuning: { headrooms: [ 0.9, 1.0 ], spot_shifts: [ -0.25, 0 ], explored_share: 0.1, alpha: 0.05, automatic: true } }
  latencies: [ { from: us, to: eu, ms: 40 } ]
  budgets: [ { name: acme, tenant: acme, limit: 12.5, per: month }, { name: b, pool: b, limit: 1, per: day } ]
  performance: { mode: watch, band: [ 0.5, 1.5 ], min_readings: 24 }
  generated_shapes:
    { mode: propose, every_h: 12, most: 2, min_saving: 0.1, retire_after_h: 24, prices: { cpu_per_h: 0.03, memory_gib_per_h: 0.004 } }
";
const PROCESS: &str = "
{ process: { folder: p, ports: { first: 1000, last: 65535 }, max_processes: 9, run: [
  { service: shop, pool: a, shape: Small, program: /bin/true, arguments: [ '{port}' ], environment: { A: b }, health: { http: / },
    warming: { paths: [ / ], rounds: 2, minimum_age_s: 1 }, start_within_s: 9, drain: { serve_s: 1, end_within_s: 2 },
    max_processes: 3 },
  { service: bank, program: /bin/true, arguments: [ '{port}' ], health: connect },
  { service: feed, program: /bin/true, arguments: [ '{port}' ] } ] } }";
const WEBHOOK: &str = "
{ webhook: { url: 'https://capacity.example', secret_file: FOLDER/secret, tls: { ca_file: TLS/authority.pem,
  server_name: a.example, certificate_file: TLS/controller.pem, key_file: TLS/controller.key } } }";
const KUBERNETES: &str = "
{ kubernetes: { clusters: [ { location: eu, namespace: shop, kubeconfig: { file: kubeconfig, context: eu-1 } } ],
  pools: { b: { node_selector: { capacity: spot }, node_pool: spot, tolerations: [ { key: spot, value: 'yes', effect: NoSchedule } ],
    placeholders: { shape: Small, count: 2, priority_class: low, image: pause } } },
  services: { shop: { deployment: shop, container: main, port: 8080, warm_after_s: 5 }, bank: { deployment: bank, port: 1 },
    feed: { deployment: feed, port: 1 } },
  unschedulable_after_s: 60, surge_within_s: 60, resize_within_s: 10 } }";

/// Where configurations are read, with the files that they name.
struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("policy.yaml"), POLICY).unwrap();
        std::fs::write(folder.path().join("secret"), [7; 32]).unwrap();
        Self(folder)
    }

    /// One for each manager.
    fn bases(&self) -> Vec<Value> {
        let tls = concat!(env!("CARGO_MANIFEST_DIR"), "/../provision/tests/tls");
        let folder = self.0.path().to_str().unwrap();
        let named = |text: &str| text.replace("FOLDER", folder).replace("TLS", tls);
        let base = |manager: &str| {
            let mut config: Value = serde_saphyr::from_str(WHOLE).unwrap();
            config["capacity"]["manager"] = serde_saphyr::from_str(&named(manager)).unwrap();
            config
        };
        ["dry_run", PROCESS, WEBHOOK, KUBERNETES].into_iter().map(base).collect()
    }

    /// What the program makes of a configuration, or why it refuses it. JSON is YAML.
    fn read(&self, config: &Value) -> Result<String, String> {
        let file = self.0.path().join("forebay.yaml");
        Config::parse(&file, &config.to_string()).map(|config| format!("{config:?}")).map_err(|error| error.to_string())
    }
}

/// A value of a configuration with what the schema says of it.
struct Place {
    /// As JSON pointers have it.
    pointer: String,
    /// As errors name it.
    path: String,
    /// The same for every entry of a list and every name of a map.
    field: String,
    schema: Value,
}

/// Every place of a configuration that the schema describes.
fn places(whole: &Value, config: &Value) -> Vec<Place> {
    let mut all = Vec::new();
    let at = |pointer: &str, path: &str, field: &str| [pointer, path, field].map(str::to_owned);
    descend(whole, (whole, config), at("", "", ""), &mut all);
    all
}

fn descend(
    whole: &Value,
    (schema, value): (&Value, &Value),
    [pointer, path, field]: [String; 3],
    all: &mut Vec<Place>,
) {
    let schema = resolved(whole, schema, value);
    for (name, below) in value.as_object().into_iter().flatten() {
        let (of, label) = match &schema["properties"][name] {
            Value::Null => (&schema["additionalProperties"], "*"),
            known => (known, name.as_str()),
        };
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        let names = [format!("{pointer}/{name}"), path, format!("{field}/{label}")];
        descend(whole, (of, below), names, all);
    }
    for (i, below) in value.as_array().into_iter().flatten().enumerate() {
        let names = [format!("{pointer}/{i}"), format!("{path}[{i}]"), format!("{field}/[]")];
        descend(whole, (&schema["items"], below), names, all);
    }
    all.push(Place { pointer, path, field, schema });
}

/// What stands behind a reference, of the alternatives the one that the value is of; limits beside a reference stay.
fn resolved(whole: &Value, schema: &Value, value: &Value) -> Value {
    if let Some(place) = schema["$ref"].as_str() {
        return resolved(whole, whole.pointer(place.trim_start_matches('#')).unwrap(), value);
    }
    let alternatives = ["anyOf", "oneOf"].iter().filter_map(|name| schema[*name].as_array()).flatten();
    let fits = |one: &&Value| {
        let is_named = |name: &String| !resolved(whole, one, &Value::Null)["properties"][name].is_null();
        match value {
            Value::Object(fields) => one["$ref"].is_string() || fields.keys().all(is_named),
            Value::String(word) => {
                one["const"] == *word
                    || one["enum"].as_array().is_some_and(|words| words.contains(value))
                    || one["$ref"].is_string()
            }
            _ => one["type"] != "null",
        }
    };
    match alternatives.into_iter().find(fits) {
        Some(one) => resolved(whole, one, value),
        None => schema.clone(),
    }
}

fn with(config: &Value, pointer: &str, value: Value) -> Value {
    let mut changed = config.clone();
    *changed.pointer_mut(pointer).unwrap() = value;
    changed
}

fn validator() -> Validator {
    jsonschema::draft202012::new(&schema()).unwrap()
}

#[test]
fn whole_configurations_use_every_field_and_fit() {
    let (whole, validator, folder) = (schema(), validator(), Folder::new());
    let mut seen = BTreeSet::new();
    for config in folder.bases() {
        folder.read(&config).unwrap();
        let errors: Vec<String> =
            validator.iter_errors(&config).map(|error| format!("{}: {error}", error.instance_path())).collect();
        assert_eq!(errors, [] as [String; 0]);
        for place in places(&whole, &config) {
            for name in place.schema["properties"].as_object().into_iter().flatten().map(|(name, _)| name) {
                seen.insert((format!("{}/{name}", place.field), false));
            }
            seen.insert((place.field, true));
        }
    }
    let missing: Vec<_> = seen.iter().filter(|(field, used)| !used && !seen.contains(&(field.clone(), true))).collect();
    assert!(missing.is_empty(), "no configuration of this test has {missing:?}");
    assert!(seen.len() > 150, "{}", seen.len());
}

#[test]
fn limits_are_those_of_the_checks() {
    let (whole, validator, folder) = (schema(), validator(), Folder::new());
    let mut tried = 0;
    for config in folder.bases() {
        for place in places(&whole, &config) {
            let Place { pointer, path, schema, .. } = &place;
            let is = |name: &str| {
                schema["type"] == name || schema["type"].as_array().is_some_and(|of| of.contains(&json!(name)))
            };
            let limit = |name: &str| schema[name].as_f64();
            if !(is("number") || is("integer")) {
                continue;
            }
            let value = |number: f64| if is("integer") { json!(number as i64) } else { json!(number) };
            let step = |of: f64| if is("integer") { 1.0 } else { (of.abs() * 1e-3).max(1e-6) };
            let most_of_type = || match schema["format"].as_str() {
                Some("uint16") => json!(u16::MAX),
                Some("uint32") => json!(u32::MAX),
                Some("uint" | "uint64") => json!(u64::MAX),
                _ => json!(1e300),
            };
            let (mut outside, mut within) = (Vec::new(), Vec::new());
            let lower = [
                limit("minimum").map(|least| (least - step(least), least)),
                limit("exclusiveMinimum").map(|least| (least, least + step(least))),
            ];
            let upper = [
                limit("maximum").map(|most| (most + step(most), most)),
                limit("exclusiveMaximum").map(|most| (most, most - step(most))),
            ];
            for (beyond, at) in lower.iter().chain(&upper).flatten() {
                outside.push(value(*beyond));
                within.push(value(*at));
            }
            if upper.iter().all(Option::is_none) {
                within.push(most_of_type());
            }
            for wrong in outside {
                let changed = with(&config, pointer, wrong.clone());
                assert!(!validator.is_valid(&changed), "{path}: {wrong} is outside its limits");
                assert!(folder.read(&changed).is_err(), "{path}: {wrong} is outside what the schema says, and taken");
                tried += 1;
            }
            for right in within {
                let changed = with(&config, pointer, right.clone());
                assert!(validator.is_valid(&changed), "{path}: {right}");
                // Another field may not go with it.
                let refused = folder.read(&changed).err().filter(|error| error.contains(&format!(": {path}: ")));
                assert_eq!(refused, None, "{right} is within what the schema says");
            }
        }
    }
    assert!(tried > 100, "{tried}");
}

#[test]
fn words_and_names_are_refused_by_both() {
    let (whole, validator, folder) = (schema(), validator(), Folder::new());
    let config = folder.bases().remove(0);
    for Place { pointer, path, schema, .. } in places(&whole, &config) {
        let wrong = match (&schema["enum"], &schema["maxLength"]) {
            (Value::Array(words), _) => {
                for word in words.iter().filter(|word| word.is_string()) {
                    folder.read(&with(&config, &pointer, word.clone())).unwrap();
                }
                vec![json!("never")]
            }
            (_, Value::Number(most)) => vec![json!(""), json!("x".repeat(most.as_u64().unwrap() as usize + 1))],
            _ => continue,
        };
        for wrong in wrong {
            let changed = with(&config, &pointer, wrong);
            assert!(!validator.is_valid(&changed) && folder.read(&changed).is_err(), "{path}");
        }
    }
}

#[test]
fn unknown_fields_are_refused_by_both() {
    let (whole, validator, folder) = (schema(), validator(), Folder::new());
    for config in folder.bases() {
        for Place { pointer, path, schema, .. } in places(&whole, &config) {
            let value = config.pointer(&pointer).unwrap();
            if !value.is_object() || schema["additionalProperties"].is_object() {
                continue;
            }
            let mut more = value.clone();
            more["zzz"] = json!(1);
            let changed = if pointer.is_empty() { more } else { with(&config, &pointer, more) };
            assert!(!validator.is_valid(&changed), "{path}: the schema takes zzz");
            assert!(folder.read(&changed).is_err(), "{path}: the program takes zzz");
        }
    }
}

#[test]
fn defaults_are_what_is_taken_where_nothing_is_said() {
    let (whole, folder) = (schema(), Folder::new());
    let mut tried = BTreeSet::new();
    for config in folder.bases() {
        for Place { pointer, path, schema, field } in places(&whole, &config) {
            for (name, of) in schema["properties"].as_object().into_iter().flatten() {
                let Some(default) = of.get("default") else { continue };
                let with_field = |value: Option<&Value>| {
                    let mut changed = config.clone();
                    let object = changed.pointer_mut(&pointer).unwrap().as_object_mut().unwrap();
                    match value {
                        Some(value) => object.insert(name.clone(), value.clone()),
                        None => object.remove(name),
                    };
                    folder.read(&changed)
                };
                assert_eq!(with_field(Some(default)), with_field(None), "{path}.{name}");
                tried.insert(format!("{field}/{name}"));
            }
        }
    }
    assert!(tried.len() > 60, "{tried:?}");
}

#[test]
fn every_field_is_described_in_whole_sentences() {
    let (whole, folder) = (schema(), Folder::new());
    for config in folder.bases() {
        for Place { path, schema, .. } in places(&whole, &config) {
            for (name, of) in schema["properties"].as_object().into_iter().flatten() {
                // The one field of a choice is described beside it.
                let about = of["description"].as_str().or(schema["description"].as_str()).unwrap_or_default();
                assert!(
                    about.ends_with('.') && about.starts_with(|first: char| !first.is_lowercase()),
                    "{path}.{name}: {about:?}"
                );
            }
        }
    }
}

#[test]
fn the_examples_and_the_readme_fit() {
    let validator = validator();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut documents = Vec::new();
    let mut folders = vec![root.join("examples"), root.join("envoy")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            let is_configuration = entry.file_name().is_some_and(|name| name == "forebay.yaml");
            match entry.is_dir() {
                true => folders.push(entry),
                false if is_configuration => documents.push(std::fs::read_to_string(entry).unwrap()),
                false => {}
            }
        }
    }
    assert!(!documents.is_empty());
    let readme = std::fs::read_to_string(root.join("README.md")).unwrap();
    let blocks: Vec<&str> = readme.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert!(blocks.len() > 1);
    // They stand in lists, three columns in.
    documents.extend(blocks.iter().map(|block| block.replace("\n   ", "\n").trim_start().to_owned()));
    for text in documents {
        let document: Value = serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
        let errors: Vec<String> =
            validator.iter_errors(&document).map(|error| format!("{}: {error}", error.instance_path())).collect();
        assert_eq!(errors, [] as [String; 0], "{text}");
    }
}
