//! The settings beside matching, charges and contracts.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use forebay_admission::concurrency::MAX_SLOTS;
use forebay_admission::units::MAX_BURST_UNITS;

use super::{Findings, MAX_ENTRIES};
use crate::policy::{Answer, Code, Guard, GuardMode, Limit, MAX_NAME_BYTES, Policy, Pool, Queue, Rule, Shadow, Source};

/// What only the document has, and its defaults for the rules.
pub(super) fn document(policy: &Policy, found: &mut Findings) {
    shared("", policy.identity.as_deref(), policy.priority_class, policy.queue.as_ref(), policy.answer.as_ref(), found);
    let exempt = &policy.exempt;
    found.count("exempt.paths", "paths", exempt.paths.len(), MAX_ENTRIES);
    for (index, template) in exempt.paths.iter().enumerate() {
        found.template(format!("exempt.paths[{index}]"), template);
    }
    found.count("exempt.user_agents", "user agents", exempt.user_agents.len(), MAX_ENTRIES);
    for (index, agent) in exempt.user_agents.iter().enumerate() {
        found.name(format!("exempt.user_agents[{index}]"), agent);
    }
    found.count("attributes", "attributes", policy.attributes.len(), 8);
    for (index, attribute) in policy.attributes.iter().enumerate() {
        let at = |field: &str| format!("attributes[{index}].{field}");
        found.name(at("name"), &attribute.name);
        found.header(at("header"), &attribute.header);
        found.count(&at("values"), "values", attribute.values.len(), MAX_ENTRIES);
        if attribute.values.is_empty() {
            found.add(Code::ATTRIBUTE, at("values"), "no value is told apart", "list the values that are counted");
        }
        if policy.attributes.iter().take(index).any(|earlier| earlier.name == attribute.name) {
            found.add(Code::ATTRIBUTE, at("name"), "another attribute has this name", "rename one");
        }
    }
    let debug = policy.debug.as_ref();
    for (at, secret) in [
        ("debug.token", debug.and_then(|debug| debug.token.as_ref())),
        ("debug.signing_secret", debug.and_then(|debug| debug.signing_secret.as_ref())),
        ("provenance.hash_keys_with", policy.provenance.hash_keys_with.as_ref()),
    ] {
        if secret.is_some_and(|secret| !(16..=MAX_NAME_BYTES).contains(&secret.len())) {
            let remedy = "give 16 to 256 random bytes, such as openssl rand -hex 16 prints";
            found.add(Code::DEBUG, at, "it can be guessed, or is too long", remedy);
        }
    }
    if debug.is_some_and(|debug| debug.token.is_none() && debug.signing_secret.is_none()) {
        let remedy = "give token or signing_secret, or leave debug out";
        found.add(Code::DEBUG, "debug", "nobody could ever see anything", remedy);
    }
    guard(&policy.guard, found);
}

fn guard(guard: &Guard, found: &mut Findings) {
    if !(1..=u32::from(MAX_SLOTS)).contains(&guard.max_concurrency) {
        let reason = format!("{} requests at once", guard.max_concurrency);
        found.add(Code::GUARD, "guard.max_concurrency", reason, format!("choose 1 to {MAX_SLOTS}"));
    }
    if guard.min_concurrency == 0 {
        found.add(Code::GUARD, "guard.min_concurrency", "the limit could end every traffic", "choose at least 1");
    }
    let target = guard.target_ms;
    if guard.mode == GuardMode::Codel && target.is_none() {
        let remedy = "say within how many milliseconds the fastest answers come while all is well";
        found.add(Code::GUARD, "guard.target_ms", "codel knows no latency to compare with", remedy);
    }
    if target.is_some_and(|ms| !(1..=600_000).contains(&ms)) {
        found.add(Code::GUARD, "guard.target_ms", "the target is no latency", "choose 1 to 600000");
    }
}

/// A pool, as the places that name it say together.
struct PoolTerms<'a> {
    /// The first of them.
    at: String,
    unit: Option<&'a str>,
    debt: Option<u64>,
    overcommit: Option<&'a Limit>,
}

/// Whether all places that name a pool agree.
pub(super) fn pools(policy: &Policy, found: &mut Findings) {
    let resources = policy.by_name();
    let unit_of = |resource: &str| resources.get(resource)?.unit.as_deref();
    let of_resources = policy.resources.iter().map(|one| (one.pool.as_ref(), one.name.as_str()));
    let of_contracts = policy.contracts.iter().map(|one| (one.pool.as_ref(), one.resource.as_str()));
    let mut known: BTreeMap<&str, usize> = BTreeMap::new();
    let mut all: Vec<PoolTerms> = Vec::new();
    for (place, (pool, resource)) in of_resources.chain(of_contracts).enumerate() {
        let Some(pool) = pool else { continue };
        let at = match place.checked_sub(policy.resources.len()) {
            Some(contract) => format!("contracts[{contract}].pool"),
            None => format!("resources[{place}].pool"),
        };
        let (unit, number) = (unit_of(resource), *known.entry(&pool.name).or_insert(all.len()));
        let Some(terms) = all.get_mut(number) else {
            all.push(PoolTerms { at, unit, debt: pool.debt, overcommit: pool.overcommit.as_ref() });
            continue;
        };
        let overcommit = pool.overcommit.as_ref();
        if pool.debt.is_some_and(|mine| terms.debt.is_some_and(|theirs| mine != theirs))
            || overcommit.is_some_and(|mine| terms.overcommit.is_some_and(|theirs| mine != theirs))
        {
            let reason = format!("pool \"{}\" has other terms at {}", pool.name, terms.at);
            found.add(Code::POOL, at, reason, "say debt and overcommit once, or the same everywhere");
        } else if terms.unit != unit {
            let reason = format!("pool \"{}\" holds another unit at {}", pool.name, terms.at);
            found.add(Code::POOL, at, reason, "give resources of different units pools of their own");
        }
        terms.debt = terms.debt.or(pool.debt);
        terms.overcommit = terms.overcommit.or(overcommit);
    }
}

/// What a rule overrides.
pub(super) fn rule(place: &str, rule: &Rule, found: &mut Findings) {
    let identity = rule.identity.as_deref();
    shared(&format!("{place}."), identity, rule.priority_class, rule.queue.as_ref(), rule.answer.as_ref(), found);
    if rule.hostile && rule.queue.as_ref().is_some_and(|queue| queue.max_wait_ms > 0) {
        let remedy = "leave the queue out, or hostile";
        found.add(Code::QUEUE, format!("{place}.queue"), "hostile requests never wait", remedy);
    }
}

/// What resources and contracts say beside limits; `at` ends in a dot or names an object.
pub(super) fn terms(
    at: &str,
    weight: Option<u32>,
    class: Option<u8>,
    pool: Option<&Pool>,
    shadow: Option<&Shadow>,
    found: &mut Findings,
) {
    let at = at.strip_suffix('.').unwrap_or(at);
    if weight == Some(0) {
        found.add(Code::WEIGHT, format!("{at}.weight"), "a tenant without weight gets nothing", "choose at least 1");
    }
    priority_class(&format!("{at}.priority_class"), class, found);
    if let Some(pool) = pool {
        found.name(format!("{at}.pool.name"), &pool.name);
        let limit = pool.overcommit.clone().unwrap_or(Limit { rate_per_s: 0.0, burst: None });
        found.limit(&format!("{at}.pool.overcommit"), &limit);
        if let Some(debt) = pool.debt.filter(|debt| *debt > MAX_BURST_UNITS) {
            let remedy = format!("choose 0 to {MAX_BURST_UNITS} units");
            found.add(Code::POOL, format!("{at}.pool.debt"), format!("{debt} is out of range"), remedy);
        }
    }
    if let Some(shadow) = shadow {
        if let Some(max) = shadow.max_per_s {
            found.rate(format!("{at}.shadow.max_per_s"), max);
        }
        if shadow.quantile.is_some_and(|quantile| !(quantile > 0.0 && quantile < 1.0)) {
            let remedy = "choose one between 0 and 1, such as 0.95";
            found.add(Code::SHADOW, format!("{at}.shadow.quantile"), "the value is not a quantile", remedy);
        }
    }
}

fn shared(
    at: &str,
    identity: Option<&[Source]>,
    class: Option<u8>,
    queue: Option<&Queue>,
    answer: Option<&Answer>,
    found: &mut Findings,
) {
    if let Some(sources) = identity {
        found.count(&format!("{at}identity"), "sources", sources.len(), MAX_ENTRIES);
        if sources.is_empty() {
            let remedy = "list at least one source, or leave the field out";
            found.add(Code::SOURCE, format!("{at}identity"), "no request could ever name a tenant", remedy);
        }
        for (index, one) in sources.iter().enumerate() {
            source(&format!("{at}identity[{index}]"), one, found);
        }
    }
    priority_class(&format!("{at}priority_class"), class, found);
    if let Some(queue) = queue {
        let (waiting, at) = (queue.max_waiting, format!("{at}queue"));
        if queue.max_wait_ms > 60_000 {
            let reason = format!("{} ms", queue.max_wait_ms);
            found.add(Code::QUEUE, format!("{at}.max_wait_ms"), reason, "choose 0 to 60000");
        }
        let fits = (1..=waiting.per_vm).contains(&waiting.per_tenant)
            && (1..=waiting.per_vm).contains(&waiting.per_connection)
            && waiting.per_vm <= 65_536;
        if !fits {
            let remedy = "choose 1 <= per_tenant, per_connection <= per_vm <= 65536";
            found.add(Code::QUEUE, format!("{at}.max_waiting"), "these bounds contradict each other", remedy);
        }
        if queue.bodies && queue.max_bytes == 0 {
            found.add(Code::QUEUE, format!("{at}.max_bytes"), "no room for bodies", "choose at least 1, or bodies: no");
        }
    }
    if let Some(status) = answer.and_then(|answer| answer.status).filter(|status| !(400..=599).contains(status)) {
        let reason = format!("{status} does not refuse");
        found.add(Code::ANSWER, format!("{at}answer.status"), reason, "choose 400 to 599, best 429");
    }
    if answer.and_then(|answer| answer.retry_jitter_s).is_some_and(|jitter| jitter > 3_600) {
        found.add(Code::ANSWER, format!("{at}answer.retry_jitter_s"), "more than an hour", "choose 0 to 3600");
    }
}

fn priority_class(at: &str, class: Option<u8>, found: &mut Findings) {
    if let Some(class) = class.filter(|class| *class > 7) {
        found.add(Code::PRIORITY_CLASS, at, format!("class {class}"), "choose 0 (first) to 7");
    }
}

fn source(at: &str, source: &Source, found: &mut Findings) {
    match source {
        Source::Header(name) => found.header(format!("{at}.header"), name),
        Source::ApiKey(key) => found.header(format!("{at}.api_key.header"), &key.header),
        Source::JwtClaim(claim) => {
            found.name(format!("{at}.jwt_claim.payload"), &claim.payload);
            found.name(format!("{at}.jwt_claim.claim"), &claim.claim);
            for (index, outer) in claim.within.iter().enumerate() {
                found.name(format!("{at}.jwt_claim.within[{index}]"), outer);
            }
            found.count(&format!("{at}.jwt_claim.within"), "claims", claim.within.len(), 8);
        }
        Source::SpiffeId | Source::Certificate(_) | Source::PathParameter(_) | Source::SourceAddress => {}
    }
}
