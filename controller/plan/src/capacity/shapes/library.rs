//! The shapes that may be bought, with versions and an audit trail: every change says what, who, why and when.
//!
//! A retired shape is bought no more; it stays known while instances of it run, so that they are counted and priced. The
//! library is a value that can be stored as JSON: whoever keeps it gives the time and the name.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::capacity::Shape;

/// Shapes that are in use at once, at most: planning is linear in them.
pub const MAX_SHAPES: usize = 32;
/// Changes that are kept: 300 bytes each, and a year of two a day.
pub const MAX_CHANGES: usize = 1_000;

/// What was done to the library.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum ShapeChange {
    /// Added; bought from then on.
    Added(Shape),
    /// Bought no more.
    Retired(String),
    /// No instance of it was left; forgotten.
    Removed(String),
}

/// A change, with who answers for it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NotedChange {
    /// Version that the library had from then on.
    pub version: u64,
    /// Unix seconds.
    pub at_s: u64,
    /// A person, or the part of the controller.
    pub who: String,
    /// For people.
    pub why: String,
    /// The change.
    pub change: ShapeChange,
}

/// Why a change was not made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LibraryError {
    /// The name is taken.
    #[error("add shape {0:?}: a shape of this name exists; choose another name")]
    Exists(String),
    /// There is none of this name in use.
    #[error("retire shape {0:?}: no shape of this name is in use")]
    Unknown(String),
    /// The library is full.
    #[error("add shape {0:?}: the library has its {MAX_SHAPES} shapes; retire one first")]
    Full(String),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Entry {
    shape: Shape,
    last_used_s: u64,
    is_retired: bool,
}

/// The shapes, and how they came to be.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ShapeLibrary {
    entries: BTreeMap<String, Entry>,
    trail: Vec<NotedChange>,
}

impl ShapeLibrary {
    /// Rises by one with every change; 0 for an empty one.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.trail.last().map_or(0, |change| change.version)
    }

    /// The newest [`MAX_CHANGES`] changes, oldest first.
    #[must_use]
    pub fn trail(&self) -> &[NotedChange] {
        &self.trail
    }

    /// What may be bought, by name.
    pub fn in_use(&self) -> impl Iterator<Item = &Shape> {
        self.entries.values().filter(|entry| !entry.is_retired).map(|entry| &entry.shape)
    }

    /// What instances may still be of, by name.
    pub fn known(&self) -> impl Iterator<Item = &Shape> {
        self.entries.values().map(|entry| &entry.shape)
    }

    /// Adds a shape.
    ///
    /// # Errors
    /// [`LibraryError`] when the name is taken or the library is full.
    pub fn add(&mut self, shape: Shape, at_s: u64, who: &str, why: &str) -> Result<(), LibraryError> {
        if self.entries.contains_key(&shape.name) {
            return Err(LibraryError::Exists(shape.name));
        }
        if self.in_use().count() >= MAX_SHAPES {
            return Err(LibraryError::Full(shape.name));
        }
        let entry = Entry { shape: shape.clone(), last_used_s: at_s, is_retired: false };
        self.entries.insert(shape.name.clone(), entry);
        self.note(ShapeChange::Added(shape), at_s, who, why);
        Ok(())
    }

    /// Retires a shape.
    ///
    /// # Errors
    /// [`LibraryError::Unknown`] when none of this name is in use.
    pub fn retire(&mut self, name: &str, at_s: u64, who: &str, why: &str) -> Result<(), LibraryError> {
        match self.entries.get_mut(name) {
            Some(entry) if !entry.is_retired => entry.is_retired = true,
            _ => return Err(LibraryError::Unknown(name.to_owned())),
        }
        self.note(ShapeChange::Retired(name.to_owned()), at_s, who, why);
        Ok(())
    }

    /// Takes in how many instances there are of each shape: notes their use, forgets retired ones that have none left, and
    /// retires those that were not used for `unused_s` seconds.
    pub fn observe(&mut self, counts: &BTreeMap<String, u32>, at_s: u64, unused_s: u64) {
        let has = |name: &str| counts.get(name).is_some_and(|count| *count > 0);
        for (name, entry) in &mut self.entries {
            if has(name) {
                entry.last_used_s = at_s;
            }
        }
        let gone: Vec<String> = self
            .entries
            .iter()
            .filter(|(name, entry)| entry.is_retired && !has(name))
            .map(|(name, _)| name.clone())
            .collect();
        for name in gone {
            self.entries.remove(&name);
            self.note(ShapeChange::Removed(name), at_s, "library", "no instance of it is left");
        }
        let is_idle = |entry: &Entry| !entry.is_retired && at_s.saturating_sub(entry.last_used_s) >= unused_s;
        let idle: Vec<String> =
            self.entries.iter().filter(|(_, entry)| is_idle(entry)).map(|(name, _)| name.clone()).collect();
        for name in idle {
            if let Some(entry) = self.entries.get_mut(&name) {
                entry.is_retired = true;
                let why = format!("not used for {unused_s} s");
                self.note(ShapeChange::Retired(name), at_s, "library", &why);
            }
        }
    }

    fn note(&mut self, change: ShapeChange, at_s: u64, who: &str, why: &str) {
        let version = self.version() + 1;
        if self.trail.len() >= MAX_CHANGES {
            self.trail.remove(0);
        }
        self.trail.push(NotedChange { version, at_s, who: who.to_owned(), why: why.to_owned(), change });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capacity::Amounts;

    fn shape(name: &str) -> Shape {
        Shape { name: name.to_owned(), offers: Amounts::default(), price_micros_per_h: 1, performance: 1.0 }
    }

    #[test]
    fn every_change_is_a_version_that_says_who_and_why() {
        let mut library = ShapeLibrary::default();
        assert_eq!(library.add(shape("a"), 10, "ada", "memory-bound services"), Ok(()));
        assert_eq!(library.add(shape("a"), 11, "ada", ""), Err(LibraryError::Exists("a".to_owned())));
        assert_eq!(library.retire("b", 12, "ada", ""), Err(LibraryError::Unknown("b".to_owned())));
        assert_eq!(library.retire("a", 13, "bob", "too dear"), Ok(()));
        assert_eq!(library.version(), 2);
        let last = library
            .trail()
            .last()
            .map(|change| (change.version, change.at_s, change.who.as_str(), change.why.as_str()));
        assert_eq!(last, Some((2, 13, "bob", "too dear")));
        assert_eq!((library.in_use().count(), library.known().count()), (0, 1));
        let stored = serde_json::to_string(&library).unwrap();
        assert_eq!(serde_json::from_str::<ShapeLibrary>(&stored).unwrap(), library);
    }

    #[test]
    fn the_trail_is_bounded_and_versions_go_on() {
        let mut library = ShapeLibrary::default();
        for turn in 0..MAX_CHANGES as u64 {
            assert_eq!(library.add(shape("a"), turn, "ada", ""), Ok(()));
            library.observe(&BTreeMap::new(), turn, 0);
            library.observe(&BTreeMap::new(), turn, 0);
        }
        assert_eq!((library.trail().len(), library.version()), (MAX_CHANGES, 3 * MAX_CHANGES as u64));
    }

    #[test]
    fn what_nobody_uses_is_retired_and_forgotten_only_when_no_instance_is_left() {
        let mut library = ShapeLibrary::default();
        for name in ["a", "b"] {
            assert_eq!(library.add(shape(name), 0, "ada", ""), Ok(()));
        }
        let runs = |name: &str| BTreeMap::from([(name.to_owned(), 3)]);
        library.observe(&runs("a"), 100, 100);
        assert_eq!(library.in_use().map(|shape| shape.name.as_str()).collect::<Vec<_>>(), ["a"]);
        library.observe(&runs("b"), 110, 100);
        assert_eq!(library.known().count(), 2, "instances of b still run");
        library.observe(&runs("a"), 120, 100);
        assert_eq!(library.known().count(), 1);
        assert_eq!(library.version(), 4);
    }

    #[test]
    fn the_number_of_shapes_is_bounded() {
        let mut library = ShapeLibrary::default();
        for i in 0..MAX_SHAPES {
            assert_eq!(library.add(shape(&i.to_string()), 0, "ada", ""), Ok(()));
        }
        assert_eq!(library.add(shape("more"), 0, "ada", ""), Err(LibraryError::Full("more".to_owned())));
    }
}
