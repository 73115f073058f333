//! Capacities of the maps. All of them are part of the layout.

/// Version of everything in this crate that a pinned map remembers. A daemon adopts pinned maps of the same version only.
pub const LAYOUT: u32 = if cfg!(feature = "next") { 1_000 } else { 6 };

/// Cells of the service table: a power of two, four times what may be used, so that a cuckoo path is always short.
pub const CELLS: usize = 8192;

/// Services that one node takes.
pub const SERVICES: usize = 1024;

/// Backend entries, number 0 ("none") among them: a power of two, at most 2^15 (a slot holds 15 bits).
pub const BACKENDS: usize = 16_384;

/// Backends of one service. At so many the shares of the largest Maglev table are up to 7 % off.
pub const BACKENDS_PER_SERVICE: usize = 1024;

/// Slots of all services together (16 MiB, and as much for their stamps): a power of two. Slot 0 is never given away and always says "none".
pub const SLOTS: usize = 1 << 22;

/// Listeners that services may be steered to.
pub const LISTENERS: usize = 256;

/// Bytes of a listener's name.
pub const LISTENER_NAME: usize = 64;

/// Kinds of services of one family that are not one address with one port: any port, or a prefix, each length and either
/// kind of port counted by itself.
pub const SHAPES: usize = 8;

/// VLANs that backends may be behind, number 0 ("untagged") among them.
pub const VLANS: usize = 256;

/// Flows that may have pins at once: those that began in moving slots.
pub const PINS: usize = 1 << 20;

/// Translations that may be there at once, two for each flow.
pub const TRANSLATIONS: usize = 1 << 20;

/// Packets in fragments whose later pieces may be awaited at once: as many as one CPU may note in a second, so that what
/// was noted stays for as long as pieces are apart even while several CPUs are flooded.
pub const FRAGMENTS: usize = 1 << 16;

const _: () = {
    assert!(CELLS.is_power_of_two() && CELLS >= 8 * SERVICES);
    assert!(BACKENDS.is_power_of_two() && BACKENDS <= 1 << 15);
    assert!(SLOTS.is_power_of_two());
    assert!(LISTENER_NAME.is_multiple_of(8));
};
