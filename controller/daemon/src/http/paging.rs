//! Answers that list keys: a page at a time, so that no answer grows with the number of contracts.
//!
//! There may be 100,000 keys, each with thousands of rows in its ledger. A page ends after [`MOST_KEYS`] keys, or before the
//! key with which it would hold more than [`MOST_ROWS`] rows; a single key is always whole. `next_offset` is where the next page
//! begins, and null at the end. Keys stand in the order of the contracts, which does not change while the controller
//! runs, so nothing is shown twice or left out between two pages.

use forebay_plan::Key;
use serde::Deserialize;
use serde_json::{Value, json};

use super::problem::Problem;

/// Most keys of an answer.
pub(crate) const MOST_KEYS: usize = 10_000;
/// Most rows of an answer that lists more than one key: entries, records or slots, at about 200 bytes each 40 MB.
const MOST_ROWS: usize = 200_000;

/// Which keys are asked for. All of them where nothing is said.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct KeysAsked {
    tenant: Option<String>,
    resource: Option<String>,
    /// Keys that are passed over.
    offset: usize,
    /// Most keys that are shown, 1 to [`MOST_KEYS`].
    limit: usize,
}

impl Default for KeysAsked {
    fn default() -> Self {
        Self { tenant: None, resource: None, offset: 0, limit: MOST_KEYS }
    }
}

/// What is on a page.
#[derive(Debug, PartialEq)]
pub(crate) struct Page<T> {
    pub(crate) rows: Vec<T>,
    /// Keys on all pages.
    pub(crate) total: usize,
    /// Where the next page begins.
    pub(crate) next_offset: Option<usize>,
}

impl KeysAsked {
    /// Keys of a tenant, of a resource, or both.
    pub(super) fn new(
        (tenant, resource): (Option<String>, Option<String>),
        offset: usize,
        limit: usize,
    ) -> Result<Self, Problem> {
        Self { tenant, resource, offset, limit }.check()
    }

    /// Refuses a limit that is none.
    pub(super) fn check(self) -> Result<Self, Problem> {
        check_limit(self.limit, MOST_KEYS)?;
        Ok(self)
    }

    /// The page of `keys`, each with its number of rows and what it stands for.
    pub(crate) fn page<'a, T>(&self, keys: impl Iterator<Item = (&'a Key, usize, T)>) -> Page<T> {
        let is_asked = |key: &Key| {
            self.tenant.as_ref().is_none_or(|tenant| *tenant == key.tenant)
                && self.resource.as_ref().is_none_or(|resource| *resource == key.resource)
        };
        let mut page = Page { rows: Vec::new(), total: 0, next_offset: None };
        let mut rows_shown = 0_usize;
        for (_, rows, key) in keys.filter(|(key, ..)| is_asked(key)) {
            let place = page.total;
            page.total += 1;
            if place < self.offset || page.next_offset.is_some() {
                continue;
            }
            let is_full = page.rows.len() >= self.limit || rows_shown.saturating_add(rows) > MOST_ROWS;
            if is_full && !page.rows.is_empty() {
                page.next_offset = Some(place);
                continue;
            }
            rows_shown = rows_shown.saturating_add(rows);
            page.rows.push(key);
        }
        page
    }
}

impl<T> Page<T> {
    /// `answer` with how many keys there are and where the next page begins.
    pub(crate) fn answer(&self, mut answer: Value) -> Value {
        answer["total"] = json!(self.total);
        answer["next_offset"] = json!(self.next_offset);
        answer
    }
}

/// Refuses a `limit` that is not between 1 and `most`.
pub(super) fn check_limit(limit: usize, most: usize) -> Result<usize, Problem> {
    if (1..=most).contains(&limit) {
        return Ok(limit);
    }
    Err(Problem::bad(format!("limit: {limit} is not between 1 and {most}; leave it out, or page with offset")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(offset: usize, limit: usize) -> KeysAsked {
        KeysAsked { offset, limit, ..KeysAsked::default() }
    }

    #[test]
    fn pages_hold_every_key_once_and_no_more_rows_than_are_allowed() {
        let keys: Vec<Key> = (0..25).map(|one| Key::new(format!("tenant-{one}"), "requests")).collect();
        // Every fifth has more rows than fit beside another.
        let rows_of = |place: usize| if place.is_multiple_of(5) { MOST_ROWS } else { MOST_ROWS / 4 };
        let page_at =
            |asked: KeysAsked| asked.page(keys.iter().enumerate().map(|(place, key)| (key, rows_of(place), place)));
        for limit in [1, 3, MOST_KEYS] {
            let (mut seen, mut offset) = (Vec::new(), Some(0));
            while let Some(from) = offset {
                let page = page_at(asked(from, limit));
                let rows: usize = page.rows.iter().map(|place| rows_of(*place)).sum();
                assert!(!page.rows.is_empty() && page.rows.len() <= limit && rows <= MOST_ROWS, "{page:?}");
                assert_eq!(page.total, keys.len());
                seen.extend(page.rows);
                offset = page.next_offset;
            }
            assert_eq!(seen, (0..keys.len()).collect::<Vec<_>>(), "with a limit of {limit}");
        }
        assert_eq!(page_at(asked(25, 1)).rows, [0; 0], "beyond the end");
        assert_eq!(
            asked(0, 9).page(keys.iter().map(|key| (key, usize::MAX, ()))).rows.len(),
            1,
            "a key is always whole"
        );
        let of_one = KeysAsked { tenant: Some("tenant-7".to_owned()), ..KeysAsked::default() };
        assert_eq!(page_at(of_one), Page { rows: vec![7], total: 1, next_offset: None });
    }

    #[test]
    fn a_limit_that_is_none_is_refused() {
        assert!(asked(0, 0).check().unwrap_err().detail.contains("between 1 and 10000"));
        assert!(asked(0, MOST_KEYS + 1).check().is_err());
        assert!(asked(usize::MAX, 1).check().is_ok());
    }
}
