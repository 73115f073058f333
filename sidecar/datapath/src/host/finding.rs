//! What is found of a host.

/// How bad a [`Finding`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// The daemon would not start, or services would not work.
    Error,
    /// It may be right, and often is not.
    Warning,
}

/// Something about this host.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
pub struct Finding {
    /// How bad.
    pub level: Level,
    /// One word for it, which stays.
    pub kind: &'static str,
    /// What it is about.
    pub thing: String,
    /// How that is.
    pub value: String,
    /// What to do.
    pub cure: String,
}

/// All of it.
#[derive(Debug, Default)]
pub(super) struct Findings(pub(super) Vec<Finding>);

impl Findings {
    pub(super) fn add(
        &mut self,
        level: Level,
        kind: &'static str,
        thing: &str,
        value: String,
        cure: &str,
    ) {
        self.0.push(Finding {
            level,
            kind,
            thing: thing.to_owned(),
            value,
            cure: cure.to_owned(),
        });
    }

    pub(super) fn error(&mut self, kind: &'static str, thing: &str, value: String, cure: &str) {
        self.add(Level::Error, kind, thing, value, cure);
    }

    pub(super) fn warning(&mut self, kind: &'static str, thing: &str, value: String, cure: &str) {
        self.add(Level::Warning, kind, thing, value, cure);
    }

    /// Of a program that did not answer.
    pub(super) fn not_looked_at(&mut self, program: &str, value: &str) {
        self.warning(
            "not_looked_at",
            program,
            value.to_owned(),
            &format!("install `{program}` and run this check as root, or look for yourself"),
        );
    }
}
