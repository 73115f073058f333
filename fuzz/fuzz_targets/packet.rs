//! What strangers send as packets: nothing panics, what passes is untouched, and what leaves has lengths, checksums and tags
//! that agree with it.
//!
//! An input is the room before each frame, one byte, and then frames, each behind its length in two bytes, least first. They
//! come one after the other, so that fragments follow.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use tollgate_common::tables::Tables;
use tollgate_ebpf::{
    host::{check, fill},
    memory::host::Table,
    packet::host::Buffer,
    pipeline::ingress,
};

static TABLES: LazyLock<&'static Tables> = LazyLock::new(|| {
    static TABLES: Tables = Tables::zero();
    fill(&TABLES);
    &TABLES
});

/// Flows that find room for a pin, so that others find none.
const PINS: usize = 2;

fuzz_target!(|input: &[u8]| {
    let Some((&room, mut rest)) = input.split_first() else {
        return;
    };
    let memory = Table::new(PINS);
    let mut second = 98;
    while let Some((len, behind)) = rest.split_first_chunk::<2>() {
        let len = usize::from(u16::from_le_bytes(*len)).min(behind.len());
        let (frame, next) = behind.split_at(len);
        rest = next;
        // An unknown datagram means something else from `host::SETTLED` on.
        second += 1;
        let mut packet = Buffer::new(frame, room.into());
        let outcome = ingress(&mut packet, &TABLES, memory.at(second));
        if let Err(error) = check(&TABLES, frame, outcome, packet.frame()) {
            panic!(
                "{error}: {outcome:?}\n{frame:02x?}\n{:02x?}",
                packet.frame()
            );
        }
    }
});
