//! The wall clock steps, and the daemon's verdicts with it: cold, cached, back and forth.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jsonwebtoken::Algorithm;
use serde_json::json;
use tempfile::TempDir;
use tollgate::demo::daemon::Launch;
use tollgate::demo::echo::Echo;
use tollgate::demo::issuer::{SigningKey, Token};
use tollgate::demo::pki::Authority;
use tollgate_tests::client::{Request, Target};
use tollgate_tests::gate::{self, Gate};
use tollgate_tests::port::Port;

const HOST: &str = "api.example.com";
/// `clock_skew` of the configuration, in seconds.
const SKEW: i64 = 30;
/// How long a token lives, in seconds.
const LIFE: i64 = 100;

/// threats.md 21, 52, 55: a token is good while now < exp + skew and refused in the first second after, whether it was
/// seen before or not, and however the clock came to where it is.
#[test]
fn threat_52_and_55_the_clock_decides_at_every_request() {
    let world = World::new();
    let cached = world.token("cached");
    let check = |seconds: i64, reason: Option<&str>| {
        world.clock.set(world.start + seconds);
        let new = world.token(&format!("seen first at {seconds}"));
        for (token, what) in [(&cached, "cached"), (&new, "cold"), (&new, "again")] {
            assert_eq!(
                world.reason(token).as_deref(),
                reason,
                "{what}, {seconds} s after the token was issued"
            );
        }
    };
    let (expired, early) = (Some("token_expired"), Some("issued_in_future"));
    check(0, None);
    check(LIFE + SKEW - 1, None);
    check(LIFE + SKEW, expired);
    // Back by a second, and by more than the token is old.
    check(LIFE + SKEW - 1, None);
    check(-SKEW, None);
    check(-SKEW - 1, early);
    check(-3600, early);
    check(3600, expired);
    check(0, None);
    let hits = world.gate.status()["verdict_cache"]["hits"].as_u64();
    assert!(hits >= Some(9), "the cache was never asked: {hits:?}");
}

struct World {
    gate: Gate,
    clock: Clock,
    /// When its tokens are issued.
    start: i64,
    key: SigningKey,
    target: Target,
    _echo: Echo,
    _ports: [Port; 2],
    _directory: TempDir,
}

impl World {
    fn new() -> Self {
        let directory = tempfile::Builder::new()
            .prefix("tollgate-clock-")
            .tempdir()
            .unwrap();
        let folder = directory.path();
        let authority = Authority::new("clock").unwrap();
        let leaf = authority.leaf(&[HOST]).unwrap();
        leaf.write(folder, "api").unwrap();
        let key = SigningKey::generate("k", Algorithm::ES256).unwrap();
        let echo = Echo::start("api", TcpListener::bind("127.0.0.1:0").unwrap()).unwrap();
        let (edge, admin) = (Port::hold(), Port::hold());
        let configuration = gate::configuration(
            "clock.yaml",
            &[
                ("DIR", &folder.display()),
                ("ADMIN", &admin.address()),
                ("EDGE", &edge.address()),
                ("API", &echo.address()),
                ("JWKS", &json!({ "keys": [key.jwk()] })),
            ],
        );
        let config = folder.join("tollgate.yaml");
        fs::write(&config, configuration).unwrap();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let start = i64::try_from(now.as_secs()).unwrap();
        let clock = Clock::at(folder, start);
        let gate = Gate::start(Launch {
            binary: gate::binary(),
            config,
            admin: admin.address(),
            socket: folder.join("admin.sock"),
            logs: folder.to_owned(),
            place: None,
            env: clock.env(),
        });
        Self {
            gate,
            clock,
            start,
            key,
            target: Target {
                address: edge.address(),
                host: HOST.to_owned(),
                ca: authority.pem(),
                place: None,
                caller: Default::default(),
            },
            _echo: echo,
            _ports: [edge, admin],
            _directory: directory,
        }
    }

    /// A token issued at the start.
    fn token(&self, subject: &str) -> String {
        Token::new("https://login.example.com", subject, "orders-api")
            .claim("iat", self.start)
            .claim("exp", self.start + LIFE)
            .sign(&self.key)
            .unwrap()
    }

    /// Why it is refused; `None` if it is not.
    fn reason(&self, token: &str) -> Option<String> {
        let reply = self.target.h1(&Request::get("/").bearer(token)).unwrap();
        match reply.status {
            200 => None,
            _ => Some(reply.json()["reason"].as_str().unwrap().to_owned()),
        }
    }
}

/// The wall clock of one process: a file that libfaketime reads at every question. Its other clocks run on.
struct Clock(PathBuf);

impl Clock {
    fn at(folder: &Path, time: i64) -> Self {
        let clock = Self(folder.join("time"));
        clock.set(time);
        clock
    }

    /// Stands still at `time`, seconds since the epoch.
    fn set(&self, time: i64) {
        let time = UNIX_EPOCH + Duration::from_secs(u64::try_from(time).unwrap());
        let text = humantime::format_rfc3339_seconds(time).to_string();
        let next = self.0.with_extension("next");
        fs::write(&next, text.replace('T', " ").replace('Z', "\n")).unwrap();
        fs::rename(next, &self.0).unwrap();
    }

    fn env(&self) -> Vec<(std::ffi::OsString, std::ffi::OsString)> {
        vec![
            ("LD_PRELOAD".into(), library().into()),
            ("FAKETIME_TIMESTAMP_FILE".into(), self.0.clone().into()),
            ("FAKETIME_NO_CACHE".into(), "1".into()),
            ("DONT_FAKE_MONOTONIC".into(), "1".into()),
            ("FAKETIME_DONT_FAKE_MONOTONIC".into(), "1".into()),
            ("NO_FAKE_STAT".into(), "1".into()),
            ("TZ".into(), "UTC".into()),
        ]
    }
}

/// The library that Debian's package `faketime` brings, wherever the architecture has it.
fn library() -> PathBuf {
    let folders = fs::read_dir("/usr/lib").unwrap().flatten();
    let mut found = folders.map(|folder| folder.path().join("faketime/libfaketimeMT.so.1"));
    found
        .find(|path| path.is_file())
        .expect("no libfaketime here: cargo xtask setup --with e2e")
}
