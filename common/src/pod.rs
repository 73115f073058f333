//! The words of shared memory, and what the compiler must be told of types that cross it: the only file here with
//! `unsafe`.
//!
//! User space writes the tables while packets are being looked up in them. So each word is an atomic there; on the
//! BPF target, where LLVM selects no relaxed atomic loads below cpu v4, it is an aligned volatile load: one
//! instruction too. Either way a reader sees an old word or a new one, never half of each.

macro_rules! word {
    ($(#[$meta:meta])* $name:ident, $int:ty, $atomic:ident) => {
        $(#[$meta])*
        #[repr(transparent)]
        #[derive(Debug)]
        pub struct $name(
            #[cfg(not(target_arch = "bpf"))] core::sync::atomic::$atomic,
            #[cfg(target_arch = "bpf")] core::cell::UnsafeCell<$int>,
        );

        // SAFETY: never written on this target, and read by single aligned loads.
        #[cfg(target_arch = "bpf")]
        unsafe impl Sync for $name {}

        impl $name {
            /// A word that reads 0.
            #[cfg(not(target_arch = "bpf"))]
            #[must_use]
            pub const fn zero() -> Self {
                Self(core::sync::atomic::$atomic::new(0))
            }

            /// Reads the word, by one load.
            #[inline(always)]
            #[must_use]
            pub fn load(&self) -> $int {
                #[cfg(not(target_arch = "bpf"))]
                return self.0.load(core::sync::atomic::Ordering::Acquire);
                // SAFETY: an aligned word inside a map value, which outlives the program's run.
                #[cfg(target_arch = "bpf")]
                return unsafe { self.0.get().read_volatile() };
            }

            /// Writes the word, by one store; whoever sees it sees all earlier stores too.
            #[cfg(not(target_arch = "bpf"))]
            pub fn store(&self, value: $int) {
                self.0.store(value, core::sync::atomic::Ordering::Release);
            }
        }
    };
}

word!(
    /// 32 bits that one side writes while the other reads.
    Word32, u32, AtomicU32
);
word!(
    /// 64 bits that one side writes while the other reads.
    Word64, u64, AtomicU64
);

#[cfg(feature = "user")]
mod user {
    use crate::counter::Counter;

    // SAFETY: repr(C), two u64, no padding (asserted beside the type), every bit pattern valid.
    unsafe impl aya::Pod for Counter {}
}
