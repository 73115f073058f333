//! What is run in a guest.

use std::path::PathBuf;

/// A suite's binary in the guest, and which of its tests are run there.
pub(super) struct Run {
    pub(super) name: &'static str,
    pub(super) binary: PathBuf,
    /// Arguments of the test harness: parts of test names, options.
    pub(super) arguments: Vec<String>,
    /// Whether it may run no test.
    pub(super) may_be_empty: bool,
}
