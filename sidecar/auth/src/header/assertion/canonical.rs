//! The one form of the identity headers that is hashed.

use aws_lc_rs::digest::{Context, SHA256};

/// The SHA-256 of header lines in their canonical form: for each line, in order, its name in lower case, a colon, its
/// value, and a line feed (0x0A). Nothing else: no space after the colon, no carriage return.
///
/// A name holds no colon and a value no line feed (RFC 9110 sections 5.1 and 5.5), so no two lists of lines have the
/// same form.
pub fn digest<'l>(lines: impl IntoIterator<Item = (&'l [u8], &'l [u8])>) -> [u8; 32] {
    let mut context = Context::new(&SHA256);
    for (name, value) in lines {
        // Injected names stand in lower case already.
        if name.iter().any(u8::is_ascii_uppercase) {
            context.update(&name.to_ascii_lowercase());
        } else {
            context.update(name);
        }
        context.update(b":");
        context.update(value);
        context.update(b"\n");
    }
    let mut out = [0; 32];
    out.copy_from_slice(context.finish().as_ref());
    out
}
