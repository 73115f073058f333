//! Wycheproof and the JOSE cookbook, from the folder that `TOLLGATE_CORPORA` names.
//!
//! They are not part of the repository. Without the variable the tests say so and count as skipped; with
//! it, a file that is missing is a failure.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::layer::{local, open, public};
use crate::reason::Reason;
use crate::token::jws::{Jws, base64url};
use crate::token::keys::{Algorithm, KeySet};

const VARIABLE: &str = "TOLLGATE_CORPORA";

/// Signatures that Wycheproof calls valid and that are refused here.
const STRICTER: [(u64, Reason, &str); 6] = [
    (
        346,
        Reason::KeyMismatch,
        "the token says PS384, its key PS256",
    ),
    (
        347,
        Reason::KeyUnknown,
        "the key's alg, ES521, does not exist",
    ),
    (
        350,
        Reason::KeyMismatch,
        "the token says PS384, its key PS256",
    ),
    (
        351,
        Reason::KeyUnknown,
        "the key's alg, ES521, does not exist",
    ),
    (
        372,
        Reason::TokenMalformed,
        "a stray character in the header",
    ),
    (
        373,
        Reason::TokenMalformed,
        "a stray character in the payload",
    ),
];

/// Signatures that it calls invalid for a padding which the corpus has lost: both are the token of 357, which
/// it calls valid.
const WITHOUT_THEIR_FAULT: [u64; 2] = [367, 370];

/// Key sets that it calls invalid as sets, with a flag that says that no RFC does. An operator may write them;
/// in a fetched set they are refused like all symmetric keys.
const AMBIGUOUS: [(u64, &str); 2] = [
    (
        1,
        "an operator's set may hold secrets beside public keys: each fits its own algorithms",
    ),
    (
        4,
        "of two keys with one name the first is used, the second is skipped and counted",
    ),
];

#[derive(Default)]
struct Tally {
    accepted: usize,
    refused: usize,
    stricter: usize,
    excused: usize,
}

#[test]
fn wycheproof_signatures() {
    let name = "wycheproof/json_web_signature_test.json";
    let Some(corpus) = file("wycheproof_signatures", name) else {
        return;
    };
    let tokens = |id: u64| {
        let mut tests = array(&corpus, "testGroups")
            .iter()
            .flat_map(|g| array(g, "tests"));
        tests.find(|t| t["tcId"] == id).unwrap()["jws"].clone()
    };
    for id in WITHOUT_THEIR_FAULT {
        assert_eq!(tokens(id), tokens(357));
    }
    let mut tally = Tally::default();
    for group in array(&corpus, "testGroups") {
        let key = group
            .get("public")
            .or_else(|| group.get("private"))
            .unwrap();
        let set = local(std::slice::from_ref(key));
        for test in array(group, "tests") {
            let id = test["tcId"].as_u64().unwrap();
            let got = opened(set.as_ref(), &test["jws"]);
            let stricter = STRICTER.iter().find(|(known, ..)| *known == id);
            match (&test["result"], stricter) {
                (_, Some((_, reason, why))) => {
                    assert_eq!(test["result"], "valid");
                    assert_eq!(got, Err(*reason), "{id}: {why}");
                    tally.stricter += 1;
                }
                (result, None) if result == "valid" => {
                    assert_eq!(got, Ok(()), "{id}: {}", test["comment"]);
                    tally.accepted += 1;
                }
                _ if WITHOUT_THEIR_FAULT.contains(&id) => {
                    assert_eq!(got, Ok(()), "{id} is the token of 357");
                    tally.excused += 1;
                }
                _ => {
                    assert!(got.is_err(), "{id}: {} is accepted", test["comment"]);
                    tally.refused += 1;
                }
            }
        }
    }
    tally.print(name);
    assert_eq!((tally.stricter, tally.excused), (6, 2));
    let all = tally.accepted + tally.refused + tally.stricter + tally.excused;
    assert_eq!(Some(all as u64), corpus["numberOfTests"].as_u64());
}

#[test]
fn wycheproof_keys() {
    let name = "wycheproof/json_web_key_test.json";
    let Some(corpus) = file("wycheproof_keys", name) else {
        return;
    };
    let mut tally = Tally::default();
    for group in array(&corpus, "testGroups") {
        let listed = group
            .get("public")
            .or_else(|| group.get("private"))
            .unwrap();
        let keys: Vec<Value> = array(listed, "keys").iter().map(public).collect();
        let symmetric = keys.iter().any(|key| key["kty"] == "oct");
        let fetched = KeySet::from_jwks(json!({ "keys": keys }).to_string().as_bytes()).ok();
        let written = local(&keys);
        for test in array(group, "tests") {
            let id = test["tcId"].as_u64().unwrap();
            let valid = test["result"] == "valid";
            let remote = opened(fetched.as_ref(), &test["jws"]);
            assert_eq!(remote.is_ok(), valid && !symmetric, "{id}: {remote:?}");
            let local = opened(written.as_ref(), &test["jws"]);
            if let Some((_, why)) = AMBIGUOUS.iter().find(|(known, _)| *known == id) {
                assert!(array(test, "flags").contains(&json!("Ambiguous")));
                assert_eq!(local, Ok(()), "{id}: {why}");
                tally.excused += 1;
                continue;
            }
            assert_eq!(local.is_ok(), valid, "{id}: {} {local:?}", test["comment"]);
            *(if valid {
                &mut tally.accepted
            } else {
                &mut tally.refused
            }) += 1;
        }
    }
    tally.print(name);
    let all = tally.accepted + tally.refused + tally.excused;
    assert_eq!(Some(all as u64), corpus["numberOfTests"].as_u64());
    assert_eq!(tally.excused, AMBIGUOUS.len());
}

/// RFC 7520 section 4 and RFC 8037: every signature under its key; of the forms, only the compact one with its
/// content inside is read.
#[test]
fn jose_cookbook() {
    const FILES: [&str; 9] = [
        "curve25519_jws",
        "jws_4_1.rsa_v15_signature",
        "jws_4_2.rsa-pss_signature",
        "jws_4_3.ecdsa_signature",
        "jws_4_4.hmac-sha2_integrity_protection",
        "jws_4_5.signature_with_detached_content",
        "jws_4_6.protecting_specific_header_fields",
        "jws_4_7.protecting_content_only",
        "jws_4_8.multiple_signatures",
    ];
    let (mut signatures, mut compact, mut serialised) = (0, 0, 0);
    for name in FILES {
        let Some(example) = file("jose_cookbook", &format!("jose-cookbook/{name}.json")) else {
            return;
        };
        let keys: Vec<Value> = each(&example["input"]["key"]).map(public).collect();
        let set = local(&keys).unwrap();
        let algorithms: Vec<&Value> = each(&example["input"]["alg"]).collect();
        for (at, signing) in each(&example["signing"]).enumerate() {
            let algorithm = Algorithm::named(algorithms[at].as_str().unwrap()).unwrap();
            let key = set.find(keys[at]["kid"].as_str(), algorithm).unwrap();
            let input = signing["sig-input"].as_str().unwrap().as_bytes();
            let signature = base64url("", signing["sig"].as_str().unwrap().as_bytes()).unwrap();
            assert_eq!(key.verify(input, &signature), Ok(()), "{name}");
            let shorter = &signature[..signature.len() - 1];
            assert!(key.verify(input, shorter).is_err(), "{name}");
            assert!(key.verify(&input[1..], &signature).is_err(), "{name}");
            signatures += 1;
        }
        let detached = name.contains("detached");
        let output = &example["output"];
        if let Some(token) = output["compact"].as_str() {
            let want = if detached {
                Err(Reason::SignatureInvalid)
            } else {
                Ok(())
            };
            assert_eq!(open(&set, token).map(|_| ()), want, "{name}");
            // As a token none of them will do: prose and nothing are no claims.
            let refusal = Jws::parse(token.as_bytes()).unwrap_err();
            assert_eq!(refusal.reason, Reason::TokenMalformed, "{name}");
            compact += 1;
        }
        for form in ["json", "json_flat"] {
            let Some(object) = output.get(form) else {
                continue;
            };
            let refusal = Jws::parse(object.to_string().as_bytes()).unwrap_err();
            assert_eq!(refusal.reason, Reason::TokenMalformed, "{name} {form}");
            serialised += 1;
        }
    }
    println!(
        "jose-cookbook: {} files, {signatures} signatures verify, {compact} compact forms, {serialised} JSON forms refused",
        FILES.len()
    );
    assert_eq!((signatures, compact), (11, 6));
}

impl Tally {
    fn print(&self, name: &str) {
        let Self {
            accepted,
            refused,
            stricter,
            excused,
        } = self;
        println!(
            "{name}: {accepted} valid accepted, {refused} invalid refused, {stricter} valid refused by stricter rules, {excused} of the corpus's own doubt"
        );
    }
}

/// Whether a set opens a vector. Those that are no string are JSON serialisations.
fn opened(set: Option<&KeySet>, token: &Value) -> Result<(), Reason> {
    let text = token.to_string();
    let token = token.as_str().unwrap_or(&text);
    set.map_or(Err(Reason::KeyUnknown), |set| {
        open(set, token).map(|_payload| ())
    })
}

/// A file of the corpora; `None`, and a line on stderr, where this machine does not have them.
fn file(test: &str, name: &str) -> Option<Value> {
    let Some(folder) = std::env::var_os(VARIABLE) else {
        eprintln!("skipped: {test}: {VARIABLE} names no folder");
        return None;
    };
    let path = PathBuf::from(folder).join(name);
    let text = std::fs::read(&path)
        .unwrap_or_else(|e| panic!("{VARIABLE} is set, but {}: {e}", path.display()));
    Some(serde_json::from_slice(&text).unwrap())
}

fn array<'v>(value: &'v Value, name: &str) -> &'v [Value] {
    value[name].as_array().unwrap()
}

/// The elements of a list, or the one thing that stands without a list.
fn each(value: &Value) -> impl Iterator<Item = &Value> {
    match value {
        Value::Array(list) => list.iter(),
        one => std::slice::from_ref(one).iter(),
    }
}
