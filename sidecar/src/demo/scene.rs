//! What stands before the first step: hosts, issuer, APIs, a configuration, the daemon.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jsonwebtoken::Algorithm;
use tempfile::TempDir;

use super::curl::Curl;
use super::daemon::{Daemon, Launch};
use super::echo::{Echo, Greeter};
use super::error::DemoError;
use super::issuer::{Issuer, SigningKey};
use super::lab::{BPFFS, Host, Lab, Netns, Prefix};
use super::pki::Authority;

/// The API's name; example domains never leave a machine (RFC 2606).
pub(super) const API: &str = "api.example.com";
/// The audience of the demo's tokens.
pub(super) const AUDIENCE: &str = "orders-api";

// Documentation prefixes (RFC 5737, RFC 3849): nobody's addresses, and no interface's here.
const API_V4: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 10));
const API_V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0x113, 0, 0, 0, 0, 0x10));
const DATABASE: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 20));
const DATABASE_PORT: u16 = 5432;

/// Everything that is up. Dropping it takes it down.
pub(super) struct Scene {
    // In the order of dropping: whoever uses something goes before it.
    pub(super) daemon: Daemon,
    pub(super) issuer: Issuer,
    pub(super) key: SigningKey,
    pub(super) curl: Curl,
    /// Where the API answers.
    pub(super) api: SocketAddr,
    /// With a datapath only: the rest of the addresses and what is behind them.
    pub(super) balanced: Option<Balanced>,
    apis: Vec<Echo>,
    config: PathBuf,
    _directory: TempDir,
}

/// What needs the datapath.
pub(super) struct Balanced {
    /// The API's IPv6 address.
    pub(super) api_v6: SocketAddr,
    /// The database's address, balanced by XDP.
    pub(super) database: SocketAddr,
    /// The database hosts.
    pub(super) backends: Vec<Backend>,
    pub(super) client: Arc<Netns>,
    // The network itself.
    _hosts: Vec<Host>,
    _lab: Lab,
}

/// A database host.
pub(super) struct Backend {
    pub(super) name: &'static str,
    pub(super) greeter: Greeter,
}

impl Scene {
    /// Sets it: with the datapath in a network of namespaces, or without, on loopback.
    pub(super) fn set(with_datapath: bool) -> Result<Self, DemoError> {
        let directory = tempfile::Builder::new()
            .prefix("tollgate-demo-")
            .tempdir()
            .map_err(doing("make a temporary directory"))?;
        let authority = Authority::new("Tollgate demo authority")?;
        let ca = directory.path().join("ca.crt");
        write(&ca, &authority.pem())?;
        let leaf = authority.leaf(&[API])?;
        let leaf = leaf
            .write(directory.path(), "api")
            .map_err(doing("write a certificate"))?;

        let stage = if with_datapath {
            Stage::lab()?
        } else {
            Stage::loopback()?
        };
        let issuer = Issuer::start(stage.issuer)?;
        let key = SigningKey::generate("demo-1", Algorithm::ES256)?;
        issuer.publish([&key]);

        let socket = directory.path().join("admin.sock");
        let config = directory.path().join("tollgate.yaml");
        let text = Configuration {
            socket: &socket,
            admin: stage.admin,
            issuer: issuer.url(),
            listen: stage.listen,
            certificate: &leaf.certificate,
            key: &leaf.key,
            apis: stage.apis.iter().map(Echo::address).collect(),
            databases: &stage.databases,
        };
        write(&config, &text.yaml())?;

        let curl = Curl::find(stage.client, ca, API)?;
        let launch = Launch {
            binary: std::env::current_exe().map_err(doing("find this program's file"))?,
            config: config.clone(),
            admin: stage.admin,
            socket,
            logs: directory.path().to_owned(),
            place: stage.node,
            env: Vec::new(),
        };
        let mut daemon = Daemon::start(launch)?;
        daemon.wait_ready(Duration::from_secs(20))?;
        Ok(Self {
            daemon,
            issuer,
            key,
            curl,
            api: stage.api,
            balanced: stage.balanced,
            apis: stage.apis,
            config,
            _directory: directory,
        })
    }

    /// How many requests have reached the API, on all its hosts.
    pub(super) fn api_requests(&self) -> u64 {
        self.apis.iter().map(Echo::count).sum()
    }

    /// What stands where, for someone who sees it for the first time.
    pub(super) fn describe(&self) -> String {
        let config = self.config.display();
        match &self.balanced {
            None => format!(
                "  client ──▶ Tollgate {} ──▶ API {}\n  configuration: {config}\n\n",
                self.api,
                self.apis
                    .iter()
                    .map(|api| api.address().to_string())
                    .collect::<Vec<_>>()
                    .join(", "),
            ),
            Some(balanced) => format!(
                "\
  Six hosts, each a network namespace. Nothing is bound to the addresses that the client calls.

                  ┌─ node: Tollgate ────────────────────────────────────────┐
    client ──▶    │ {api:<21} TLS, token, headers (sidecar) ──▶ │ ──▶ api-1, api-2
                  │ {database:<21} load balancing (XDP)          ──▶ │ ──▶ db-1, db-2
                  └─────────────────────────────────────────────────────────┘
  configuration: {config}\n\n",
                api = self.api.to_string(),
                database = balanced.database.to_string(),
            ),
        }
    }
}

/// The places that the scene's parts go to.
struct Stage {
    node: Option<Arc<Netns>>,
    client: Option<Arc<Netns>>,
    issuer: TcpListener,
    apis: Vec<Echo>,
    admin: SocketAddr,
    listen: SocketAddr,
    api: SocketAddr,
    databases: Vec<Ipv4Addr>,
    balanced: Option<Balanced>,
}

impl Stage {
    fn lab() -> Result<Self, DemoError> {
        let mut lab = Lab::new()?;
        let client = lab.host("client")?;
        client.on_link(Prefix::new(API_V4, 24))?;
        client.on_link(Prefix::new(API_V6, 64))?;
        let node = lab.node("node", Path::new(BPFFS))?;
        let mut hosts = Vec::new();
        let mut apis = Vec::new();
        for name in ["api-1", "api-2"] {
            let host = lab.host(name)?;
            let listener = listen(Some(&host.ns), SocketAddr::from((host.v4, 9000)))?;
            apis.push(Echo::start(name, listener).map_err(doing("start an API"))?);
            hosts.push(host);
        }
        let mut backends = Vec::new();
        let mut databases = Vec::new();
        for name in ["db-1", "db-2"] {
            let host = lab.host(name)?;
            host.hold_vip(DATABASE)?;
            let listener = listen(Some(&host.ns), SocketAddr::new(DATABASE, DATABASE_PORT))?;
            let greeter = Greeter::start(name, listener).map_err(doing("start a database"))?;
            backends.push(Backend { name, greeter });
            databases.push(host.v4);
            hosts.push(host);
        }
        let (client_ns, node_ns) = (Arc::clone(&client.ns), Arc::clone(&node.ns));
        hosts.extend([client, node]);
        Ok(Self {
            issuer: listen(Some(&node_ns), SocketAddr::from(([127, 0, 0, 1], 8080)))?,
            admin: SocketAddr::from(([127, 0, 0, 1], 9901)),
            listen: SocketAddr::from((Ipv6Addr::UNSPECIFIED, 8443)),
            api: SocketAddr::new(API_V4, 443),
            apis,
            databases,
            balanced: Some(Balanced {
                api_v6: SocketAddr::new(API_V6, 443),
                database: SocketAddr::new(DATABASE, DATABASE_PORT),
                backends,
                client: Arc::clone(&client_ns),
                _hosts: hosts,
                _lab: lab,
            }),
            node: Some(node_ns),
            client: Some(client_ns),
        })
    }

    fn loopback() -> Result<Self, DemoError> {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let api = listen(None, any)?;
        // Two ports for the daemon, which it must be told before it binds them: reserved at once, so that they differ.
        let reserved = [listen(None, any)?, listen(None, any)?];
        let port =
            |listener: &TcpListener| listener.local_addr().map_err(doing("find a free port"));
        let (edge, admin) = (port(&reserved[0])?, port(&reserved[1])?);
        Ok(Self {
            node: None,
            client: None,
            issuer: listen(None, any)?,
            apis: vec![Echo::start("api-1", api).map_err(doing("start an API"))?],
            admin,
            listen: edge,
            api: edge,
            databases: Vec::new(),
            balanced: None,
        })
    }
}

fn listen(ns: Option<&Netns>, address: SocketAddr) -> Result<TcpListener, DemoError> {
    let bind = || TcpListener::bind(address);
    match ns {
        Some(ns) => ns.run(bind)?,
        None => bind(),
    }
    .map_err(|error| DemoError::Io(format!("listen on {address}"), error))
}

fn write(path: &Path, text: &str) -> Result<(), DemoError> {
    fs::write(path, text).map_err(|error| DemoError::Io(format!("write {}", path.display()), error))
}

fn doing(what: &str) -> impl FnOnce(io::Error) -> DemoError {
    let what = what.to_owned();
    |error| DemoError::Io(what, error)
}

/// What differs between demo runs in the configuration file.
struct Configuration<'a> {
    socket: &'a Path,
    admin: SocketAddr,
    issuer: &'a str,
    listen: SocketAddr,
    certificate: &'a Path,
    key: &'a Path,
    apis: Vec<SocketAddr>,
    /// None: no datapath.
    databases: &'a [Ipv4Addr],
}

impl Configuration<'_> {
    fn yaml(&self) -> String {
        let apis: Vec<String> = self.apis.iter().map(|api| format!("\"{api}\"")).collect();
        let mut text = format!(
            r#"# What `tollgate demo` runs on.
version: 1
admin:
  socket: {socket}
{admin} # /metrics /healthz /readyz

issuers:
  corp:
{issuer} # equals the token's `iss`
    jwks: discover                           # keys by OpenID discovery
    keys: {{ allow_http: true }}               # a demo issuer on loopback; never in earnest
    audiences: [{AUDIENCE}]
    algorithms: [RS256, ES256]
    clock_skew: 5s

listeners:
  edge:
    listen: "{listen}"
    tls:
      certificates: [{{ cert: {certificate}, key: {key} }}]
    defaults:                                # what each route asks for unless it says otherwise
      token: {{ issuers: [corp], sources: [{{ header: authorization }}] }}
    routes:
      - name: orders
        match: {{ hosts: [{API}], path: /orders }}
        require: {{ scopes: ["orders:read"] }}
        inject:                              # claims that the API sees, as headers that nobody can forge
          x-user-id: {{ claim: sub }}
          x-user-groups: {{ claim: groups, encode: list, only: {{ prefix: app- }} }}
        upstream: api
      - name: ping
        match: {{ path: {{ exact: /ping }} }}
        token: none                          # public
        upstream: api

upstreams:
  api:
    endpoints: [{apis}]
    protocol: http1

shutdown: {{ drain: 5s }}
"#,
            socket = self.socket.display(),
            admin = padded(format_args!("  listen: \"{}\"", self.admin)),
            issuer = padded(format_args!("    issuer: {}", self.issuer)),
            listen = self.listen,
            certificate = self.certificate.display(),
            key = self.key.display(),
            apis = apis.join(", "),
        );
        if let [first, ..] = self.databases {
            let mut backends = format!("{{ address: {first} }}");
            for next in &self.databases[1..] {
                backends.push_str(&format!(", {{ address: {next} }}"));
            }
            text.push_str(&format!(
                r#"
datapath:
  interfaces: [eth0]
  xdp: auto
{bpffs} # what outlives the daemon: the program, its tables
  announce: neighbour                        # answer ARP and neighbour discovery for these addresses
  services:
    - {{ name: api, vip: "{api_v4}/tcp", deliver: {{ listener: edge }} }}
    - {{ name: api-v6, vip: "{api_v6}/tcp", deliver: {{ listener: edge }} }}
    - name: database
      vip: "{database}/tcp"
      deliver: l2                            # backends hold the address and answer the client directly
      backends: [{backends}]
"#,
                bpffs = padded(format_args!("  bpffs: {BPFFS}/tollgate")),
                api_v4 = SocketAddr::new(API_V4, 443),
                api_v6 = SocketAddr::new(API_V6, 443),
                database = SocketAddr::new(DATABASE, DATABASE_PORT),
            ));
        }
        text
    }
}

/// To the column where the file's remarks begin.
fn padded(text: impl std::fmt::Display) -> String {
    format!("{:<44}", text.to_string())
}
