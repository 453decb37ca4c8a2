//! `forecast.events`: which event feeds there are, and what each of them concerns.

use std::path::PathBuf;

use forebay_plan::{Contract, Key, ReadyCapacity};
use jiff::tz::TimeZone;
use schemars::JsonSchema;
use serde::Deserialize;

use super::file::{Problem, problem};

/// Most feeds; each is looked at once a step.
const MAX_FEEDS: usize = 64;

/// A feed of events.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct FeedPart {
    /// File of iCalendar events, relative to the folder of the configuration. It is read again when it changes.
    file: PathBuf,
    /// Time zone of days and times that name none, such as `Europe/Berlin`. Without it that is `UTC`.
    zone: Option<String>,
    /// Contracts whose demand it concerns, as `TENANT/RESOURCE` with `*` for any. Without any it concerns all.
    #[serde(default)]
    keys: Vec<String>,
    /// Pools whose capacity its maintenance lowers, of `pools`, services, or `capacity.pools`. Without it, all that contracts name.
    pools: Option<Vec<String>>,
}

/// A checked feed.
#[derive(Clone, Debug)]
pub(crate) struct FeedSettings {
    /// The iCalendar file.
    pub(crate) file: PathBuf,
    /// Of days and times that name none.
    pub(crate) zone: TimeZone,
    /// The keys whose demand it concerns; every key if there is none.
    pub(crate) keys: Vec<KeyPattern>,
    /// The pools whose capacity it concerns.
    pub(crate) pools: Vec<String>,
}

impl FeedSettings {
    /// Whether it concerns the demand of a key.
    pub(crate) fn concerns(&self, key: &Key) -> bool {
        self.keys.is_empty() || self.keys.iter().any(|pattern| pattern.matches(key))
    }
}

/// A tenant and a resource, each a name or any.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct KeyPattern {
    tenant: Option<String>,
    resource: Option<String>,
}

impl KeyPattern {
    /// `TENANT/RESOURCE`, with `*` for any; the last slash divides.
    fn parse(text: &str) -> Option<Self> {
        let (tenant, resource) = text.rsplit_once('/')?;
        let name = |text: &str| (text != "*").then(|| text.to_owned());
        let is_whole = !tenant.is_empty() && !resource.is_empty();
        is_whole.then(|| Self { tenant: name(tenant), resource: name(resource) })
    }

    fn matches(&self, key: &Key) -> bool {
        self.tenant.as_ref().is_none_or(|tenant| *tenant == key.tenant)
            && self.resource.as_ref().is_none_or(|resource| *resource == key.resource)
    }
}

/// What feeds may name.
#[derive(Clone, Copy)]
pub(super) struct Named<'a> {
    pub(super) contracts: &'a [Contract],
    /// Pools that contracts name: feeds that name none concern all of these.
    pub(super) pools: &'a [ReadyCapacity],
    /// What instances are in; feeds concern them only by name.
    pub(super) physical: &'a [String],
}

/// Checks the feeds against what there is.
pub(super) fn feeds(parts: Vec<FeedPart>, named: Named<'_>) -> Result<Vec<FeedSettings>, Problem> {
    let Named { contracts, pools, physical } = named;
    if parts.len() > MAX_FEEDS {
        let reason = format!("{} feeds, at most {MAX_FEEDS} are read", parts.len());
        return Err(problem("forecast.events", reason, "put their events into fewer files"));
    }
    let all = || pools.iter().map(|pool| pool.name.clone()).collect();
    let feed = |(place, part): (usize, FeedPart)| {
        let path = |field: &str| format!("forecast.events[{place}].{field}");
        let named = part.zone.as_deref().unwrap_or("UTC");
        let zone = TimeZone::get(named).map_err(|_| {
            let remedy = "write a name such as Europe/Berlin; the time zone database of the machine must be installed";
            problem(path("zone"), format!("{named:?} is no time zone that this machine knows"), remedy)
        })?;
        let mut keys = Vec::new();
        for text in &part.keys {
            let pattern = KeyPattern::parse(text).ok_or_else(|| {
                problem(path("keys"), format!("{text:?} is no key"), "write TENANT/RESOURCE, with * for any")
            })?;
            if !contracts.iter().any(|contract| pattern.matches(&contract.key)) {
                let remedy = "check its spelling against the contracts, or leave it out";
                return Err(problem(path("keys"), format!("no contract is of {text:?}"), remedy));
            }
            keys.push(pattern);
        }
        for name in part.pools.iter().flatten() {
            if !pools.iter().any(|pool| pool.name == *name) && !physical.contains(name) {
                let remedy = "declare it under pools or capacity.pools, or leave it out";
                return Err(problem(path("pools"), format!("no pool is called {name:?}"), remedy));
            }
        }
        Ok(FeedSettings { file: part.file, zone, keys, pools: part.pools.unwrap_or_else(all) })
    };
    parts.into_iter().enumerate().map(feed).collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::Config;

    fn parse(events: &str) -> Result<Config, String> {
        let contracts =
            "contracts: [ { tenant: a/b, resource: r, rate_per_s: 1 }, { tenant: shop, resource: r, rate_per_s: 1 } ]";
        let text =
            format!("pools: [ {{ name: p, capacity_per_s: 9 }} ]\n{contracts}\nforecast: {{ events: [ {events} ] }}\n");
        Config::parse(Path::new("folder/forebay.yaml"), &text).map_err(|error| error.to_string())
    }

    #[test]
    fn a_feed_concerns_all_or_what_it_names() {
        let config =
            parse("{ file: a.ics }, { file: /b.ics, zone: Europe/Berlin, keys: [ a/b/r, \"nobody/*\" ], pools: [] }");
        assert!(config.unwrap_err().contains("forecast.events[1].keys: no contract is of \"nobody/*\""));
        let config =
            parse("{ file: a.ics }, { file: /b.ics, zone: Europe/Berlin, keys: [ \"a/b/*\" ], pools: [] }").unwrap();
        let [all, some] = &config.forecast.events[..] else { panic!() };
        assert_eq!((all.file.as_path(), some.file.as_path()), (Path::new("folder/a.ics"), Path::new("/b.ics")));
        let (deep, shop) = (Key::new("a/b", "r"), Key::new("shop", "r"));
        assert_eq!([&deep, &shop].map(|key| (all.concerns(key), some.concerns(key))), [(true, true), (true, false)]);
        assert_eq!((&all.pools[..], &some.pools[..]), (&["p".to_owned()][..], &[][..]));
        for (events, reason) in [
            ("{ file: a.ics, zone: Mars/Base }", "forecast.events[0].zone: \"Mars/Base\" is no time zone"),
            ("{ file: a.ics, keys: [ shop ] }", "forecast.events[0].keys: \"shop\" is no key"),
            ("{ file: a.ics, pools: [ q ] }", "forecast.events[0].pools: no pool is called \"q\""),
            ("{ zone: UTC }", "file"),
        ] {
            let error = parse(events).unwrap_err();
            assert!(error.contains(reason), "{error}");
        }
    }
}
