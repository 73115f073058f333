//! Which values of a claim are told, and which are not.

use std::collections::BTreeSet;

use serde_json::Value;

/// A test of one string.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Filter {
    /// It begins with this.
    Prefix(String),
    /// It is one of these.
    OneOf(BTreeSet<String>),
}

impl Filter {
    fn matches(&self, text: &str) -> bool {
        match self {
            Self::Prefix(prefix) => text.starts_with(prefix.as_str()),
            Self::OneOf(values) => values.contains(text),
        }
    }
}

/// Both filters of an injection.
#[derive(Clone, Copy)]
pub(crate) struct Filters<'f> {
    pub(super) only: Option<&'f Filter>,
    pub(super) except: Option<&'f Filter>,
}

impl Filters<'_> {
    pub(crate) const NONE: Self = Self {
        only: None,
        except: None,
    };

    pub(crate) fn is_none(&self) -> bool {
        self.only.is_none() && self.except.is_none()
    }

    pub(crate) fn pass(&self, value: &Value) -> bool {
        let text = value.as_str();
        self.only.is_none_or(|f| text.is_some_and(|t| f.matches(t)))
            && self
                .except
                .is_none_or(|f| text.is_none_or(|t| !f.matches(t)))
    }
}
