//! Every map, and what only maps and helpers can do.

use aya_ebpf::{
    bindings::BPF_F_MMAPABLE,
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
    let Some(key) = key_of(ctx) else {
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
fn key_of(ctx: &SkLookupContext) -> Option<Key> {
    const AF_INET: u32 = 2;
    const AF_INET6: u32 = 10;

    let lookup = ctx.lookup;
    // The verifier takes loads of this context by the field only; LLVM would join two of them.
    macro_rules! field {
        ($($path:tt)+) => {
            // SAFETY: a field of the context that the kernel gave, checked again by the verifier.
            unsafe { (&raw const (*lookup).$($path)+).read_volatile() }
        };
    }
    let port = (field!(local_port) as u16).to_be();
    let proto = field!(protocol) as u8;
    match field!(family) {
        AF_INET => Some(Key::v4(field!(local_ip4), port, proto)),
        AF_INET6 => {
            let hi = u64::from(field!(local_ip6[0])) | u64::from(field!(local_ip6[1])) << 32;
            let lo = u64::from(field!(local_ip6[2])) | u64::from(field!(local_ip6[3])) << 32;
            Some(Key::v6(hi, lo, port, proto))
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
