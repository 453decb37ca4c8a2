//! From a request to the one rule that it falls under.
//!
//! Host, then path, then what is left: three lookups, none of which depends on the number of tenants, and none of which
//! looks at every rule. Hosts are hashed (the exact one, then each suffix, the longest first); each host has its own
//! tree of paths; only the rules of one path template are tried one after the other, those with more conditions first.

use alloc::boxed::Box;
use alloc::vec::Vec;

use forebay_protocol::policy::network::{Network, without_port};
use forebay_protocol::policy::path::{self, Segment};
use forebay_protocol::policy::{Grpc, Match};
use hashbrown::HashMap;

use super::Work;
use super::facts::{Facts, Origins, Slot};
use super::paths::Paths;
use crate::host::Host;

/// Longest host that is looked up; longer ones only fall under rules for any host. RFC 1035 allows 253.
const MAX_HOST_BYTES: usize = 255;

/// The rules' conditions.
#[derive(Clone, Debug, Default)]
pub(super) struct Matcher {
    exact: HashMap<Box<[u8]>, Paths>,
    suffix: HashMap<Box<[u8]>, Paths>,
    any: Paths,
    predicates: Vec<Vec<Predicate>>,
    host: Slot,
    path: Slot,
    /// The only rule, when it has no condition.
    always: bool,
}

/// A condition beside host and path.
#[derive(Clone, Debug)]
enum Predicate {
    Method(Slot, Vec<Box<[u8]>>),
    Exact(Slot, Box<[u8]>),
    Prefix(Slot, Box<[u8]>),
    Present(Slot, bool),
    Network(Slot, Vec<Network>),
}

/// The path of `source` in a property, as Envoy writes it: address and port.
pub(super) const SOURCE_ADDRESS: &str = "source\0address";

impl Matcher {
    /// The conditions of all rules, in the order of the document.
    ///
    /// # Errors
    /// What is wrong with a path or a network; a checked document has no such.
    pub(super) fn compile(rules: &[&Match], origins: &mut Origins) -> Result<Self, &'static str> {
        let mut this = Self { host: origins.header(":authority"), path: origins.header(":path"), ..Self::default() };
        let mut templates = Vec::with_capacity(rules.len());
        for matches in rules {
            this.predicates.push(predicates(matches, origins)?);
            templates.push(template(matches)?);
        }
        // Of equal templates those with more conditions come first, then those that stand first.
        let mut order: Vec<usize> = (0..rules.len()).collect();
        order.sort_unstable_by_key(|rule| (core::cmp::Reverse(this.predicates.get(*rule).map_or(0, Vec::len)), *rule));
        for rule in order {
            let (Some(matches), Some(template), Ok(entry)) =
                (rules.get(rule), templates.get(rule), u32::try_from(rule))
            else {
                continue;
            };
            for host in &matches.hosts {
                let host = host.to_ascii_lowercase();
                let paths = match host.strip_prefix("*.") {
                    Some(suffix) => this.suffix.entry(suffix.as_bytes().into()),
                    None => this.exact.entry(host.as_bytes().into()),
                };
                paths.or_default().insert(template.as_deref(), entry);
            }
            if matches.hosts.is_empty() {
                this.any.insert(template.as_deref(), entry);
            }
        }
        this.always = matches!(rules, [only] if **only == Match::default());
        Ok(this)
    }

    /// The request's rule.
    pub(super) fn find<H: Host>(&self, facts: &mut Facts<'_, H>, work: &mut Work) -> Option<usize> {
        if self.always {
            return Some(0);
        }
        let found = self.by_host(facts, work).or_else(|| self.by_path(&self.any, facts, work));
        found.and_then(|rule| usize::try_from(rule).ok())
    }

    fn by_host<H: Host>(&self, facts: &mut Facts<'_, H>, work: &mut Work) -> Option<u32> {
        if self.exact.is_empty() && self.suffix.is_empty() {
            return None;
        }
        let host = host_name(facts.known(self.host)?).filter(|host| host.len() <= MAX_HOST_BYTES)?.to_ascii_lowercase();
        work.hosts = work.hosts.saturating_add(1);
        let exact = self.exact.get(host.as_slice());
        if let Some(rule) = exact.and_then(|paths| self.by_path(paths, facts, work)) {
            return Some(rule);
        }
        let dots = host.iter().enumerate().filter(|(_, byte)| **byte == b'.');
        for (dot, _) in dots.take_while(|_| !self.suffix.is_empty()) {
            work.hosts = work.hosts.saturating_add(1);
            let paths = self.suffix.get(host.get(dot + 1..).unwrap_or_default());
            if let Some(rule) = paths.and_then(|paths| self.by_path(paths, facts, work)) {
                return Some(rule);
            }
        }
        None
    }

    fn by_path<H: Host>(&self, paths: &Paths, facts: &mut Facts<'_, H>, work: &mut Work) -> Option<u32> {
        if paths.indifferent() {
            return paths.find(b"/", work, &mut |rule| self.holds(rule, facts));
        }
        let path = facts.known(self.path).unwrap_or_default().to_vec();
        paths.find(&path, work, &mut |rule| self.holds(rule, facts))
    }

    fn holds<H: Host>(&self, rule: u32, facts: &mut Facts<'_, H>) -> bool {
        let predicates = usize::try_from(rule).ok().and_then(|rule| self.predicates.get(rule));
        predicates.is_some_and(|predicates| predicates.iter().all(|one| one.holds(facts)))
    }
}

impl Predicate {
    fn holds<H: Host>(&self, facts: &mut Facts<'_, H>) -> bool {
        match self {
            Self::Method(slot, any) => facts.known(*slot).is_some_and(|it| any.iter().any(|one| **one == *it)),
            Self::Exact(slot, value) => facts.known(*slot).is_some_and(|it| *it == **value),
            Self::Prefix(slot, prefix) => facts.known(*slot).is_some_and(|it| it.starts_with(prefix)),
            Self::Present(slot, present) => facts.known(*slot).is_some() == *present,
            Self::Network(slot, any) => {
                let address = facts.known(*slot).and_then(without_port);
                address.is_some_and(|address| any.iter().any(|network| network.contains(address)))
            }
        }
    }
}

/// The segments of a rule's path, a gRPC service's included; `None` for every path.
pub(super) fn template(matches: &Match) -> Result<Option<Vec<Segment>>, &'static str> {
    if let Some(Grpc { service, method }) = &matches.grpc {
        let last = method.as_ref().map_or(Segment::One(None), |method| Segment::Literal(method.clone()));
        return Ok(Some(alloc::vec![Segment::Literal(service.clone()), last]));
    }
    matches.path.as_deref().map(path::parse).transpose()
}

fn predicates(matches: &Match, origins: &mut Origins) -> Result<Vec<Predicate>, &'static str> {
    let mut predicates = Vec::new();
    if !matches.methods.is_empty() {
        let methods = matches.methods.iter().map(|method| method.as_bytes().into()).collect();
        predicates.push(Predicate::Method(origins.header(":method"), methods));
    }
    for header in &matches.headers {
        let slot = origins.header(&header.name);
        predicates.push(match (&header.exact, &header.prefix) {
            (Some(exact), _) => Predicate::Exact(slot, exact.as_bytes().into()),
            (None, Some(prefix)) => Predicate::Prefix(slot, prefix.as_bytes().into()),
            (None, None) => Predicate::Present(slot, header.present != Some(false)),
        });
    }
    if matches.grpc.is_some() {
        predicates.push(Predicate::Prefix(origins.header("content-type"), b"application/grpc"[..].into()));
    }
    if !matches.source.is_empty() {
        let networks = matches.source.iter().map(|text| Network::parse(text)).collect::<Result<_, _>>()?;
        predicates.push(Predicate::Network(origins.property(SOURCE_ADDRESS), networks));
    }
    Ok(predicates)
}

/// The host without port and without a final dot.
fn host_name(authority: &[u8]) -> Option<&[u8]> {
    if authority.starts_with(b"[") {
        let end = authority.iter().position(|byte| *byte == b']')?;
        return authority.get(..=end);
    }
    let host = authority.split(|byte| *byte == b':').next()?;
    Some(host.strip_suffix(b".").unwrap_or(host))
}
