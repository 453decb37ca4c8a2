//! The plugin configuration: bootstrap and fallback policy, as JSON.
//!
//! It is checked once, in `on_configure`, and depends on nothing but its own text: Envoy tries it on a canary VM and
//! would silently drop the filter if a worker came to another result. A wrong configuration is refused whole, with the
//! place, the reason and the remedy.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

use forebay_admission::units::{MAX_BURST_UNITS, MAX_RATE_UNITS_PER_S};
use forebay_admission::{Limit, MAX_CHARGES, Rate};
use serde::Deserialize;

/// Most contracts in a plugin configuration; larger sets come from the controller.
pub const MAX_FALLBACK_CONTRACTS: usize = 10_000;

/// Longest tenant or resource name in bytes.
pub const MAX_NAME_BYTES: usize = 256;

/// A checked configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// This proxy's name; `None` takes the host's.
    pub proxy_id: Option<String>,
    /// Where the controller is; `None` runs on the fallback policy alone.
    pub controller: Option<Controller>,
    /// Lower-case name of the header that carries the tenant.
    pub tenant_header: String,
    /// What to do with a request without tenant.
    pub unidentified: Unidentified,
    /// What charges what. Each resource has one rule.
    pub rules: Vec<Rule>,
    /// Limits until the controller's grants arrive.
    pub contracts: Vec<Contract>,
    /// `false` counts and tags, but refuses nothing.
    pub enforce: bool,
}

/// The way to the controller.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Controller {
    /// Envoy cluster.
    pub cluster: String,
    /// `:authority` of the calls.
    #[serde(default = "default_authority")]
    pub authority: String,
    /// Time between two reports.
    #[serde(default = "default_report_interval_ms")]
    pub report_interval_ms: u32,
}

/// What becomes of a request that names no tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unidentified {
    /// Charged to the rule's `others` bucket.
    Others,
    /// Refused.
    Refuse,
    /// Passes, uncounted.
    Admit,
}

/// Which requests are charged to which resource, and how much.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// The resource.
    pub resource: String,
    /// Requests whose path begins so; `/` is every request.
    pub path_prefix: String,
    /// Units per request.
    pub cost: Cost,
    /// The bucket of everybody without a contract.
    pub others: Limit,
}

/// Units that a request takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cost {
    /// Always the same.
    Constant(u64),
    /// As a header says.
    Header {
        /// Lower-case name.
        name: String,
        /// When it is absent or not a number.
        default: u64,
        /// Upper cut.
        max: u64,
    },
}

/// A tenant's standard limit for a resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contract {
    /// The tenant.
    pub tenant: String,
    /// The resource.
    pub resource: String,
    /// Rate and burst.
    pub limit: Limit,
}

/// Why a configuration is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// Where, as a path such as `rules[0].cost`; a line and column for text that is not the expected JSON.
    pub path: String,
    /// What is wrong.
    pub reason: String,
    /// What to write instead.
    pub remedy: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "forebay: plugin configuration refused: {}: {}; {}", self.path, self.reason, self.remedy)
    }
}

impl core::error::Error for ConfigError {}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawConfig {
    proxy_id: Option<String>,
    controller: Option<Controller>,
    #[serde(default = "default_tenant_header")]
    tenant_header: String,
    #[serde(default = "default_unidentified")]
    unidentified: Unidentified,
    rules: Vec<RawRule>,
    #[serde(default)]
    contracts: Vec<RawContract>,
    #[serde(default = "default_enforce")]
    enforce: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRule {
    resource: String,
    #[serde(default = "default_path_prefix")]
    path_prefix: String,
    #[serde(default = "default_cost")]
    cost: RawCost,
    others: RawLimit,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum RawCost {
    Constant(u64),
    Header(RawHeaderCost),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawHeaderCost {
    header: String,
    default: u64,
    max: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawContract {
    tenant: String,
    resource: String,
    rate_per_s: f64,
    burst: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawLimit {
    rate_per_s: f64,
    burst: u64,
}

fn default_authority() -> String {
    "forebay".to_string()
}
fn default_report_interval_ms() -> u32 {
    1_000
}
fn default_tenant_header() -> String {
    "x-tenant".to_string()
}
fn default_unidentified() -> Unidentified {
    Unidentified::Others
}
fn default_path_prefix() -> String {
    "/".to_string()
}
fn default_cost() -> RawCost {
    RawCost::Constant(1)
}
fn default_enforce() -> bool {
    true
}

fn refuse(path: impl Into<String>, reason: impl Into<String>, remedy: impl Into<String>) -> ConfigError {
    ConfigError { path: path.into(), reason: reason.into(), remedy: remedy.into() }
}

impl Config {
    /// Reads and checks a configuration.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn parse(json: &[u8]) -> Result<Self, ConfigError> {
        let raw: RawConfig = serde_json::from_slice(json).map_err(|error| {
            let place = format!("line {} column {}", error.line(), error.column());
            refuse(place, error.to_string(), "see envoy/standalone/envoy.yaml for a complete example")
        })?;
        let rules = check_rules(raw.rules)?;
        let contracts = check_contracts(raw.contracts, &rules)?;
        if let Some(controller) = &raw.controller {
            check_controller(controller)?;
        }
        if let Some(proxy_id) = &raw.proxy_id {
            check_name("proxy_id", proxy_id)?;
        }
        Ok(Self {
            proxy_id: raw.proxy_id,
            controller: raw.controller,
            tenant_header: check_header("tenant_header", &raw.tenant_header)?,
            unidentified: raw.unidentified,
            rules,
            contracts,
            enforce: raw.enforce,
        })
    }
}

fn check_rules(raw: Vec<RawRule>) -> Result<Vec<Rule>, ConfigError> {
    if raw.is_empty() {
        return Err(refuse("rules", "no rule, so nothing would be limited", "add at least one rule with a resource"));
    }
    if raw.len() > MAX_CHARGES {
        let reason = format!("{} rules, a request can be charged to at most {MAX_CHARGES} resources", raw.len());
        return Err(refuse("rules", reason, "merge or remove rules"));
    }
    let mut rules: Vec<Rule> = Vec::with_capacity(raw.len());
    for (index, rule) in raw.into_iter().enumerate() {
        let at = |field: &str| format!("rules[{index}].{field}");
        check_name(&at("resource"), &rule.resource)?;
        if rules.iter().any(|earlier| earlier.resource == rule.resource) {
            let reason = format!("resource \"{}\" has a rule already", rule.resource);
            return Err(refuse(at("resource"), reason, "give each resource one rule"));
        }
        if !rule.path_prefix.starts_with('/') {
            let reason = format!("\"{}\" is not the beginning of a path", rule.path_prefix);
            return Err(refuse(at("path_prefix"), reason, "begin it with /"));
        }
        rules.push(Rule {
            cost: check_cost(&at("cost"), rule.cost)?,
            others: check_limit(&at("others"), rule.others.rate_per_s, rule.others.burst)?,
            resource: rule.resource,
            path_prefix: rule.path_prefix,
        });
    }
    Ok(rules)
}

fn check_cost(path: &str, raw: RawCost) -> Result<Cost, ConfigError> {
    match raw {
        RawCost::Constant(0) => Err(refuse(path, "0 units", "a request takes at least 1 unit")),
        RawCost::Constant(units) => Ok(Cost::Constant(units)),
        RawCost::Header(raw) if raw.default == 0 || raw.max < raw.default => {
            let reason = format!("default {} and max {}", raw.default, raw.max);
            Err(refuse(path, reason, "choose 1 <= default <= max"))
        }
        RawCost::Header(raw) => Ok(Cost::Header {
            name: check_header(&format!("{path}.header"), &raw.header)?,
            default: raw.default,
            max: raw.max,
        }),
    }
}

fn check_contracts(raw: Vec<RawContract>, rules: &[Rule]) -> Result<Vec<Contract>, ConfigError> {
    if raw.len() > MAX_FALLBACK_CONTRACTS {
        let reason = format!("{} contracts, at most {MAX_FALLBACK_CONTRACTS} fit here", raw.len());
        return Err(refuse("contracts", reason, "give them to the controller, which pushes them"));
    }
    let mut seen = hashbrown::HashSet::with_capacity(raw.len());
    let mut contracts = Vec::with_capacity(raw.len());
    for (index, contract) in raw.into_iter().enumerate() {
        let at = |field: &str| format!("contracts[{index}].{field}");
        check_name(&at("tenant"), &contract.tenant)?;
        if contract.tenant == forebay_protocol::OTHERS {
            let remedy = "tenants without contract are limited by their rule's \"others\"";
            return Err(refuse(at("tenant"), "\"*\" is not a tenant", remedy));
        }
        if !rules.iter().any(|rule| rule.resource == contract.resource) {
            let reason = format!("no rule charges resource \"{}\"", contract.resource);
            return Err(refuse(at("resource"), reason, "name a resource of a rule"));
        }
        if !seen.insert((contract.tenant.clone(), contract.resource.clone())) {
            let reason = format!("a second contract of \"{}\" for \"{}\"", contract.tenant, contract.resource);
            return Err(refuse(at("tenant"), reason, "keep one"));
        }
        let limit = check_limit(&format!("contracts[{index}]"), contract.rate_per_s, contract.burst)?;
        contracts.push(Contract { tenant: contract.tenant, resource: contract.resource, limit });
    }
    Ok(contracts)
}

fn check_limit(path: &str, rate_per_s: f64, burst: u64) -> Result<Limit, ConfigError> {
    if !(0.0..=MAX_RATE_UNITS_PER_S as f64).contains(&rate_per_s) {
        let remedy = format!("choose 0 to {MAX_RATE_UNITS_PER_S} units per second");
        return Err(refuse(format!("{path}.rate_per_s"), format!("{rate_per_s} is out of range"), remedy));
    }
    if burst > MAX_BURST_UNITS {
        let remedy = format!("choose 0 to {MAX_BURST_UNITS} units");
        return Err(refuse(format!("{path}.burst"), format!("{burst} is out of range"), remedy));
    }
    // Thousandths, to the nearest; the range was checked above.
    Ok(Limit::new(Rate::from_milli_per_s((rate_per_s * 1_000.0 + 0.5) as u64), burst))
}

fn check_controller(controller: &Controller) -> Result<(), ConfigError> {
    check_name("controller.cluster", &controller.cluster)?;
    check_name("controller.authority", &controller.authority)?;
    if !(50..=60_000).contains(&controller.report_interval_ms) {
        let reason = format!("{} ms", controller.report_interval_ms);
        return Err(refuse("controller.report_interval_ms", reason, "choose 50 to 60000"));
    }
    Ok(())
}

fn check_name(path: &str, name: &str) -> Result<(), ConfigError> {
    if name.is_empty() || name.len() > MAX_NAME_BYTES || name.contains('\0') {
        let reason = format!("a name of {} bytes", name.len());
        return Err(refuse(path, reason, format!("give 1 to {MAX_NAME_BYTES} bytes, without NUL")));
    }
    Ok(())
}

fn check_header(path: &str, name: &str) -> Result<String, ConfigError> {
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if name.is_empty() || name.len() > MAX_NAME_BYTES || !name.bytes().all(token) {
        return Err(refuse(path, format!("\"{name}\" is not a header name"), "use a name such as x-tenant"));
    }
    Ok(name.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULE: &str = r#"{"resource":"requests","others":{"rate_per_s":1.5,"burst":2}}"#;

    #[test]
    fn a_minimal_configuration_has_defaults() {
        let config = Config::parse(format!(r#"{{"rules":[{RULE}]}}"#).as_bytes()).unwrap();
        assert_eq!(config.tenant_header, "x-tenant");
        assert_eq!(config.unidentified, Unidentified::Others);
        assert!(config.enforce && config.controller.is_none());
        assert_eq!(config.rules[0].cost, Cost::Constant(1));
        assert_eq!(config.rules[0].others, Limit::new(Rate::from_milli_per_s(1_500), 2));
    }

    #[test]
    fn refusals_name_the_place_and_the_remedy() {
        let rules = format!(r#""rules":[{RULE}]"#);
        let contract = r#"{"tenant":"a","resource":"requests","rate_per_s":1,"burst":1}"#;
        for (json, path, reason) in [
            ("{".to_string(), "line 1 column 1", "EOF"),
            ("{\"rules\":[]}".to_string(), "rules", "no rule"),
            (format!(r#"{{{rules},"extra":1}}"#), "line 1", "unknown field `extra`"),
            (format!(r#"{{"rules":[{RULE},{RULE}]}}"#), "rules[1].resource", "has a rule already"),
            (format!(r#"{{{rules},"tenant_header":"a b"}}"#), "tenant_header", "not a header name"),
            (format!(r#"{{{rules},"contracts":[{contract},{contract}]}}"#), "contracts[1].tenant", "second contract"),
            (
                format!(r#"{{{rules},"contracts":[{}]}}"#, contract.replace("requests", "bytes")),
                "contracts[0].resource",
                "no rule charges",
            ),
            (
                format!(r#"{{{rules},"contracts":[{}]}}"#, contract.replace(":1,", ":-1,")),
                "contracts[0].rate_per_s",
                "-1 is out of range",
            ),
            (
                r#"{"rules":[{"resource":"r","cost":0,"others":{"rate_per_s":1,"burst":1}}]}"#.to_string(),
                "rules[0].cost",
                "0 units",
            ),
            (
                format!(r#"{{{rules},"controller":{{"cluster":"c","report_interval_ms":1}}}}"#),
                "controller.report_interval_ms",
                "1 ms",
            ),
        ] {
            let error = Config::parse(json.as_bytes()).unwrap_err();
            assert!(error.path.starts_with(path), "{json}: {error}");
            assert!(error.reason.contains(reason), "{json}: {error}");
            assert!(!error.remedy.is_empty());
        }
    }
}
