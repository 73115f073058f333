//! A packet as the pipeline sees it: a bounded view of its first bytes, and room made before them.

/// The farthest that [`Packet::at`] reads.
pub const FAR: usize = 511;

/// The bytes of one packet.
pub trait Packet {
    /// The same packet, for a function of its own: so the hot path can keep its view in registers.
    type Again<'a>: Packet
    where
        Self: 'a;

    /// The same packet.
    fn again(&mut self) -> Self::Again<'_>;

    /// The first `N` bytes, if there are so many in the packet's linear part.
    fn head<const N: usize>(&self) -> Option<&[u8; N]>;

    /// `N` bytes from `at` on, which is at most [`FAR`].
    fn at<const N: usize>(&self, at: usize) -> Option<&[u8; N]>;

    /// The first `N` bytes, to be written.
    fn head_mut<const N: usize>(&mut self) -> Option<&mut [u8; N]>;

    /// Puts `by` bytes before the packet; what they hold is not defined. False: there is no room, nothing changed.
    fn grow(&mut self, by: u8) -> bool;

    /// Takes the first `by` bytes away. False: they are not there, nothing changed.
    fn shrink(&mut self, by: u8) -> bool;

    /// Cuts the frame to its first `len` bytes. False: it has no more of them already, or the driver cannot; nothing changed.
    fn cut(&mut self, len: u32) -> bool;

    /// Whether the packet's linear part has at least `len` bytes.
    fn has(&self, len: usize) -> bool;

    /// Whether the frame is at least `len` bytes long, all its buffers counted.
    fn holds(&self, len: u32) -> bool;

    /// Index of the interface that it came in at.
    fn ingress(&self) -> u32;

    /// Names the interface by which it leaves if it is redirected.
    fn redirect(&mut self, ifindex: u32);
}

macro_rules! load {
    ($name:ident, $int:ty) => {
        /// The integer of the packet's bytes from `AT` on, as a native load finds them. One load: put together from
        /// single bytes in safe code, LLVM keeps them apart as soon as their uses are.
        #[inline(always)]
        #[must_use]
        pub fn $name<const AT: usize, const N: usize>(bytes: &[u8; N]) -> $int {
            const { assert!(AT + size_of::<$int>() <= N) };
            // SAFETY: inside the array (asserted above when compiled); any bytes are an integer.
            unsafe { bytes.as_ptr().add(AT).cast::<$int>().read_unaligned() }
        }
    };
}

/// A place in the frame, at most [`FAR`]: what is beyond is cut to it. On the BPF target the compiler must not know what it
/// may be, or the verifier follows each way to it by itself.
#[inline(always)]
#[must_use]
pub fn near(at: usize) -> usize {
    opaque(at) & FAR
}

/// The length of a packet, as its header says it, with all headers before: of 17 bits. What LLVM knows of it the verifiers of
/// older kernels do not, since for them a number whose bytes were swapped may be any (seen on 6.12).
#[inline(always)]
#[must_use]
pub fn length(len: u32) -> usize {
    opaque(len as usize) & 0x1_ffff
}

/// The same number, of which LLVM knows nothing on the BPF target.
#[inline(always)]
fn opaque(number: usize) -> usize {
    #[cfg(target_arch = "bpf")]
    let number = {
        let mut number = number;
        // SAFETY: a register is copied to itself.
        unsafe {
            core::arch::asm!("{0} = {0}", inout(reg) number, options(pure, nomem, nostack));
        };
        number
    };
    number
}

/// The sum of the 16-bit words of the packet's bytes from `FROM` on, as [`checksum::sum`] has it.
///
/// [`checksum::sum`]: tollgate_common::checksum::sum
#[inline(always)]
#[must_use]
pub fn sum_from<const FROM: usize, const N: usize>(bytes: &[u8; N]) -> u64 {
    const { assert!(FROM <= N && (N - FROM).is_multiple_of(4)) };
    let (mut sum, mut at) = (0, FROM);
    while at < N {
        // SAFETY: inside the array (asserted above when compiled); any bytes are an integer.
        let word = unsafe { bytes.as_ptr().add(at).cast::<u32>().read_unaligned() };
        // 32-bit words sum up to the same once they are folded (RFC 1071, section 2).
        sum += u64::from(word);
        at += 4;
    }
    sum
}

load!(u16_at, u16);
load!(u32_at, u32);
load!(u64_at, u64);

#[cfg(feature = "bpf")]
pub use frame::Frame;

#[cfg(feature = "bpf")]
mod frame {
    use core::{ffi::c_long, marker::PhantomData};

    use aya_ebpf::{
        bindings::xdp_md,
        helpers::{bpf_redirect, bpf_xdp_adjust_head, bpf_xdp_adjust_tail, bpf_xdp_get_buff_len},
        programs::XdpContext,
    };

    use super::{Packet, near};

    /// A frame at the XDP hook. `ALONE`: it is seen by a function of its own, which reads where the frame begins and ends
    /// anew. LLVM would have the caller read them and hand them over as numbers, which are no pointers to the verifier.
    #[derive(Clone, Copy)]
    pub struct Frame<'a, const ALONE: bool = false> {
        // Not the reference itself: its target would have to stand in memory, on the stack, for all of the program.
        ctx: *mut xdp_md,
        run: PhantomData<&'a XdpContext>,
    }

    impl<'a> Frame<'a> {
        /// The frame that this run of the program is about.
        #[inline(always)]
        pub fn new(ctx: &'a XdpContext) -> Self {
            Self {
                ctx: ctx.ctx,
                run: PhantomData,
            }
        }
    }

    impl<const ALONE: bool> Frame<'_, ALONE> {
        #[inline(always)]
        fn data(&self) -> usize {
            // SAFETY: a field of the context that the kernel gave, and which lives as long as the run. It is no null
            // pointer; said to LLVM, or it looks for it each time that an `Option` is made of it.
            unsafe {
                let data = Self::read(&raw const (*self.ctx).data);
                core::hint::assert_unchecked(data != 0);
                data
            }
        }

        #[inline(always)]
        fn data_end(&self) -> usize {
            // SAFETY: as above.
            unsafe { Self::read(&raw const (*self.ctx).data_end) }
        }

        #[inline(always)]
        unsafe fn read(field: *const u32) -> usize {
            // SAFETY: the caller's.
            let value = unsafe {
                if ALONE {
                    field.read_volatile()
                } else {
                    field.read()
                }
            };
            value as usize
        }
    }

    impl<const ALONE: bool> Packet for Frame<'_, ALONE> {
        type Again<'b>
            = Frame<'b, true>
        where
            Self: 'b;

        #[inline(always)]
        fn again(&mut self) -> Frame<'_, true> {
            Frame {
                ctx: self.ctx,
                run: PhantomData,
            }
        }

        #[inline(always)]
        fn at<const N: usize>(&self, at: usize) -> Option<&[u8; N]> {
            // What the verifier wants to see right here.
            let data = self.data() + near(at);
            if data + N > self.data_end() {
                return None;
            }
            // SAFETY: as in `head`.
            Some(unsafe { &*(data as *const [u8; N]) })
        }

        #[inline(always)]
        fn shrink(&mut self, by: u8) -> bool {
            // SAFETY: as in `grow`.
            let moved: c_long = unsafe { bpf_xdp_adjust_head(self.ctx, i32::from(by)) };
            moved == 0
        }

        #[inline(always)]
        fn cut(&mut self, len: u32) -> bool {
            // SAFETY: the context is the one that the kernel gave.
            let total = unsafe { bpf_xdp_get_buff_len(self.ctx) };
            let by = total as i64 - i64::from(len);
            // SAFETY: as in `grow`.
            by > 0 && unsafe { bpf_xdp_adjust_tail(self.ctx, -(by as i32)) } == 0
        }

        #[inline(always)]
        fn head<const N: usize>(&self) -> Option<&[u8; N]> {
            let data = self.data();
            if data + N > self.data_end() {
                return None;
            }
            // SAFETY: N bytes from `data` on lie before `data_end` (checked above, and again by the verifier). The
            // borrow of self ends before `grow`, which moves `data`.
            Some(unsafe { &*(data as *const [u8; N]) })
        }

        #[inline(always)]
        fn head_mut<const N: usize>(&mut self) -> Option<&mut [u8; N]> {
            let data = self.data();
            if data + N > self.data_end() {
                return None;
            }
            // SAFETY: as in `head`; `&mut self` makes it the only view.
            Some(unsafe { &mut *(data as *mut [u8; N]) })
        }

        #[inline(always)]
        fn grow(&mut self, by: u8) -> bool {
            // SAFETY: the context is the one that the kernel gave; a refused move leaves the packet as it was.
            let moved: c_long = unsafe { bpf_xdp_adjust_head(self.ctx, -i32::from(by)) };
            moved == 0
        }

        #[inline(always)]
        fn has(&self, len: usize) -> bool {
            self.data() + len <= self.data_end()
        }

        #[inline(always)]
        fn holds(&self, len: u32) -> bool {
            // SAFETY: the context is the one that the kernel gave.
            let total = unsafe { bpf_xdp_get_buff_len(self.ctx) };
            u64::from(len) <= total
        }

        #[inline(always)]
        fn ingress(&self) -> u32 {
            // SAFETY: a field of the context that the kernel gave.
            unsafe { (*self.ctx).ingress_ifindex }
        }

        #[inline(always)]
        fn redirect(&mut self, ifindex: u32) {
            // SAFETY: plain numbers. What it returns is the verdict that the program gives anyhow; an interface that does
            // not exist is an error of the redirect itself, counted by the kernel.
            let _redirect = unsafe { bpf_redirect(ifindex, 0) };
        }
    }
}

/// Frames off the kernel.
#[cfg(any(test, feature = "host"))]
pub mod host {
    use std::vec::Vec;

    use super::Packet;

    /// A frame on the host, with `room` bytes before it.
    #[derive(Clone, Debug)]
    pub struct Buffer {
        bytes: Vec<u8>,
        start: usize,
    }

    impl Buffer {
        /// A frame, with so many bytes before it.
        #[must_use]
        pub fn new(frame: &[u8], room: usize) -> Self {
            let mut bytes = std::vec![0xaa; room];
            bytes.extend_from_slice(frame);
            Self { bytes, start: room }
        }

        /// The frame as it is.
        #[must_use]
        pub fn frame(&self) -> &[u8] {
            &self.bytes[self.start..]
        }

        /// Writes bytes into the frame. False: it is not so long.
        pub(crate) fn write(&mut self, at: usize, bytes: &[u8]) -> bool {
            let place = self.bytes[self.start..].get_mut(at..at + bytes.len());
            place.map(|place| place.copy_from_slice(bytes)).is_some()
        }
    }

    impl Packet for Buffer {
        type Again<'b> = &'b mut Self;

        fn again(&mut self) -> &mut Self {
            self
        }

        fn at<const N: usize>(&self, at: usize) -> Option<&[u8; N]> {
            self.frame().get(at..)?.first_chunk()
        }

        fn head<const N: usize>(&self) -> Option<&[u8; N]> {
            self.frame().first_chunk()
        }

        fn head_mut<const N: usize>(&mut self) -> Option<&mut [u8; N]> {
            self.bytes[self.start..].first_chunk_mut()
        }

        fn grow(&mut self, by: u8) -> bool {
            let Some(start) = self.start.checked_sub(usize::from(by)) else {
                return false;
            };
            self.start = start;
            true
        }

        fn shrink(&mut self, by: u8) -> bool {
            let is_there = self.frame().len() >= usize::from(by);
            self.start += if is_there { usize::from(by) } else { 0 };
            is_there
        }

        fn cut(&mut self, len: u32) -> bool {
            let is_longer = self.frame().len() > len as usize;
            self.bytes.truncate(self.start + len as usize);
            is_longer
        }

        fn has(&self, len: usize) -> bool {
            self.frame().len() >= len
        }

        fn holds(&self, len: u32) -> bool {
            self.has(len as usize)
        }

        fn ingress(&self) -> u32 {
            1
        }

        fn redirect(&mut self, _ifindex: u32) {}
    }

    impl Packet for &mut Buffer {
        type Again<'b>
            = &'b mut Buffer
        where
            Self: 'b;

        fn again(&mut self) -> &mut Buffer {
            self
        }

        fn at<const N: usize>(&self, at: usize) -> Option<&[u8; N]> {
            (**self).at(at)
        }

        fn head<const N: usize>(&self) -> Option<&[u8; N]> {
            (**self).head()
        }

        fn head_mut<const N: usize>(&mut self) -> Option<&mut [u8; N]> {
            (**self).head_mut()
        }

        fn grow(&mut self, by: u8) -> bool {
            (**self).grow(by)
        }

        fn shrink(&mut self, by: u8) -> bool {
            (**self).shrink(by)
        }

        fn cut(&mut self, len: u32) -> bool {
            (**self).cut(len)
        }

        fn has(&self, len: usize) -> bool {
            (**self).has(len)
        }

        fn holds(&self, len: u32) -> bool {
            (**self).holds(len)
        }

        fn ingress(&self) -> u32 {
            (**self).ingress()
        }

        fn redirect(&mut self, ifindex: u32) {
            (**self).redirect(ifindex);
        }
    }
}
