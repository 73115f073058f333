//! Watching packets: what the program that stands in for the XDP program meanwhile is told to look for, and what it tells.

/// Bytes of a packet from its first one on that are told at most.
pub const SNAPLEN: usize = 16_384;

/// Tests of one filter.
pub const TESTS: usize = 64;

/// Words that are known of a packet; a power of two.
pub const WORDS: usize = 16;

/// Indices of a packet's words. Addresses are numbers in two halves, those of IPv4 mapped into IPv6 (`::ffff:a.b.c.d`).
pub mod word {
    /// The packet's source address, first half.
    pub const SOURCE: usize = 0;
    /// The packet's destination address, first half.
    pub const DESTINATION: usize = 2;
    /// The address that its flow goes to, first half: the destination, but of an ICMP error the source of the packet that it is
    /// about.
    pub const VIP: usize = 4;
    /// Ports and protocols of the flow, see [`super::flow`].
    pub const FLOW: usize = 6;
    /// The [`Answer`](crate::answer::Answer), always with the number of the service. Known when the program is through.
    pub const ANSWER: usize = 7;
    /// The backend's address, first half; 0: none. Known when the program is through.
    pub const BACKEND: usize = 8;
    /// The index of the interface that it came in at.
    pub const INTERFACE: usize = 10;
    /// The source address of its flow, first half: the client's.
    pub const CLIENT: usize = 11;
}

/// First bits of what stands in the word [`word::FLOW`].
pub mod flow {
    /// The client's port, 16 bits.
    pub const CLIENT_PORT: u32 = 0;
    /// The service's port, 16 bits.
    pub const PORT: u32 = 16;
    /// The protocol of the flow, 8 bits.
    pub const PROTO: u32 = 32;
    /// The protocol of the packet itself, 8 bits.
    pub const OWN: u32 = 40;
    /// 4 or 6, 8 bits; 0: no IP packet.
    pub const VERSION: u32 = 48;
    /// The TCP flags, 8 bits.
    pub const FLAGS: u32 = 56;
}

/// One test of a filter: where to go on if the masked word has the value, and where if not.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Test {
    /// The index of the word.
    pub word: u32,
    /// The index of the next test, or [`Self::ACCEPT`] or [`Self::REFUSE`], if it has the value.
    pub yes: u16,
    /// Likewise, if it has not.
    pub no: u16,
    /// The bits that count.
    pub mask: u64,
    /// What they are compared with.
    pub value: u64,
}

impl Test {
    /// The packet is told of.
    pub const ACCEPT: u16 = 0xffff;
    /// It is not.
    pub const REFUSE: u16 = 0xfffe;
}

/// A compiled filter. Tests only lead onward, so it ends.
pub type Tests = [Test; TESTS];

/// Whether the words pass the tests.
#[inline(always)]
#[must_use]
pub fn accepts(tests: &Tests, words: &[u64; WORDS]) -> bool {
    let mut at = 0_u16;
    for _ in 0..TESTS {
        let test = &tests[at as usize & (TESTS - 1)];
        let word = words[test.word as usize & (WORDS - 1)];
        at = if word & test.mask == test.value {
            test.yes
        } else {
            test.no
        };
        if at >= TESTS as u16 {
            break;
        }
    }
    at == Test::ACCEPT
}

/// What is told of a packet that passes the filter.
pub mod mode {
    /// Its bytes before the program and after it.
    pub const PACKETS: u32 = 0;
    /// That it was there, if it begins a flow or is dropped.
    pub const EVENTS: u32 = 1;
}

/// What the program does; written once, before it is attached.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Whom to copy when it comes in: the filter, where everything that is known only later passes.
    pub early: Tests,
    /// The filter.
    pub late: Tests,
    /// Bytes of a packet that are told, at most [`SNAPLEN`].
    pub snaplen: u32,
    /// One of [`mode`].
    pub mode: u32,
    /// Of so many flows that begin one is told; 0: none. Events only.
    pub sample: u32,
    /// Whether drops are told. Events only.
    pub drops: u32,
    /// Packets or events that each CPU tells in a second.
    pub rate: u32,
    /// Always 0.
    pub reserved: u32,
}

/// Before the program or after it, see [`Record::side`].
pub mod side {
    /// As it came in.
    pub const BEFORE: u32 = 0;
    /// As it leaves.
    pub const AFTER: u32 = 1;
}

/// What is told of a packet; its bytes follow.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// Nanosecond of the monotonic clock.
    pub at: u64,
    /// The packet's number on its CPU: the same before and after.
    pub number: u64,
    /// Bytes of the frame.
    pub len: u32,
    /// How many of them follow.
    pub captured: u32,
    /// One of [`side`].
    pub side: u32,
    /// The CPU.
    pub cpu: u32,
    /// What is known of it.
    pub words: [u64; WORDS],
}

const _: () = {
    assert!(size_of::<Test>() == 24);
    assert!(size_of::<Rules>() == 2 * TESTS * 24 + 24);
    assert!(size_of::<Record>() == 32 + WORDS * 8);
    assert!(TESTS.is_power_of_two() && WORDS.is_power_of_two());
};

/// Indices of the map of counts, one cell a CPU.
pub mod count {
    /// Packets that passed the filter.
    pub const PASSED: u32 = 0;
    /// What was to be told and found no room.
    pub const LOST: u32 = 1;
    /// What was to be told beyond the rate.
    pub const HELD: u32 = 2;
    /// As many there are.
    pub const ALL: u32 = 3;
}
