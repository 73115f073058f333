//! `cargo xtask docs`: the pages that are generated from code, so that they cannot disagree with it.

use std::fs;

use std::process::Command;

use crate::nextest::BUILD_SELECTION;
use crate::shell::{self, Failure, Outcome, built, cargo, output, root};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only say whether the pages in the tree are up to date
    #[arg(long)]
    check: bool,
}

/// A page and the example that prints it.
struct Page {
    file: &'static str,
    printed_by: &'static str,
}

const PAGES: &[Page] = &[
    page("docs/reasons.md", "reasons"),
    page("docs/tokens.md", "tokens"),
    page("docs/routes.md", "routes"),
];

const fn page(file: &'static str, printed_by: &'static str) -> Page {
    Page { file, printed_by }
}

pub(crate) fn run(args: &Args) -> Outcome {
    if args.check {
        return check();
    }
    build()?;
    for page in PAGES {
        let text = page.text()?;
        let file = root().join(page.file);
        fs::write(&file, text).map_err(|error| Failure::new(format!("{}: {error}", page.file)))?;
        println!("wrote {}", page.file);
    }
    Ok(())
}

pub(crate) fn check() -> Outcome {
    build()?;
    for page in PAGES {
        let text = page.text()?;
        let stands = fs::read_to_string(root().join(page.file)).unwrap_or_default();
        if let Some(line) = first_difference(&stands, &text) {
            return Err(Failure::new(format!(
                "{}:{line} is not what the code says; run `cargo xtask docs` and commit the page",
                page.file
            )));
        }
    }
    println!("docs: {} generated page(s) up to date", PAGES.len());
    Ok(())
}

/// The examples, of the packages that the tests are built of: one of them alone has other features, and would build its
/// dependencies anew.
fn build() -> Outcome {
    shell::run(cargo(["build", "--quiet", "--examples"])?.args(BUILD_SELECTION))
}

impl Page {
    fn text(&self) -> Outcome<String> {
        let example = built("examples")?.join(self.printed_by);
        output(Command::new(example).current_dir(root()))
    }
}

/// The first line, from 1, at which the two differ.
fn first_difference(left: &str, right: &str) -> Option<usize> {
    if left == right {
        return None;
    }
    let same = left
        .lines()
        .zip(right.lines())
        .take_while(|(left, right)| left == right)
        .count();
    Some(same + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stale_page_is_told_by_its_first_differing_line() {
        assert_eq!(first_difference("a\nb\n", "a\nb\n"), None);
        assert_eq!(first_difference("a\nb\n", "a\nc\n"), Some(2));
        assert_eq!(first_difference("", "a\n"), Some(1));
        assert_eq!(first_difference("a\n", "a\nb\n"), Some(2));
    }
}
