//! How explanations are laid out: 80 columns, a mark, a name, and the words beside it.

use std::fmt::{self, Write as _};

use anstyle::{AnsiColor, Style};
use tollgate_auth::token::explain::{Check, Outcome};

const COLUMNS: usize = 80;
/// Where the words of a check begin.
pub(super) const INDENT: usize = 16;

pub(super) const GOOD: Style = AnsiColor::Green.on_default().bold();
pub(super) const BAD: Style = AnsiColor::Red.on_default().bold();
pub(super) const FAINT: Style = Style::new().dimmed();
const NOTE: Style = AnsiColor::Yellow.on_default();

/// A line a check, more where its words do not fit.
pub(super) fn checks(page: &mut String, checks: &[Check]) -> fmt::Result {
    checks.iter().try_for_each(|check| line(page, check))
}

fn line(page: &mut String, check: &Check) -> fmt::Result {
    let name = &check.name;
    match (check.outcome, &check.reason) {
        (Outcome::Passed, _) => write!(page, "  {GOOD}✓{GOOD:#} {name:<12}")?,
        (Outcome::NotReached, _) => write!(page, "  {FAINT}· {name:<12}not reached{FAINT:#}")?,
        (Outcome::Failed, reason) => {
            let reason = reason.as_deref().unwrap_or_default();
            write!(page, "  {BAD}✗ {name:<12}failed: {reason}{BAD:#}")?;
        }
    }
    if check.says.is_empty() {
        return writeln!(page);
    }
    match check.outcome {
        Outcome::Passed => wrapped(page, INDENT, &check.says),
        Outcome::NotReached => {
            let before = INDENT + "not reached".len();
            write!(page, "{FAINT}")?;
            wrapped(page, before, &format!(": {}", check.says))?;
            write!(page, "{FAINT:#}")
        }
        Outcome::Failed => {
            write!(page, "\n{:INDENT$}", "")?;
            wrapped(page, INDENT, &check.says)
        }
    }
}

/// What else may help.
pub(super) fn notes(page: &mut String, notes: &[String]) -> fmt::Result {
    notes.iter().try_for_each(|note| noted(page, note))
}

fn noted(page: &mut String, note: &str) -> fmt::Result {
    write!(page, "  {NOTE}!{NOTE:#} {:<12}", "note")?;
    wrapped(page, INDENT, note)
}

/// Breaks at spaces, beginning at `column`, and goes on under the first word. A word longer than a line stays whole, so
/// that it can be copied.
pub(super) fn wrapped(page: &mut String, mut column: usize, text: &str) -> fmt::Result {
    for (at, word) in text.split(' ').enumerate() {
        let width = word.chars().count();
        if at > 0 && column + 1 + width > COLUMNS {
            write!(page, "\n{:INDENT$}", "")?;
            column = INDENT;
        } else if at > 0 {
            page.push(' ');
            column += 1;
        }
        page.push_str(word);
        column += width;
    }
    writeln!(page)
}
