//! The XDP program with somebody who watches, an object of its own: it is put in the other one's place behind the links while
//! packets are captured, does the same by the same code and maps, and tells of them. The other one has no line for it.
#![no_std]
#![no_main]
#![feature(asm_experimental_arch)]

use core::ffi::c_void;

use aya_ebpf::{
    bindings::{BPF_F_CURRENT_CPU, xdp_action, xdp_md},
    helpers::{
        bpf_get_prandom_u32, bpf_get_smp_processor_id, bpf_ktime_get_coarse_ns, bpf_ktime_get_ns,
        bpf_xdp_get_buff_len,
        generated::{bpf_perf_event_output, bpf_xdp_load_bytes},
    },
    macros::{map, xdp},
    maps::{Array, PerCpuArray, PerfEventByteArray},
    programs::XdpContext,
};
use tollgate_common::{
    answer::Answer,
    capture::{Record, Rules, SNAPLEN, WORDS, accepts, count, flow, mode, side, word},
    pod::Word64,
    service::{About, Key},
    tables::{Owner, Tables},
};
use tollgate_ebpf::{
    capture::{FAR, HEAD, Head, is_event, words},
    maps,
    packet::Frame,
    pipeline::{self, Outcome},
};

const NANOSECONDS: u64 = 1_000_000_000;

/// What is to be told.
#[map]
static RULES: Array<Rules> = Array::with_max_entries(1, 0);

/// Until which nanosecond of the coarse monotonic clock somebody watches. Whoever does puts it off, again and again.
#[map]
static UNTIL: Array<u64> = Array::with_max_entries(1, 0);

/// The packet that this CPU is at.
#[map]
static SCRATCH: PerCpuArray<Scratch> = PerCpuArray::with_max_entries(1, 0);

/// How user space is told.
#[map]
static TOLD: PerfEventByteArray = PerfEventByteArray::new(0);

/// What is counted, see [`count`].
#[map]
static COUNTS: PerCpuArray<u64> = PerCpuArray::with_max_entries(count::ALL, 0);

/// A packet while the pipeline has it. Its record and its bytes stand together, for they are told together.
#[repr(C)]
struct Scratch {
    /// Whether it was copied. Not what a function answers: the verifier would follow the pipeline once for each.
    armed: Word64,
    /// What was to be told in the second below.
    told: u64,
    second: u64,
    /// Where numbers are forgotten.
    room: Word64,
    /// Packets that passed the first look on this CPU.
    number: u64,
    record: Record,
    data: [u8; SNAPLEN],
    /// What may be read behind the head without looking.
    slack: [u8; HEAD],
}

/// Every packet that comes in.
#[xdp(frags)]
fn tollgate_watched(ctx: XdpContext) -> u32 {
    let Some(tables) = maps::tables() else {
        return xdp_action::XDP_PASS;
    };
    before(ctx.ctx);
    let outcome = pipeline::ingress(&mut Frame::new(&ctx), tables, maps::Maps);
    maps::count(outcome); // the only exit: each packet is counted exactly once
    after(ctx.ctx, pack(outcome));
    outcome.action()
}

/// The first bytes, and how many of them are the packet's.
struct First<'a>(&'a Scratch, usize);

impl Head for First<'_> {
    #[inline(always)]
    fn at<const N: usize>(&self, at: usize) -> [u8; N] {
        const { assert!(N <= HEAD) };
        let at = opaque(at as u64) as usize & (HEAD - 1);
        if at + N > self.1 {
            return [0; N];
        }
        // SAFETY: the index was masked to the head, and the slack behind the bytes is longer than what is read.
        unsafe {
            self.0
                .data
                .as_ptr()
                .add(at)
                .cast::<[u8; N]>()
                .read_unaligned()
        }
    }
    #[inline(always)]
    fn forget(&self, number: usize) -> usize {
        self.0.room.store(number as u64);
        self.0.room.load() as usize
    }
}

const _: () = assert!(FAR + 64 <= HEAD);

/// Copies the packet as it came in, if it may be one that is looked for.
#[inline(never)]
fn before(ctx: *mut xdp_md) -> u32 {
    let (Some(rules), Some(until), Some(scratch)) =
        (RULES.get(0), UNTIL.get_ptr(0), SCRATCH.get_ptr_mut(0))
    else {
        return 0;
    };
    // SAFETY: this CPU's own cell, and no packet interrupts another on one CPU.
    let scratch = unsafe { &mut *scratch };
    scratch.armed.store(0);
    // SAFETY: takes nothing and returns a number; the word is aligned and read by one load.
    if unsafe { bpf_ktime_get_coarse_ns() > until.read_volatile() } {
        return 0;
    }
    // SAFETY: the context that the kernel gave.
    let len = unsafe { bpf_xdp_get_buff_len(ctx) };
    let first = bounded(len, HEAD as u64);
    if !read(ctx, scratch, first) {
        return 0;
    }
    let mut known = [0; WORDS];
    words(&First(scratch, first as usize), &mut known);
    // SAFETY: a field of the context.
    known[word::INTERFACE] = unsafe { (&raw const (*ctx).ingress_ifindex).read_volatile() }.into();
    scratch.record.words = known;
    if !accepts(&rules.early, &scratch.record.words) {
        return 0;
    }
    // SAFETY: takes nothing and returns a number.
    let at = unsafe { bpf_ktime_get_ns() };
    let second = at / NANOSECONDS;
    if scratch.second != second {
        (scratch.second, scratch.told) = (second, 0);
    }
    // What is beyond the rate is counted when the pipeline is through, and nothing more of it is copied.
    let snaplen = if scratch.told < rules.rate.into() {
        rules.snaplen
    } else {
        0
    };
    let captured = bounded(len, snaplen.into());
    if captured > first && !read(ctx, scratch, captured) {
        return 0;
    }
    scratch.number += 1;
    let record = &mut scratch.record;
    record.number = scratch.number;
    record.captured = captured as u32;
    record.len = len as u32;
    // SAFETY: takes nothing and returns a number.
    record.cpu = unsafe { bpf_get_smp_processor_id() };
    record.at = at;
    scratch.armed.store(1);
    0
}

/// Tells of a packet that was copied, if it is one that is looked for.
#[inline(never)]
fn after(ctx: *mut xdp_md, answer: u64) -> u32 {
    let (Some(rules), Some(tables), Some(scratch)) =
        (RULES.get(0), maps::tables(), SCRATCH.get_ptr_mut(0))
    else {
        return 0;
    };
    // SAFETY: as above.
    let scratch = unsafe { &mut *scratch };
    if scratch.armed.load() == 0 {
        return 0;
    }
    let mut answer = Answer(answer);
    let entry = answer.entry();
    if entry != 0 {
        let owner = &tables.owners[entry as usize & (tables.owners.len() - 1)];
        let service = service_of(tables, owner);
        answer.0 |= Answer::new(0, 0, false, service, 0).0;
        let [hi, lo] = address(owner);
        scratch.record.words[word::BACKEND] = hi;
        scratch.record.words[word::BACKEND + 1] = lo;
    }
    scratch.record.words[word::ANSWER] = answer.0;
    if !accepts(&rules.late, &scratch.record.words) {
        return 0;
    }
    if rules.mode == mode::EVENTS {
        event(ctx, answer, rules, scratch);
        return 0;
    }
    if !is_within(rules, scratch) {
        return 0;
    }
    scratch.record.side = side::BEFORE;
    let captured = bounded(scratch.record.captured.into(), SNAPLEN as u64);
    tell(ctx, &mut scratch.record, captured, 0);
    // SAFETY: the context that the kernel gave.
    let len = unsafe { bpf_xdp_get_buff_len(ctx) };
    let captured = bounded(len, rules.snaplen.into());
    scratch.record.side = side::AFTER;
    scratch.record.len = len as u32;
    scratch.record.captured = captured as u32;
    // SAFETY: takes nothing and returns a number.
    scratch.record.at = unsafe { bpf_ktime_get_ns() };
    tell(ctx, &mut scratch.record, 0, captured);
    0
}

#[inline(always)]
fn event(ctx: *mut xdp_md, answer: Answer, rules: &Rules, scratch: &mut Scratch) {
    let proto = (scratch.record.words[word::FLOW] >> flow::PROTO) as u8;
    // SAFETY: takes nothing and returns a number.
    let random = unsafe { bpf_get_prandom_u32() };
    if !is_event(rules, answer, proto, random) {
        return;
    }
    if !is_within(rules, scratch) {
        return;
    }
    scratch.record.captured = 0;
    scratch.record.side = side::AFTER;
    tell(ctx, &mut scratch.record, 0, 0);
}

/// Counts what passed, and says whether it is within the rate.
#[inline(always)]
fn is_within(rules: &Rules, scratch: &mut Scratch) -> bool {
    tally(count::PASSED);
    scratch.told += 1;
    let is_within = scratch.told <= rules.rate.into();
    if !is_within {
        tally(count::HELD);
    }
    is_within
}

#[inline(always)]
const fn pack(outcome: Outcome) -> u64 {
    Answer::new(
        outcome.number(),
        outcome.action(),
        outcome.opens(),
        outcome.service(),
        outcome.entry(),
    )
    .0
}

/// Tells the record, so many of the bytes that stand behind it, and so many of the frame's own.
#[inline(always)]
fn tell(ctx: *mut xdp_md, record: &mut Record, copied: u64, frame: u64) {
    // SAFETY: record and bytes lie in one map value, and no more are told than it has; the kernel reads the frame itself, in
    // as many buffers as it has.
    let told = unsafe {
        bpf_perf_event_output(
            ctx.cast(),
            (&raw const TOLD).cast_mut().cast(),
            frame << 32 | BPF_F_CURRENT_CPU,
            core::ptr::from_mut(record).cast(),
            size_of::<Record>() as u64 + copied,
        )
    };
    if told != 0 {
        tally(count::LOST);
    }
}

/// The number of the service that a backend's entry, or a steered service's, belongs to.
#[inline(always)]
fn service_of(tables: &Tables, owner: &Owner) -> u16 {
    let key = Key {
        hi: owner.hi.load(),
        lo: owner.lo.load(),
        tag: owner.tag.load() as u32,
    };
    let found = tables.find_exactly(key);
    found.map_or(0, |(cell, _)| About::unpack(cell.about.load()).number)
}

#[inline(always)]
fn address(owner: &Owner) -> [u64; 2] {
    let (hi, lo) = (owner.address_hi.load(), owner.address_lo.load());
    match (owner.tag.load() >> 40) as u8 {
        4 => [0, 0xffff_0000_0000 | u64::from((lo as u32).swap_bytes())],
        6 => [hi.swap_bytes(), lo.swap_bytes()],
        _ => [0; 2],
    }
}

/// Copies a packet's first bytes.
#[inline(always)]
fn read(ctx: *mut xdp_md, scratch: &mut Scratch, len: u64) -> bool {
    if len == 0 {
        return false;
    }
    let to: *mut c_void = scratch.data.as_mut_ptr().cast();
    // SAFETY: no more than the field holds, by `bounded`.
    unsafe { bpf_xdp_load_bytes(ctx, 0, to, len as u32) == 0 }
}

/// A length that the verifier knows to be within a limit, which is at most [`SNAPLEN`].
#[inline(always)]
fn bounded(len: u64, limit: u64) -> u64 {
    let len = if len > limit { limit } else { len };
    // What LLVM knows of it the verifier has forgotten: LLVM is made to forget, and it is said once more.
    let len = opaque(len);
    if len > SNAPLEN as u64 {
        SNAPLEN as u64
    } else {
        len
    }
}

/// A number that LLVM knows nothing of.
#[inline(always)]
fn opaque(number: u64) -> u64 {
    let mut number = number;
    // SAFETY: a register is copied to itself.
    unsafe {
        core::arch::asm!("{0} = {0}", inout(reg) number, options(pure, nomem, nostack));
    }
    number
}

#[inline(always)]
fn tally(index: u32) {
    if let Some(cell) = COUNTS.get_ptr_mut(index) {
        // SAFETY: this CPU's own cell.
        unsafe { *cell += 1 };
    }
}

/// The helpers' licence towards the kernel.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 4] = *b"GPL\0";

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    // Never reached: the verifier refuses a program that could loop here.
    loop {}
}
