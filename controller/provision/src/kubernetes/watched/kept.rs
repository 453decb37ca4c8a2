//! Objects of one kind as of one version: a list, and the events after it.
//!
//! Every event carries the version of its change, and those of one kind rise. So what is not newer than the version that is
//! kept was told before, or comes out of order, and is passed over: also an object that was deleted since does not come back.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::super::objects::Meta;

/// An object that is watched.
pub(in crate::kubernetes) trait Object:
    Clone + serde::de::DeserializeOwned + Send + Sync + 'static
{
    /// Its name, version and the rest that all objects have.
    fn metadata(&self) -> &Meta;
}

/// What happened to an object.
#[derive(Clone, Debug)]
pub(super) enum Event<T> {
    /// It is so now.
    Is(T),
    /// It is not there any more, or not selected.
    Gone(T),
}

/// Objects by name, as of a version.
#[derive(Clone, Debug)]
pub(in crate::kubernetes) struct Kept<T> {
    objects: BTreeMap<String, Arc<T>>,
    version: String,
}

impl<T> Default for Kept<T> {
    fn default() -> Self {
        Self { objects: BTreeMap::new(), version: String::new() }
    }
}

impl<T: Object> Kept<T> {
    /// A whole list takes the place of everything.
    pub(super) fn replace(&mut self, items: Vec<T>, version: String) {
        let named = items.into_iter().map(|item| (item.metadata().name.clone(), Arc::new(item)));
        self.objects = named.collect();
        self.version = version;
    }

    /// Takes an event; whether it was news.
    pub(super) fn take(&mut self, event: Event<T>) -> bool {
        let (Event::Is(object) | Event::Gone(object)) = &event;
        let (name, version) = (object.metadata().name.clone(), object.metadata().resource_version.clone());
        if !self.mark(&version) {
            return false;
        }
        match event {
            Event::Is(object) => self.objects.insert(name, Arc::new(object)),
            Event::Gone(_) => self.objects.remove(&name),
        };
        true
    }

    /// Everything up to `version` is known; whether that was news. A version that is no number is believed to be newer.
    pub(super) fn mark(&mut self, version: &str) -> bool {
        let is_old = number(version).zip(number(&self.version)).is_some_and(|(version, kept)| version <= kept);
        if !is_old {
            version.clone_into(&mut self.version);
        }
        !is_old
    }

    /// The version that all of it is known up to; empty before the first list.
    pub(super) fn version(&self) -> &str {
        &self.version
    }

    /// Whether everything up to a version is known; of versions that are no numbers that is not known.
    pub(super) fn reaches(&self, version: u64) -> bool {
        number(&self.version).is_some_and(|kept| kept >= version)
    }

    /// The objects, by name.
    pub(in crate::kubernetes) fn objects(&self) -> impl ExactSizeIterator<Item = &Arc<T>> {
        self.objects.values()
    }
}

pub(super) fn number(version: &str) -> Option<u64> {
    version.parse().ok()
}

#[cfg(test)]
mod tests {
    use rand::seq::SliceRandom;
    use rand::{Rng, RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    #[derive(Clone, Debug, serde::Deserialize)]
    struct Thing {
        metadata: Meta,
    }

    impl Object for Thing {
        fn metadata(&self) -> &Meta {
            &self.metadata
        }
    }

    fn thing(name: &str, version: u64) -> Thing {
        let metadata = Meta { name: name.to_owned(), resource_version: version.to_string(), ..Meta::default() };
        Thing { metadata }
    }

    fn seen(kept: &Kept<Thing>) -> BTreeMap<String, u64> {
        let one = |thing: &Arc<Thing>| Some((thing.metadata.name.clone(), number(&thing.metadata.resource_version)?));
        kept.objects().filter_map(one).collect()
    }

    /// What happened, in order: names, and the version at which each was there or not.
    fn lived(random: &mut impl Rng) -> Vec<(String, u64, bool)> {
        let mut versions = 10;
        let mut one = |_| {
            versions += random.random_range(1..4);
            (format!("pod-{}", random.random_range(0..5)), versions, random.random_bool(0.7))
        };
        (0..60).map(&mut one).collect()
    }

    /// Repeated events and ones that come late, anywhere, change nothing.
    #[test]
    fn what_was_told_before_is_passed_over() {
        for seed in 0..200 {
            let mut random = ChaCha8Rng::seed_from_u64(seed);
            let lived = lived(&mut random);
            let mut kept = Kept::default();
            kept.replace(vec![thing("pod-0", 3), thing("pod-9", 4)], "10".to_owned());
            let mut expected = BTreeMap::from([("pod-0".to_owned(), 3), ("pod-9".to_owned(), 4)]);
            for (at, (name, version, is_there)) in lived.iter().enumerate() {
                let event = if *is_there { Event::Is } else { Event::Gone };
                assert!(kept.take(event(thing(name, *version))), "seed {seed}");
                expected.remove(name);
                expected.extend(is_there.then(|| (name.clone(), *version)));
                let mut again: Vec<_> = lived[..=at].to_vec();
                again.shuffle(&mut random);
                for (name, version, was_there) in again.into_iter().take(3) {
                    let event = if was_there { Event::Is } else { Event::Gone };
                    assert!(!kept.take(event(thing(&name, version))), "seed {seed}");
                }
                assert_eq!(seen(&kept), expected, "seed {seed}");
            }
        }
    }

    #[test]
    fn a_list_takes_the_place_of_everything_and_marks_move_the_version() {
        let mut kept = Kept::default();
        kept.replace(vec![thing("a", 1), thing("b", 2)], "7".to_owned());
        assert!(!kept.mark("7") && kept.mark("9") && !kept.mark("8") && kept.reaches(9) && !kept.reaches(10));
        assert!(!kept.take(Event::Gone(thing("a", 8))), "before the mark");
        // A server that was restored begins again further down.
        kept.replace(vec![thing("b", 2)], "5".to_owned());
        assert!(seen(&kept).keys().eq(["b"]) && kept.version() == "5");
        assert!(kept.take(Event::Is(thing("a", 6))));
        // What is no number is not compared.
        assert!(kept.mark("x1") && kept.mark("x0") && !kept.reaches(1));
    }
}
