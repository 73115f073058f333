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

        // SAFETY: read and written by single aligned loads and stores only.
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

            /// Writes the word, by one store; from user space whoever sees it sees all earlier stores too.
            #[inline(always)]
            pub fn store(&self, value: $int) {
                #[cfg(not(target_arch = "bpf"))]
                self.0.store(value, core::sync::atomic::Ordering::Release);
                // SAFETY: as in `load`; an aligned store of one word is atomic, and nobody has a plain reference to it.
                #[cfg(target_arch = "bpf")]
                unsafe {
                    self.0.get().write_volatile(value);
                };
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
mod user;
