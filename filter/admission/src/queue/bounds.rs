//! How much may wait: streams and body bytes, in the VM, per tenant and per connection.
//!
//! Bytes are what a stream *may* hold while it waits, since the proxy goes on receiving a paused stream's body up to its
//! flow-control window: the smaller of its content-length and that window, the window when the length is unknown, 0
//! without a body. The connection's bound matters most: HTTP/2 streams share one connection window (65,535 bytes unless
//! raised, RFC 9113 section 6.9.2), and two paused uploads would close it for everybody on that connection.
//!
//! Worse lanes may fill only a part of the VM's room ([`LANE_ROOM_PERCENT`]), so that a flood of them cannot keep the
//! better ones out. Pushing waiting streams out instead would mean to refuse one stream while another's headers are being
//! handled, which hosts do not survive (a local reply stops the whole VM call).

use alloc::collections::BTreeMap;

use super::class::LANES;

/// Part of the VM's room that each lane may fill together with the better ones, in percent: all for reserved, three
/// quarters for standard, half for borrowed.
pub const LANE_ROOM_PERCENT: [u64; LANES] = [100, 75, 50];

/// What a place can hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// Streams.
    pub streams: u64,
    /// Body bytes.
    pub bytes: u64,
}

/// The bounds of one VM's queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Of the whole queue.
    pub vm: Room,
    /// Of one tenant.
    pub tenant: Room,
    /// Of one connection.
    pub connection: Room,
}

impl Default for Bounds {
    /// VM: 1,366 streams, so that the standard lane's three quarters are 1,024, at most 1.6 MiB of the queue's own memory
    /// (a test adds it up), and 4 MiB of bodies, 64 full stream windows of 64 KiB. Tenant: 256 streams and 1 MiB, a
    /// quarter of that, so that one tenant never fills a lane. Connection: 32 streams, a third of the 100 that RFC 9113
    /// section 6.5.2 names as the least sensible maximum, and 32,767 bytes, half of the initial connection window, so that
    /// the other half keeps flowing.
    fn default() -> Self {
        Self {
            vm: Room { streams: 1_366, bytes: 4 << 20 },
            tenant: Room { streams: 256, bytes: 1 << 20 },
            connection: Room { streams: 32, bytes: 32_767 },
        }
    }
}

/// Which bound a stream ran into; also the label of the metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Bound {
    /// Streams in the VM (of this lane's part).
    VmStreams,
    /// Bytes in the VM (of this lane's part).
    VmBytes,
    /// Streams of the tenant.
    TenantStreams,
    /// Bytes of the tenant.
    TenantBytes,
    /// Streams of the connection.
    ConnectionStreams,
    /// Bytes of the connection.
    ConnectionBytes,
}

impl Bound {
    /// The name in metrics and logs.
    pub fn name(self) -> &'static str {
        match self {
            Self::VmStreams => "vm_streams",
            Self::VmBytes => "vm_bytes",
            Self::TenantStreams => "tenant_streams",
            Self::TenantBytes => "tenant_bytes",
            Self::ConnectionStreams => "connection_streams",
            Self::ConnectionBytes => "connection_bytes",
        }
    }
}

/// What is taken of the bounds. Tenants and connections without a waiting stream have no row.
#[derive(Clone, Debug, Default)]
pub(super) struct Usage {
    vm: Held,
    tenants: BTreeMap<usize, Held>,
    connections: BTreeMap<u64, Held>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Held {
    streams: u64,
    bytes: u64,
}

/// What one stream takes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Load {
    pub(super) tenant: usize,
    pub(super) connection: u64,
    pub(super) lane_rank: usize,
    pub(super) bytes: u64,
}

impl Usage {
    /// Streams and bytes in the VM.
    pub(super) fn total(&self) -> Room {
        Room { streams: self.vm.streams, bytes: self.vm.bytes }
    }

    /// Tenants and connections that have a row.
    pub(super) fn rows(&self) -> usize {
        self.tenants.len().saturating_add(self.connections.len())
    }

    /// Takes room for one stream, or says what is full.
    pub(super) fn take(&mut self, bounds: &Bounds, load: &Load) -> Result<(), Bound> {
        let percent = LANE_ROOM_PERCENT.get(load.lane_rank).copied().unwrap_or(0);
        let part = |whole: u64| u64::try_from(u128::from(whole) * u128::from(percent) / 100).unwrap_or(whole);
        let vm = Room { streams: part(bounds.vm.streams), bytes: part(bounds.vm.bytes) };
        let tenant = self.tenants.get(&load.tenant).copied().unwrap_or_default();
        let connection = self.connections.get(&load.connection).copied().unwrap_or_default();
        self.vm.fits(&vm, load.bytes, Bound::VmStreams, Bound::VmBytes)?;
        tenant.fits(&bounds.tenant, load.bytes, Bound::TenantStreams, Bound::TenantBytes)?;
        connection.fits(&bounds.connection, load.bytes, Bound::ConnectionStreams, Bound::ConnectionBytes)?;
        self.vm.add(load.bytes);
        self.tenants.entry(load.tenant).or_default().add(load.bytes);
        self.connections.entry(load.connection).or_default().add(load.bytes);
        Ok(())
    }

    /// Gives one stream's room back.
    pub(super) fn give_back(&mut self, load: &Load) {
        self.vm.subtract(load.bytes);
        give_back_row(&mut self.tenants, load.tenant, load.bytes);
        give_back_row(&mut self.connections, load.connection, load.bytes);
    }
}

fn give_back_row<K: Ord>(rows: &mut BTreeMap<K, Held>, row: K, bytes: u64) {
    if let Some(held) = rows.get_mut(&row) {
        held.subtract(bytes);
        if held.streams == 0 {
            rows.remove(&row);
        }
    }
}

impl Held {
    fn fits(&self, room: &Room, bytes: u64, by_streams: Bound, by_bytes: Bound) -> Result<(), Bound> {
        if self.streams >= room.streams {
            return Err(by_streams);
        }
        // A stream without a body adds no bytes, however full it is.
        if bytes > 0 && self.bytes.saturating_add(bytes) > room.bytes {
            return Err(by_bytes);
        }
        Ok(())
    }

    fn add(&mut self, bytes: u64) {
        self.streams = self.streams.saturating_add(1);
        self.bytes = self.bytes.saturating_add(bytes);
    }

    fn subtract(&mut self, bytes: u64) {
        self.streams = self.streams.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(tenant: usize, connection: u64, lane_rank: usize, bytes: u64) -> Load {
        Load { tenant, connection, lane_rank, bytes }
    }

    #[test]
    fn says_which_bound_was_hit_and_leaves_no_row_behind() {
        let bounds = Bounds {
            vm: Room { streams: 8, bytes: 1_000 },
            tenant: Room { streams: 3, bytes: 100 },
            connection: Room { streams: 2, bytes: 60 },
        };
        let mut usage = Usage::default();
        assert_eq!(usage.take(&bounds, &load(1, 1, 0, 61)), Err(Bound::ConnectionBytes));
        assert_eq!(usage.take(&bounds, &load(1, 1, 0, 101)), Err(Bound::TenantBytes));
        assert_eq!(usage.take(&bounds, &load(1, 1, 2, 501)), Err(Bound::VmBytes), "half of the room");
        assert_eq!(usage.rows(), 0);
        for _ in 0..2 {
            assert_eq!(usage.take(&bounds, &load(1, 1, 0, 30)), Ok(()));
        }
        assert_eq!(usage.take(&bounds, &load(1, 1, 0, 0)), Err(Bound::ConnectionStreams));
        assert_eq!(usage.take(&bounds, &load(1, 2, 0, 0)), Ok(()));
        assert_eq!(usage.take(&bounds, &load(1, 3, 0, 0)), Err(Bound::TenantStreams));
        assert_eq!(usage.take(&bounds, &load(2, 4, 2, 0)), Ok(()));
        assert_eq!(usage.take(&bounds, &load(2, 4, 2, 0)), Err(Bound::VmStreams), "borrowed fills half");
        assert_eq!(usage.take(&bounds, &load(2, 4, 1, 0)), Ok(()));
        for (tenant, connection, bytes) in [(1, 1, 30), (1, 1, 30), (1, 2, 0), (2, 4, 0), (2, 4, 0)] {
            usage.give_back(&load(tenant, connection, 0, bytes));
        }
        assert_eq!((usage.rows(), usage.total()), (0, Room { streams: 0, bytes: 0 }));
    }
}
