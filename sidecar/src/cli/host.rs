//! `tollgate check --host`.

use std::fmt::Write as _;
use std::path::Path;

use tollgate_datapath::host::{self, Finding, Level};

use super::ask::Failure;
use super::paper::{INDENT, wrapped};
use crate::app::CHECKS;
use crate::{config, kernel};

/// Looks at this host; what to print, and whether nothing is wrong.
///
/// # Errors
///
/// The configuration is wrong, or the kernel was not asked.
pub async fn run(path: &Path, json: bool) -> Result<(String, bool), Failure> {
    let config = config::load(path, CHECKS).map_err(|all| Failure::Usage(all.to_string()))?;
    let found = match &config.datapath {
        // What the sidecar alone needs of a host it says when it starts.
        None => Vec::new(),
        Some(datapath) => host::look(&datapath.attach, &datapath.model)
            .await
            .map_err(|error| Failure::Missing(kernel::told(&error)))?,
    };
    let is_fine = found.iter().all(|one| one.level != Level::Error);
    let text = if json {
        format!(
            "{:#}",
            serde_json::json!({ "fine": is_fine, "findings": found })
        )
    } else {
        page(path, &found)
    };
    Ok((text, is_fine))
}

fn page(path: &Path, found: &[Finding]) -> String {
    let count = |level| found.iter().filter(|one| one.level == level).count();
    let (errors, warnings) = (count(Level::Error), count(Level::Warning));
    let mut page = String::new();
    // Writing into a String cannot fail.
    let _ = writeln!(
        page,
        "{}: fine; this host: {errors} error(s), {warnings} warning(s)",
        path.display()
    );
    for one in found {
        let level = match one.level {
            Level::Error => "error",
            Level::Warning => "warning",
        };
        let _ = writeln!(page, "\n{level}: {} ({})", one.thing, one.kind);
        for text in [&one.value, &one.cure] {
            page.push_str(&" ".repeat(INDENT));
            let _ = wrapped(&mut page, INDENT, text).is_ok();
        }
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_names_thing_value_and_cure_within_80_columns() {
        let finding = Finding {
            level: Level::Error,
            kind: "xdp_taken",
            thing: "eth0".to_owned(),
            value: "it has another XDP program, number 7, `cil_xdp_entry`, which somebody else has put there some time ago".to_owned(),
            cure: "attach Tollgate to another interface".to_owned(),
        };
        let page = page(Path::new("tollgate.yaml"), &[finding]);
        for part in [
            "1 error(s), 0 warning(s)",
            "error: eth0 (xdp_taken)",
            "cil_xdp_entry",
            "another interface",
        ] {
            assert!(page.contains(part), "{part} in\n{page}");
        }
        assert!(
            page.lines().all(|line| line.chars().count() <= 80),
            "{page}"
        );
    }
}
