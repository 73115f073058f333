//! An explanation as a person reads it: what decides, every route, and the sheet of the one that takes the request.

use std::fmt::{self, Write as _};

use tollgate_auth::token::explain::Outcome;

use crate::cli::paper::{BAD, FAINT, GOOD, INDENT, checks, notes, wrapped};
use crate::explain::{Considered, RouteExplanation, Section};

/// As many routes are listed that do not match; the nearest come first.
const LISTED: usize = 16;

/// The whole page, with colours.
pub fn render(explanation: &RouteExplanation) -> String {
    let mut page = String::new();
    // Writing into a String cannot fail.
    let _ = write(&mut page, explanation).is_ok();
    page
}

fn write(page: &mut String, explanation: &RouteExplanation) -> fmt::Result {
    let status = explanation.status.unwrap_or_default();
    match (&explanation.reason, &explanation.route) {
        (Some(reason), _) => writeln!(page, "{BAD}refused: {reason} ({status}){BAD:#}")?,
        (None, Some(route)) => writeln!(page, "{GOOD}taken by {route}{GOOD:#}")?,
        (None, None) => writeln!(page, "{GOOD}answered by the listener{GOOD:#}")?,
    }
    let RouteExplanation {
        request, listener, ..
    } = explanation;
    writeln!(page, "{FAINT}{request}  listener {listener}{FAINT:#}\n")?;
    checks(page, &explanation.checks)?;
    if let Some(token) = &explanation.token {
        let failed = token
            .checks
            .iter()
            .filter(|check| check.outcome == Outcome::Failed);
        for check in failed.skip(1) {
            writeln!(
                page,
                "{:INDENT$}{FAINT}and {}: {}{FAINT:#}",
                "", check.name, check.says
            )?;
        }
    }
    for (name, value) in &explanation.headers {
        write!(page, "{:INDENT$}", "")?;
        wrapped(page, INDENT, &format!("{name}: {value}"))?;
    }
    routes(page, &explanation.routes)?;
    for (at, section) in explanation.sheet.iter().enumerate() {
        if at == 0 {
            page.push('\n');
        }
        sheet(page, section)?;
    }
    notes(page, &explanation.notes)
}

fn routes(page: &mut String, routes: &[Considered]) -> fmt::Result {
    if routes.is_empty() {
        return Ok(());
    }
    let matches = |one: &&Considered| !one.outcome.starts_with("other_");
    let (mut listed, mut left) = (0, 0);
    let names = routes
        .iter()
        .map(|one| one.route.len())
        .max()
        .unwrap_or_default();
    let width = names.clamp(INDENT - 5, 30);
    writeln!(page, "\n{FAINT}routes, the most specific first{FAINT:#}")?;
    for one in routes {
        if !matches(&one) {
            listed += 1;
            if listed > LISTED {
                left += 1;
                continue;
            }
        }
        let name = &one.route;
        match one.outcome.as_str() {
            "takes" => write!(page, "  {GOOD}✓{GOOD:#} {name:<width$} ")?,
            "refuses" => write!(page, "  {BAD}✗{BAD:#} {name:<width$} ")?,
            _ => write!(page, "  {FAINT}·{FAINT:#} {name:<width$} ")?,
        }
        wrapped(page, width.max(name.len()) + 5, &one.says)?;
    }
    match left {
        0 => Ok(()),
        1 => writeln!(page, "  {FAINT}· and 1 that does not match{FAINT:#}"),
        _ => writeln!(
            page,
            "  {FAINT}· and {left} that do not match (--json has them){FAINT:#}"
        ),
    }
}

fn sheet(page: &mut String, section: &Section) -> fmt::Result {
    for (at, line) in section.says.iter().enumerate() {
        let label = if at == 0 { section.name.as_str() } else { "" };
        write!(
            page,
            "  {FAINT}{label:<width$}{FAINT:#}",
            width = INDENT - 2
        )?;
        wrapped(page, INDENT, line)?;
    }
    Ok(())
}
