//! What a proxy wants and what it was sent, and the handshake about each response: common to both forms of xDS.
//!
//! One response is under way at a time; until it is answered nothing follows, and what happens meanwhile is in the next. So
//! a proxy that is slow gets fewer and newer answers, and never a queue. A response that was refused counts as sent: the
//! proxy keeps the last good one, and the same is not sent again before it changes, or both would spin.
//! Source: "xDS REST and gRPC protocol" in Envoy's documentation, sections on ACK, NACK and resource names.

use std::collections::{BTreeMap, BTreeSet};

use super::resources::{Resource, Resources};

/// Most names that one stream may ask for: four times as many as a configuration may have services. With names of Envoy's
/// clusters, some 50 bytes, a stream keeps less than 1 MB; [`super::MAX_REQUEST_BYTES`] bounds longer ones.
pub(super) const MAX_NAMES: usize = 4096;
/// Subscribes to everything.
const WILDCARD: &str = "*";

/// What a request meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// What is wanted, at first, anew or again; of no response.
    Asked,
    /// The response under way was taken (ACK).
    Taken,
    /// The response under way was refused (NACK), in the proxy's words.
    Refused(String),
    /// It was sent before the response under way was seen, so it says what is wanted and does not answer.
    Crossed,
    /// It is about another type of resources, which is not told here.
    OtherType,
}

/// Why a stream is ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} names are asked for, at most {MAX_NAMES} are possible; ask for everything with \"*\"")]
pub(super) struct TooManyNames(pub(super) usize);

/// What is wanted, and the versions that were sent of it.
#[derive(Clone, Debug, Default)]
pub(super) struct Subscription {
    names: BTreeSet<String>,
    everything: bool,
    /// Before anything was named, naming nothing means everything; later it means nothing.
    has_named: bool,
    sent: BTreeMap<String, String>,
}

impl Subscription {
    /// Wants exactly these from now on; whether that is something else than before.
    pub(super) fn replace(&mut self, names: Vec<String>) -> Result<bool, TooManyNames> {
        let mut names: BTreeSet<String> = names.into_iter().collect();
        let says_everything = names.remove(WILDCARD);
        bounded(names.len())?;
        self.has_named |= !names.is_empty() || says_everything;
        let everything = says_everything || !self.has_named;
        let changed = everything != self.everything || names != self.names;
        (self.names, self.everything) = (names, everything);
        let Self { names, sent, .. } = self;
        // What is asked for again after a while without is sent again.
        sent.retain(|name, _| everything || names.contains(name));
        Ok(changed)
    }

    /// Wants these, too, and again where it has wanted them. Naming nothing at first means everything.
    pub(super) fn add(&mut self, names: Vec<String>) -> Result<(), TooManyNames> {
        self.everything |= names.is_empty() && !self.has_named;
        for name in names {
            self.has_named = true;
            if name == WILDCARD {
                self.everything = true;
            } else {
                self.sent.remove(&name);
                self.names.insert(name);
            }
        }
        bounded(self.names.len())
    }

    /// Wants these no more. What everything includes is still wanted, and then sent again as the protocol asks for.
    pub(super) fn remove(&mut self, names: &[String]) {
        for name in names {
            if name == WILDCARD {
                self.everything = false;
                let Self { names, sent, .. } = self;
                sent.retain(|name, _| names.contains(name));
            } else {
                self.names.remove(name);
                self.sent.remove(name);
            }
        }
    }

    /// The proxy has these already, from a stream before this one.
    pub(super) fn has(&mut self, versions: BTreeMap<String, String>) {
        for (name, version) in versions {
            if self.wants(&name) && self.sent.len() < MAX_NAMES {
                self.sent.insert(name, version);
            }
        }
    }

    /// Forgets what was sent, so that all of it is news.
    pub(super) fn forget_sent(&mut self) {
        self.sent.clear();
    }

    /// Resources that are wanted and were not sent as they are; from now on they count as sent.
    pub(super) fn take_news<'a>(&mut self, resources: &'a Resources) -> Vec<(&'a String, &'a Resource)> {
        let news: Vec<_> = resources
            .by_name
            .iter()
            .filter(|(name, one)| self.wants(name) && self.sent.get(*name) != Some(&one.version))
            .collect();
        self.sent.extend(news.iter().map(|(name, one)| ((*name).clone(), one.version.clone())));
        news
    }

    /// What is wanted, or was sent, and does not exist; from now on it counts as told.
    pub(super) fn take_gone(&mut self, resources: &Resources) -> Vec<String> {
        let known = self.sent.iter().filter(|(_, version)| !version.is_empty()).map(|(name, _)| name);
        let untold = self.names.iter().filter(|name| !self.sent.contains_key(*name));
        let unknown = |name: &&String| !resources.by_name.contains_key(*name);
        let gone: BTreeSet<String> = known.chain(untold).filter(unknown).cloned().collect();
        // No content has an empty version.
        self.sent.extend(gone.iter().map(|name| (name.clone(), String::new())));
        gone.into_iter().collect()
    }

    /// What is wanted by name and does not exist.
    pub(super) fn unknown(&self, resources: &Resources) -> Vec<&str> {
        self.names.iter().filter(|name| !resources.by_name.contains_key(*name)).map(String::as_str).collect()
    }

    fn wants(&self, name: &str) -> bool {
        self.everything || self.names.contains(name)
    }
}

fn bounded(names: usize) -> Result<(), TooManyNames> {
    if names > MAX_NAMES { Err(TooManyNames(names)) } else { Ok(()) }
}

/// Which response is under way, by the number on it (`nonce`), which is the stream's own.
#[derive(Clone, Debug, Default)]
pub(super) struct Handshake {
    number: u64,
    is_under_way: bool,
}

impl Handshake {
    /// Whether nothing is under way.
    pub(super) fn is_free(&self) -> bool {
        !self.is_under_way
    }

    /// The nonce of a response that is sent now.
    pub(super) fn begin(&mut self) -> String {
        self.number += 1;
        self.is_under_way = true;
        self.number.to_string()
    }

    /// What a request with this nonce means.
    pub(super) fn meaning(&mut self, nonce: &str, refusal: Option<String>) -> Meaning {
        let newest = if self.number == 0 { String::new() } else { self.number.to_string() };
        if nonce != newest {
            return Meaning::Crossed;
        }
        match (std::mem::take(&mut self.is_under_way), refusal) {
            (true, Some(why)) => Meaning::Refused(why),
            (true, None) => Meaning::Taken,
            (false, _) => Meaning::Asked,
        }
    }
}
