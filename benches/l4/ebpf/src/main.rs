//! Drivers and floors of the layer 4 benchmark, for the BPF target.
//!
//! A driver runs first in each repetition of a test run: the kernel hands the same buffer to all of them, so it undoes
//! what the last one did to the frame, writes the next flow into it and calls the program under test by its tail. What
//! that costs is known by the same driver with a target that does nothing.
#![no_std]
#![no_main]

mod drive;
mod floor;
mod nothing;

/// The licence towards the kernel.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 4] = *b"GPL\0";

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    // Never reached: the verifier refuses a program that could loop here.
    loop {}
}
