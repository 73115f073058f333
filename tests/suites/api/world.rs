//! A gate in this process with everything around it: authority, issuer, echo API.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;
use tollgate::app::Gate;
use tollgate::demo::echo::Echo;
use tollgate::demo::issuer::{Issuer, SigningKey, Token};
use tollgate::demo::pki::Authority;
use tollgate_tests::client::{Reply, Request, Target};

/// The API's name in tokens.
pub(crate) const AUDIENCE: &str = "orders-api";
/// The API's host name.
pub(crate) const HOST: &str = "api.test";

/// How long anything may take before a test gives up; never waited for when all is well.
const PATIENCE: Duration = Duration::from_secs(10);

/// Everything that a test needs. The gate ends with it.
pub(crate) struct World {
    pub(crate) issuer: Issuer,
    pub(crate) key: SigningKey,
    pub(crate) echo: Echo,
    pub(crate) authority: Authority,
    pub(crate) gate: Option<Gate>,
    pub(crate) runtime: tokio::runtime::Runtime,
    pub(crate) folder: TempDir,
    address: SocketAddr,
    admin: SocketAddr,
}

/// Routes that most tests are content with.
pub(crate) const ROUTES: &str = "
      - { name: orders, match: { path: /orders }, upstream: api }
      - { name: open, match: { path: /open }, token: none, upstream: api }
      - { name: maybe, match: { path: /maybe }, token: { issuers: [corp], required: false }, upstream: api }
      - { name: forwarding, match: { path: /forwarding }, token: { issuers: [corp], forward: true }, upstream: api }
      - { name: scoped, match: { path: /scoped }, require: { scopes: [orders:read], claims: { tenant: [acme, 7] } }, upstream: api }
";

impl World {
    /// A gate with [`ROUTES`].
    pub(crate) fn new() -> Self {
        Self::with(ROUTES, "")
    }

    /// A gate with these `routes:` and more under `issuers: corp:`.
    pub(crate) fn with(routes: &str, issuer_settings: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let listen = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let issuer = Issuer::start(listen()).unwrap();
        let key = SigningKey::generate("first", jsonwebtoken::Algorithm::ES256).unwrap();
        issuer.publish([&key]);
        let echo = Echo::start("api", listen()).unwrap();
        let authority = Authority::new("Test CA").unwrap();
        for (name, hosts) in [
            ("default", &[HOST, "*.wild.test"][..]),
            ("second", &["second.test"]),
        ] {
            authority
                .leaf(hosts)
                .unwrap()
                .write(folder.path(), name)
                .unwrap();
        }
        let mut world = Self {
            issuer,
            key,
            echo,
            authority,
            gate: None,
            runtime: tokio::runtime::Builder::new_multi_thread()
                .worker_threads(1)
                .enable_all()
                .build()
                .unwrap(),
            folder,
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            admin: SocketAddr::from(([127, 0, 0, 1], 0)),
        };
        world.write(&world.configuration(routes, issuer_settings));
        world.start();
        world
    }

    /// A gate with these `routes:` and more under `listeners: edge:`.
    pub(crate) fn with_listener(settings: &str, routes: &str) -> Self {
        let world = Self::with(ROUTES, "");
        let configuration = world.configuration(routes, "");
        let listen = "    listen: 127.0.0.1:0\n    tls:";
        assert_eq!(configuration.matches(listen).count(), 1);
        let more = format!("    listen: 127.0.0.1:0\n    {settings}\n    tls:");
        world.write(&configuration.replacen(listen, &more, 1));
        world.reload().unwrap();
        world
    }

    /// The configuration's text.
    pub(crate) fn configuration(&self, routes: &str, issuer_settings: &str) -> String {
        format!(
            r#"version: 1
workers: 2
admin: {{ socket: admin.sock, listen: "127.0.0.1:0" }}
telemetry: {{ access_log: {{ to: {{ file: access.log }} }} }}
issuers:
  corp:
    issuer: {issuer}
    jwks: discover
    audiences: [{AUDIENCE}]
    algorithms: [RS256, PS256, ES256, ES384, EdDSA]
    clock_skew: 30s
    {issuer_settings}
    keys: {{ allow_http: true, refresh: 300s, unknown_kid_cooldown: 3600s }}
listeners:
  edge:
    listen: 127.0.0.1:0
    tls: {{ certificates: [{{ cert: default.crt, key: default.key }}, {{ cert: second.crt, key: second.key }}] }}
    defaults:
      token: {{ issuers: [corp] }}
      inject:
        x-user-id: {{ claim: sub }}
        x-groups: {{ claim: groups, encode: list, only: {{ prefix: app- }} }}
        x-profile: {{ claim: profile, encode: json }}
        x-blob: {{ claim: profile, encode: base64url }}
        x-tenant: {{ claim: ["https://example.com/tenant", id] }}
    routes: {routes}
upstreams:
  api: {{ endpoints: ["{echo}"] }}
  nobody: {{ endpoints: ["127.0.0.1:1"], timeouts: {{ connect: 1s }} }}
shutdown: {{ drain: 10s }}
"#,
            issuer = self.issuer.url(),
            echo = self.echo.address(),
        )
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().join("tollgate.yaml")
    }

    pub(crate) fn write(&self, configuration: &str) {
        fs::write(self.path(), configuration).unwrap();
    }

    fn start(&mut self) {
        self.begin();
        eventually("ready", || {
            self.probe("/readyz")
                .starts_with("HTTP/1.1 200")
                .then_some(())
        });
    }

    /// Ends the gate and starts another one with the configuration as it is now, ready or not.
    pub(crate) fn restart(&mut self) {
        if let Some(gate) = self.gate.take() {
            self.runtime.block_on(gate.drain());
        }
        self.begin();
    }

    fn begin(&mut self) {
        let gate = self
            .runtime
            .block_on(Gate::start(&self.path()))
            .unwrap_or_else(|error| panic!("{error}"));
        self.address = self.runtime.block_on(gate.listener("edge")).unwrap();
        self.admin = gate.admin_address().unwrap();
        self.gate = Some(gate);
    }

    /// Reads the configuration again.
    pub(crate) fn reload(&self) -> Result<(), String> {
        self.runtime.block_on(self.gate.as_ref().unwrap().reload())
    }

    /// The listener, as asked for by its usual name.
    pub(crate) fn target(&self) -> Target {
        self.target_for(HOST)
    }

    /// The listener, as asked for by `host`.
    pub(crate) fn target_for(&self, host: &str) -> Target {
        Target {
            address: self.address,
            host: host.to_owned(),
            ca: self.authority.pem(),
            place: None,
            caller: Default::default(),
        }
    }

    /// One request by HTTP/1.1.
    pub(crate) fn h1(&self, request: &Request) -> Reply {
        self.target().h1(request).unwrap()
    }

    /// One request by HTTP/2.
    pub(crate) fn h2(&self, request: &Request) -> Reply {
        self.target()
            .h2(std::slice::from_ref(request))
            .unwrap()
            .remove(0)
    }

    /// A valid token's claims.
    pub(crate) fn claims(&self) -> Token {
        self.issuer.token("alice", AUDIENCE)
    }

    /// A valid token.
    pub(crate) fn token(&self) -> String {
        self.claims().sign(&self.key).unwrap()
    }

    /// The whole answer of an admin address path.
    pub(crate) fn probe(&self, path: &str) -> String {
        self.probe_with(path, "host: localhost\r\n")
    }

    /// The same with these fields.
    pub(crate) fn probe_with(&self, path: &str, fields: &str) -> String {
        use std::io::{Read, Write};
        let mut stream = std::net::TcpStream::connect(self.admin).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        write!(
            stream,
            "GET {path} HTTP/1.1\r\n{fields}connection: close\r\n\r\n"
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    /// What `tollgate status` would show.
    pub(crate) fn status(&self) -> Value {
        let socket = self.folder.path().join("admin.sock");
        let ask = tollgate::admin::client::ask(&socket, http::Method::GET, "/status");
        self.runtime.block_on(ask).unwrap().1
    }

    /// What the admin socket answers to a `GET` of this path.
    pub(crate) fn ask(&self, path: &str) -> (http::StatusCode, Value) {
        let socket = self.folder.path().join("admin.sock");
        let ask = tollgate::admin::client::ask(&socket, http::Method::GET, path);
        self.runtime.block_on(ask).unwrap()
    }

    /// What the admin socket answers to a question.
    pub(crate) fn post(&self, path: &str, question: &Value) -> (http::StatusCode, Value) {
        let socket = self.folder.path().join("admin.sock");
        let ask = tollgate::admin::client::post(&socket, path, question);
        self.runtime.block_on(ask).unwrap()
    }

    /// The access log line that `wanted` picks.
    pub(crate) fn log_line(&self, wanted: impl Fn(&Value) -> bool) -> Value {
        let path = self.folder.path().join("access.log");
        eventually("an access log line", || {
            let text = fs::read_to_string(&path).ok()?;
            text.lines()
                .filter_map(|line| serde_json::from_str(line).ok())
                .find(|line| wanted(line))
        })
    }
}

/// Asks until there is an answer.
pub(crate) fn eventually<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = ask() {
            return found;
        }
        assert!(Instant::now() < end, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A reply is a refusal with this status and reason, said in the same word everywhere a client can see.
#[track_caller]
pub(crate) fn refused(reply: &Reply, status: u16, reason: &str) {
    let problem = reply.json();
    assert_eq!(
        (reply.status, problem["reason"].as_str()),
        (status, Some(reason)),
        "{reply:?}"
    );
    assert_eq!(
        reply.field("content-type"),
        Some("application/problem+json")
    );
    assert_eq!(reply.field("cache-control"), Some("no-store"));
    assert_eq!(problem["request_id"].as_str(), reply.field("x-request-id"));
    let members: Vec<_> = problem.as_object().unwrap().keys().cloned().collect();
    assert_eq!(
        members,
        ["reason", "request_id", "status", "title"],
        "a body says no more"
    );
}

/// The values of a field as the API saw them.
pub(crate) fn seen(reply: &Reply, name: &str) -> Vec<String> {
    let json = reply.json();
    let headers = json["headers"]
        .as_array()
        .unwrap_or_else(|| panic!("no echo: {reply:?}"));
    headers
        .iter()
        .filter(|field| field[0].as_str().unwrap().eq_ignore_ascii_case(name))
        .map(|field| field[1].as_str().unwrap().to_owned())
        .collect()
}
