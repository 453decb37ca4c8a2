//! Which key's parameters are searched, when, and what came of it: slowly, one key at a time, and only where the
//! configuration asks for it.
//!
//! A search costs as many fits as it has trials, so it rides on a scheduled fit, at most once a week for a key and never
//! two before the thread: what is urgent waits for one search at most. What it finds is used by all later fits of the key.
//! Trials are shared: a search begins with what was best for keys of the same resource.
//!
//! Nothing of it is stored but the choice that is noted; after a restart a key begins with the defaults again.

use std::collections::HashMap;

use forebay_forecast::{Choice, Chosen, MAX_DONORS, RefitTrigger, SearchBudget, Trial, Tuned, Tuning, TuningError};

use super::lifecycle::Order;
use super::{Planner, WEEK_S};

/// Calendar time between two searches for a key, seconds.
const SEARCH_AGAIN_S: i64 = WEEK_S;

/// A search that goes before a fit.
pub(super) struct SearchOrder {
    pub(super) budget: SearchBudget,
    /// Trials of keys of the same resource.
    pub(super) earlier: Vec<Vec<Trial>>,
}

/// What was found by key.
#[derive(Default)]
pub(super) struct Searches {
    found: HashMap<usize, Found>,
    is_waiting: bool,
}

/// At most 64 trials of some 100 bytes.
struct Found {
    tuning: Tuning,
    trials: Vec<Trial>,
    next_s: i64,
}

impl Searches {
    /// What a key's fits go by.
    pub(super) fn tuning(&self, index: usize) -> Tuning {
        self.found.get(&index).map(|found| found.tuning).unwrap_or_default()
    }

    /// Whether it is this key's turn, with this fit.
    fn is_due(&self, index: usize, order: &Order) -> bool {
        let scheduled = order.refit.why == RefitTrigger::Scheduled && order.since_s.is_none();
        let rested = self.found.get(&index).is_none_or(|found| order.at_s >= found.next_s);
        scheduled && rested && !self.is_waiting
    }
}

impl Planner {
    /// The search that goes before a fit, if one does.
    pub(super) fn search_before(&mut self, index: usize, order: &Order) -> Option<SearchOrder> {
        let trials = self.shared.config.forecast.search_trials?;
        if !self.searches.is_due(index, order) {
            return None;
        }
        self.searches.is_waiting = true;
        let resource = &self.keys[index].key.resource;
        let alike = self.keys.iter().enumerate().filter(|(_, demand)| demand.key.resource == *resource);
        let earlier = alike.filter_map(|(other, _)| Some(self.searches.found.get(&other)?.trials.clone()));
        let earlier = earlier.filter(|trials| !trials.is_empty()).take(MAX_DONORS).collect();
        Some(SearchOrder { budget: SearchBudget { trials, seed: index as u64 }, earlier })
    }

    /// Takes over what a search came to.
    pub(super) fn take_search(&mut self, index: usize, at_s: i64, searched: Result<Tuned, TuningError>) {
        self.searches.is_waiting = false;
        let key = &self.keys[index].key;
        let next_s = at_s + SEARCH_AGAIN_S;
        let (found, outcome) = match searched {
            Ok(Tuned { tuning, trials, before, after }) => {
                let chosen = Chosen::Tuned { trials: trials.len(), before, after };
                let noted = self.store.note_choices(&[(key.clone(), Choice { at_s, chosen })]);
                if let Err(error) = noted {
                    self.note_store_error(&error);
                }
                (Found { tuning, trials, next_s }, if after < before { "better" } else { "kept" })
            }
            Err(error) => {
                tracing::debug!(%key, %error, "parameters cannot be searched");
                (Found { tuning: self.searches.tuning(index), trials: Vec::new(), next_s }, "refused")
            }
        };
        self.shared.metrics.lifecycle.count_search(outcome);
        self.searches.found.insert(index, found);
    }
}
