//! The one figure that is read of callgrind's output: how many instructions the measured part took.

use std::fs;
use std::path::Path;

use crate::shell::{Failure, Outcome};

/// The instructions that the profile in `file` counts.
pub(super) fn instructions(file: &Path) -> Outcome<u64> {
    let text = fs::read_to_string(file)
        .map_err(|error| Failure::new(format!("{}: {error}", file.display())))?;
    total(&text).ok_or_else(|| {
        Failure::new(format!(
            "{}: no count of `Ir`; was it written by callgrind?",
            file.display()
        ))
    })
}

/// `events:` names the columns, `totals:` holds their sums, in the same order (callgrind's format specification,
/// section 3.2).
fn total(profile: &str) -> Option<u64> {
    let line = |word: &str| profile.lines().find_map(|line| line.strip_prefix(word));
    let column = line("events:")?
        .split_whitespace()
        .position(|event| event == "Ir")?;
    line("totals:")?
        .split_whitespace()
        .nth(column)?
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_stands_in_the_column_of_its_event() {
        let profile = "version: 1\nevents: Dr Ir Dw\nfn=(1) main\n16 3 400 2\ntotals: 3 400 2\n";
        assert_eq!(total(profile), Some(400));
        assert_eq!(total("events: Dr Dw\ntotals: 3 2\n"), None);
        assert_eq!(total("events: Ir\n"), None);
        assert_eq!(total("events: Ir\ntotals:\n"), None);
    }
}
