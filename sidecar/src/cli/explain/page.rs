//! An explanation as a person reads it: a line a check, 80 columns.

use std::fmt::Write as _;
use std::time::{Duration, SystemTime};

use tollgate_auth::token::explain::Explanation;

use crate::cli::paper::{BAD, FAINT, GOOD, checks, notes};

/// The whole page, with colours.
pub fn render(explanation: &Explanation) -> String {
    let mut page = String::new();
    // Writing into a String cannot fail.
    let _ = head(&mut page, explanation).is_ok();
    let _ = checks(&mut page, &explanation.checks).is_ok();
    let _ = notes(&mut page, &explanation.notes).is_ok();
    page
}

fn head(page: &mut String, explanation: &Explanation) -> std::fmt::Result {
    match &explanation.reason {
        None => writeln!(page, "{GOOD}accepted{GOOD:#}")?,
        Some(reason) => writeln!(page, "{BAD}refused: {reason}{BAD:#}")?,
    }
    let clock = match explanation.synchronised {
        Some(true) => "synchronised",
        Some(false) => "not synchronised",
        None => "cannot be asked",
    };
    writeln!(
        page,
        "{FAINT}token {}  issuer {}  clock {} ({clock}){FAINT:#}\n",
        explanation.fingerprint,
        explanation.issuer.as_deref().unwrap_or("-"),
        date(explanation.now)
    )
}

fn date(seconds: f64) -> String {
    let since = Duration::try_from_secs_f64(seconds).unwrap_or_default();
    match SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(since.as_secs())) {
        // What is past the year 9999 has no such date.
        Some(time) if since.as_secs() <= tollgate_auth::token::claims::MAX_DATE => {
            humantime::format_rfc3339_seconds(time).to_string()
        }
        _ => seconds.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use tollgate_auth::token::explain::{Check, Outcome};

    use super::*;

    fn check(name: &str, outcome: Outcome, reason: Option<&str>, says: &str) -> Check {
        Check {
            name: name.to_owned(),
            outcome,
            reason: reason.map(str::to_owned),
            says: says.to_owned(),
            facts: serde_json::Map::new(),
        }
    }

    #[test]
    fn a_page_has_a_line_a_check_and_fits_a_terminal() {
        let long = "one of the words that wrap around the end of a line of eighty columns in all";
        let explanation = Explanation {
            accepted: false,
            reason: Some("token_expired".to_owned()),
            fingerprint: "0123456789ab".to_owned(),
            issuer: Some("corp".to_owned()),
            now: 1_800_000_000.25,
            synchronised: Some(true),
            offset: None,
            checks: vec![
                check("size", Outcome::Passed, None, "9 bytes"),
                check("expiry", Outcome::Failed, Some("token_expired"), long),
                check("audience", Outcome::NotReached, None, ""),
                check("key", Outcome::NotReached, None, "no key"),
            ],
            notes: vec!["a clock is wrong".to_owned()],
        };
        let page = anstream::adapter::strip_str(&render(&explanation)).to_string();
        assert_eq!(
            page,
            "refused: token_expired\n\
             token 0123456789ab  issuer corp  clock 2027-01-15T08:00:00Z (synchronised)\n\
             \n\
             \u{20} ✓ size        9 bytes\n\
             \u{20} ✗ expiry      failed: token_expired\n\
             \u{20}               one of the words that wrap around the end of a line of eighty\n\
             \u{20}               columns in all\n\
             \u{20} · audience    not reached\n\
             \u{20} · key         not reached: no key\n\
             \u{20} ! note        a clock is wrong\n"
        );
        let coloured = render(&explanation);
        assert!(coloured.contains("\u{1b}[") && !page.contains('\u{1b}'));
        assert_eq!(date(f64::NAN), "1970-01-01T00:00:00Z");
        assert_eq!(date(1e300), "1970-01-01T00:00:00Z");
    }
}
