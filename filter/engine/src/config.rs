//! The plugin configuration, as JSON: the bootstrap, and the policy that holds until the controller has a word.
//!
//! It is checked once, in `on_configure`, and depends on nothing but its own text: Envoy tries it on a canary VM and
//! would silently drop the filter if a worker came to another result. A wrong configuration is refused whole, with every
//! place, reason and remedy; the running one stays.

use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use core::fmt;

pub use forebay_protocol::bootstrap::Controller;
use forebay_protocol::bootstrap::{Bootstrap, Role};
use forebay_protocol::policy::{Code, Finding, MAX_NAME_BYTES};

use crate::policy::CompiledPolicy;

/// A checked configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// This proxy's name; `None` takes the host's.
    pub proxy_id: Option<String>,
    /// Where the controller is; `None` runs on the policy alone.
    pub controller: Option<Controller>,
    /// `false` counts and tags, but refuses nothing.
    pub enforce: bool,
    /// What this proxy is on a request's way; `None` takes the listener's direction.
    pub role: Option<Role>,
    /// What proxies of one chain know each other's charges by.
    pub charged_token: Option<String>,
    /// Who is charged for what.
    pub policy: CompiledPolicy,
}

/// Why a configuration is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// Everything that is wrong, at least one thing.
    pub findings: Vec<Finding>,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "forebay: plugin configuration refused:")?;
        self.findings.iter().try_for_each(|finding| write!(f, " {finding}."))
    }
}

impl core::error::Error for ConfigError {}

fn finding(code: Code, path: impl Into<String>, reason: impl Into<String>, remedy: impl Into<String>) -> Finding {
    Finding { code, path: path.into(), reason: reason.into(), remedy: remedy.into() }
}

impl Config {
    /// Reads and checks a configuration.
    ///
    /// # Errors
    /// Everything that is wrong; only the first thing, when the text is not the expected JSON.
    pub fn parse(json: &[u8]) -> Result<Self, ConfigError> {
        let raw = Bootstrap::read(json).map_err(|one| ConfigError { findings: vec![one] })?;
        let mut findings = Vec::new();
        if let Some(controller) = &raw.controller {
            check_controller(controller, &mut findings);
        }
        if let Some(proxy_id) = &raw.proxy_id {
            check_name("proxy_id", proxy_id, &mut findings);
        }
        if raw.charged_token.as_ref().is_some_and(|token| {
            !(16..=MAX_NAME_BYTES).contains(&token.len()) || !token.bytes().all(|byte| byte.is_ascii_graphic())
        }) {
            let reason = "the token can be guessed, or does not fit into a header";
            let remedy = "give 16 to 256 visible characters, such as openssl rand -hex 16 prints";
            findings.push(finding(Code::BOOTSTRAP, "charged_token", reason, remedy));
        }
        match CompiledPolicy::compile(&raw.policy) {
            Ok(policy) if findings.is_empty() => Ok(Self {
                proxy_id: raw.proxy_id,
                controller: raw.controller,
                enforce: raw.enforce,
                role: raw.role,
                charged_token: raw.charged_token,
                policy,
            }),
            Ok(_) => Err(ConfigError { findings }),
            Err(more) => {
                let path = |mut one: Finding| {
                    one.path.insert_str(0, "policy.");
                    one
                };
                findings.extend(more.into_iter().map(path));
                Err(ConfigError { findings })
            }
        }
    }
}

fn check_controller(controller: &Controller, findings: &mut Vec<Finding>) {
    check_name("controller.cluster", &controller.cluster, findings);
    check_name("controller.authority", &controller.authority, findings);
    if !(50..=60_000).contains(&controller.report_interval_ms) {
        let reason = format!("{} ms", controller.report_interval_ms);
        findings.push(finding(Code::BOOTSTRAP, "controller.report_interval_ms", reason, "choose 50 to 60000"));
    }
}

fn check_name(path: &str, name: &str, findings: &mut Vec<Finding>) {
    if name.is_empty() || name.len() > MAX_NAME_BYTES || name.contains('\0') {
        let remedy = format!("give 1 to {MAX_NAME_BYTES} bytes, without NUL");
        findings.push(finding(Code::NAME, path, format!("a name of {} bytes", name.len()), remedy));
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use super::*;

    const POLICY: &str = r#""policy":{"resources":[{"name":"requests","others":{"rate_per_s":1.5,"burst":2}}]}"#;

    #[test]
    fn a_minimal_configuration_has_defaults() {
        let config = Config::parse(format!("{{{POLICY}}}").as_bytes()).unwrap();
        assert!(config.enforce && config.controller.is_none() && config.charged_token.is_none());
        assert_eq!(config.policy.resources[0].others.rate.milli_per_s(), 1_500);
    }

    #[test]
    fn refusals_name_the_place_and_the_remedy() {
        let controller = format!(r#"{{{POLICY},"controller":{{"cluster":"c","report_interval_ms":1}}}}"#);
        for (json, path, reason) in [
            ("{".to_string(), "line 1 column 1", "EOF"),
            ("{}".to_string(), "configuration", "missing field `policy`"),
            (format!(r#"{{{POLICY},"extra":1}}"#), "configuration", "unknown field `extra`"),
            (format!("{{{}}}", POLICY.replace("1.5", "-1")), "policy.resources[0].others.rate_per_s", "out of range"),
            (controller, "controller.report_interval_ms", "1 ms"),
            (format!(r#"{{{POLICY},"charged_token":"short"}}"#), "charged_token", "guessed"),
        ] {
            let error = Config::parse(json.as_bytes()).unwrap_err();
            let first = &error.findings[0];
            assert!(first.path.starts_with(path), "{json}: {error}");
            assert!(first.reason.contains(reason), "{json}: {error}");
            assert!(!first.remedy.is_empty());
        }
    }

    #[test]
    fn what_is_wrong_in_bootstrap_and_policy_comes_together() {
        let json = format!(r#"{{"proxy_id":"",{}}}"#, POLICY.replace("1.5", "-1"));
        let findings = Config::parse(json.as_bytes()).unwrap_err().findings;
        assert_eq!(findings.iter().map(|one| one.code).collect::<Vec<_>>(), [Code::NAME, Code::RATE]);
    }
}
