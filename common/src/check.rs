//! Checks of backends that take the way of clients' packets: what the programs at the node's interfaces know of them.

/// Ways that can be told at once: one for each entry of a backend.
pub const WAYS: u32 = 32_768;

/// Connections of checks that are remembered; the oldest goes for a new one.
pub const CONNECTIONS: u32 = 16_384;

/// The mark (SO_MARK) of a check of the backend with this entry. The entry stands in the upper half, so that the lower half,
/// where others have their bits, is the operator's to choose.
#[must_use]
pub const fn mark(base: u16, entry: u16) -> u32 {
    (entry as u32) << 16 | base as u32
}

/// What is done to a check's packets, by their mark: the words of the outer header as of
/// [`Backend::header`](crate::backend::Backend::header), the VIP and the backend's address as they load, and how.
pub type Way = [u64; 9];

/// Word of a [`Way`]: the VIP in the lower half, the backend's address in the upper.
pub const ADDRESSES: usize = 7;
/// Word of a [`Way`]: the number of its [`Kind`](crate::backend::Kind).
pub const KIND: usize = 8;

/// A connection as the node sees its answers: the VIP and the node's address as they load, the ports in their order on the wire.
pub type Connection = [u32; 3];
