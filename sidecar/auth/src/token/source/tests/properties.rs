use proptest::prelude::*;

use super::*;

/// What a server reads that takes everything for a separator and every escape for what it means: the names, folded.
fn lenient(list: &[u8], separators: &[u8]) -> Vec<String> {
    list.split(|b| separators.contains(b))
        .map(|pair| {
            let name = pair.split(|&b| b == b'=').next().unwrap_or_default();
            let mut text = Vec::new();
            let mut at = 0;
            while at < name.len() {
                let hex = name
                    .get(at + 1..at + 3)
                    .and_then(|h| std::str::from_utf8(h).ok());
                let escaped = hex.and_then(|h| u8::from_str_radix(h, 16).ok());
                match (name[at], escaped) {
                    (b'%', Some(byte)) if !hex.is_some_and(|h| h.contains('+')) => {
                        text.push(byte);
                        at += 3;
                    }
                    (b'+', _) => {
                        text.push(b' ');
                        at += 1;
                    }
                    (byte, _) => {
                        text.push(byte);
                        at += 1;
                    }
                }
            }
            let text: String = text.into_iter().map(char::from).collect();
            let text = text.trim().trim_start_matches('[');
            let text = text
                .split(['[', ']', '\0'])
                .next()
                .unwrap_or_default()
                .trim();
            text.replace([' ', '.'], "_")
        })
        .collect()
}

fn pieces(name: &'static str) -> impl Strategy<Value = Vec<String>> {
    let spelt = prop::collection::vec(any::<bool>(), name.len()).prop_map(move |encoded| {
        let byte = |(b, encoded): (u8, &bool)| match encoded {
            true => format!("%{b:02x}"),
            false => char::from(b).to_string(),
        };
        name.bytes().zip(&encoded).map(byte).collect::<String>()
    });
    let noise = prop_oneof!["[a-c_.%+=\\[\\] ]{0,4}", Just(name.to_owned()), spelt];
    let part = (noise, "(=[a-zA-Z0-9%=+.,\"]{0,5})?").prop_map(|(name, value)| name + &value);
    prop::collection::vec(part, 0..6)
}

/// Whether `shorter` is what is left of `longer` when parts of it go.
fn is_left_of(shorter: &[u8], longer: &[u8]) -> bool {
    let mut rest = longer.iter();
    shorter.iter().all(|b| rest.any(|other| other == b))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    /// threats.md 72, and 30 for whoever stands behind: after strip nobody finds the parameter, and all others are there.
    #[test]
    fn t72_no_spelling_of_a_parameter_survives_strip(
        parts in pieces("access_token"),
        separators in "[&;]{6}",
    ) {
        let text: String = parts.iter().zip(separators.chars()).flat_map(|(part, s)| [part.clone(), s.to_string()]).collect();
        let text = text.replace(' ', "");
        let mut head = request(&[("?", &text)]);
        strip(&mut head, &[query("access_token")]);
        let left = head.query.as_deref().unwrap_or_default();
        for name in lenient(left, b"&;") {
            prop_assert!(!name.eq_ignore_ascii_case("access_token"), "{text} -> {left:?}");
        }
        prop_assert!(is_left_of(left, text.as_bytes()));
        // What is not ours is there, in its order and byte for byte.
        let others = |list: &[u8]| {
            list.split(|b| b"&;".contains(b)).filter(|part| {
                let name = lenient(part, b"").remove(0);
                !name.eq_ignore_ascii_case("access_token") && !part.is_empty()
            }).map(<[u8]>::to_vec).collect::<Vec<_>>()
        };
        prop_assert_eq!(others(left), others(text.as_bytes()), "{}", text);
    }

    /// The same for cookies; several fields are one list.
    #[test]
    fn t72_no_spelling_of_a_cookie_survives_strip(
        parts in pieces("sid"),
        separators in prop::collection::vec(prop_oneof!["; ", ";", ",", " ; "], 6),
        fields in 1..3usize,
    ) {
        let text: String = parts.iter().zip(&separators).flat_map(|(part, s)| [part.clone(), s.clone()]).collect();
        let text = text.trim();
        let lines = vec![("Cookie", text); fields];
        let mut head = request(&lines);
        head.fields.push("Accept", "sid=1");
        strip(&mut head, &[cookie("sid")]);
        prop_assert_eq!(head.fields.count("accept"), 1);
        let others = |list: &[u8]| {
            list.split(|b| b";,".contains(b)).map(<[u8]>::trim_ascii).filter(|part| {
                lenient(part, b"")[0] != "sid" && !part.is_empty()
            }).map(<[u8]>::to_vec).collect::<Vec<_>>()
        };
        for left in head.fields.get_all("cookie") {
            prop_assert!(!lenient(left, b";,").contains(&"sid".to_owned()), "{} -> {:?}", text, left);
            prop_assert!(is_left_of(left, text.as_bytes()));
            prop_assert_eq!(others(left), others(text.as_bytes()), "{}", text);
            prop_assert!(!left.first().is_some_and(u8::is_ascii_whitespace));
        }
        if head.fields.count("cookie") == 0 {
            prop_assert!(others(text.as_bytes()).is_empty() , "{}", text);
        }
    }

    /// Where no token is found nothing is left that could be one: a request that passes without a token needs no strip.
    #[test]
    fn where_nothing_is_found_there_is_nothing_to_strip(
        parts in prop_oneof![pieces("access_token"), pieces("sid")],
        separator in "[&;]",
        name in "[xX][-_.]?[tT]oken?",
        value in "(Basic |Bearer |[a-z.]{1,3} Bearer |a\\.b)?[a-z ,]{0,4}",
    ) {
        let list = parts.join(&separator).replace(' ', "");
        let cookies = parts.join("; ");
        for lines in [
            [("Authorization", value.trim()), ("?", list.as_str())],
            [(name.as_str(), value.trim()), ("Cookie", cookies.trim())],
        ] {
            let mut head = request(&lines);
            if find(&head, &all()) == Ok(None) {
                let before = head.clone();
                strip(&mut head, &all());
                prop_assert_eq!((&head.fields, &head.query), (&before.fields, &before.query));
            }
        }
    }

    /// Whatever was found, nothing is found after strip, whoever asks.
    #[test]
    fn after_strip_there_is_nothing_to_find(
        parts in pieces("access_token"),
        bearer in "(Bearer )?[a-z ,]{0,4}",
        value in "(Basic |Bearer |[a-z.]{1,3} Bearer |a\\.b)?[a-z ,]{0,4}",
    ) {
        let list = parts.join("&").replace(' ', "");
        let cookies = parts.join("; ").replace("access_token", "sid");
        let mut head = request(&[
            ("X-Token", bearer.trim()),
            ("Authorization", value.trim()),
            ("Cookie", cookies.trim()),
            ("?", &list),
        ]);
        strip(&mut head, &all());
        prop_assert_eq!(find(&head, &all()), Ok(None));
    }
}
