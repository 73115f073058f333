//! The parameters of a query, taken apart and written anew.
//!
//! A query is opaque to HTTP; most servers read it as `application/x-www-form-urlencoded` (WHATWG URL section 5.1).
//! Tollgate reads it as far as it must to find a parameter, and never writes a parameter anew: what stays is forwarded
//! byte for byte.

use bytes::Bytes;

pub use crate::pairs::Pair;
use crate::pairs::{Separators, pairs, without};

const SEPARATORS: Separators = Separators {
    standard: b'&',
    doubtful: b';',
    trim: false,
};

/// The parameters of `query` in order, not decoded. A pair that `;` bounds is not [clear](Pair::is_clear): for the
/// standard it belongs to name or value, for some servers it separates.
pub fn parameters(query: &[u8]) -> impl Iterator<Item = Pair<'_>> {
    pairs(query, SEPARATORS)
}

/// Removes the parameters that `is_out` names; with the last one the question mark goes. All others stay as they are,
/// in their order.
pub fn remove(query: &mut Option<Bytes>, is_out: impl FnMut(Pair<'_>) -> bool) {
    let Some(text) = query else { return };
    if let Some(rest) = without(text, SEPARATORS, is_out) {
        *query = (!rest.is_empty()).then(|| rest.into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(query: &'static str, left: Option<&'static str>) {
        let mut rest = Some(Bytes::from_static(query.as_bytes()));
        remove(&mut rest, |p| p.name == b"t");
        assert_eq!(
            rest.as_deref(),
            left.map(str::as_bytes),
            "{query}: {rest:?}"
        );
    }

    #[test]
    fn only_the_named_parameter_goes_and_the_rest_stays_byte_for_byte() {
        check("t=x", None);
        check("t", None);
        check("t=x&t=y", None);
        check("a=1&t=x&b=2", Some("a=1&b=2"));
        check("t=x&b=2", Some("b=2"));
        check("a=1&t=x", Some("a=1"));
        check("t=x&&b=%3d&c", Some("&b=%3d&c"));
        check("a=1&tt=t&T=x&=t", Some("a=1&tt=t&T=x&=t"));
        check("a=1&t=x=y&a=?t=z", Some("a=1&a=?t=z"));
        // What a reader that takes `;` would see.
        check("a=1;t=x;b=2", Some("a=1;b=2"));
        check("", Some(""));
        check("%zz&+", Some("%zz&+"));
    }

    #[test]
    fn parameters_are_raw_and_say_whether_all_see_them() {
        let seen: Vec<_> = parameters(b"a=1&b&&c=2;d=3&e=")
            .map(|p| (p.name, p.value, p.is_clear))
            .collect();
        assert_eq!(
            seen,
            [
                (&b"a"[..], Some(&b"1"[..]), true),
                (b"b", None, true),
                (b"c", Some(b"2"), false),
                (b"d", Some(b"3"), false),
                (b"e", Some(b""), true),
            ]
        );
        assert_eq!(parameters(b"").count(), 0);
    }

    #[test]
    fn no_query_stays_no_query() {
        let mut none = None;
        remove(&mut none, |_| true);
        assert_eq!(none, None);
    }
}
