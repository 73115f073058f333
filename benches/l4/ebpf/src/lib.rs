//! What the benchmark and its programs in the kernel agree on.
#![no_std]
#![forbid(unsafe_code)]

/// Bytes at the beginning of a frame that a driver writes anew each time, at most.
pub const HEADER: usize = 128;

/// Addresses of clients are taken in turn with so many of their ports: a flow's number is the port in its low bits.
pub const PORTS: u32 = 1 << 14;
/// The first of those ports.
pub const FIRST_PORT: u16 = 1024;

/// Slots in the table of the floors, and backends that they name.
pub const SLOTS: u32 = 65_537;
/// Backends of the floors.
pub const BACKENDS: u32 = 4096;

/// In which order flows come.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// One flow.
    Same = 0,
    /// At random.
    Random = 1,
    /// One after the other.
    Sequence = 2,
}

/// What a driver does before each run of the program under test.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setup {
    /// Bytes of the frame.
    pub length: u32,
    /// Bytes that the program puts before the frame, to be taken away again; negative: takes away.
    pub grown: i32,
    /// [`Order`] of the flows.
    pub order: u32,
    /// How many flows there are, less one; they are a power of two.
    pub mask: u32,
    /// The last 32 bits of the first client's address, as a number.
    pub first: u32,
    /// Sum of the IPv4 header's 16-bit words as they load, without the last 32 bits of the source and the checksum.
    pub partial: u32,
    /// Bytes that the program cuts off the frame's end.
    pub cut: u32,
    /// Interface that a generator sends to.
    pub ifindex: u32,
    /// The frame's first bytes.
    pub header: [u64; HEADER / 8],
}

impl Setup {
    /// 64-bit words of it.
    pub const WORDS: usize = size_of::<Self>() / 8;

    /// As the words of a map's value.
    #[must_use]
    pub fn words(&self) -> [u64; Self::WORDS] {
        let mut words = [0; Self::WORDS];
        let pair = |low: u32, high: u32| u64::from(low) | u64::from(high) << 32;
        words[0] = pair(self.length, self.grown.cast_unsigned());
        words[1] = pair(self.order, self.mask);
        words[2] = pair(self.first, self.partial);
        words[3] = pair(self.cut, self.ifindex);
        words[4..].copy_from_slice(&self.header);
        words
    }
}
