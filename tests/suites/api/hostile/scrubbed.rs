//! Whatever fields and trailers a client sends, no alias of a managed name arrives, and nothing else is lost.

use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use tollgate_tests::origin::Arrived;

use super::stage::Stage;
use super::table::{Ask, FORGED, Wire};

/// What Tollgate writes itself before this listener, as servers that fold names read it, and what it says there of the
/// token's subject. Names that begin like `x-tollgate-` are managed as well.
const MANAGED: [(&str, Option<&str>); 8] = [
    ("xuserid", Some("alice")),
    ("xgroups", None),
    ("xprofile", None),
    ("xblob", None),
    ("xtenant", None),
    ("xv", None),
    ("xrequestid", None),
    ("xtollgateassertion", None),
];

/// What a client sends of its own.
#[derive(Clone, Debug)]
struct Sent {
    fields: Vec<String>,
    trailers: Vec<String>,
    /// What `Connection` names, by HTTP/1.1 alone.
    nominated: Vec<String>,
}

#[test]
fn threat_32_to_36_no_alias_survives_whatever_is_sent() {
    let stage = Stage::new();
    // Each case is four requests. What fails is shrunk, and no file keeps it: a row for it is written by hand.
    let config = Config {
        cases: 192,
        failure_persistence: None,
        ..Config::default()
    };
    let outcome = TestRunner::new(config).run(&sent(), |sent| {
        for token in [false, true] {
            let ask = sent.ask(token);
            let mut h1 = ask.clone();
            if !sent.nominated.is_empty() {
                h1 = h1.field("Connection", &sent.nominated.join(", "));
            }
            sent.check(&stage.arrived(&Wire::H1(h1.h1())), token, &sent.nominated)?;
            sent.check(&stage.arrived(&Wire::H2(ask.h2())), token, &[])?;
        }
        Ok(())
    });
    outcome.unwrap_or_else(|error| panic!("{error}"));
}

impl Sent {
    fn ask(&self, token: bool) -> Ask {
        let mut ask = Ask::new("POST", if token { "/orders" } else { "/open" }).body("abc");
        if token {
            ask = ask.with_token();
        }
        for name in &self.fields {
            ask = ask.field(name, FORGED);
        }
        for name in &self.trailers {
            ask = ask.trailer(name, FORGED);
        }
        ask
    }

    fn check(
        &self,
        arrived: &Arrived,
        token: bool,
        nominated: &[String],
    ) -> Result<(), TestCaseError> {
        let fields = arrived.fields();
        for (name, value) in &fields {
            if is_managed(&fold(name)) {
                prop_assert!(value != FORGED, "{name} got through: {}", arrived.text());
            }
        }
        for (managed, said) in MANAGED {
            let found: Vec<&str> = fields
                .iter()
                .filter(|(name, _)| fold(name) == managed)
                .map(|(_, value)| value.as_str())
                .collect();
            match (managed, said.filter(|_| token)) {
                ("xrequestid", _) => prop_assert_eq!(found.len(), 1),
                (_, Some(said)) => prop_assert_eq!(found, [said], "{}", managed),
                (_, None) => prop_assert!(found.is_empty(), "{managed}: {found:?}"),
            }
        }
        // As many as were sent, of those that are the client's to say.
        let is = |name: &str, other: &String| other.eq_ignore_ascii_case(name);
        for name in self.fields.iter().chain(&self.trailers) {
            let taken = is_managed(&fold(name)) || nominated.iter().any(|one| is(name, one));
            let sent = self.fields.iter().chain(&self.trailers);
            let sent = sent.filter(|one| !taken && is(name, one)).count();
            let found = fields
                .iter()
                .filter(|(one, value)| is(name, one) && value == FORGED)
                .count();
            prop_assert_eq!(found, sent, "{}: {}", name, arrived.text());
        }
        Ok(())
    }
}

fn is_managed(folded: &str) -> bool {
    folded.starts_with("xtollgate") || MANAGED.iter().any(|(name, _)| *name == folded)
}

/// What is left of a name to a server that sees only its letters and digits, without case.
fn fold(name: &str) -> String {
    name.chars()
        .filter(char::is_ascii_alphanumeric)
        .map(|c| c.to_ascii_lowercase())
        .collect()
}

fn sent() -> impl Strategy<Value = Sent> {
    let names = || prop::collection::vec(name(), 0..8);
    (
        names(),
        names(),
        prop::collection::vec(name(), 0..4),
        any::<bool>(),
    )
        .prop_map(|(fields, trailers, mut nominated, own)| {
            // The fields themselves are the names that matter most.
            if own {
                nominated.extend(fields.iter().chain(&trailers).take(4).cloned());
                nominated.push("x-user-id".to_owned());
            }
            Sent {
                fields,
                trailers,
                nominated,
            }
        })
}

/// A managed name respelt, one that misses it by a letter, or anything of the same letters.
fn name() -> impl Strategy<Value = String> {
    let managed = prop::sample::select(MANAGED.map(|(name, _)| name.to_owned()).to_vec());
    let near = managed.clone().prop_flat_map(|name| {
        let last = name.len();
        (Just(name), 0..last, "[a-z0-9]?").prop_map(|(mut name, at, instead)| {
            name.replace_range(at..=at, &instead);
            name
        })
    });
    prop_oneof![
        4 => managed.prop_flat_map(spelt),
        1 => near.prop_flat_map(spelt),
        1 => "[xX][-_.~!#$%&'*+^`|a-e0-9]{1,12}",
        1 => "x-?tollgate[-_.]?[a-z]{0,3}".prop_flat_map(spelt),
    ]
}

/// Each letter in either case, with anything between them that a name may hold (RFC 9110, section 5.6.2).
fn spelt(name: String) -> impl Strategy<Value = String> {
    let letters = prop::collection::vec((any::<bool>(), "[-_.~!#$%&'*+^`|]{0,2}"), name.len());
    (letters, prop::bool::weighted(0.5)).prop_map(move |(spelling, plain)| {
        let mut spelt = String::new();
        for (letter, (upper, between)) in name.chars().zip(&spelling) {
            let upper = *upper && !plain;
            spelt.push(if upper {
                letter.to_ascii_uppercase()
            } else {
                letter
            });
            spelt.push_str(between);
        }
        spelt
    })
}
