//! A packet as the pipeline sees it: a bounded view of its first bytes, and room made before them.

/// The bytes of one packet.
pub trait Packet {
    /// The first `N` bytes, if there are so many in the packet's linear part.
    fn head<const N: usize>(&self) -> Option<&[u8; N]>;

    /// The first `N` bytes, to be written.
    fn head_mut<const N: usize>(&mut self) -> Option<&mut [u8; N]>;

    /// Puts `by` bytes before the packet; what they hold is not defined. False: there is no room, nothing changed.
    fn grow(&mut self, by: u8) -> bool;

    /// Whether the frame is at least `len` bytes long, all its buffers counted.
    fn holds(&self, len: u32) -> bool;

    /// Index of the interface that it came in at.
    fn ingress(&self) -> u32;
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

load!(u16_at, u16);
load!(u32_at, u32);
load!(u64_at, u64);

#[cfg(feature = "bpf")]
pub use frame::Frame;

#[cfg(feature = "bpf")]
mod frame {
    use core::ffi::c_long;

    use aya_ebpf::{
        EbpfContext as _,
        helpers::{bpf_xdp_adjust_head, bpf_xdp_get_buff_len},
        programs::XdpContext,
    };

    use super::Packet;

    /// A frame at the XDP hook.
    pub struct Frame<'a>(&'a XdpContext);

    impl<'a> Frame<'a> {
        /// The frame that this run of the program is about.
        #[inline(always)]
        pub fn new(ctx: &'a XdpContext) -> Self {
            Self(ctx)
        }
    }

    impl Packet for Frame<'_> {
        #[inline(always)]
        fn head<const N: usize>(&self) -> Option<&[u8; N]> {
            let data = self.0.data();
            if data + N > self.0.data_end() {
                return None;
            }
            // SAFETY: N bytes from `data` on lie before `data_end` (checked above, and again by the verifier). The
            // borrow of self ends before `grow`, which moves `data`.
            Some(unsafe { &*(data as *const [u8; N]) })
        }

        #[inline(always)]
        fn head_mut<const N: usize>(&mut self) -> Option<&mut [u8; N]> {
            let data = self.0.data();
            if data + N > self.0.data_end() {
                return None;
            }
            // SAFETY: as in `head`; `&mut self` makes it the only view.
            Some(unsafe { &mut *(data as *mut [u8; N]) })
        }

        #[inline(always)]
        fn grow(&mut self, by: u8) -> bool {
            // SAFETY: the context is the one that the kernel gave; a refused move leaves the packet as it was.
            let moved: c_long = unsafe { bpf_xdp_adjust_head(self.0.ctx, -i32::from(by)) };
            moved == 0
        }

        #[inline(always)]
        fn holds(&self, len: u32) -> bool {
            if self.0.data() + len as usize <= self.0.data_end() {
                return true;
            }
            // Only a frame in several buffers, or a false length, comes here.
            // SAFETY: the context is the one that the kernel gave.
            let total = unsafe { bpf_xdp_get_buff_len(self.0.as_ptr().cast()) };
            u64::from(len) <= total
        }

        #[inline(always)]
        fn ingress(&self) -> u32 {
            self.0.ingress_ifindex() as u32
        }
    }
}

#[cfg(test)]
pub(crate) mod host {
    use std::vec::Vec;

    use super::Packet;

    /// A frame on the host, with `room` bytes before it.
    #[derive(Clone, Debug)]
    pub(crate) struct Buffer {
        bytes: Vec<u8>,
        start: usize,
    }

    impl Buffer {
        pub(crate) fn new(frame: &[u8], room: usize) -> Self {
            let mut bytes = std::vec![0xaa; room];
            bytes.extend_from_slice(frame);
            Self { bytes, start: room }
        }

        pub(crate) fn frame(&self) -> &[u8] {
            &self.bytes[self.start..]
        }
    }

    impl Packet for Buffer {
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

        fn holds(&self, len: u32) -> bool {
            self.frame().len() >= len as usize
        }

        fn ingress(&self) -> u32 {
            1
        }
    }
}
