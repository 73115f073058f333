//! Lines 21, 49, 50, 52, 53, 55 and 56: the moment, and what the cache remembers from another one.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::stage::{STAGE, gate};
use super::table::{Gate, Table};
use crate::reason::Reason;
use crate::time::UnixTime;
use crate::token::testing::{NOW, Signer, key_set};

pub(super) fn table() -> Table {
    let mut table = Table::new(gate());
    boundaries(&mut table);
    fractions(&mut table);
    after_the_end(&mut table);
    stepped_clocks(&mut table);
    rotations(&mut table);
    other_rules(&mut table);
    table
}

fn skewed(skew: Duration) -> Gate {
    gate().with(|issuer| issuer.clock_skew = skew)
}

/// `NOW` moved by milliseconds.
fn moved(millis: i64) -> UnixTime {
    UnixTime::from_millis((NOW.as_secs() * 1000).checked_add_signed(millis).unwrap())
}

/// For each claim and skew the boundary, a millisecond and a second before and after it; cold, and remembered from
/// a moment when the token was good.
fn boundaries(table: &mut Table) {
    let signer = &STAGE.p256;
    let now = NOW.as_secs();
    for millis in [0_i64, 1, 500, 1_000, 30_000, 3_600_000] {
        let skew = Duration::from_millis(millis as u64);
        let gate = skewed(skew);
        table.at(gate.clone());
        for off in [-1_000, -1, 0, 1, 1_000] {
            // Each token is bounded by one claim alone.
            for (claim, changes, at, good, reason) in [
                // Accepted while now < exp + skew.
                (
                    "exp",
                    json!({"exp": now, "iat": null}),
                    millis + off,
                    off < 0,
                    Reason::TokenExpired,
                ),
                (
                    "nbf",
                    json!({"exp": now + 9000, "iat": null, "nbf": now}),
                    -millis + off,
                    off >= 0,
                    Reason::TokenNotYetValid,
                ),
                (
                    "iat",
                    json!({"exp": now + 9000, "iat": now}),
                    -millis + off,
                    off >= 0,
                    Reason::IssuedInFuture,
                ),
            ] {
                let token = signer.token(&changes);
                let what = format!("skew {millis} ms, now is {claim} and {at} ms");
                let want = (!good).then_some(reason);
                table
                    .row(21, what.clone(), token.clone().into(), want)
                    .now(moved(at));
                let then = if claim == "exp" {
                    moved(millis - 1)
                } else {
                    NOW
                };
                table
                    .row(21, format!("{what}, remembered"), token.into(), want)
                    .now(moved(at))
                    .seen(&gate, then);
            }
        }
    }
    table.at(skewed(Duration::MAX));
    table.accepts(
        21,
        "a skew beyond all time",
        signer.token(&json!({"exp": 1, "iat": now + 9000})),
    );
    table.at(gate());
}

/// A date may be a fraction (RFC 7519 section 2); it is compared as one. These are exact in binary.
fn fractions(table: &mut Table) {
    let signer = &STAGE.p256;
    let now = NOW.as_secs();
    for (fraction, millis) in [("125", 125), ("25", 250), ("5", 500), ("875", 875)] {
        let date = serde_json::from_str::<Value>(&format!("{now}.{fraction}")).unwrap();
        let exp = signer.token(&json!({"exp": date, "iat": null}));
        let nbf = signer.token(&json!({"nbf": date, "iat": null}));
        let iat = signer.token(&json!({"iat": date}));
        for (token, claim, reason) in [
            (nbf, "nbf", Reason::TokenNotYetValid),
            (iat, "iat", Reason::IssuedInFuture),
        ] {
            table
                .row(
                    21,
                    format!("{claim} .{fraction}, before"),
                    token.clone().into(),
                    Some(reason),
                )
                .now(moved(millis - 1));
            table
                .row(21, format!("{claim} .{fraction}, at"), token.into(), None)
                .now(moved(millis));
        }
        table
            .row(
                21,
                format!("exp .{fraction}, before"),
                exp.clone().into(),
                None,
            )
            .now(moved(millis - 1));
        table
            .row(
                21,
                format!("exp .{fraction}, at"),
                exp.into(),
                Some(Reason::TokenExpired),
            )
            .now(moved(millis))
            .seen(&gate(), moved(millis - 1));
    }
}

fn after_the_end(table: &mut Table) {
    let signer = &STAGE.p256;
    for skew in [0, 30] {
        let gate = skewed(Duration::from_secs(skew));
        table.at(gate.clone());
        let end = 300_000 + 1000 * skew as i64;
        for (what, changes) in [
            ("with iat", json!({})),
            ("without iat", json!({"iat": null})),
        ] {
            let token = signer.token(&changes);
            table
                .accepts(
                    52,
                    format!("{what}, skew {skew}: the last moment"),
                    token.clone(),
                )
                .now(moved(end - 1))
                .seen(&gate, NOW);
            for late in [0, 1, 999, 1_000, 86_400_000] {
                table
                    .refuses(
                        52,
                        format!("{what}, skew {skew}: {late} ms after"),
                        token.clone(),
                        Reason::TokenExpired,
                    )
                    .now(moved(end + late))
                    .seen(&gate, NOW);
            }
        }
    }
    table.at(gate());
}

fn stepped_clocks(table: &mut Table) {
    let signer = &STAGE.p256;
    let gate = gate();
    let hour = 3_600_000;
    let token = signer.token(&json!({}));
    let nbf = signer.token(&json!({"iat": null, "nbf": NOW.as_secs()}));
    table
        .refuses(55, "an hour forward", token.clone(), Reason::TokenExpired)
        .now(moved(hour))
        .seen(&gate, NOW);
    table
        .refuses(
            55,
            "an hour back, by iat",
            token.clone(),
            Reason::IssuedInFuture,
        )
        .now(moved(-hour))
        .seen(&gate, NOW);
    table
        .refuses(55, "an hour back, by nbf", nbf, Reason::TokenNotYetValid)
        .now(moved(-hour))
        .seen(&gate, NOW);
    table
        .accepts(55, "back where it was", token.clone())
        .now(moved(1))
        .seen(&gate, moved(200_000));
    table
        .refuses(55, "to 1970", token.clone(), Reason::IssuedInFuture)
        .now(UnixTime::from_secs(0))
        .seen(&gate, NOW);
    table
        .refuses(55, "to the year 9999", token, Reason::TokenExpired)
        .now(UnixTime::from_secs(253_402_300_799))
        .seen(&gate, NOW);
    // Nothing but exp bounds it: a clock set back gives it more time, as it must.
    let bare = signer.token(&json!({"iat": null}));
    table
        .accepts(55, "an hour back without iat", bare)
        .now(moved(-hour))
        .seen(&gate, NOW);
}

/// The set has changed, and so has its generation.
fn rotated(keys: &[Value]) -> Gate {
    Gate {
        set: Arc::new(key_set(keys)),
        generation: 2,
        ..gate()
    }
}

fn rotations(table: &mut Table) {
    let (ours, rsa) = (&STAGE.p256, &STAGE.rsa);
    let old = gate();
    let next = Signer::new(ours.algorithm, "next");
    let impostor = Signer::new(ours.algorithm, "p256");
    let token = ours.token(&json!({}));
    let nameless = rsa.token_with(&json!({"kid": null}), &json!({}));
    table.at(rotated(&[next.jwk()]));
    table
        .refuses(49, "its key is gone", token.clone(), Reason::KeyUnknown)
        .seen(&old, NOW);
    table
        .refuses(49, "its key is gone, no kid", nameless, Reason::KeyUnknown)
        .seen(&old, NOW);
    table.accepts(49, "the new key", next.token(&json!({})));
    table.at(rotated(&[next.jwk(), ours.jwk()]));
    table
        .accepts(49, "both keys, the old one's token", token.clone())
        .seen(&old, NOW);
    table.accepts(49, "both keys, the new one's token", next.token(&json!({})));
    table.at(rotated(&[impostor.jwk()]));
    table
        .refuses(
            50,
            "the same kid, other material",
            token.clone(),
            Reason::SignatureInvalid,
        )
        .seen(&old, NOW);
    table.accepts(50, "the new material's token", impostor.token(&json!({})));
    table.at(rotated(&[rsa.jwk_with(&json!({"kid": "p256"}))]));
    table
        .refuses(
            50,
            "the same kid, another type",
            token.clone(),
            Reason::KeyMismatch,
        )
        .seen(&old, NOW);
    table.at(rotated(&[rsa.jwk_with(&json!({"alg": "PS256"}))]));
    table
        .refuses(
            50,
            "the same key, another alg",
            rsa.token(&json!({})),
            Reason::KeyMismatch,
        )
        .seen(&old, NOW);
    table.at(rotated(&[ours.jwk_with(&json!({"use": "enc"})), rsa.jwk()]));
    table
        .refuses(
            50,
            "the same key, for encryption now",
            token,
            Reason::KeyUnknown,
        )
        .seen(&old, NOW);
    table.at(gate());
}

/// The rule has changed, and so has its epoch; or it is another route's.
fn other_rules(table: &mut Table) {
    let signer = &STAGE.p256;
    let now = NOW.as_secs();
    let old = skewed(Duration::from_secs(30));
    let token = signer.token(&json!({}));
    let late = signer.token(&json!({"exp": now - 10}));
    let early = signer.token(&json!({"nbf": now + 10}));
    let changed = |epoch, change: fn(&mut crate::token::jwt::Issuer)| Gate {
        epoch,
        ..old.with(change)
    };
    // An epoch of its own for each; the same rule that is read again keeps its epoch.
    for (line, epoch) in [(56, 2), (53, 7)] {
        table.at(changed(epoch, |i| i.audiences = vec!["billing".into()]));
        table
            .refuses(
                line,
                "another audience",
                token.clone(),
                Reason::AudienceMismatch,
            )
            .seen(&old, NOW);
        table.at(changed(epoch, |i| i.clock_skew = Duration::ZERO));
        table
            .refuses(line, "less skew, exp", late.clone(), Reason::TokenExpired)
            .seen(&old, NOW);
        table
            .refuses(
                line,
                "less skew, nbf",
                early.clone(),
                Reason::TokenNotYetValid,
            )
            .seen(&old, NOW);
        table.at(changed(epoch, |i| {
            i.algorithms = [crate::token::keys::Algorithm::RS256].into_iter().collect();
        }));
        table
            .refuses(
                line,
                "another algorithm",
                token.clone(),
                Reason::AlgNotAllowed,
            )
            .seen(&old, NOW);
        table.at(changed(epoch, |i| {
            i.token_type = crate::token::jwt::TokenType::AccessTokenJwt;
        }));
        table
            .refuses(
                line,
                "another type",
                token.clone(),
                Reason::HeaderUnsupported,
            )
            .seen(&old, NOW);
        table.at(changed(epoch, |i| i.max_bytes = 100));
        table
            .refuses(line, "a smaller size", token.clone(), Reason::TokenTooLarge)
            .seen(&old, NOW);
        table.at(changed(epoch, |i| {
            i.issuer = "https://new.example.com".into();
        }));
        table
            .refuses(line, "another iss", token.clone(), Reason::IssuerMismatch)
            .seen(&old, NOW);
    }
    // Nor does one token's verdict serve another, however alike they are.
    table.at(old.clone());
    let (head, signature) = token.rsplit_once('.').unwrap();
    let forged = signer.token(&json!({"sub": "u2"}));
    let (other, _) = forged.rsplit_once('.').unwrap();
    table
        .accepts(53, "as it was", token.clone())
        .seen(&old, NOW);
    table.refuses(
        53,
        "another's payload under its signature",
        format!("{other}.{signature}"),
        Reason::SignatureInvalid,
    );
    table.refuses(
        53,
        "its head alone",
        format!("{head}."),
        Reason::SignatureInvalid,
    );
    table.at(gate());
}
