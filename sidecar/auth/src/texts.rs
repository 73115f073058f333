//! What the operator has to say about refusals, beside the reason.

use std::sync::Arc;

use crate::reason::Reason;

/// The longest text, in characters: it stands in every refusal that it is for.
pub const LONGEST: usize = 500;

/// A text for some reasons, and perhaps one for all others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Texts {
    of_reasons: Vec<(Reason, Arc<str>)>,
    default: Option<Arc<str>>,
}

impl Texts {
    /// The text for refusals for `reason`.
    pub fn of(&self, reason: Reason) -> Option<&str> {
        let own = self.of_reasons.iter().find(|(one, _)| *one == reason);
        own.map(|(_, text)| text)
            .or(self.default.as_ref())
            .map(|text| &**text)
    }

    /// Says `text` for `reason`, or for all that have none (`None`), in place of what was said before.
    pub fn set(&mut self, reason: Option<Reason>, text: &str) {
        let Some(reason) = reason else {
            self.default = Some(text.into());
            return;
        };
        self.of_reasons.retain(|(one, _)| *one != reason);
        self.of_reasons.push((reason, text.into()));
    }

    /// These texts, and those of `inherited` that stand for something else.
    #[must_use]
    pub fn or(mut self, inherited: &Self) -> Self {
        for (reason, text) in &inherited.of_reasons {
            if !self.of_reasons.iter().any(|(one, _)| one == reason) {
                self.of_reasons.push((*reason, Arc::clone(text)));
            }
        }
        self.default = self.default.or_else(|| inherited.default.clone());
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_own_text_comes_before_the_inherited_and_a_word_before_the_default() {
        let mut inherited = Texts::default();
        inherited.set(Some(Reason::TokenExpired), "inherited expired");
        inherited.set(None, "inherited default");
        let mut own = Texts::default();
        own.set(Some(Reason::TokenMissing), "first");
        own.set(Some(Reason::TokenMissing), "own missing");
        let own = own.or(&inherited);
        for (reason, text) in [
            (Reason::TokenMissing, "own missing"),
            (Reason::TokenExpired, "inherited expired"),
            (Reason::NoRoute, "inherited default"),
        ] {
            assert_eq!(own.of(reason), Some(text), "{reason}");
        }
        let mut other = Texts::default();
        other.set(None, "own default");
        assert_eq!(
            other.or(&inherited).of(Reason::NoRoute),
            Some("own default")
        );
        assert_eq!(Texts::default().of(Reason::NoRoute), None);
    }
}
