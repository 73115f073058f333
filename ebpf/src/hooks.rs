//! One file a hook.

mod sk_lookup;
mod tc;
mod xdp;
