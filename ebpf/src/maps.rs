//! Every map, and what only maps and helpers can do.

use aya_ebpf::{
    bindings::{BPF_F_MMAPABLE, bpf_sk_lookup},
    helpers::bpf_redirect,
    macros::map,
    maps::{Array, PerCpuArray, SockMap},
    programs::SkLookupContext,
};
use tollgate_common::{
    counter::Counter,
    limits::{BACKENDS, LISTENERS},
    service::{Action, Key},
    tables::Tables,
    verdict::Verdict,
};

use crate::pipeline::Outcome;

/// Services, backends, slots: written by user space through `mmap`.
#[map]
static TABLES: Array<Tables> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// Packets by [`Verdict`].
#[map]
static VERDICTS: PerCpuArray<u64> = PerCpuArray::with_max_entries(Verdict::ALL.len() as u32, 0);

/// Packets and bytes by backend entry.
#[map]
static COUNTERS: PerCpuArray<Counter> = PerCpuArray::with_max_entries(BACKENDS as u32, 0);

/// The listeners' sockets by number.
#[map]
static SOCKETS: SockMap = SockMap::with_max_entries(LISTENERS as u32, 0);

/// The tables. They are always there; the verifier wants to be told what else would happen.
#[inline(always)]
pub fn tables() -> Option<&'static Tables> {
    TABLES.get(0)
}

/// Counts a packet.
#[inline(always)]
pub fn count(outcome: &Outcome) {
    if let Some(cell) = VERDICTS.get_ptr_mut(outcome.verdict as u32) {
        // SAFETY: this CPU's own cell, and no program of this kind interrupts another on one CPU.
        unsafe { *cell += 1 };
    }
    if outcome.entry != 0
        && let Some(cell) = COUNTERS.get_ptr_mut(u32::from(outcome.entry))
    {
        // SAFETY: as above.
        unsafe {
            (*cell).packets += 1;
            (*cell).bytes += u64::from(outcome.bytes);
        }
    }
}

/// Sends the packet out of another interface when the program returns what this returns.
#[inline(always)]
pub fn redirect(ifindex: u32) -> u32 {
    // SAFETY: plain numbers; an interface that does not exist is an error of the redirect, counted by the kernel.
    unsafe { bpf_redirect(ifindex, 0) as u32 }
}

/// What the tables say about a connection that looks for its socket.
pub enum Lookup {
    /// Nothing.
    NotOurs,
    /// It belongs to the listener with this number.
    Listener(u32),
    /// It belongs to a forwarded service: no socket here may answer.
    Forwarded,
}

/// Looks up the destination of a connection.
#[inline(always)]
pub fn steer_of(ctx: &SkLookupContext) -> Lookup {
    let Some(tables) = tables() else {
        return Lookup::NotOurs;
    };
    // SAFETY: the kernel's own context; reads of it are rewritten by the verifier.
    let Some(key) = key_of(unsafe { &*ctx.lookup }) else {
        return Lookup::NotOurs;
    };
    match tables.find(key) {
        None => Lookup::NotOurs,
        Some((cell, action)) if action == Action::Steer as u32 => {
            Lookup::Listener((cell.steer.load() >> 32) as u32)
        }
        Some(_) => Lookup::Forwarded,
    }
}

#[inline(always)]
fn key_of(lookup: &bpf_sk_lookup) -> Option<Key> {
    const AF_INET: u32 = 2;
    const AF_INET6: u32 = 10;

    let port = (lookup.local_port as u16).to_be();
    let proto = lookup.protocol as u8;
    match lookup.family {
        AF_INET => Some(Key::v4(lookup.local_ip4, port, proto)),
        AF_INET6 => {
            let [a, b, c, d] = lookup.local_ip6.map(u64::from);
            Some(Key::v6(a | b << 32, c | d << 32, port, proto))
        }
        _ => None,
    }
}

/// Gives the connection to the socket of a listener. False: there is none.
#[inline(always)]
pub fn assign(ctx: &SkLookupContext, listener: u32) -> bool {
    // No BPF_SK_LOOKUP_F_NO_REUSEPORT: the kernel spreads over the whole reuseport group of the socket.
    SOCKETS.redirect_sk_lookup(ctx, listener, 0).is_ok()
}
