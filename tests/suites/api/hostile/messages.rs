//! Requests that are not quite requests: syntax, paths, authorities.

use tollgate_tests::frames::Message;

use super::table::{Ask, Table, Want, as_line, reaches};
use crate::world::HOST;

const MISSING: Want = Want::Refused(401, "token_missing");
const PATH: Want = Want::Refused(400, "path_refused");
const NO_ROUTE: Want = Want::Refused(404, "no_route");
const MALFORMED: Want = Want::Refused(400, "request_malformed");

/// A head whose second line is this one, as bytes.
fn head(line: impl AsRef<[u8]>) -> Vec<u8> {
    let first = format!("GET /open HTTP/1.1\r\nhost: {HOST}\r\n");
    [first.as_bytes(), line.as_ref(), b"\r\n\r\n"].concat()
}

/// Names and values that no field may have (RFC 9110, sections 5.1 and 5.5; RFC 9112, section 5; RFC 9113, section 8.2).
pub(super) fn t37() -> Table {
    let mut table = Table::of(37);
    for line in [
        &b": eve!"[..],
        b"x-user-id : eve!",
        b"x-user-id\t: eve!",
        b" x-user-id: eve!",
        b"\tx-user-id: eve!",
        b"x user-id: eve!",
        b"x-user-id",
        b"x-user-id eve!",
        b"x(user)id: eve!",
        b"x\"user\"id: eve!",
        b"x@user-id: eve!",
        b"x[user]id: eve!",
        b"x{user}id: eve!",
        b"x/user/id: eve!",
        b"x\\user\\id: eve!",
        b"x;user;id: eve!",
        b"x=user=id: eve!",
        b"x?user?id: eve!",
        b"x,user,id: eve!",
        b"x<user>id: eve!",
        b"x\0user-id: eve!",
        b"x-user-id\0: eve!",
        b"\0: eve!",
        b"x\x7fuser-id: eve!",
        b"x-\xc3\xa9: eve!",
        b"x-\x80: eve!",
        b"x-a: b\0eve!",
        b"x-a: \x01eve!",
        b"x-a: b\x7f",
        b"x-a: b\x1b[2J",
        b"x-a: b\rx-user-id: eve!",
        b"x-a: b\r\n x-user-id: eve!",
        b"x-a: b\r\n\tx-user-id: eve!",
        b"x-a:\r\n eve!",
        b"\rx-user-id: eve!",
    ] {
        let what = String::from_utf8_lossy(line).into_owned();
        table.h1(what, head(line), &Want::Unreadable);
    }
    let get = || Message::new("GET", HOST, "/open");
    for (name, value) in [
        (&b""[..], &b"eve!"[..]),
        (b"X-User-Id", b"eve!"),
        (b"x-User-id", b"eve!"),
        (b"x user-id", b"eve!"),
        (b" x-user-id", b"eve!"),
        (b"x-user-id ", b"eve!"),
        (b"x-user-id:", b"eve!"),
        (b"x-user-id: eve!\r\nx-a", b"b"),
        (b"x\0user-id", b"eve!"),
        (b"x\x7fuser-id", b"eve!"),
        (b"x-\xc3\xa9", b"eve!"),
        (b"x(user)id", b"eve!"),
        (b"x\tuser", b"eve!"),
        (b"x-a", b"b\r\nx-user-id: eve!"),
        (b"x-a", b"b\nx-user-id: eve!"),
        (b"x-a", b"b\rx-user-id: eve!"),
        (b"x-a", b"b\0eve!"),
        (b"x-a", b"\x01eve!"),
        (b"x-a", b"b\x7f"),
        (b":user", b"eve!"),
        (b":status", b"200"),
        (b":path", b"/orders"),
        (b":method", b"POST"),
        (b":authority", b"second.test"),
    ] {
        // Behind the pseudo-fields, and a second time what stands there once.
        let what = format!("{} = {}", name.escape_ascii(), value.escape_ascii());
        table.h2(what, get().field(name, value), &Want::Unreadable);
    }
    for missing in [":method", ":path", ":scheme"] {
        let mut message = get();
        message
            .fields
            .retain(|(name, _)| name != missing.as_bytes());
        table.h2(format!("without {missing}"), message, &Want::Unreadable);
    }
    let late = Message::default()
        .field(":method", "GET")
        .field(":scheme", "https")
        .field("x-a", "b")
        .field(":authority", HOST)
        .field(":path", "/open");
    table.h2("a pseudo-field behind a field", late, &Want::Unreadable);
    // Bytes beyond ASCII are lawful in values, and stay what they were.
    table.h1(
        "obs-text in a value",
        head(b"x-a: b\xe9"),
        &as_line("GET /open"),
    );
    table
}

/// Each would be `/orders` for some server behind; the route `open` is public.
pub(super) fn t41() -> Table {
    let mut table = Table::of(41);
    for path in [
        "/open/../orders",
        "/open/./../orders",
        "/./orders",
        "/../orders",
        "/open/..",
        "/open/.",
        "/open/%2e%2e/orders",
        "/open/%2E%2E/orders",
        "/open/.%2e/orders",
        "/open/%2e./orders",
        "/%2e/orders",
        "/open/..%2forders",
        "/open%2f..%2forders",
        "/open/%2e%2e%2forders",
        "/orders%2f..",
        "/orders%2F",
        "/orders%5c",
        "/open/..%5corders",
        "/open/%5C..%5Corders",
        "/orders%00",
        "/open%00/orders",
        "/open/%00",
        "/open/%zz",
        "/open/%",
        "/open/%2",
        "/open/..;/orders",
        "/open/..;x=y/orders",
        "/open/.;/x",
        "/open/%2e%2e;/orders",
    ] {
        table.both(path, &Ask::get(path), &PATH);
    }
    // Spelt otherwise, and the same path: the guarded route decides.
    for path in [
        "/%6frders",
        "/%6F%72%64%65%72%73",
        "/orders/",
        "/orders//",
        "/orders?x=/open",
        "/orders?/../open",
        "/orders/%41",
    ] {
        table.both(path, &Ask::get(path), &MISSING);
    }
    // Other paths, and no route knows them.
    for path in [
        "//orders",
        "/ORDERS",
        "/orders;x=y",
        "/ordersx",
        "/open;/orders",
        "/%2525",
        "/%252e%252e/orders",
    ] {
        table.both(path, &Ask::get(path), &NO_ROUTE);
    }
    // What decides is what is forwarded.
    for (path, forwarded) in [
        ("/open/%41%7E", "GET /open/A~"),
        ("/open/a%20b", "GET /open/a%20b"),
        ("/open/%c3%a9", "GET /open/%C3%A9"),
        ("/open//x", "GET /open//x"),
        ("/open/x;y=z", "GET /open/x;y=z"),
        ("/open/%252e%252e/orders", "GET /open/%252e%252e/orders"),
        ("/open/...", "GET /open/..."),
        ("/open/%23orders", "GET /open/%23orders"),
        ("/open/%3fx", "GET /open/%3Fx"),
        ("/open?x=/../orders", "GET /open?x=/../orders"),
        ("/open?x=%2e%2e%2f", "GET /open?x=%2e%2e%2f"),
        ("/open?", "GET /open?"),
    ] {
        table.both(path, &Ask::get(path), &as_line(forwarded));
    }
    // The protocols' parsers take no blank, no control byte and not all of the rest.
    for path in [
        "/open/a b",
        "/open/\t",
        "/open/\0",
        "/open/\u{7f}",
        "/open/<x>",
        "/open/`x",
        "orders",
        "open/../orders",
        "",
    ] {
        table.both(path, &Ask::get(path), &Want::Unreadable);
    }
    for path in ["/open\\..\\orders", "/open/\\x", "/open/\u{e9}", "*"] {
        table.both(path, &Ask::get(path), &PATH);
    }
    // No URI holds these, and no server takes them for anything else.
    for path in ["/open/\"x\"", "/open/{x}", "/open/^x", "/open/|x"] {
        table.both(path, &Ask::get(path), &as_line(&format!("GET {path}")));
    }
    // What follows `#` is never a part of a request, and is not forwarded.
    table.both(
        "/open#/../orders",
        &Ask::get("/open#/../orders"),
        &as_line("GET /open"),
    );
    table.both(
        "/open?x#/../orders",
        &Ask::get("/open?x#/../orders"),
        &as_line("GET /open?x"),
    );
    table.both("/orders#/open", &Ask::get("/orders#/open"), &MISSING);
    // Where a route keeps encoded slashes they are bytes of their segment, to both sides.
    for (path, forwarded) in [
        ("/kept/open/a%2fb", "GET /kept/open/a%2Fb"),
        ("/kept/open/a%5cb", "GET /kept/open/a%5Cb"),
    ] {
        table.both(path, &Ask::get(path), &as_line(forwarded));
    }
    for path in ["/kept/a%2fb", "/kept/open%2fx"] {
        table.both(path, &Ask::get(path), &MISSING);
    }
    for path in [
        "/kept/open/../x",
        "/kept/open%2f..%2fx",
        "/kept/x%2f..%2fopen",
        "/kept/open/%2F..%2F..%2Forders",
        "/kept/open/%2e%2e/x",
        "/kept/open/%00",
        "/kept/open/x%2f../../y",
    ] {
        table.both(path, &Ask::get(path), &PATH);
    }
    // Where a route merges slashes no number of them leads around it.
    for path in ["/merged", "//merged", "/merged//x", "///merged///x"] {
        table.both(path, &Ask::get(path), &MISSING);
    }
    let whole = Ask::get("https://api.test/orders");
    table.h1("the absolute form", whole.h1(), &MISSING);
    table.h2("the absolute form", whole.h2(), &Want::Unreadable);
    for path in ["?x", "#"] {
        table.h1(path, Ask::get(path).h1(), &Want::Unreadable);
        // Read as `/`, and that is what decides.
        table.h2(path, Ask::get(path).h2(), &NO_ROUTE);
    }
    table
}

pub(super) fn t42() -> Table {
    let mut table = Table::of(42);
    let get = |target: &str, hosts: &[&str]| {
        let hosts: String = hosts
            .iter()
            .map(|host| format!("host: {host}\r\n"))
            .collect();
        format!("GET {target} HTTP/1.1\r\n{hosts}\r\n")
    };
    for (target, hosts) in [
        ("/open", &[][..]),
        ("/open", &["api.test", "second.test"]),
        ("/open", &["api.test", "api.test"]),
        ("/open", &["api.test, second.test"]),
        ("/open", &["api.test second.test"]),
        ("/open", &["api.test/open"]),
        ("/open", &["user@api.test"]),
        ("/open", &["user:secret@api.test"]),
        ("/open", &["api.test:x"]),
        ("/open", &["api.test:99999"]),
        ("/open", &["api.test:443:443"]),
        ("/open", &["api.test?x"]),
        ("/open", &["api.test#x"]),
        ("/open", &["api.test\\x"]),
        ("/open", &["api%2etest"]),
        ("/open", &["[::1"]),
        ("/open", &[""]),
        ("https://evil.test/open", &["api.test"]),
        ("https://api.test/open", &["evil.test"]),
        ("https://api.test/open", &["api.test", "api.test"]),
        ("https://user@api.test/open", &["api.test"]),
        ("https://api.test:444/open", &["api.test"]),
    ] {
        table.h1(
            format!("{target} of {hosts:?}"),
            get(target, hosts),
            &MALFORMED,
        );
    }
    let misdirected = Want::Refused(421, "misdirected");
    for host in [
        "second.test",
        "evil.test",
        "a.b.wild.test",
        "wild.test",
        "localhost",
        "127.0.0.1",
        "xapi.test",
        "api.test.evil.test",
    ] {
        table.h1(host, get("/open", &[host]), &misdirected);
        table.h2(host, Message::new("GET", host, "/open"), &misdirected);
        let whole = format!("https://{host}/open");
        table.h1(whole.clone(), get(&whole, &[host]), &misdirected);
    }
    let open = as_line("GET /open");
    for host in [
        "api.test",
        "API.Test",
        "api.test.",
        "api.test:443",
        "a.wild.test",
    ] {
        table.h1(host, get("/open", &[host]), &open);
        table.h2(host, Message::new("GET", host, "/open"), &open);
    }
    let host = |value: &str| reaches(&[("host", &[value])]);
    table.h1(
        "absolute form",
        get("https://api.test/open", &["api.test"]),
        &host("api.test"),
    );
    table.h1(
        "absolute form and a port",
        get("https://api.test:443/open", &["api.test"]),
        &reaches(&[]),
    );
    let h2 = |authority| Message::new("GET", authority, "/open");
    table.h2(
        ":authority and an equal host",
        h2(HOST).field("host", HOST),
        &host(HOST),
    );
    table.h2(
        ":authority and another host",
        h2(HOST).field("host", "second.test"),
        &MALFORMED,
    );
    table.h2(
        "two hosts",
        h2(HOST).field("host", HOST).field("host", HOST),
        &MALFORMED,
    );
    let mut bare = h2(HOST);
    bare.fields.retain(|(name, _)| name != b":authority");
    table.h2("host alone", bare.clone().field("host", HOST), &host(HOST));
    table.h2("neither", bare.clone(), &MALFORMED);
    table.h2(
        "host alone, another's",
        bare.field("host", "second.test"),
        &misdirected,
    );
    for odd in [
        "",
        "user@api.test",
        "api.test/open",
        "api.test, second.test",
        "api.test:x",
    ] {
        table.h2(format!(":authority {odd:?}"), h2(odd), &Want::Unreadable);
    }
    table
}
