//! Prints docs/reasons.md; `cargo xtask docs` writes it.

fn main() {
    print!("{}", tollgate_auth::reason::markdown());
}
