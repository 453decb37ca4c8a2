//! Drafts into a policy: requests that match alike make one rule, whose buckets are its charges.
//!
//! A rule has one identity, so of the drafts of a rule the first source is taken, and limits by another one are noted.
//! Limits on all requests are added to every other rule, since only the most specific rule counts for a request.

use std::collections::BTreeSet;

use anyhow::bail;
use forebay_protocol::policy::{
    Charge, Contract, ContractDefaults, Cost, Limit, Match, Policy, Resource, Rule, Source, Uncontracted, VERSION,
};

use super::draft::{Draft, Import, Key};

/// What stands for no limit, in units per second and as burst; a bucket takes a little more.
const UNLIMITED: u32 = 18_000_000;

/// One resource to be, with the place that it comes from.
struct Bucket {
    place: String,
    source: Option<Source>,
    resource: Resource,
    contracts: Vec<Contract>,
    /// Whether `others` was named.
    has_others: bool,
}

/// The policy of all drafts. It passes `Policy::check`, or this is an error with the findings.
pub(super) fn policy(import: &mut Import) -> anyhow::Result<Policy> {
    let mut groups: Vec<(Match, Vec<Draft>)> = Vec::new();
    for draft in import.drafts.clone() {
        match groups.iter_mut().find(|(matches, _)| *matches == draft.matches) {
            Some((_, drafts)) => drafts.push(draft),
            None => groups.push((draft.matches.clone(), vec![draft])),
        }
    }
    let (mut names, mut rules, mut buckets) = (BTreeSet::new(), Vec::new(), Vec::new());
    for (matches, drafts) in groups {
        let dry_run = drafts.iter().all(|draft| draft.dry_run);
        let mut source = None;
        let first = buckets.len();
        for draft in &drafts {
            if draft.dry_run && !dry_run {
                import.note(&draft.place, "a dry run beside limits that are enforced on the same requests; left out");
            } else {
                add(draft, &mut source, first, &mut buckets, &mut names, import);
            }
        }
        if buckets.len() > first {
            let charges = buckets[first..].iter().map(|bucket: &Bucket| charge(&bucket.resource.name)).collect();
            let identity = source.map(|source| vec![source]);
            rules.push(Rule { matches, charges: Some(charges), dry_run, identity, ..Rule::default() });
        }
    }
    share_general_charges(&mut rules, &buckets, import);
    for (index, rule) in rules.iter_mut().enumerate() {
        rule.name = Some(format!("imported-{index}"));
    }
    let mut policy = Policy { rules, ..empty()? };
    for bucket in buckets {
        policy.resources.push(bucket.resource);
        policy.contracts.extend(bucket.contracts);
    }
    match policy.check() {
        Ok(()) => Ok(policy),
        Err(findings) => {
            let lines: Vec<_> = findings.iter().map(ToString::to_string).collect();
            bail!("the imported policy is not usable:\n{}", lines.join("\n"))
        }
    }
}

/// The defaults of a policy are those of reading one.
fn empty() -> anyhow::Result<Policy> {
    Ok(serde_json::from_value(serde_json::json!({ "version": VERSION, "resources": [] }))?)
}

fn charge(resource: &str) -> Charge {
    Charge { resource: resource.into(), cost: Cost::ONE }
}

fn add(
    draft: &Draft,
    rule_source: &mut Option<Source>,
    first: usize,
    buckets: &mut Vec<Bucket>,
    names: &mut BTreeSet<String>,
    import: &mut Import,
) {
    let source = match &draft.key {
        Key::All => None,
        Key::Each(source) | Key::Others(source) | Key::One(source, _) => Some(source.clone()),
    };
    if let Some(source) = &source {
        if rule_source.as_ref().is_some_and(|other| other != source) {
            import.note(&draft.place, "a second identity for the same requests; a rule has one: left out");
            return;
        }
        *rule_source = Some(source.clone());
    } else if draft.limit.is_none() {
        import.note(
            &draft.place,
            "no limit for all of these requests: a rule without charges would hide their other limits; left out",
        );
        return;
    }
    let unlimited = || Limit { rate_per_s: f64::from(UNLIMITED), burst: Some(u64::from(UNLIMITED)) };
    let limit = draft.limit.clone().unwrap_or_else(unlimited);
    // The first bucket of this rule and source that does not say this yet; several limits on one key make several.
    let free = |bucket: &Bucket| {
        bucket.source == source
            && match &draft.key {
                Key::All => false,
                Key::Each(_) | Key::Others(_) => !bucket.has_others,
                Key::One(_, tenant) => bucket.contracts.iter().all(|contract| contract.tenant != *tenant),
            }
    };
    let place = buckets[first..].iter().position(free).map(|index| first + index);
    let place = place.unwrap_or_else(|| {
        let resource = Resource {
            name: unique(&draft.name, names),
            unit: Some("request".into()),
            others: unlimited(),
            uncontracted: Uncontracted::Shared,
            contract: ContractDefaults::default(),
            pool: None,
            shadow: None,
        };
        let place = draft.place.clone();
        buckets.push(Bucket { place, source, resource, contracts: vec![], has_others: false });
        buckets.len() - 1
    });
    let bucket = &mut buckets[place];
    match &draft.key {
        Key::One(_, tenant) => bucket.contracts.push(Contract {
            tenant: tenant.clone(),
            resource: bucket.resource.name.clone(),
            rate_per_s: Some(limit.rate_per_s),
            burst: limit.burst,
            weight: None,
            priority_class: None,
            pool: None,
            shadow: None,
        }),
        key => {
            bucket.has_others = true;
            bucket.resource.others = limit;
            if matches!(key, Key::Each(_)) && draft.limit.is_some() {
                bucket.resource.uncontracted = Uncontracted::Each;
            }
        }
    }
}

fn unique(name: &str, names: &mut BTreeSet<String>) -> String {
    let name: String = name.chars().take(100).collect();
    let numbered = (1..).map(|number| if number == 1 { name.clone() } else { format!("{name}-{number}") });
    let mut free = numbered.filter(|name| !names.contains(name));
    let name = free.next().unwrap_or(name.clone());
    names.insert(name.clone());
    name
}

fn share_general_charges(rules: &mut [Rule], buckets: &[Bucket], import: &mut Import) {
    let Some(general) = rules.iter().find(|rule| rule.matches == Match::default()).cloned() else { return };
    for rule in rules.iter_mut().filter(|rule| rule.matches != Match::default()) {
        for charge in general.charges.iter().flatten() {
            let Some(bucket) = buckets.iter().find(|bucket| bucket.resource.name == charge.resource) else { continue };
            let same_identity = bucket.source.is_none() || rule.identity.is_none() || rule.identity == general.identity;
            if general.dry_run || rule.dry_run || !same_identity {
                import.note(
                    &bucket.place,
                    "it holds for all requests there; here not for those that a more specific rule matches",
                );
                continue;
            }
            if bucket.source.is_some() {
                rule.identity.clone_from(&general.identity);
            }
            rule.charges.get_or_insert_default().push(charge.clone());
        }
    }
    let specific: Vec<_> = rules.iter().filter(|rule| rule.matches != Match::default()).collect();
    if specific.len() > 1 {
        import.note("policy", "where several rules match a request only the most specific one is charged");
    }
}
