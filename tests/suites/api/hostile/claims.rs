//! What a token says, and how the API hears it.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::table::{Ask, FORGED, Table, Want, reaches};

const UNENCODABLE: Want = Want::Refused(403, "claim_unencodable");
const TOO_LARGE: Want = Want::Refused(431, "identity_too_large");

fn at(path: &str) -> Ask {
    Ask::get(path).with_token()
}

/// Names with dots and slashes are names; a path is a list of them.
pub(super) fn t26() -> Table {
    let mut table = Table::of(26);
    let url = "https://example.com/tenant";
    let nested = json!({ "id": "acme" });
    let forged = json!({ "id": FORGED });
    for (what, claims, seen) in [
        (
            "a URL and a member of it",
            json!({ url: nested }),
            &["acme"][..],
        ),
        (
            "a sibling that spells the path",
            json!({ "https://example.com/tenant.id": FORGED }),
            &[],
        ),
        (
            "both",
            json!({ url: nested, "https://example.com/tenant.id": FORGED, "https://example.com/tenant/id": FORGED }),
            &["acme"],
        ),
        ("the URL holds a string", json!({ url: FORGED }), &[]),
        ("the URL holds a list", json!({ url: [forged] }), &[]),
        (
            "the URL is cut at its dot",
            json!({ "https://example": { "com/tenant": forged } }),
            &[],
        ),
        (
            "the URL is cut at its slashes",
            json!({ "https:": { "": { "example.com": { "tenant": forged } } } }),
            &[],
        ),
        (
            "a slash more",
            json!({ "https://example.com/tenant/": forged }),
            &[],
        ),
        (
            "another case",
            json!({ "HTTPS://example.com/tenant": forged }),
            &[],
        ),
        (
            "the last names alone",
            json!({ "tenant": forged, "id": FORGED }),
            &[],
        ),
        (
            "a number as the member",
            json!({ url: { "id": 7 } }),
            &["7"],
        ),
        (
            "null as the member",
            json!({ url: { "id": null }, "id": FORGED }),
            &[],
        ),
    ] {
        table.both_with(
            what,
            claims,
            &at("/orders"),
            &reaches(&[("x-tenant", seen)]),
        );
    }
    for (path, what, claims, seen) in [
        (
            "/dotted",
            "a name with a dot",
            json!({ "a.b": "kept" }),
            &["kept"][..],
        ),
        (
            "/dotted",
            "a member is no name with a dot",
            json!({ "a": { "b": FORGED } }),
            &[],
        ),
        (
            "/dotted",
            "the name beside the member",
            json!({ "a.b": "kept", "a": { "b": FORGED } }),
            &["kept"],
        ),
        (
            "/nested",
            "a member",
            json!({ "a": { "b": "kept" } }),
            &["kept"],
        ),
        (
            "/nested",
            "a name with a dot is no member",
            json!({ "a.b": FORGED }),
            &[],
        ),
        (
            "/nested",
            "the member beside the name",
            json!({ "a": { "b": "kept" }, "a.b": FORGED }),
            &["kept"],
        ),
        (
            "/nested",
            "null is not made up for",
            json!({ "a": { "b": null }, "a.b": FORGED }),
            &[],
        ),
        (
            "/nested",
            "JSON in a string is a string",
            json!({ "a": "{\"b\":\"eve!\"}" }),
            &[],
        ),
        (
            "/nested",
            "a member of a member",
            json!({ "a": { "b.c": FORGED, "a": { "b": FORGED } } }),
            &[],
        ),
    ] {
        table.both_with(what, claims, &at(path), &reaches(&[("x-v", seen)]));
    }
    table
}

/// Strings that would end a line, begin another or be read differently by each server.
pub(super) fn t27() -> Table {
    let mut table = Table::of(27);
    for (value, list, json_text) in [
        (
            "a\r\nx-admin: 1",
            "a%0D%0Ax-admin: 1",
            r#""a\r\nx-admin: 1""#,
        ),
        ("a\nb", "a%0Ab", r#""a\nb""#),
        ("a\rb", "a%0Db", r#""a\rb""#),
        ("a\0b", "a%00b", r#""a\u0000b""#),
        ("a\tb", "a%09b", r#""a\tb""#),
        ("\u{1b}[2J", "%1B[2J", r#""\u001b[2J""#),
        ("a\u{7f}", "a%7F", r#""a\u007f""#),
        ("\u{80}", "%C2%80", r#""\u0080""#),
        ("Zoë", "Zo%C3%AB", r#""Zo\u00eb""#),
        ("\u{feff}a", "%EF%BB%BFa", r#""\ufeffa""#),
        ("a\u{2028}b", "a%E2%80%A8b", r#""a\u2028b""#),
        ("\u{202e}a", "%E2%80%AEa", r#""\u202ea""#),
        ("😀", "%F0%9F%98%80", r#""\ud83d\ude00""#),
        (" a", "%20a", r#"" a""#),
        ("a ", "a%20", r#""a ""#),
    ] {
        let claims = || json!({ "v": value, "w": 1 });
        let base64 = URL_SAFE_NO_PAD.encode(Value::from(value).to_string());
        let template = format!("{list}@1");
        table.both_with(
            format!("{value:?} as a string"),
            claims(),
            &at("/text"),
            &UNENCODABLE,
        );
        for (path, seen) in [
            ("/list", list),
            ("/json", json_text),
            ("/base64url", &base64),
            ("/template", &template),
        ] {
            let want = reaches(&[("x-v", &[seen]), ("x-admin", &[])]);
            table.both_with(format!("{value:?} at {path}"), claims(), &at(path), &want);
        }
        let user = json!({ "sub": value });
        table.both_with(
            format!("{value:?} as the subject"),
            user,
            &at("/orders"),
            &UNENCODABLE,
        );
    }
    // Beyond 64 bits two numbers of users fall together.
    for number in [json!(1e300), json!(9_007_199_254_740_992.0_f64)] {
        for path in ["/text", "/list", "/template"] {
            let claims = json!({ "v": number, "w": 1 });
            table.both_with(
                format!("{number} at {path}"),
                claims,
                &at(path),
                &UNENCODABLE,
            );
        }
    }
    let exact = json!({ "v": u64::MAX });
    let want = reaches(&[("x-v", &["18446744073709551615"])]);
    table.both_with("the last exact number", exact, &at("/text"), &want);
    let long = |count: usize, of: &str| json!({ "v": of.repeat(count), "w": "w" });
    let fits = "x".repeat(8192);
    table.both_with(
        "8 KiB",
        long(8192, "x"),
        &at("/text"),
        &reaches(&[("x-v", &[&fits])]),
    );
    for (path, count, of) in [
        ("/text", 8193, "x"),
        ("/list", 8193, "x"),
        ("/list", 1366, "ë"),
        ("/json", 8191, "x"),
        ("/json", 1366, "ë"),
        ("/base64url", 6144, "x"),
        ("/template", 8191, "x"),
    ] {
        let what = format!("more than 8 KiB at {path}");
        table.both_with(what, long(count, of), &at(path), &TOO_LARGE);
    }
    let together = json!({
        "v": "ë".repeat(1350), "groups": ["app-".to_owned() + &"ë".repeat(1350)],
        "profile": "ë".repeat(300),
    });
    table.both_with(
        "more than 16 KiB together",
        together,
        &at("/list"),
        &TOO_LARGE,
    );
    table
}

/// What separates two elements, or two claims, stands between them and nowhere else.
pub(super) fn t28() -> Table {
    let mut table = Table::of(28);
    for (path, v, seen) in [
        ("/list", json!(["a", "b", "c"]), "a,b,c"),
        ("/list", json!(["a,b", "c"]), "a%2Cb,c"),
        ("/list", json!(["a", "b,c"]), "a,b%2Cc"),
        ("/list", json!([",", ","]), "%2C,%2C"),
        ("/list", json!(["a, b"]), "a%2C b"),
        ("/list", json!(["\"a", "b\""]), "%22a,b%22"),
        ("/list", json!(["a%2Cb"]), "a%252Cb"),
        ("/list", json!(["a;b", "c d"]), "a;b,c d"),
        ("/list", json!([" a", "b "]), "%20a,b%20"),
        ("/list", json!(["a\\,b"]), "a\\%2Cb"),
        ("/list", json!("a,b"), "a%2Cb"),
        ("/list", json!([1, true, "x"]), "1,true,x"),
        ("/list", json!([]), ""),
        ("/text", json!("a,b"), "a,b"),
        ("/json", json!(["a,b", "", null]), r#"["a,b","",null]"#),
    ] {
        let want = reaches(&[("x-v", &[seen])]);
        table.both_with(
            format!("{v} at {path}"),
            json!({ "v": v }),
            &at(path),
            &want,
        );
    }
    for (path, v) in [
        ("/list", json!(["a", ""])),
        ("/list", json!([""])),
        ("/list", json!("")),
        ("/list", json!(["a", null])),
        ("/list", json!([["a", "b"]])),
        ("/list", json!({ "a": "b" })),
        ("/text", json!(["a,b"])),
        ("/text", json!(["a"])),
        ("/template", json!(["a"])),
    ] {
        let claims = json!({ "v": v, "w": "w" });
        table.both_with(format!("{v} at {path}"), claims, &at(path), &UNENCODABLE);
    }
    for (v, w, seen) in [
        ("a@evil", "acme", &["a%40evil@acme"][..]),
        ("a", "evil@acme", &["a@evil%40acme"]),
        ("a%40evil", "acme", &["a%2540evil@acme"]),
        ("@", "@", &["%40@%40"]),
        ("a,b", "c\"d", &["a%2Cb@c%22d"]),
        ("", "acme", &[]),
        ("a", "", &[]),
    ] {
        let what = format!("{v:?} and {w:?} in a template");
        let want = reaches(&[("x-v", seen)]);
        table.both_with(what, json!({ "v": v, "w": w }), &at("/template"), &want);
    }
    for (groups, seen) in [
        (json!(["app-a,app-admin", "other"]), "app-a%2Capp-admin"),
        (json!(["other,app-admin"]), ""),
        (json!(["other", "app-a"]), "app-a"),
        (json!(["App-a", " app-a", "xapp-a"]), ""),
    ] {
        let want = reaches(&[("x-groups", &[seen])]);
        table.both_with(
            format!("groups {groups}"),
            json!({ "groups": groups }),
            &at("/orders"),
            &want,
        );
    }
    table
}

/// An address is of one domain or of none.
pub(super) fn t29() -> Table {
    let mut table = Table::of(29);
    table.both_with(
        "of the domain",
        json!({ "email": "a@corp.com" }),
        &at("/mail"),
        &reaches(&[]),
    );
    for email in [
        json!("a@evil.com@corp.com"),
        json!("a@corp.com@evil.com"),
        json!("a@@corp.com"),
        json!("@corp.com"),
        json!("a@"),
        json!("corp.com"),
        json!(""),
        json!("\"a@evil.com\"@corp.com"),
        json!(["a@corp.com"]),
        json!({ "a": "a@corp.com" }),
        json!("a@corp.com."),
        json!("a@corp.com "),
        json!("a@ corp.com"),
        json!("a@corp.com\n"),
        json!("a@corp.com\0"),
        json!(7),
        json!(null),
    ] {
        let what = format!("{email}, of none");
        let none = Want::Refused(403, "policy_error");
        table.both_with(what, json!({ "email": email }), &at("/mail"), &none);
    }
    for email in [
        "a@evil.com",
        "a@corp.com.evil.com",
        "a@xcorp.com",
        "a@sub.corp.com",
        "a@c0rp.com",
    ] {
        let what = format!("{email:?}, of another");
        let denied = Want::Refused(403, "policy_denied");
        table.both_with(what, json!({ "email": email }), &at("/mail"), &denied);
    }
    table
}

/// A value is compared as a whole and alone, never as a part of a joined text.
pub(super) fn t39() -> Table {
    let mut table = Table::of(39);
    let read = json!("orders:read");
    for tenant in [
        json!("acme"),
        json!(["evil", "acme"]),
        json!(7),
        json!(["x", 7]),
    ] {
        let claims = json!({ "scope": read, "tenant": tenant });
        table.both_with(
            format!("tenant {tenant}"),
            claims,
            &at("/scoped"),
            &reaches(&[]),
        );
    }
    for tenant in [
        json!("evil"),
        json!("acme,evil"),
        json!("evil,acme"),
        json!("acme evil"),
        json!(["acme,evil"]),
        json!(["evil", "acme,"]),
        json!([["acme"]]),
        json!({ "acme": true }),
        json!({ "0": "acme" }),
        json!("ACME"),
        json!(" acme"),
        json!("acme\u{0}"),
        json!("acm"),
        json!("acmee"),
        json!("7"),
        json!(["7"]),
        json!(70),
        json!(true),
        json!([]),
        json!(null),
    ] {
        let claims = json!({ "scope": read, "tenant": tenant });
        let denied = Want::Refused(403, "claim_denied");
        table.both_with(format!("tenant {tenant}"), claims, &at("/scoped"), &denied);
    }
    for scope in [
        json!("orders:read"),
        json!("a orders:read b"),
        json!(["a", "orders:read"]),
    ] {
        let claims = json!({ "scope": scope, "tenant": "acme" });
        table.both_with(
            format!("scope {scope}"),
            claims,
            &at("/scoped"),
            &reaches(&[]),
        );
    }
    for scope in [
        json!("orders:readwrite"),
        json!("orders:read,admin"),
        json!("orders:read\tadmin"),
        json!("ORDERS:READ"),
        json!("orders"),
        json!(["orders", ":read"]),
        json!({ "orders:read": true }),
        json!([["orders:read"]]),
        json!(true),
        json!(null),
    ] {
        let claims = json!({ "scope": scope, "tenant": "acme" });
        let insufficient = Want::Refused(403, "scope_insufficient");
        table.both_with(
            format!("scope {scope}"),
            claims,
            &at("/scoped"),
            &insufficient,
        );
    }
    for (what, ask, want) in role() {
        table.both(what, &ask, &want);
    }
    let said = at("/scoped")
        .field("tenant", "acme")
        .field("scope", "orders:read")
        .field("x-tenant", "acme");
    table.both(
        "fields are no claims",
        &said,
        &Want::Refused(403, "scope_insufficient"),
    );
    table
}

/// A rule over a header sees one value or none.
fn role() -> [(&'static str, Ask, Want); 8] {
    let error = || Want::Refused(403, "policy_error");
    let role = |names: &[(&str, &str)]| {
        names
            .iter()
            .fold(at("/role"), |ask, (name, value)| ask.field(name, value))
    };
    [
        ("one role", role(&[("x-role", "user")]), reaches(&[])),
        (
            "another",
            role(&[("x-role", "admin")]),
            Want::Refused(403, "policy_denied"),
        ),
        ("none", role(&[]), error()),
        (
            "two roles",
            role(&[("x-role", "user"), ("x-role", "admin")]),
            error(),
        ),
        (
            "two the other way round",
            role(&[("x-role", "admin"), ("x-role", "user")]),
            error(),
        ),
        (
            "twice the same",
            role(&[("x-role", "user"), ("X-Role", "user")]),
            error(),
        ),
        (
            "another spelling beside it",
            role(&[("x-role", "user"), ("x_role", "admin")]),
            error(),
        ),
        (
            "a joined one",
            role(&[("x-role", "user, admin")]),
            Want::Refused(403, "policy_denied"),
        ),
    ]
}

/// What is not verified is nobody's: a token is good, or it says nothing.
pub(super) fn t40() -> Table {
    let mut table = Table::of(40);
    let nobody = reaches(&[("x-user-id", &[]), ("x-groups", &[])]);
    for (what, token, reason) in [
        ("a signature cut short", "$TOKEN~", "token_malformed"),
        ("no signature", "eyJhbGciOiJFUzI1NiJ9.e30.", "claim_missing"),
        (
            "alg none",
            "eyJhbGciOiJub25lIn0.eyJzdWIiOiJldmUifQ.",
            "alg_not_allowed",
        ),
        ("claims alone", "eyJzdWIiOiJldmUifQ", "token_malformed"),
        ("two tokens in one", "$TOKEN.$TOKEN", "token_malformed"),
    ] {
        let bearer = format!("Bearer {token}");
        for path in ["/orders", "/maybe", "/list"] {
            let ask = Ask::get(path).field("authorization", &bearer);
            table.both(
                format!("{what} at {path}"),
                &ask,
                &Want::Refused(401, reason),
            );
        }
        let ask = Ask::get("/open").field("authorization", &bearer);
        table.both(format!("{what} at a public route"), &ask, &nobody);
    }
    for field in [
        "x-jwt-payload",
        "x-jwt-claims",
        "x-userinfo",
        "x-id-token",
        "x-amzn-oidc-data",
    ] {
        let said = Ask::get("/orders").field(field, "eyJzdWIiOiJldmUifQ");
        table.both(field, &said, &Want::Refused(401, "token_missing"));
    }
    table
}
