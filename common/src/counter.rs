//! What is counted for each backend and each steered service, on each CPU by itself.

/// Packets and bytes, of one CPU.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counter {
    /// Packets that were sent or handed on.
    pub packets: u64,
    /// Their IP lengths as they came in, without any outer header.
    pub bytes: u64,
    /// TCP connections that were opened: SYNs, repeated ones among them.
    pub flows: u64,
    /// Always 0: an entry then begins at a multiple of its size, and is never on two cache lines.
    pub reserved: u64,
}

const _: () = assert!(size_of::<Counter>() == 32);
