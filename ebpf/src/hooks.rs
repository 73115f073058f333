//! One file a hook.

mod sk_lookup;
mod xdp;
