//! What a request says about itself, read only when somebody asks and at most once.
//!
//! A fact is a header or a property that the policy names; it has a slot, given out when the policy is compiled. Each
//! costs a crossing into the host (a header about 3 µs on Envoy), so nothing is read in advance. The store belongs to
//! the worker and is used again for every request, its memory too: reading a header allocates nothing.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::ops::Range;

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
pub struct Store {
    readings: Vec<(Slot, Reading)>,
    /// All values, one behind the other.
    bytes: Vec<u8>,
}

/// Where the value lies in the store.
type Reading = Result<Option<Range<usize>>, Unreadable>;

/// Bytes that a store keeps from one request to the next; what a client sent beyond is given back.
const KEPT_BYTES: usize = 4 << 10;

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
        store.readings.clear();
        store.bytes.clear();
        store.bytes.shrink_to(KEPT_BYTES);
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
        let known = self.store.readings.iter().find(|(known, _)| *known == slot).map(|(_, reading)| reading.clone());
        let reading = known.unwrap_or_else(|| {
            let reading = self.read(slot);
            self.store.readings.push((slot, reading.clone()));
            reading
        });
        reading.map(|place| self.store.bytes.get(place?))
    }

    fn read(&mut self, slot: Slot) -> Reading {
        let bytes = &mut self.store.bytes;
        let from = bytes.len();
        let found = match self.origins.0.get(usize::from(slot)) {
            Some(Origin::Header(name)) => self.host.read_header(name, bytes),
            Some(Origin::Property(path)) => {
                let value = self.host.property(path)?;
                bytes.extend_from_slice(value.as_deref().unwrap_or_default());
                value.is_some()
            }
            None => false,
        };
        Ok(found.then_some(from..bytes.len()))
    }

    /// The fact's value; nothing as well when the host does not say.
    pub fn known(&mut self, slot: Slot) -> Option<&[u8]> {
        self.get(slot).ok().flatten()
    }

    /// How many facts were read of this request.
    pub fn reads(&self) -> usize {
        self.store.readings.len()
    }

    /// The host.
    pub fn host(&mut self) -> &mut H {
        self.host
    }
}
