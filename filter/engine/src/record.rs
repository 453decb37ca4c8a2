//! What is written down about a decision: counters, filter state, and what the response shall carry.
//!
//! A policy that asks for nothing of it costs two additions per request. Provenance costs the making of one line and, for
//! filter state, one host call; rate limit fields on admitted responses cost one look at shared data per charge; an
//! attribute costs the reading of its header.

use alloc::vec::Vec;

use forebay_admission::{Charge, Conditions, KeyState, Lane, MAX_CHARGES, Nanos, Wait};
use forebay_protocol::Generation;
use hashbrown::HashMap;

use crate::answer::{self, Answer, Dialect, Header, Quota, QuotaUnit, Reason, Refused};
use crate::config::Config;
use crate::host::Host;
use crate::keys::Keys;
use crate::metric_names::LaneLabel;
use crate::named::Named;
use crate::policy::facts::Facts;
use crate::policy::{Resource, Rule};
use crate::provenance::{Charged, FILTER_STATE_KEY, Provenance, debug};

/// What became of a request under a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Admitted(Lane),
    Refused,
    /// It would have been refused, and passed because the rule or the proxy refuses nothing.
    DryRun,
    FailedOpen,
    Exempt,
    NoTenant,
    Undecided,
}

impl Fate {
    /// In provenance, where a lane's name stands.
    fn word(self) -> &'static str {
        match self {
            Self::Admitted(lane) => lane.name(),
            Self::Refused => "refused",
            Self::DryRun => "dry_run",
            Self::FailedOpen => "failed_open",
            Self::Exempt => "exempt",
            Self::NoTenant => "no_tenant",
            Self::Undecided => "undecided",
        }
    }

    /// In counters. A request that was not decided about is not in them.
    fn label(self) -> Option<LaneLabel> {
        match self {
            Self::Admitted(Lane::Reserved) => Some(LaneLabel::Reserved),
            Self::Admitted(Lane::Standard) => Some(LaneLabel::Standard),
            Self::Admitted(Lane::Borrowed) => Some(LaneLabel::Borrowed),
            Self::Refused | Self::DryRun | Self::NoTenant => Some(LaneLabel::Refused),
            Self::Exempt => Some(LaneLabel::Exempt),
            Self::FailedOpen | Self::Undecided => None,
        }
    }
}

/// A decision.
pub(crate) struct Decision<'a> {
    pub(crate) rule: &'a Rule,
    pub(crate) fate: Fate,
    /// In the order of the rule's; none where nobody is charged.
    pub(crate) charges: &'a [Charge],
    /// The key that had too little.
    pub(crate) violated: Option<usize>,
    /// The table in force; `None` on the fallback policy.
    pub(crate) generation: Option<Generation>,
}

/// Why a request is refused; for want of a tenant the name of the source is looked up for the answer.
pub(crate) struct Refusing {
    pub(crate) reason: Reason<'static>,
    pub(crate) wait: Wait,
    pub(crate) seed: u64,
    /// As it was read when the request came; `None`: it is read now.
    pub(crate) dialect: Option<Dialect>,
}

/// What a worker wrote down.
#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) named: Named,
    /// What the response to the request at hand shall carry.
    told: Vec<Header>,
    /// The same of streams that wait for their response, by context.
    kept: HashMap<u32, Vec<Header>>,
}

/// Streams of one worker whose response is to carry something; responses beyond say nothing. At about 300 bytes each,
/// 2.4 MiB.
const MAX_KEPT: usize = 8_192;

impl Record {
    pub(crate) fn new(config: &Config) -> Self {
        Self { named: Named::of(&config.policy), told: Vec::new(), kept: HashMap::new() }
    }

    /// A new request: what the last one's response should carry is no longer asked for.
    pub(crate) fn begin(&mut self) {
        self.told.clear();
    }

    /// Keeps what the response shall carry until it comes.
    pub(crate) fn keep(&mut self, stream: u32) {
        if !self.told.is_empty() && self.kept.len() < MAX_KEPT {
            self.kept.insert(stream, core::mem::take(&mut self.told));
        }
    }

    /// Whether a stream's response shall carry something.
    pub(crate) fn keeps(&self, stream: u32) -> bool {
        self.kept.contains_key(&stream)
    }

    /// What it shall carry; nothing the second time.
    pub(crate) fn take_kept(&mut self, stream: u32) -> Vec<Header> {
        self.kept.remove(&stream).unwrap_or_default()
    }

    /// Counts the attributes of a request that is charged, whatever becomes of it: by value for the proxy, by key and
    /// value for the controller.
    pub(crate) fn arrived<H: Host>(
        &mut self,
        config: &Config,
        keys: &mut Keys,
        (rule, charges): (&Rule, &[Charge]),
        facts: &mut Facts<'_, H>,
    ) {
        let mut first = 0;
        for (number, attribute) in config.policy.attributes.iter().enumerate() {
            let value = attribute.number(facts.known(attribute.header()));
            self.named.value(number, value);
            for (of, charge) in rule.charges.iter().zip(charges) {
                keys.arrived(charge.key, of.resource, first + value);
            }
            first += attribute.values.len() + 1;
        }
    }

    /// Writes a decision down.
    pub(crate) fn note<H: Host>(
        &mut self,
        config: &Config,
        keys: &Keys,
        decision: &Decision<'_>,
        facts: &mut Facts<'_, H>,
    ) {
        self.count(decision);
        self.explain(config, keys, decision, facts);
    }

    /// Counts a decision by its rule.
    pub(crate) fn count(&mut self, decision: &Decision<'_>) {
        if let Some(label) = decision.fate.label() {
            let units = decision.charges.first().map_or(0, |charge| charge.cost);
            self.named.request(decision.rule.number, label, units);
        }
    }

    /// Says why to those who ask.
    fn explain<H: Host>(&mut self, config: &Config, keys: &Keys, decision: &Decision<'_>, facts: &mut Facts<'_, H>) {
        let Some(told) = &config.policy.provenance else { return };
        let host = facts.host();
        let asked = !told.gate.is_closed()
            && host
                .header(debug::HEADER)
                .is_some_and(|token| told.gate.opens(&token, host.wall_nanos() / Nanos::SECOND));
        if !told.filter_state && !asked {
            return;
        }
        let key_of = |key: usize| keys.keys.get(keys.named(key));
        let deciding = decision.violated.or(decision.charges.first().map(|charge| charge.key)).and_then(key_of);
        let provenance = Provenance {
            lane: decision.fate.word(),
            generation: decision.generation,
            forecast_version: deciding.map(|key| key.forecast_version).filter(|version| *version > 0),
            waited_ms: None,
        };
        let labels = decision.charges.iter().filter_map(|charge| key_of(charge.key)?.label.as_ref());
        let line = provenance.line(labels.map(|key| Charged { rule: &decision.rule.label, key }));
        if told.filter_state {
            host.set_filter_state(FILTER_STATE_KEY, &line);
        }
        if asked {
            self.told.push((debug::HEADER, line));
        }
    }

    /// The answer to a request that is refused, in its own dialect, which nobody asks for before.
    pub(crate) fn refuse<H: Host>(
        &mut self,
        config: &Config,
        keys: &Keys,
        decision: &Decision<'_>,
        when: (&Conditions<'_>, Nanos),
        refusing: &Refusing,
        host: &mut H,
    ) -> Answer {
        let quotas = quotas(config, keys, decision, when, host);
        // The segments of a property's path are separated by NUL.
        let source = config.policy.first_source(decision.rule).replace('\0', ".");
        let reason = match refusing.reason {
            Reason::MissingTenant(_) => Reason::MissingTenant(&source),
            reason => reason,
        };
        let refused = Refused {
            reason,
            quotas: &quotas,
            wait: refusing.wait,
            more_at: more_at(keys, decision, when),
            now: when.1,
            seed: refusing.seed,
        };
        let read = |host: &mut H| Dialect::of_content_type(host.header("content-type").as_deref());
        let dialect = refusing.dialect.unwrap_or_else(|| read(host));
        let mut answer = answer::refused(&refused, dialect, &decision.rule.answer);
        answer.headers.append(&mut self.told);
        answer
    }

    /// Tells an admitted client what is left, if the rule does.
    pub(crate) fn tell_what_is_left<H: Host>(
        &mut self,
        config: &Config,
        keys: &Keys,
        decision: &Decision<'_>,
        when: (&Conditions<'_>, Nanos),
        host: &mut H,
    ) {
        if decision.rule.answer.on_admitted {
            let quotas = quotas(config, keys, decision, when, host);
            self.told.extend(answer::admitted(&quotas, &decision.rule.answer));
        }
    }
}

/// When there is more capacity for the key that had too little; the origin when nothing is known. Where no key had too
/// little, more capacity would not have helped; and what a table says ends with its validity.
fn more_at(keys: &Keys, decision: &Decision<'_>, (conditions, now): (&Conditions<'_>, Nanos)) -> Nanos {
    let key = decision.violated.filter(|_| now < conditions.valid_until);
    key.and_then(|key| keys.keys.get(keys.named(key))).map_or(Nanos::default(), |key| key.more_at)
}

/// The quotas of a request's charges as they stand now, at one look at shared data each.
pub(crate) fn quotas<'a, H: Host>(
    config: &'a Config,
    keys: &Keys,
    decision: &Decision<'_>,
    (conditions, now): (&Conditions<'_>, Nanos),
    host: &mut H,
) -> Vec<Quota<'a>> {
    let charges = decision.rule.charges.iter().zip(decision.charges).take(MAX_CHARGES);
    let quota = |(of, charge): (&crate::policy::Charge, &Charge)| {
        let resource = config.policy.resources.get(of.resource)?;
        let account = keys.accounts.get(charge.key)?;
        let grant = account.grant();
        let limit = if now < conditions.valid_until { grant.standard } else { grant.safe };
        let violated = decision.violated == Some(charge.key);
        // Of what is violated nothing is stated as left, whatever there is.
        let left_nano = if violated {
            0
        } else {
            let stored = keys.stored(charge.key, host);
            let mut state = stored.unwrap_or_else(|| KeyState::at_boot(limit, conditions.born));
            state.refill(limit, now);
            let leased = account.standard_leased_units().saturating_mul(forebay_admission::units::NANO);
            state.standard.level_nano().saturating_add(leased)
        };
        Some(Quota { name: &resource.name, unit: unit(resource), limit, left_nano, partition: None, violated })
    };
    charges.filter_map(quota).collect()
}

fn unit(resource: &Resource) -> QuotaUnit<'_> {
    match resource.unit.as_deref() {
        None | Some("request" | "requests") => QuotaUnit::Requests,
        Some("content-byte" | "content-bytes") => QuotaUnit::ContentBytes,
        Some(other) => QuotaUnit::Named(other),
    }
}
