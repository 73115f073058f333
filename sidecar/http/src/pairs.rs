//! Lists of `name=value` with separators: what queries and cookies have in common.
//!
//! Servers do not agree on what separates. Beside the separator of the standard, some take another one: `;` in a query
//! (HTML 4.01 appendix B.2.2), `,` in `Cookie` (RFC 2965). Whoever splits by one alone does not see what others see. So
//! a list is cut at both, and each pair tells whether everyone would have cut it out like this.

/// The separators of a list.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Separators {
    /// The one of the standard.
    pub(crate) standard: u8,
    /// The one that some servers take as well.
    pub(crate) doubtful: u8,
    /// Whether blanks around a pair are no part of it.
    pub(crate) trim: bool,
}

/// A member of a list: `name=value`, or a name alone.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Pair<'a> {
    /// What stands before the first `=`, as received: nothing is decoded.
    pub name: &'a [u8],
    /// What stands behind it; `None` without a `=`.
    pub value: Option<&'a [u8]>,
    /// Whether it ends and begins for every server: on both sides there is the separator of the standard, or the end.
    pub is_clear: bool,
}

/// Never prints the value, which may be a secret.
impl std::fmt::Debug for Pair<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pair")
            .field("name", &String::from_utf8_lossy(self.name))
            .field("bytes", &self.value.map(<[u8]>::len))
            .field("is_clear", &self.is_clear)
            .finish()
    }
}

/// A part of a list with the separator before it, if there is one.
#[derive(Clone, Copy)]
struct Part<'a> {
    before: Option<u8>,
    text: &'a [u8],
    after: Option<u8>,
}

impl<'a> Part<'a> {
    fn pair(self, separators: Separators) -> Pair<'a> {
        let text = if separators.trim {
            self.text.trim_ascii()
        } else {
            self.text
        };
        let (name, value) = match memchr::memchr(b'=', text) {
            Some(at) => (&text[..at], Some(&text[at + 1..])),
            None => (text, None),
        };
        let clear = |edge: Option<u8>| edge.is_none_or(|byte| byte == separators.standard);
        Pair {
            name,
            value,
            is_clear: clear(self.before) && clear(self.after),
        }
    }
}

/// The parts of `list` in order; an empty list has one, which is empty.
fn parts(list: &[u8], separators: Separators) -> impl Iterator<Item = Part<'_>> {
    let mut rest = Some((None, list));
    std::iter::from_fn(move || {
        let (before, list) = rest?;
        let end = memchr::memchr2(separators.standard, separators.doubtful, list);
        let (text, after) = match end {
            Some(at) => (&list[..at], Some(list[at])),
            None => (list, None),
        };
        rest = end.map(|at| (after, &list[at + 1..]));
        Some(Part {
            before,
            text,
            after,
        })
    })
}

/// The pairs of `list` in order, empty ones left out.
pub(crate) fn pairs(list: &[u8], separators: Separators) -> impl Iterator<Item = Pair<'_>> {
    parts(list, separators)
        .map(move |part| part.pair(separators))
        .filter(|pair| !pair.name.is_empty() || pair.value.is_some())
}

/// `list` without the pairs that `is_out` names: each goes with the separator before it, or, at the beginning, behind
/// it. All other bytes stay, in their order. `None`: there is nothing to take out. Does not allocate then.
pub(crate) fn without(
    list: &[u8],
    separators: Separators,
    mut is_out: impl FnMut(Pair<'_>) -> bool,
) -> Option<Vec<u8>> {
    if !pairs(list, separators).any(&mut is_out) {
        return None;
    }
    let mut out = Vec::with_capacity(list.len());
    let mut is_first = true;
    for part in parts(list, separators) {
        if is_out(part.pair(separators)) {
            continue;
        }
        match part.before {
            Some(separator) if !is_first => {
                out.push(separator);
                out.extend_from_slice(part.text);
            }
            // It had a neighbour before it and has none now.
            Some(_) if separators.trim => out.extend_from_slice(part.text.trim_ascii_start()),
            _ => out.extend_from_slice(part.text),
        }
        is_first = false;
    }
    Some(out)
}
