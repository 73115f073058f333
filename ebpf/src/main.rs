//! The programs: entry points only, each in a file of its own under `hooks`.
#![no_std]
#![no_main]

mod hooks;

/// The maps' and helpers' licence towards the kernel; also GPL helpers are used.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 4] = *b"GPL\0";

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    // Never reached: the verifier refuses a program that could loop here.
    loop {}
}
