//! Header and trailer fields in the order received, spelled as received (RFC 9110 section 5).

use bytes::Bytes;

/// One field line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// The name as it was spelled on the wire; comparisons ignore ASCII case.
    pub name: Bytes,
    /// The value without its surrounding whitespace.
    pub value: Bytes,
}

impl Field {
    /// Whether the name equals `name`, ignoring ASCII case (RFC 9110 section 5.1).
    pub fn is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name.as_bytes())
    }
}

/// Field lines in order; the same name may stand several times.
///
/// A message has a few dozen lines at most, so a scan over a vector beats hashing and keeps the order
/// that signatures, `Set-Cookie` and debugging want.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fields(Vec<Field>);

impl Fields {
    /// No fields, no allocation.
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// No fields yet, room for `capacity` of them.
    pub fn with_capacity(capacity: usize) -> Self {
        Self(Vec::with_capacity(capacity))
    }

    /// Appends a line. The bytes are taken as they are: whoever reads them from the wire or builds them
    /// from data checks them with [`valid_name`] and [`valid_value`] first.
    pub fn push(&mut self, name: impl Into<Bytes>, value: impl Into<Bytes>) {
        self.0.push(Field {
            name: name.into(),
            value: value.into(),
        });
    }

    /// The value of the first line called `name`.
    pub fn get(&self, name: &str) -> Option<&Bytes> {
        self.0.iter().find(|f| f.is(name)).map(|f| &f.value)
    }

    /// The values of every line called `name`, in order.
    pub fn get_all<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a Bytes> {
        self.0.iter().filter(|f| f.is(name)).map(|f| &f.value)
    }

    /// How many lines are called `name`.
    pub fn count(&self, name: &str) -> usize {
        self.0.iter().filter(|f| f.is(name)).count()
    }

    /// Removes every line called `name`; returns how many there were.
    pub fn remove(&mut self, name: &str) -> usize {
        let before = self.0.len();
        self.0.retain(|f| !f.is(name));
        before - self.0.len()
    }

    /// Makes `name` stand exactly once, at the end, with `value`.
    pub fn set(&mut self, name: impl Into<Bytes>, value: impl Into<Bytes>) {
        let name = name.into();
        self.0.retain(|f| !f.name.eq_ignore_ascii_case(&name));
        self.push(name, value);
    }

    /// Keeps the lines for which `keep` holds.
    pub fn retain(&mut self, keep: impl FnMut(&Field) -> bool) {
        self.0.retain(keep);
    }

    /// Keeps the lines for which `keep` holds, which may change them; what it writes is checked as for
    /// [`Self::push`].
    pub fn retain_mut(&mut self, keep: impl FnMut(&mut Field) -> bool) {
        self.0.retain_mut(keep);
    }

    /// Takes all lines out and keeps their room, so that the next message of a connection needs none of its own.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// Makes room for `additional` more lines.
    pub fn reserve(&mut self, additional: usize) {
        self.0.reserve(additional);
    }

    /// The lines in order.
    pub fn iter(&self) -> std::slice::Iter<'_, Field> {
        self.0.iter()
    }

    /// The number of lines.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is no line.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl IntoIterator for Fields {
    type Item = Field;
    type IntoIter = std::vec::IntoIter<Field>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl<'a> IntoIterator for &'a Fields {
    type Item = &'a Field;
    type IntoIter = std::slice::Iter<'a, Field>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

impl Extend<Field> for Fields {
    fn extend<I: IntoIterator<Item = Field>>(&mut self, lines: I) {
        self.0.extend(lines);
    }
}

impl FromIterator<Field> for Fields {
    fn from_iter<I: IntoIterator<Item = Field>>(lines: I) -> Self {
        Self(lines.into_iter().collect())
    }
}

/// The longest field name that is taken from a client, in bytes; registered ones have at most 40. Names are folded and
/// compared many times, so what a name costs must not be the client's to choose.
pub const MAX_NAME: usize = 256;

/// Whether `name` is a field name: a non-empty token (RFC 9110 sections 5.1 and 5.6.2).
pub fn valid_name(name: &[u8]) -> bool {
    // Without a way out in the loop: names are short, and nearly all of them are good.
    !name.is_empty() && name.iter().fold(true, |valid, &b| valid & is_token_byte(b))
}

/// Whether `value` is a field value: no control but HTAB, no whitespace at its edges (RFC 9110 section
/// 5.5). Bytes over 0x7F (`obs-text`) pass: they are opaque, and refusing them would break cookies in
/// the wild. The empty value is valid.
pub fn valid_value(value: &[u8]) -> bool {
    let edge = |b: Option<&u8>| matches!(b, Some(b' ' | b'\t'));
    !edge(value.first())
        && !edge(value.last())
        && value
            .iter()
            .all(|&b| b == b'\t' || (b >= 0x20 && b != 0x7f))
}

/// `tchar` of RFC 9110 section 5.6.2.
#[inline]
pub(crate) fn is_token_byte(b: u8) -> bool {
    TOKEN[b as usize]
}

static TOKEN: [bool; 256] = {
    let mut table = [false; 256];
    let mut b = 0;
    while b < table.len() {
        table[b] = matches!(b as u8,
            b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~'
            | b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z');
        b += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Fields {
        let mut fields = Fields::new();
        fields.push("Accept", "a");
        fields.push("X-One", "1");
        fields.push("accept", "b");
        fields
    }

    #[test]
    fn names_compare_without_case_and_keep_their_order() {
        let fields = sample();
        assert_eq!(fields.get("ACCEPT").map(Bytes::as_ref), Some(&b"a"[..]));
        assert_eq!(fields.get_all("accept").collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(fields.count("x-one"), 1);
        assert_eq!(fields.iter().next().unwrap().name, "Accept");
    }

    #[test]
    fn set_leaves_exactly_one() {
        let mut fields = sample();
        fields.set("aCCept", "c");
        assert_eq!(fields.len(), 2);
        assert_eq!(fields.get_all("accept").collect::<Vec<_>>(), ["c"]);
    }

    #[test]
    fn remove_says_how_many() {
        let mut fields = sample();
        assert_eq!(fields.remove("accept"), 2);
        assert_eq!(fields.remove("accept"), 0);
        assert_eq!(fields.len(), 1);
    }

    /// threats.md 37: empty name, space before the colon, NUL, folded lines.
    #[test]
    fn t37_syntax_of_names_and_values() {
        for good in ["x", "X-User-Id", "a_b.c", "!#$%&'*+-.^_`|~"] {
            assert!(valid_name(good.as_bytes()), "{good}");
        }
        for bad in [
            &b""[..],
            b"x ",
            b" x",
            b"x:",
            b"x\0",
            b"x\r",
            b"\xc3\xa4",
            b"(x)",
            b"x\ty",
        ] {
            assert!(!valid_name(bad), "{bad:?}");
        }
        for good in [&b""[..], b"a b\tc", b"\xff", b"\"q\""] {
            assert!(valid_value(good), "{good:?}");
        }
        for bad in [
            &b" a"[..],
            b"a\t",
            b"a\nb",
            b"a\r\n b",
            b"a\0",
            b"\x7f",
            b"\x1b[0m",
        ] {
            assert!(!valid_value(bad), "{bad:?}");
        }
    }
}
