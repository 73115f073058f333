//! The cookies of a request, taken apart and written anew (RFC 6265 sections 4.2 and 5.4).
//!
//! All `Cookie` fields are one list, which HTTP/2 may send in crumbs (RFC 9113 section 8.2.3). Cookies are not parsed
//! into something new: what stays is forwarded byte for byte.

use crate::fields::Fields;
pub use crate::pairs::Pair;
use crate::pairs::{Separators, pairs, without};

const SEPARATORS: Separators = Separators {
    standard: b';',
    doubtful: b',',
    trim: true,
};

/// The cookies of all `Cookie` fields, in order. A pair that `,` bounds is not [clear](Pair::is_clear): for RFC 6265 the
/// comma belongs to the value, for older servers it separates.
pub fn cookies(fields: &Fields) -> impl Iterator<Item = Pair<'_>> {
    fields
        .get_all("cookie")
        .flat_map(|list| pairs(list, SEPARATORS))
}

/// Removes the cookies that `is_out` names, and each `Cookie` field that holds none any more. All others stay as they
/// are.
pub fn remove(fields: &mut Fields, mut is_out: impl FnMut(Pair<'_>) -> bool) {
    fields.retain_mut(|field| {
        if !field.is("cookie") {
            return true;
        }
        match without(&field.value, SEPARATORS, &mut is_out) {
            None => true,
            Some(rest) => {
                field.value = rest.into();
                pairs(&field.value, SEPARATORS).next().is_some()
            }
        }
    });
}

/// The text of a cookie's value without the double quotes that may stand around all of it (`cookie-value` of RFC 6265
/// section 4.1.1). `None`: a quote on one side only.
pub fn unquoted(value: &[u8]) -> Option<&[u8]> {
    match (value.strip_prefix(b"\""), value.strip_suffix(b"\"")) {
        (None, None) => Some(value),
        (Some(rest), Some(_)) => rest.strip_suffix(b"\""),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(lists: &[&'static str]) -> Fields {
        let mut fields = Fields::new();
        fields.push("Accept", "a=1; sid=x");
        for list in lists {
            fields.push("Cookie", *list);
        }
        fields
    }

    #[track_caller]
    fn check(lists: &[&'static str], left: &[&str]) {
        let mut fields = request(lists);
        remove(&mut fields, |cookie| cookie.name == b"sid");
        assert_eq!(
            fields.get_all("cookie").collect::<Vec<_>>(),
            left,
            "{lists:?}"
        );
        assert!(!cookies(&fields).any(|cookie| cookie.name == b"sid"));
        assert_eq!(fields.get("accept").unwrap(), "a=1; sid=x");
    }

    #[test]
    fn only_the_named_cookie_goes_and_the_rest_stays_byte_for_byte() {
        check(&["sid=x"], &[]);
        check(&["a=1; sid=x; b=2"], &["a=1; b=2"]);
        check(&["sid=x; b=2"], &["b=2"]);
        check(&["a=1; sid=x"], &["a=1"]);
        check(&["a=1;sid=x;b = 2 ;  c=\"3\""], &["a=1;b = 2 ;  c=\"3\""]);
        check(&["a=1; sid=x; b=2; sid=y;"], &["a=1; b=2;"]);
        check(&["sid"], &[]);
        check(&["a; sid ; =b"], &["a; =b"]);
        check(&["a=1;  ;sidx=1; xsid=2"], &["a=1;  ;sidx=1; xsid=2"]);
        // Several fields, and what a reader by RFC 2965 would see.
        check(&["sid=x", "a=1", "b=2; sid=y"], &["a=1", "b=2"]);
        check(&["a=1,sid=x,b=2"], &["a=1,b=2"]);
        check(&["a=\"1; sid=x; 2\""], &["a=\"1; 2\""]);
    }

    #[test]
    fn cookies_are_one_list_over_all_fields() {
        let fields = request(&["a=1; b", "c=2,d=3=4; ; e="]);
        let seen: Vec<_> = cookies(&fields)
            .map(|c| {
                let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
                (text(c.name), c.value.map(text), c.is_clear)
            })
            .collect();
        let pair = |name: &str, value: Option<&str>, clear| {
            (name.to_owned(), value.map(str::to_owned), clear)
        };
        assert_eq!(
            seen,
            [
                pair("a", Some("1"), true),
                pair("b", None, true),
                pair("c", Some("2"), false),
                pair("d", Some("3=4"), false),
                pair("e", Some(""), true),
            ]
        );
        let shown = format!("{:?}", cookies(&fields).next().unwrap());
        assert!(shown.contains('a') && !shown.contains("\"1\""), "{shown}");
    }

    #[test]
    fn quotes_stand_on_both_sides_or_on_none() {
        assert_eq!(unquoted(b"a"), Some(&b"a"[..]));
        assert_eq!(unquoted(b"\"a\""), Some(&b"a"[..]));
        assert_eq!(unquoted(b"\"\""), Some(&b""[..]));
        for bad in [&b"\"a"[..], b"a\"", b"\""] {
            assert_eq!(unquoted(bad), None, "{bad:?}");
        }
    }
}
