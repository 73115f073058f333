//! How a name in a query or a cookie is read, by the standard and by servers that are freer.
//!
//! A gate that knows one spelling of a name and forwards the others leaves the choice to whoever stands behind it. So a
//! name is not only equal or not: a third answer says that some server would take it for the wanted one.

/// What a raw name is to a wanted one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spelling {
    /// The same bytes.
    Exact,
    /// The same once decoded as `application/x-www-form-urlencoded`: `%74oken`.
    Encoded,
    /// Another name, which some servers take for the wanted one: PHP turns `.`, blanks and `[` into `_`; PHP, Rack and
    /// qs cut at `[`; servers in C end at NUL; Python trims blanks of Latin-1 too; ASP.NET forgets case; IIS knows
    /// `%u0074`; `URLSearchParams` takes a `?` away that a query begins with (URL Standard section 6.2).
    Alike,
    /// Another name for everyone.
    Other,
}

/// Whether names that differ in case alone are [`Spelling::Alike`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Case {
    /// They are different names.
    Matters,
    /// Some servers take them for the same.
    MayBeLost,
}

/// What `raw` is to the name `wanted`. Does not allocate.
pub fn spelling(raw: &[u8], wanted: &str, case: Case) -> Spelling {
    if raw == wanted.as_bytes() {
        Spelling::Exact
    } else if decoded(raw, false).eq(wanted.bytes()) {
        Spelling::Encoded
    } else if is_alike(raw, wanted, case) {
        Spelling::Alike
    } else {
        Spelling::Other
    }
}

fn is_alike(raw: &[u8], wanted: &str, case: Case) -> bool {
    let loose = |byte: u8| match byte {
        b'.' | b'[' | b' ' => b'_',
        letter if case == Case::MayBeLost => letter.to_ascii_lowercase(),
        other => other,
    };
    // Blanks of whatever alphabet, and what no name begins or ends with.
    let is_blank = |byte: &u8| !byte.is_ascii_graphic();
    let mut bytes =
        decoded(raw, true).skip_while(|byte| is_blank(byte) || matches!(byte, b'[' | b'?'));
    for want in wanted.bytes() {
        if bytes.next().map(loose) != Some(loose(want)) {
            return false;
        }
    }
    match bytes.next() {
        None | Some(0 | b'[' | b']') => true,
        Some(byte) => is_blank(&byte) && bytes.all(|b| is_blank(&b)),
    }
}

/// `raw` with `%XX` and `+` decoded, and `%uXXXX` of an ASCII letter where `wide`; what is no escape stays as it is.
fn decoded(raw: &[u8], wide: bool) -> impl Iterator<Item = u8> {
    let digit = move |at: usize| raw.get(at).and_then(|&b| char::from(b).to_digit(16));
    let pair = move |at: usize| Some((digit(at)? << 4 | digit(at + 1)?) as u8);
    let mut at = 0;
    std::iter::from_fn(move || {
        let byte = *raw.get(at)?;
        let (byte, length) = match byte {
            b'+' => (b' ', 1),
            b'%' => match (pair(at + 1), raw.get(at + 1)) {
                (Some(byte), _) => (byte, 3),
                (None, Some(b'u' | b'U')) if wide && pair(at + 2) == Some(0) => {
                    pair(at + 4).map_or((byte, 1), |byte| (byte, 6))
                }
                _ => (byte, 1),
            },
            other => (other, 1),
        };
        at += length;
        Some(byte)
    })
}

#[cfg(test)]
mod tests {
    use super::Spelling::*;
    use super::*;

    #[test]
    fn names_are_exact_encoded_alike_or_others() {
        let cases = [
            ("access_token", Exact),
            ("%61ccess_token", Encoded),
            ("access%5Ftoken", Encoded),
            ("%61%63%63%65%73%73%5f%74%6f%6b%65%6e", Encoded),
            ("access.token", Alike),
            ("access%20token", Alike),
            ("access+token", Alike),
            ("access[token", Alike),
            ("+access_token", Alike),
            ("%09access_token", Alike),
            ("access_token%00x", Alike),
            ("access_token[]", Alike),
            ("access_token%5B%5D", Alike),
            ("access_token[x][y]", Alike),
            ("[access_token]", Alike),
            ("access_token+", Alike),
            ("%C2%A0access_token%A0", Alike),
            ("%u0061ccess_token", Alike),
            ("?access_token", Alike),
            ("%3Faccess_token", Alike),
            ("access_token?", Other),
            ("a?access_token", Other),
            ("access_token%", Other),
            ("access_token%5", Other),
            ("access_token x", Other),
            ("access_tokens", Other),
            ("xaccess_token", Other),
            ("access-token", Other),
            ("accesstoken", Other),
            ("access%255Ftoken", Other),
            ("", Other),
        ];
        for case in [Case::Matters, Case::MayBeLost] {
            for (raw, want) in cases {
                assert_eq!(
                    spelling(raw.as_bytes(), "access_token", case),
                    want,
                    "{raw}"
                );
            }
        }
    }

    #[test]
    fn case_matters_where_it_is_said_to() {
        let of = |case| spelling(b"Access%5FToken", "access_token", case);
        assert_eq!(of(Case::Matters), Other);
        assert_eq!(of(Case::MayBeLost), Alike);
        // A wanted name may itself hold what is loosened.
        assert_eq!(spelling(b"a_b", "a.b", Case::Matters), Alike);
        assert_eq!(spelling(b"a.b", "a.b", Case::Matters), Exact);
    }
}
