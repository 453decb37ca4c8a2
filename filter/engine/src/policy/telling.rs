//! What the document says about answers, provenance and attributes, compiled.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;

use forebay_protocol::policy::{self, RateLimitHeaders};

use super::facts::{Origins, Slot};
use crate::answer::{Fields, Jitter, Settings};
use crate::provenance::debug::Gate;
use crate::provenance::{KeyHasher, Label};

/// To whom provenance is told.
#[derive(Clone, Debug)]
pub struct Provenance {
    /// Whether it goes into filter state.
    pub filter_state: bool,
    /// Who may see it in the response.
    pub gate: Gate,
    hasher: Option<KeyHasher>,
}

/// What requests are counted by.
#[derive(Clone, Debug)]
pub struct Attribute {
    /// Its name.
    pub name: String,
    /// The values that are told apart.
    pub values: Vec<Box<str>>,
    header: Slot,
}

impl Provenance {
    /// `None` when nobody is told.
    pub(super) fn compile(document: &policy::Policy) -> Option<Self> {
        let (provenance, debug) = (&document.provenance, document.debug.as_ref());
        let token = debug.and_then(|debug| debug.token.as_deref());
        let secret = debug.and_then(|debug| debug.signing_secret.as_deref());
        let gate = Gate::new(token.map(str::as_bytes), secret.map(str::as_bytes));
        let hasher = provenance.hash_keys_with.as_ref().map(|secret| KeyHasher::new(secret.as_bytes()));
        (provenance.filter_state || !gate.is_closed()).then_some(Self {
            filter_state: provenance.filter_state,
            gate,
            hasher,
        })
    }

    /// How a tenant is called.
    pub fn label(&self, tenant: &str) -> Label {
        match &self.hasher {
            Some(hasher) if tenant != forebay_protocol::OTHERS => hasher.label(tenant),
            _ => Label::plain(tenant),
        }
    }
}

impl Attribute {
    pub(super) fn compile(document: &policy::Attribute, origins: &mut Origins) -> Self {
        Self {
            name: document.name.clone(),
            values: document.values.iter().map(|value| value.as_str().into()).collect(),
            header: origins.header(&document.header),
        }
    }

    /// Where the request's value is.
    pub fn header(&self) -> Slot {
        self.header
    }

    /// Number of a value; the number of values for any other, and for none.
    pub fn number(&self, value: Option<&[u8]>) -> usize {
        self.values.iter().position(|known| Some(known.as_bytes()) == value).unwrap_or(self.values.len())
    }
}

/// The answers of a rule.
pub(super) fn answers(document: &policy::Answer) -> Settings {
    let usual = Settings::default();
    Settings {
        fields: match document.headers {
            None | Some(RateLimitHeaders::Draft10) => Fields::Draft10,
            Some(RateLimitHeaders::Legacy) => Fields::Legacy,
            Some(RateLimitHeaders::Off) => Fields::Off,
        },
        on_admitted: document.headers.is_some_and(|headers| headers != RateLimitHeaders::Off),
        jitter: document.retry_jitter_s.map_or(usual.jitter, Jitter::Seconds),
        problem_details: document.problem_details.unwrap_or(usual.problem_details),
        status: document.status.unwrap_or(usual.status),
        ..usual
    }
}
