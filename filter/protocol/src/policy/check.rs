//! Everything that is wrong with a document, at once.
//!
//! Each part of the document has one function here; all of them write into one bounded list. What the types cannot say
//! is said here, and nowhere else: the engine compiles what passed.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use forebay_admission::MAX_CHARGES;
use forebay_admission::units::{MAX_BURST_UNITS, MAX_RATE_UNITS_PER_S};

use super::path::{Segment, parameter, parse};
use super::{
    Charge, Code, Contract, Cost, Finding, HeaderMatch, Limit, MAX_CONTRACTS, MAX_FINDINGS, MAX_NAME_BYTES,
    MAX_RESOURCES, MAX_RULES, MAX_USAGE_FIELDS, MAX_USAGE_SEGMENTS, Match, Policy, Resource, Rule, Settled, Source,
    Table, TrueCost, VERSION, network,
};

mod settings;

/// Most entries of a list inside a rule or a setting: hosts, methods, headers, networks, sources, exempt paths.
pub const MAX_ENTRIES: usize = 64;

/// Most rows of a cost table.
pub const MAX_TABLE_ROWS: usize = 256;

/// The resources by name.
type ByName<'a> = BTreeMap<&'a str, &'a Resource>;

/// The list that is being written, in the order of the document.
struct Findings(Vec<Finding>);

impl Findings {
    fn add(&mut self, code: Code, path: impl Into<String>, reason: impl Into<String>, remedy: impl Into<String>) {
        if self.0.len() < MAX_FINDINGS {
            self.0.push(Finding { code, path: path.into(), reason: reason.into(), remedy: remedy.into() });
        }
    }

    fn name(&mut self, path: String, name: &str) {
        if name.is_empty() || name.len() > MAX_NAME_BYTES || name.contains('\0') {
            let remedy = format!("give 1 to {MAX_NAME_BYTES} bytes, without NUL");
            self.add(Code::NAME, path, format!("a name of {} bytes", name.len()), remedy);
        }
    }

    fn header(&mut self, path: String, name: &str) {
        let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        if name.is_empty() || name.len() > MAX_NAME_BYTES || !name.bytes().all(token) {
            self.add(Code::HEADER, path, format!("\"{name}\" is not a header name"), "use a name such as x-tenant");
        }
    }

    fn count(&mut self, path: &str, what: &str, count: usize, max: usize) {
        if count > max {
            self.add(Code::COUNT, path, format!("{count} {what}"), format!("at most {max} fit here"));
        }
    }

    fn limit(&mut self, path: &str, limit: &Limit) {
        self.rate(format!("{path}.rate_per_s"), limit.rate_per_s);
        if let Some(burst) = limit.burst.filter(|burst| *burst > MAX_BURST_UNITS) {
            let remedy = format!("choose 0 to {MAX_BURST_UNITS} units");
            self.add(Code::BURST, format!("{path}.burst"), format!("{burst} is out of range"), remedy);
        }
    }

    fn rate(&mut self, path: String, rate_per_s: f64) {
        if !(0.0..=MAX_RATE_UNITS_PER_S as f64).contains(&rate_per_s) {
            let remedy = format!("choose 0 to {MAX_RATE_UNITS_PER_S} units per second");
            self.add(Code::RATE, path, "the rate is out of range", remedy);
        }
    }

    fn template(&mut self, path: String, template: &str) -> Option<Vec<Segment>> {
        match parse(template) {
            Ok(segments) => Some(segments),
            Err(reason) => {
                let reason = format!("\"{template}\" is no path template: {reason}");
                self.add(Code::PATH, path, reason, "write one such as /v1/users/{user}/* or /v1/**");
                None
            }
        }
    }

    fn methods(&mut self, path: &str, methods: &[String]) {
        self.count(path, "methods", methods.len(), MAX_ENTRIES);
        for (index, method) in methods.iter().enumerate() {
            if method.is_empty() || !method.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'-') {
                let reason = format!("\"{method}\" is not a method");
                self.add(Code::METHOD, format!("{path}[{index}]"), reason, "write it in capitals, such as GET");
            }
        }
    }
}

impl Policy {
    /// What is wrong with this document; it is fit for use when there is nothing.
    ///
    /// # Errors
    /// The findings, at least one and at most [`MAX_FINDINGS`].
    pub fn check(&self) -> Result<(), Vec<Finding>> {
        let mut found = Findings(Vec::new());
        if self.version != VERSION {
            let remedy = format!("write version: {VERSION}, or use a build that reads this version");
            found.add(Code::VERSION, "version", format!("version {} is not known here", self.version), remedy);
        }
        if let Some(name) = &self.name {
            found.name("name".into(), name);
        }
        self.check_resources(&mut found);
        self.check_rules(&mut found);
        self.check_contracts(&mut found);
        settings::document(self, &mut found);
        settings::pools(self, &mut found);
        if found.0.is_empty() { Ok(()) } else { Err(found.0) }
    }

    fn check_resources(&self, found: &mut Findings) {
        if self.resources.is_empty() {
            let reason = "no resource, so nothing would be limited";
            found.add(Code::COUNT, "resources", reason, "add at least one resource with a limit");
        }
        found.count("resources", "resources", self.resources.len(), MAX_RESOURCES);
        let mut seen = BTreeSet::new();
        for (index, resource) in self.resources.iter().enumerate() {
            let at = |field: &str| format!("resources[{index}].{field}");
            found.name(at("name"), &resource.name);
            if !seen.insert(&resource.name) {
                let reason = format!("resource \"{}\" is there already", resource.name);
                found.add(Code::RESOURCE_TWICE, at("name"), reason, "keep one, or rename one");
            }
            found.limit(&at("others"), &resource.others);
            let inherited = &resource.contract;
            let limit = Limit { rate_per_s: inherited.rate_per_s.unwrap_or_default(), burst: inherited.burst };
            found.limit(&at("contract"), &limit);
            settings::terms(&at("contract"), inherited.weight, inherited.priority_class, None, None, found);
            settings::terms(&at(""), None, None, resource.pool.as_ref(), resource.shadow.as_ref(), found);
        }
    }

    /// The resources; one kind of map for all who look them up, because each kind is compiled on its own.
    fn by_name(&self) -> ByName<'_> {
        self.resources.iter().map(|resource| (resource.name.as_str(), resource)).collect()
    }

    fn check_rules(&self, found: &mut Findings) {
        found.count("rules", "rules", self.rules.len(), MAX_RULES);
        let resources = self.by_name();
        let mut by_path: BTreeMap<Option<&str>, Vec<(usize, &Match)>> = BTreeMap::new();
        for (index, rule) in self.rules.iter().enumerate() {
            let place = format!("rules[{index}]");
            if let Some(name) = &rule.name {
                found.name(format!("{place}.name"), name);
            }
            let template = check_match(&format!("{place}.match"), &rule.matches, found);
            self.check_charges(&place, rule, &resources, found);
            settings::rule(&place, rule, found);
            let sources = rule.identity.as_ref().or(self.identity.as_ref());
            for name in sources.into_iter().flatten().filter_map(path_parameter) {
                if parameter(template.as_deref().unwrap_or_default(), name).is_none() {
                    let own = rule.identity.is_some();
                    let place = if own { format!("{place}.identity") } else { format!("{place}.match.path") };
                    let reason = format!("the rule's path has no {{{name}}}, which its identity reads");
                    found.add(Code::PATH_PARAMETER, place, reason, "name it in the path, or give an identity without");
                }
            }
            let alike = by_path.entry(rule.matches.path.as_deref()).or_default();
            if let Some((earlier, _)) = alike.iter().find(|(_, other)| **other == rule.matches) {
                let reason = format!("rules[{earlier}] has the same conditions and comes first");
                found.add(Code::HIDDEN, format!("{place}.match"), reason, "merge the two, or change one");
            }
            alike.push((index, &rule.matches));
        }
        let default = self.identity.iter().flatten().filter_map(path_parameter).next();
        if let (Some(name), true) = (default, self.rules.is_empty()) {
            let reason = format!("without rules no path has a {{{name}}}");
            found.add(Code::PATH_PARAMETER, "identity", reason, "add a rule whose path names it");
        }
        if self.rules.is_empty() && self.resources.len() > 1 {
            let reason = "without rules nothing says which of several resources is charged";
            found.add(Code::NO_CHARGES, "rules", reason, "add a rule with charges");
        }
    }

    fn check_charges(&self, place: &str, rule: &Rule, resources: &ByName<'_>, found: &mut Findings) {
        let at = format!("{place}.charges");
        let Some(charges) = &rule.charges else {
            if self.resources.len() > 1 {
                let reason = "the rule does not say which of several resources it charges";
                found.add(Code::NO_CHARGES, at, reason, "list them; an empty list leaves its requests unlimited");
            }
            return;
        };
        found.count(&at, "charges", charges.len(), MAX_CHARGES);
        let mut seen = BTreeSet::new();
        for (index, Charge { resource, cost }) in charges.iter().enumerate() {
            let at = format!("{at}[{index}]");
            if !resources.contains_key(resource.as_str()) {
                let reason = format!("there is no resource \"{resource}\"");
                found.add(Code::NO_RESOURCE, format!("{at}.resource"), reason, "name one of the document's resources");
            }
            if !seen.insert(resource) {
                let reason = format!("\"{resource}\" is charged already");
                found.add(Code::CHARGED_TWICE, format!("{at}.resource"), reason, "add the costs up in one charge");
            }
            check_cost(&format!("{at}.cost"), cost, found);
        }
    }

    fn check_contracts(&self, found: &mut Findings) {
        found.count("contracts", "contracts", self.contracts.len(), MAX_CONTRACTS);
        let resources = self.by_name();
        let mut seen = BTreeSet::new();
        for (index, contract) in self.contracts.iter().enumerate() {
            let at = |field: &str| format!("contracts[{index}].{field}");
            let Contract { tenant, resource, .. } = contract;
            found.name(at("tenant"), tenant);
            if tenant == crate::OTHERS {
                let remedy = "tenants without contract are limited by their resource's \"others\"";
                found.add(Code::TENANT, at("tenant"), "\"*\" is not a tenant", remedy);
            }
            if !seen.insert((tenant, resource)) {
                let reason = format!("a second contract of \"{tenant}\" for \"{resource}\"");
                found.add(Code::CONTRACT_TWICE, at("tenant"), reason, "keep one");
            }
            match resources.get(resource.as_str()).map(|resource| contract.limit(resource)) {
                None => {
                    let reason = format!("there is no resource \"{resource}\"");
                    found.add(Code::NO_RESOURCE, at("resource"), reason, "name one of the document's resources");
                }
                Some(None) => {
                    let remedy = "give one here, or to all contracts of the resource in its \"contract\"";
                    found.add(Code::NO_RATE, at("rate_per_s"), "the contract has no rate", remedy);
                }
                Some(Some(limit)) => found.limit(&format!("contracts[{index}]"), &limit),
            }
            let (pool, shadow) = (contract.pool.as_ref(), contract.shadow.as_ref());
            settings::terms(&at(""), contract.weight, contract.priority_class, pool, shadow, found);
        }
    }
}

fn path_parameter(source: &Source) -> Option<&str> {
    match source {
        Source::PathParameter(name) => Some(name),
        _ => None,
    }
}

/// Checks the conditions and returns the path's segments.
fn check_match(at: &str, matches: &Match, found: &mut Findings) -> Option<Vec<Segment>> {
    found.count(&format!("{at}.hosts"), "hosts", matches.hosts.len(), MAX_ENTRIES);
    for (index, host) in matches.hosts.iter().enumerate() {
        let name = host.strip_prefix("*.").unwrap_or(host);
        let fine = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
        // An IPv6 address in brackets is a host too.
        let literal = host.starts_with('[') && host.ends_with(']');
        if !literal && (name.is_empty() || name.len() > 253 || name.starts_with('.') || !name.bytes().all(fine)) {
            let reason = format!("\"{host}\" is not a host");
            found.add(Code::HOST, format!("{at}.hosts[{index}]"), reason, "write shop.example.com or *.example.com");
        }
    }
    found.methods(&format!("{at}.methods"), &matches.methods);
    found.count(&format!("{at}.headers"), "headers", matches.headers.len(), MAX_ENTRIES);
    for (index, header) in matches.headers.iter().enumerate() {
        let at = format!("{at}.headers[{index}]");
        let HeaderMatch { name, exact, prefix, present } = header;
        found.header(format!("{at}.name"), name);
        let value = exact.is_some() || prefix.is_some();
        if exact.is_some() && prefix.is_some() || value && *present == Some(false) {
            found.add(Code::HEADER, at, "its conditions contradict each other", "give exact, prefix or present alone");
        }
    }
    found.count(&format!("{at}.source"), "networks", matches.source.len(), MAX_ENTRIES);
    for (index, text) in matches.source.iter().enumerate() {
        if let Err(reason) = network::Network::parse(text) {
            let reason = format!("\"{text}\" is no network: {reason}");
            found.add(Code::NETWORK, format!("{at}.source[{index}]"), reason, "write one such as 10.0.0.0/8");
        }
    }
    if let Some(grpc) = &matches.grpc {
        let fine = |name: &str| !name.is_empty() && !name.contains(['/', '*', '{', '}', '?', '#', ' ']);
        if !fine(&grpc.service) || !grpc.method.as_deref().is_none_or(fine) {
            let remedy = "write service: shop.v1.Orders and, for one method only, method: List";
            found.add(Code::GRPC, format!("{at}.grpc"), "not a gRPC service or method", remedy);
        }
        if matches.path.is_some() {
            found.add(Code::GRPC, format!("{at}.grpc"), "a gRPC service is a path already", "give path or grpc");
        }
    }
    matches.path.as_ref().and_then(|template| found.template(format!("{at}.path"), template))
}

fn check_cost(at: &str, cost: &Cost, found: &mut Findings) {
    let units = |found: &mut Findings, at: String, units: u64| {
        if units == 0 || units > MAX_BURST_UNITS {
            let remedy = format!("choose 1 to {MAX_BURST_UNITS}");
            found.add(Code::COST, at, format!("{units} units"), remedy);
        }
    };
    let between = |found: &mut Findings, default: u64, max: u64| {
        if default == 0 || max < default {
            let reason = format!("default {default} and max {max}");
            found.add(Code::COST, at, reason, "choose 1 <= default <= max");
        }
    };
    match cost {
        Cost::Constant(cost) => units(found, at.into(), *cost),
        Cost::ContentLength(cost) => {
            between(found, cost.default, cost.max);
            if cost.unit_bytes == 0 {
                found.add(Code::COST, format!("{at}.content_length.unit_bytes"), "0 bytes", "choose at least 1");
            }
        }
        Cost::Header(cost) => {
            found.header(format!("{at}.header.name"), &cost.name);
            between(found, cost.default, cost.max);
        }
        Cost::Table(Table { rows, default }) => {
            let at = format!("{at}.table");
            units(found, format!("{at}.default"), *default);
            found.count(&format!("{at}.rows"), "rows", rows.len(), MAX_TABLE_ROWS);
            for (index, row) in rows.iter().enumerate() {
                let at = format!("{at}.rows[{index}]");
                if let Some(template) = &row.path {
                    found.template(format!("{at}.path"), template);
                }
                found.methods(&format!("{at}.methods"), &row.methods);
                units(found, format!("{at}.cost"), row.cost);
            }
        }
        Cost::Settled(settled) => check_settled(&format!("{at}.settled"), settled, found),
    }
}

fn is_field_path(text: &str) -> bool {
    let fits = text.len() <= MAX_NAME_BYTES && text.split('.').count() <= MAX_USAGE_SEGMENTS;
    fits && text.split('.').all(|segment| !segment.is_empty())
}

fn check_settled(at: &str, settled: &Settled, found: &mut Findings) {
    if matches!(settled.estimate, Cost::Settled(_)) {
        let reason = "an estimate is needed at once";
        found.add(Code::SETTLEMENT, format!("{at}.estimate"), reason, "estimate by a number, a header or a table");
    } else {
        check_cost(&format!("{at}.estimate"), &settled.estimate, found);
    }
    if !(1..=3_600).contains(&settled.settle_every_s) {
        let reason = format!("{} s", settled.settle_every_s);
        found.add(Code::SETTLEMENT, format!("{at}.settle_every_s"), reason, "choose 1 to 3600");
    }
    let at = format!("{at}.by");
    match &settled.by {
        TrueCost::ResponseHeader(name) => found.header(format!("{at}.response_header"), name),
        TrueCost::ResponseBytes { unit_bytes: 0 } | TrueCost::Duration { unit_ms: 0 } => {
            found.add(Code::SETTLEMENT, at, "a unit of nothing", "choose at least 1");
        }
        TrueCost::ResponseBytes { .. } | TrueCost::Duration { .. } => {}
        TrueCost::Usage(usage) => {
            found.count(&format!("{at}.usage.fields"), "fields", usage.fields.len(), MAX_USAGE_FIELDS);
            if usage.fields.is_empty() || !usage.fields.iter().all(|field| is_field_path(field)) {
                let remedy = "name fields such as usage.total_tokens";
                found.add(Code::SETTLEMENT, format!("{at}.usage.fields"), "not paths of fields", remedy);
            }
        }
    }
}
