//! A gate before an API that shows the bytes it got, and how a row is put to it.

use std::fs;
use std::io::Write as _;

use serde_json::Value;
use tollgate_tests::client::{Reply, read_reply};
use tollgate_tests::frames::{Frames, Message, Outcome};
use tollgate_tests::origin::{Arrived, Origin};

use super::table::{FORGED, Reaches, Row, TOKEN, Want, Wire};
use crate::world::{HOST, ROUTES, World, eventually};

/// Beside the usual ones: a route for each way to write a claim.
const MORE: &str = r#"
      - { name: posts, match: { path: /posts, methods: [POST] }, token: none, upstream: api }
      - { name: text, match: { path: /text }, inject: { x-v: { claim: v } }, upstream: api }
      - { name: list, match: { path: /list }, inject: { x-v: { claim: v, encode: list } }, upstream: api }
      - { name: json, match: { path: /json }, inject: { x-v: { claim: v, encode: json } }, upstream: api }
      - { name: base64url, match: { path: /base64url }, inject: { x-v: { claim: v, encode: base64url } }, upstream: api }
      - { name: template, match: { path: /template }, inject: { x-v: { template: "{v}@{w}" } }, upstream: api }
      - { name: dotted, match: { path: /dotted }, inject: { x-v: { claim: a.b } }, upstream: api }
      - { name: nested, match: { path: /nested }, inject: { x-v: { claim: [a, b] } }, upstream: api }
      - { name: mail, match: { path: /mail }, require: { expr: 'emailDomain(claims.email) == "corp.com"' }, upstream: api }
      - { name: role, match: { path: /role }, require: { expr: 'request.headers["x-role"] == "user"' }, upstream: api }
      - { name: kept, match: { path: /kept }, path_normalization: { encoded_slash: keep }, upstream: api }
      - { name: kept-open, match: { path: /kept/open }, token: none, path_normalization: { encoded_slash: keep }, upstream: api }
      - { name: merged, match: { path: /merged }, path_normalization: { merge_slashes: true }, upstream: api }
      - { name: shared, match: { path: /shared, methods: [GET, PUT] }, cors: { origins: ["https://app.test"], credentials: true }, upstream: api }
      - { name: asked, match: { path: /asked, methods: [GET, PUT] }, cors: forward, inject: { x-v: { value: fixed } }, upstream: api }
"#;

/// What follows each row on its connection.
const NEXT: &str = "GET /open/next HTTP/1.1";

pub(super) struct Stage {
    world: World,
    origin: Origin,
}

impl Stage {
    pub(super) fn new() -> Self {
        let world = World::new();
        let origin = Origin::start().unwrap();
        let routes = format!("{}{MORE}", ROUTES.trim_end());
        let configuration = world.configuration(&routes, "").replace(
            &world.echo.address().to_string(),
            &origin.address().to_string(),
        );
        world.write(&configuration);
        world.reload().unwrap();
        Self { world, origin }
    }

    /// Puts a row to the gate: what comes of it, and that the connection then serves the next request or is closed.
    #[track_caller]
    pub(super) fn check(&self, row: &Row) {
        drop(self.origin.take());
        let token = self.token(&row.claims);
        let next = match &row.wire {
            Wire::H1(bytes) => self.over_h1(row, &filled(bytes, &token)),
            Wire::H2(message) => self.over_h2(row, &with_token(message, &token)),
        };
        // Nothing else has reached the API: no half of a request was taken for a whole one.
        let arrived = self.origin.take();
        let mut expected = usize::from(matches!(row.want, Want::Reaches(_)));
        if let Some(line) = next {
            assert_eq!(line, NEXT, "{row}: the next request is misread");
            expected += 1;
        }
        assert_eq!(arrived.len(), expected, "{row}: {arrived:#?}");
    }

    fn over_h1(&self, row: &Row, bytes: &[u8]) -> Option<String> {
        let unread = self.unreadable();
        let mut stream = self.world.target().tls(&["http/1.1"]).unwrap();
        // In one piece, so that whoever misreads the first request finds the second at hand.
        let next = format!("{NEXT}\r\nhost: {HOST}\r\n\r\n");
        stream
            .write_all(&[bytes, next.as_bytes()].concat())
            .unwrap();
        let reply = read_reply(&mut stream).unwrap_or_else(|error| panic!("{row}: {error}"));
        match &row.want {
            Want::Reaches(wanted) => reaches(row, wanted, reply.status, &reply.body),
            Want::Refused(status, reason) => {
                refused(row, (*status, reason), reply.status, &reply.body);
            }
            Want::Answered(status) => assert_eq!(reply.status, *status, "{row}: {reply:?}"),
            Want::Unreadable => {
                assert_eq!(reply.status, 400, "{row}: {reply:?}");
                // Where the parser answers for itself there is no body, but a line.
                eventually("a line for what was not read", || {
                    (self.unreadable() > unread).then_some(())
                });
            }
        }
        let next = read_reply(&mut stream).ok()?;
        Some(line_of(row, &next))
    }

    fn over_h2(&self, row: &Row, message: &Message) -> Option<String> {
        let mut frames = Frames::connect(&self.world.target()).unwrap();
        let outcome = frames
            .send(message)
            .unwrap_or_else(|error| panic!("{row}: {error}"));
        match (&row.want, &outcome) {
            (Want::Reaches(wanted), Outcome::Answered(status, body)) => {
                reaches(row, wanted, *status, body);
            }
            (Want::Refused(status, reason), Outcome::Answered(found, body)) => {
                refused(row, (*status, reason), *found, body);
            }
            (Want::Answered(wanted), Outcome::Answered(status, _)) if wanted == status => {}
            (Want::Unreadable, Outcome::Answered(status, body)) => {
                refused(row, (400, "request_malformed"), *status, body);
            }
            // A malformed request is an error of its stream, or of the connection (RFC 9113, section 8.1.1).
            (Want::Unreadable, Outcome::Reset(1) | Outcome::Ended(1)) => {}
            _ => panic!("{row}: {outcome:?}"),
        }
        match frames.send(&Message::new("GET", HOST, "/open/next")) {
            Ok(Outcome::Answered(200, body)) => Some(Arrived(body).line()),
            Ok(Outcome::Ended(_) | Outcome::Closed) => None,
            other => panic!("{row}: then {other:?}"),
        }
    }

    /// What reaches the API of a request that is to be served, asked for with a good token where it has one.
    pub(super) fn arrived(&self, wire: &Wire) -> Arrived {
        drop(self.origin.take());
        let token = self.world.token();
        let answered = match wire {
            Wire::H1(bytes) => {
                let mut stream = self.world.target().tls(&["http/1.1"]).unwrap();
                stream.write_all(&filled(bytes, &token)).unwrap();
                read_reply(&mut stream).unwrap().status == 200
            }
            Wire::H2(message) => {
                let mut frames = Frames::connect(&self.world.target()).unwrap();
                let outcome = frames.send(&with_token(message, &token)).unwrap();
                matches!(outcome, Outcome::Answered(200, _))
            }
        };
        assert!(answered, "it was to be served");
        let mut arrived = self.origin.take();
        assert_eq!(arrived.len(), 1);
        arrived.remove(0)
    }

    /// Every line of the access log is whole and JSON, whatever clients and tokens said.
    pub(super) fn check_log(&self) {
        let path = self.world.folder.path().join("access.log");
        eventually("a log of whole lines", || {
            let log = fs::read_to_string(&path).ok()?;
            let mut lines = log.lines();
            let whole = lines.all(|line| serde_json::from_str::<Value>(line).is_ok());
            (whole && !log.is_empty()).then_some(())
        });
    }

    fn token(&self, claims: &Value) -> String {
        let mut token = self.world.claims();
        for (name, value) in claims.as_object().unwrap() {
            token = match value {
                Value::Null => token.without(name),
                value => token.claim(name, value.clone()),
            };
        }
        token.sign(&self.world.key).unwrap()
    }

    /// How many requests could not be read, by the access log.
    fn unreadable(&self) -> usize {
        let log = fs::read_to_string(self.world.folder.path().join("access.log"));
        let log = log.unwrap_or_default();
        log.lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok())
            .filter(|line| line["status"] == 400 && line["reason"] == "request_malformed")
            .count()
    }
}

fn reaches(row: &Row, wanted: &Reaches, status: u16, body: &[u8]) {
    let text = String::from_utf8_lossy(body);
    assert_eq!(status, 200, "{row}: {text}");
    assert!(!text.contains(FORGED), "{row}: it got through\n{text}");
    let arrived = Arrived(body.to_vec());
    if let Some(line) = &wanted.line {
        assert_eq!(arrived.line(), *line, "{row}");
    }
    for (name, values) in &wanted.fields {
        assert_eq!(arrived.values(name), *values, "{row}: {name}\n{text}");
    }
}

fn refused(row: &Row, wanted: (u16, &str), status: u16, body: &[u8]) {
    let problem: Value = serde_json::from_slice(body).unwrap_or_default();
    let found = (status, problem["reason"].as_str().unwrap_or("no reason"));
    assert_eq!(found, wanted, "{row}: {}", String::from_utf8_lossy(body));
}

fn line_of(row: &Row, reply: &Reply) -> String {
    assert_eq!(reply.status, 200, "{row}: the next request: {reply:?}");
    Arrived(reply.body.to_vec()).line()
}

fn filled(bytes: &[u8], token: &str) -> Vec<u8> {
    let mut filled = Vec::with_capacity(bytes.len() + token.len());
    let mut rest = bytes;
    while let Some(at) = rest
        .windows(TOKEN.len())
        .position(|window| window == TOKEN.as_bytes())
    {
        filled.extend_from_slice(&rest[..at]);
        filled.extend_from_slice(token.as_bytes());
        rest = &rest[at + TOKEN.len()..];
    }
    filled.extend_from_slice(rest);
    filled
}

fn with_token(message: &Message, token: &str) -> Message {
    let mut message = message.clone();
    for (_, value) in message.fields.iter_mut().chain(&mut message.trailers) {
        *value = filled(value, token);
    }
    message
}
