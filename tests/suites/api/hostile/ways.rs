//! Ways around a token that other products have had: methods, health checks, preflights.

use tollgate_tests::frames::Message;

use super::table::{Ask, FORGED, TOKEN, Table, Want, as_line, reaches};
use crate::world::HOST;

const MISSING: Want = Want::Refused(401, "token_missing");
const NO_ROUTE: Want = Want::Refused(404, "no_route");

pub(super) fn t43() -> Table {
    let mut table = Table::of(43);
    let overrides = [
        "X-HTTP-Method-Override",
        "x_http_method_override",
        "X.HTTP.Method.Override",
        "X-HTTP-Method",
        "X-Method-Override",
        "x_method-override",
    ];
    let not_allowed = Want::Refused(405, "method_not_allowed");
    for name in overrides {
        let ask = |method| Ask::new(method, "/posts").field(name, "POST");
        table.both(format!("GET with {name}"), &ask("GET"), &not_allowed);
        table.both(format!("DELETE with {name}"), &ask("DELETE"), &not_allowed);
        let forged = Ask::new("POST", "/posts").field(name, FORGED).body("abc");
        table.both(
            format!("POST with another {name}"),
            &forged,
            &as_line("POST /posts"),
        );
    }
    for method in [
        "post", "Post", "POSTS", "POS", "GET", "HEAD", "TRACES", "PROPFIND",
    ] {
        if method == "HEAD" {
            continue;
        }
        table.both(
            format!("{method} /posts"),
            &Ask::new(method, "/posts"),
            &not_allowed,
        );
    }
    for method in ["get", "Get", "TRACER", "OPTIONS", "X", "G~T", "0"] {
        table.both(
            format!("{method} /orders"),
            &Ask::new(method, "/orders"),
            &MISSING,
        );
    }
    // An API that answers it repeats what it got: the token, and what was injected.
    let refused = Want::Refused(400, "request_malformed");
    for method in ["TRACE", "TRACK", "trace", "Track", "tRACE"] {
        for path in ["/open", "/orders", "/posts", "/nowhere"] {
            let ask = Ask::new(method, path)
                .with_token()
                .field("X-User-Id", FORGED);
            table.both(format!("{method} {path}"), &ask, &refused);
        }
        let ask = Ask::new(method, "/orders").field("Max-Forwards", "0");
        table.both(format!("{method} that ends here"), &ask, &refused);
    }
    for (what, line) in [
        ("CONNECT", "CONNECT api.test:443 HTTP/1.1"),
        ("CONNECT without a port", "CONNECT api.test HTTP/1.1"),
        ("CONNECT and a path", "CONNECT /open HTTP/1.1"),
        (
            "CONNECT and a URL",
            "CONNECT https://api.test/open HTTP/1.1",
        ),
        (
            "a method of 33 bytes",
            "ABCDEFGHIJKLMNOPQRSTUVWXYZABCDEFG /open HTTP/1.1",
        ),
        ("no method", " /open HTTP/1.1"),
        ("no target", "GET HTTP/1.1"),
        ("two spaces", "GET  /open HTTP/1.1"),
        ("a tab", "GET\t/open HTTP/1.1"),
        ("more words", "GET /open /orders HTTP/1.1"),
        ("@ in it", "G@T /open HTTP/1.1"),
        ("a colon in it", "GET: /open HTTP/1.1"),
        ("NUL in it", "GE\0T /open HTTP/1.1"),
        ("another version", "GET /open HTTP/1.2"),
        ("version 2", "GET /open HTTP/2.0"),
        ("version 3", "GET /open HTTP/3.0"),
        ("a version in lower case", "GET /open http/1.1"),
        ("no version", "GET /open"),
        ("the preface", "PRI * HTTP/2.0"),
    ] {
        table.h1(
            what,
            format!("{line}\r\nhost: {HOST}\r\n\r\n"),
            &Want::Unreadable,
        );
    }
    let fields = |fields: &[(&str, &str)]| {
        let empty = Message::default();
        fields
            .iter()
            .fold(empty, |message, (name, value)| message.field(name, value))
    };
    for (what, message) in [
        (
            "CONNECT",
            fields(&[(":method", "CONNECT"), (":authority", "api.test:443")]),
        ),
        ("CONNECT and a path", Message::new("CONNECT", HOST, "/open")),
        (
            "CONNECT without an authority",
            fields(&[(":method", "CONNECT")]),
        ),
        (
            "extended CONNECT",
            Message::new("CONNECT", HOST, "/open").field(":protocol", "websocket"),
        ),
        ("an empty method", Message::new("", HOST, "/open")),
        ("a space in it", Message::new("GET ", HOST, "/open")),
        (
            "a line in it",
            Message::new("GET /orders HTTP/1.1\r\nx: y", HOST, "/open"),
        ),
        (
            "a method of 33 bytes",
            Message::new(&"A".repeat(33), HOST, "/open"),
        ),
    ] {
        table.h2(what, message, &Want::Unreadable);
    }
    table
}

/// No client is a health check by its own word.
pub(super) fn t44() -> Table {
    let mut table = Table::of(44);
    for agent in [
        "kube-probe/1.31",
        "ELB-HealthChecker/2.0",
        "GoogleHC/1.0",
        "Consul Health Check",
        "Envoy/HC",
        "HAProxy-Health-Check",
        "Pingdom.com_bot_version_1.4",
        "Prometheus/2.53.0",
    ] {
        table.both(
            agent,
            &Ask::get("/orders").field("User-Agent", agent),
            &MISSING,
        );
        let ping = Ask::get("/orders/ping").field("User-Agent", agent);
        table.both(format!("{agent} at a path"), &ping, &MISSING);
    }
    // Probes are answered at the admin address, and nowhere on a listener.
    for path in [
        "/ping",
        "/healthz",
        "/readyz",
        "/livez",
        "/metrics",
        "/ready",
        "/oauth2/ping",
        "/",
    ] {
        let probe = Ask::get(path).field("User-Agent", "kube-probe/1.31");
        table.both(path, &probe, &NO_ROUTE);
    }
    for (name, value) in [
        ("X-Health-Check", "1"),
        ("X-Tollgate-Health", "1"),
        ("X-Envoy-Upstream-Health-Checked-Cluster", "api"),
        ("X-Forwarded-For", "127.0.0.1"),
        ("X-Internal", "true"),
    ] {
        table.both(name, &Ask::get("/orders").field(name, value), &MISSING);
    }
    table
}

/// Without a `cors` rule there is no exception for preflights, however well they are made; with one, for those alone that
/// are exactly what browsers send.
pub(super) fn t45() -> Table {
    let mut table = Table::of(45);
    let preflight = |path: &str| {
        Ask::new("OPTIONS", path)
            .field("Origin", "https://app.test")
            .field("Access-Control-Request-Method", "POST")
    };
    let orders = || preflight("/orders");
    for (what, ask) in [
        ("as browsers send it", orders()),
        (
            "with names of fields",
            orders().field("Access-Control-Request-Headers", "authorization"),
        ),
        ("with a body", orders().body("abc")),
        (
            "by GET",
            Ask::get("/orders")
                .field("Origin", "https://app.test")
                .field("Access-Control-Request-Method", "GET"),
        ),
        (
            "by POST",
            Ask::new("POST", "/orders")
                .field("Origin", "https://app.test")
                .field("Access-Control-Request-Method", "POST")
                .body("abc"),
        ),
        (
            "without an origin",
            Ask::new("OPTIONS", "/orders").field("Access-Control-Request-Method", "POST"),
        ),
        (
            "without a method",
            Ask::new("OPTIONS", "/orders").field("Origin", "https://app.test"),
        ),
        (
            "with a null origin",
            Ask::new("OPTIONS", "/orders")
                .field("Origin", "null")
                .field("Access-Control-Request-Method", "POST"),
        ),
        ("two origins", orders().field("Origin", "https://evil.test")),
        (
            "two methods",
            orders().field("Access-Control-Request-Method", "DELETE"),
        ),
        (
            "for a private network",
            orders().field("Access-Control-Request-Private-Network", "true"),
        ),
        ("below the path", preflight("/orders/1")),
        (
            "in lower case",
            Ask::new("options", "/orders")
                .field("Origin", "https://app.test")
                .field("Access-Control-Request-Method", "POST"),
        ),
    ] {
        table.both(what, &ask, &MISSING);
    }
    let bad = orders().field("Authorization", "Bearer a.b.c");
    table.both(
        "with a bad token",
        &bad,
        &Want::Refused(401, "token_malformed"),
    );
    let good = orders().field("Authorization", &format!("Bearer {TOKEN}"));
    table.both(
        "with a good token it is a request",
        &good,
        &as_line("OPTIONS /orders"),
    );
    table.both(
        "where OPTIONS is not served",
        &preflight("/posts"),
        &Want::Refused(405, "method_not_allowed"),
    );
    table.both(
        "at a public route it is the API's",
        &preflight("/open"),
        &as_line("OPTIONS /open"),
    );
    let put = |path: &str| {
        Ask::new("OPTIONS", path)
            .field("Origin", "https://app.test")
            .field("Access-Control-Request-Method", "PUT")
    };
    table.both("where pages may ask", &put("/shared"), &Want::Answered(204));
    let asked = reaches(&[("x-user-id", &[]), ("x-v", &[])]);
    let forged = |ask: Ask| ask.field("X_User_Id", FORGED).field("x-v", FORGED);
    table.both("where the API is asked", &forged(put("/asked")), &asked);
    let other = Ask::new("OPTIONS", "/shared")
        .field("Origin", "https://evil.test")
        .field("Access-Control-Request-Method", "PUT");
    table.both(
        "of another page",
        &other,
        &Want::Refused(403, "cors_denied"),
    );
    // Not exactly that: a request as any other, on a route that does not take OPTIONS.
    let not_allowed = Want::Refused(405, "method_not_allowed");
    for path in ["/shared", "/asked"] {
        for (what, ask) in [
            ("a body", put(path).body("abc")),
            (
                "a bad token",
                put(path).field("Authorization", "Bearer a.b.c"),
            ),
            ("a good token", put(path).with_token()),
            ("a cookie", put(path).field("Cookie", "a=b")),
            ("two origins", put(path).field("Origin", "https://app.test")),
            (
                "two methods",
                put(path).field("Access-Control-Request-Method", "GET"),
            ),
            (
                "trailers",
                put(path).body("abc").trailer("x-user-id", FORGED),
            ),
        ] {
            table.both(format!("{what} at {path}"), &ask, &not_allowed);
        }
    }
    table
}
