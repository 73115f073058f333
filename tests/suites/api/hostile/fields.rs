//! Fields and trailers that a client could have forged.

use serde_json::json;
use tollgate_tests::frames::Message;

use super::table::{Ask, FORGED, TOKEN, Table, Want, as_line, reaches};
use crate::world::HOST;

/// Spellings that some server behind takes for `x-user-id`: CGI and its heirs turn `-` into `_`, others `.` as well;
/// some drop what is no letter or digit.
const ALIASES: [&str; 28] = [
    "X-User-Id",
    "x-user-id",
    "X-USER-ID",
    "x-User-iD",
    "X_User_Id",
    "x_user_id",
    "X_USER-ID",
    "x-user_id",
    "x.user.id",
    "X.User-Id",
    "x_user.id",
    "xuserid",
    "XUserId",
    "x--user--id",
    "x-user-id-",
    "-x-user-id",
    "_x_user_id_",
    "x-u-s-e-r-i-d",
    "x~user~id",
    "x!user!id",
    "x#user$id",
    "x%user%id",
    "x&user'id",
    "x*user+id",
    "x^user`id",
    "x|user|id",
    "x-user-id.",
    "~x-user-id",
];

/// Of other managed names: injected on this route, on another one, and our own.
const OTHERS: [&str; 10] = [
    "X_Groups",
    "x.profile",
    "XBLOB",
    "x_tenant",
    "X-V",
    "x_v",
    "x-tollgate-assertion",
    "X_Tollgate_Anything",
    "xtollgate",
    "x_request_id",
];

/// To servers that fold names these are the message's own fields.
const FRAMING: [&str; 10] = [
    "Content_Length",
    "content.length",
    "Transfer_Encoding",
    "Content_Type",
    "contentencoding",
    "_Host",
    "C-ookie",
    "Proxy_Authorization",
    "Keep_Alive",
    "t-e",
];

pub(super) fn t32() -> Table {
    let mut table = Table::of(32);
    let alice = reaches(&[("x-user-id", &["alice"])]);
    for alias in FRAMING {
        table.both(
            alias,
            &Ask::new("POST", "/orders")
                .with_token()
                .field(alias, FORGED)
                .body("abc"),
            &alice,
        );
    }
    // Beside a token this is a second one; where none is looked for it is an alias like the others.
    let ask = Ask::get("/open").field("Authorization_", FORGED);
    table.both("Authorization_", &ask, &reaches(&[("x-user-id", &[])]));
    for alias in ALIASES {
        table.both(
            alias,
            &Ask::get("/orders").with_token().field(alias, FORGED),
            &alice,
        );
    }
    for other in OTHERS {
        table.both(
            other,
            &Ask::get("/orders").with_token().field(other, FORGED),
            &alice,
        );
    }
    let mut all = Ask::get("/orders");
    for alias in ALIASES {
        all = all.field(alias, FORGED);
    }
    table.both("all of them before the token", &all.with_token(), &alice);
    let twice = Ask::get("/orders")
        .field("X-User-Id", FORGED)
        .with_token()
        .field("X-User-Id", FORGED)
        .field("x_user_id", FORGED);
    table.both("before and behind the token", &twice, &alice);
    let post = Ask::new("POST", "/orders")
        .with_token()
        .field("X-User-Id", FORGED)
        .body("abc");
    table.both("with a body", &post, &alice);
    table.h1(
        "by HTTP/1.0",
        format!("GET /orders HTTP/1.0\r\nhost: {HOST}\r\nX_User_Id: eve!\r\nauthorization: Bearer {TOKEN}\r\n\r\n"),
        &alice,
    );
    table
}

pub(super) fn t33() -> Table {
    let mut table = Table::of(33);
    let nobody = reaches(&[("x-user-id", &[]), ("x-groups", &[]), ("x-v", &[])]);
    for alias in ALIASES {
        let ask = Ask::get("/orders").with_token().field(alias, FORGED);
        table.both_with(
            format!("{alias}, no sub"),
            json!({ "sub": null }),
            &ask,
            &nobody,
        );
    }
    for other in OTHERS {
        let ask = Ask::get("/orders").with_token().field(other, FORGED);
        table.both_with(
            format!("{other}, no such claim"),
            json!({ "sub": null }),
            &ask,
            &nobody,
        );
    }
    // A filter that drops all, and a template without one of its claims.
    let ask = Ask::get("/orders")
        .with_token()
        .field("x-groups", FORGED)
        .field("x_groups", FORGED);
    let empty = reaches(&[("x-groups", &[""])]);
    table.both_with(
        "all groups are filtered",
        json!({ "groups": ["other"] }),
        &ask,
        &empty,
    );
    let ask = Ask::get("/template")
        .with_token()
        .field("x-v", FORGED)
        .field("x.v", FORGED);
    table.both_with(
        "half a template",
        json!({ "v": "a" }),
        &ask,
        &reaches(&[("x-v", &[])]),
    );
    table
}

pub(super) fn t34() -> Table {
    let mut table = Table::of(34);
    let nobody = reaches(&[("x-user-id", &[]), ("x-groups", &[])]);
    for path in ["/open", "/maybe"] {
        for alias in ALIASES.iter().chain(&OTHERS) {
            let ask = Ask::get(path).field(alias, FORGED);
            table.both(format!("{alias} at {path}"), &ask, &nobody);
        }
    }
    // A token where none is asked for tells nothing.
    let ask = Ask::get("/open").with_token().field("X-User-Id", FORGED);
    table.both("a token at a public route", &ask, &nobody);
    table
}

pub(super) fn t35() -> Table {
    let mut table = Table::of(35);
    let whole = reaches(&[
        ("x-user-id", &["alice"]),
        ("x-groups", &["app-a"]),
        ("x-forwarded-for", &["127.0.0.1"]),
        ("connection", &[]),
        ("proxy-connection", &[]),
        ("keep-alive", &[]),
        ("te", &[]),
        ("upgrade", &[]),
    ]);
    let claims = json!({ "groups": ["app-a"] });
    let mut h1 = |what: &str, fields: &[(&str, &str)], want: &Want| {
        let ask = fields
            .iter()
            .fold(Ask::get("/orders").with_token(), |ask, (name, value)| {
                ask.field(name, value)
            });
        table.h1_with(what, claims.clone(), ask.h1(), want);
    };
    for value in [
        "x-user-id",
        "X-User-Id",
        "x_user_id",
        "close, x-user-id",
        "x-user-id, x-groups, x-forwarded-for, x-request-id, x-forwarded-proto",
        "keep-alive,,x-user-id ,TE",
        "\"x-user-id\"",
        "\"x-user-id, x-groups\"",
        "x-user-id;q=1",
        ", , x-user-id",
        "\tx-user-id\t",
        "host, content-length, content-type, x-user-id",
        "transfer-encoding, x-user-id",
        "upgrade, x-user-id",
        "x-user-id\u{a0}",
    ] {
        h1(
            &format!("Connection: {value}"),
            &[("Connection", value)],
            &whole,
        );
    }
    h1(
        "in two lines",
        &[
            ("Connection", "keep-alive"),
            ("connection", "x-user-id"),
            ("CONNECTION", "x-groups"),
        ],
        &whole,
    );
    h1(
        "with the field itself",
        &[
            ("X-User-Id", FORGED),
            ("Connection", "x-user-id"),
            ("x-user-id", FORGED),
        ],
        &whole,
    );
    h1(
        "what only looks like it",
        &[
            ("Proxy-Connection", "x-user-id"),
            ("Keep-Alive", "x-user-id"),
            ("TE", "trailers, x-user-id"),
        ],
        &whole,
    );
    h1(
        "an upgrade",
        &[
            ("Connection", "Upgrade, HTTP2-Settings, x-user-id"),
            ("Upgrade", "h2c"),
            ("HTTP2-Settings", "AAMAAABk"),
        ],
        &whole,
    );
    h1(
        "a field of its own",
        &[("Connection", "x-mine"), ("x-mine", FORGED)],
        &whole,
    );
    h1(
        "the token",
        &[("Connection", "authorization")],
        &Want::Refused(401, "token_missing"),
    );
    h1(
        "thousands of names",
        &[("Connection", &"x-user-id, x-groups, ".repeat(600))],
        &whole,
    );
    let get = || Ask::get("/orders").with_token().h2();
    for (name, value) in [
        ("connection", "x-user-id"),
        ("connection", "keep-alive"),
        ("proxy-connection", "x-user-id"),
        ("keep-alive", "x-user-id"),
        ("upgrade", "h2c"),
        ("transfer-encoding", "chunked"),
        ("te", "x-user-id"),
    ] {
        // RFC 9113, section 8.2.2: a request with such a field is malformed.
        table.h2(
            format!("{name}: {value}"),
            get().field(name, value),
            &Want::Unreadable,
        );
    }
    let alice = reaches(&[("x-user-id", &["alice"]), ("te", &[])]);
    table.h2("te: trailers", get().field("te", "trailers"), &alice);
    table
}

pub(super) fn t36() -> Table {
    let mut table = Table::of(36);
    let forbidden = [
        "x-forwarded-for",
        "X_Forwarded_Host",
        "Forwarded",
        "Client-Cert",
        "X-Real-IP",
        "authorization",
        "Cookie",
        "remote-user",
    ];
    for name in ALIASES
        .iter()
        .chain(&OTHERS)
        .chain(&forbidden)
        .chain(&FRAMING)
    {
        let ask = |path| {
            Ask::new("POST", path)
                .body("abc")
                .trailer(name, FORGED)
                .trailer("x-fine", "kept")
        };
        let fine = |user: &[&str]| reaches(&[("x-user-id", user), ("x-fine", &["kept"])]);
        table.both(
            format!("{name} with a token"),
            &ask("/orders").with_token(),
            &fine(&["alice"]),
        );
        table.both(format!("{name} without"), &ask("/open"), &fine(&[]));
    }
    // Not announced: whatever arrives, nothing that is forged does.
    let body = "transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-User-Id: eve!\r\nx_user_id: eve!\r\n\r\n";
    table.h1(
        "not announced",
        format!("POST /open HTTP/1.1\r\nhost: {HOST}\r\n{body}"),
        &reaches(&[("x-user-id", &[])]),
    );
    let post = || Message::new("POST", HOST, "/open");
    let with = |trailers: &[(&str, &str)]| {
        let pair =
            |(name, value): &(&str, &str)| (name.as_bytes().to_vec(), value.as_bytes().to_vec());
        let mut message = post();
        message.body = b"abc".to_vec();
        message.trailers = trailers.iter().map(pair).collect();
        message
    };
    table.h2(
        "not announced",
        with(&[("x-user-id", FORGED), ("x_user_id", FORGED)]),
        &reaches(&[("x-user-id", &[])]),
    );
    for (name, value) in [
        (":user", FORGED),
        ("X-User-Id", FORGED),
        ("", FORGED),
        ("x user", FORGED),
        ("x-a", "a\r\nx-user-id: eve!"),
        ("x-a", "a\0"),
    ] {
        table.h2(
            format!("{name:?}: {value:?}"),
            with(&[(name, value)]),
            &Want::Unreadable,
        );
    }
    // What `Connection` names is for this hop in trailers too (RFC 9110, section 7.6.1).
    let ask = Ask::new("POST", "/open")
        .body("abc")
        .field("Connection", "close, X-Hop , te")
        .trailer("x-hop", FORGED)
        .trailer("X-Fine", "kept");
    table.h1(
        "named by Connection",
        ask.h1(),
        &reaches(&[("x-hop", &[]), ("x-fine", &["kept"])]),
    );
    // A target that comes late is none: it is not looked at, and not forwarded.
    table.h2(
        ":path",
        with(&[(":path", "/orders")]),
        &as_line("POST /open"),
    );
    for line in ["x-user-id : eve!", ": eve!", "x user: eve!", "x-a: b\0"] {
        let request = format!(
            "POST /open HTTP/1.1\r\nhost: {HOST}\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n{line}\r\n\r\n"
        );
        table.h1(line, request, &Want::Unreadable);
    }
    table
}

pub(super) fn t38() -> Table {
    let mut table = Table::of(38);
    let ours = reaches(&[
        ("x-forwarded-for", &["127.0.0.1"]),
        ("x-forwarded-proto", &["https"]),
        ("x-forwarded-host", &[HOST]),
        ("forwarded", &[]),
        ("client-cert", &[]),
        ("client-cert-chain", &[]),
        ("x-forwarded-client-cert", &[]),
    ]);
    for name in [
        "X-Forwarded-For",
        "x_forwarded_for",
        "X.Forwarded.For",
        "XForwardedFor",
        "X-Forwarded-Host",
        "X-Forwarded-Proto",
        "X-Forwarded-Port",
        "X-Forwarded-Server",
        "X-Forwarded-Prefix",
        "X-Forwarded-User",
        "X-Forwarded-Email",
        "X-Forwarded-Scheme",
        "X-Forwarded-Anything",
        "X-Forwarded-Client-Cert",
        "x_forwarded_client_cert",
        "Forwarded",
        "For_Warded",
        "Client-Cert",
        "Client_Cert",
        "Client-Cert-Chain",
        "X-Client-Cert",
        "X-SSL-Client-Cert",
        "SSL-Client-Verify",
        "X-Real-IP",
        "x_real_ip",
        "True-Client-IP",
        "X-Client-IP",
        "CF-Connecting-IP",
        "Fastly-Client-IP",
        "X-Cluster-Client-IP",
        "X-Azure-ClientIP",
        "X-Original-URL",
        "X-Original-Host",
        "X-Rewrite-URL",
        "X-Envoy-Original-Path",
        "X-Envoy-External-Address",
        "X-Acme-Original-Path",
        "Remote-User",
        "REMOTE_USER",
        "X-Remote-User",
        "X-Remote-Group",
        "X-Remote-Extra-Scopes",
        "Remote-Addr",
        "Proxy",
        "X-Request-Id",
    ] {
        table.both(name, &Ask::get("/open").field(name, FORGED), &ours);
        table.both(
            format!("{name}, with a token"),
            &Ask::get("/orders")
                .with_token()
                .field(name, FORGED)
                .field(name, FORGED),
            &ours,
        );
    }
    // What only resembles them is the client's to say.
    for name in [
        "Client-Certificate-Policy",
        "Original-Path",
        "Forward",
        "X-Real-IP-Policy",
    ] {
        let kept = Ask::get("/open").field(name, "kept");
        let lower: &'static str = name;
        table.both(name, &kept, &reaches(&[(lower, &["kept"])]));
    }
    table
}
