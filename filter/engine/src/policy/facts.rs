//! What a request says about itself, read only when somebody asks and at most once.
//!
//! A fact is a header or a property that the policy names; it has a slot, given out when the policy is compiled. Each
//! costs a crossing into the host (a header about 3 µs on Envoy), so nothing is read in advance. The store belongs to
//! the worker and is used again for every request: reading a fact allocates nothing but its value.

use alloc::boxed::Box;
use alloc::vec::Vec;

use crate::host::{Host, Unreadable};

/// Number of a fact.
pub type Slot = u16;

/// Where a fact comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The first value of a request header, by lower-case name.
    Header(Box<str>),
    /// A property; the segments of its path are separated by NUL.
    Property(Box<str>),
}

/// The facts that a policy names.
#[derive(Clone, Debug, Default)]
pub struct Origins(Vec<Origin>);

impl Origins {
    /// The slot of a header.
    pub fn header(&mut self, name: &str) -> Slot {
        self.slot(Origin::Header(name.to_ascii_lowercase().into()))
    }

    /// The slot of a property.
    pub fn property(&mut self, path: &str) -> Slot {
        self.slot(Origin::Property(path.into()))
    }

    /// What a slot stands for, for people: the header's name or the property's path.
    pub fn name(&self, slot: Slot) -> &str {
        match self.0.get(usize::from(slot)) {
            Some(Origin::Header(name) | Origin::Property(name)) => name,
            None => "",
        }
    }

    /// How many there are; the compiler bounds it by [`super::MAX_FACTS`].
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn slot(&mut self, origin: Origin) -> Slot {
        let known = self.0.iter().position(|known| *known == origin);
        let index = known.unwrap_or_else(|| {
            self.0.push(origin);
            self.0.len() - 1
        });
        Slot::try_from(index).unwrap_or(Slot::MAX)
    }
}

/// What was read of the request at hand.
#[derive(Debug, Default)]
pub struct Store(Vec<(Slot, Reading)>);

type Reading = Result<Option<Vec<u8>>, Unreadable>;

/// The request at hand.
#[derive(Debug)]
pub struct Facts<'a, H> {
    origins: &'a Origins,
    store: &'a mut Store,
    host: &'a mut H,
}

impl<'a, H: Host> Facts<'a, H> {
    /// A new request: nothing is read yet.
    pub fn new(origins: &'a Origins, store: &'a mut Store, host: &'a mut H) -> Self {
        store.0.clear();
        Self::resumed(origins, store, host)
    }

    /// The request that `store` was last used for.
    pub fn resumed(origins: &'a Origins, store: &'a mut Store, host: &'a mut H) -> Self {
        Self { origins, store, host }
    }

    /// The fact's value; `None` when the request does not have it.
    ///
    /// # Errors
    /// [`Unreadable`] when the host does not say.
    pub fn get(&mut self, slot: Slot) -> Result<Option<&[u8]>, Unreadable> {
        let place = match self.store.0.iter().position(|(known, _)| *known == slot) {
            Some(place) => place,
            None => {
                let read = match self.origins.0.get(usize::from(slot)) {
                    Some(Origin::Header(name)) => Ok(self.host.header(name)),
                    Some(Origin::Property(path)) => self.host.property(path),
                    None => Ok(None),
                };
                self.store.0.push((slot, read));
                self.store.0.len() - 1
            }
        };
        match self.store.0.get(place) {
            Some((_, Ok(value))) => Ok(value.as_deref()),
            Some((_, Err(unreadable))) => Err(*unreadable),
            None => Ok(None),
        }
    }

    /// The fact's value; nothing as well when the host does not say.
    pub fn known(&mut self, slot: Slot) -> Option<&[u8]> {
        self.get(slot).ok().flatten()
    }

    /// How many facts were read of this request.
    pub fn reads(&self) -> usize {
        self.store.0.len()
    }

    /// The host.
    pub fn host(&mut self) -> &mut H {
        self.host
    }
}
