//! The network that every test lays, and what stands in it.

use std::fs;
use std::io::{self, Read as _};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jsonwebtoken::Algorithm;
use tempfile::TempDir;
use tollgate::demo::curl::Curl;
use tollgate::demo::daemon::Launch;
use tollgate::demo::echo::{Echo, Greeter};
use tollgate::demo::issuer::{Issuer, SigningKey, Token};
use tollgate::demo::lab::{BPFFS, Host, Lab, Prefix, UPLINK, sysctl};
use tollgate::demo::pki::Authority;
use tollgate_tests::client::Target;
use tollgate_tests::gate::{self, Gate};
pub(crate) use tollgate_tests::place::{listen, route_vips, vip_v4, vip_v6};

/// The API, by both address families; no interface owns either.
pub(crate) const API_V4: SocketAddr = SocketAddr::new(vip_v4(10), 443);
pub(crate) const API_V6: SocketAddr = SocketAddr::new(vip_v6(0x10), 443);
/// The service with four backends.
pub(crate) const DATABASE_V4: SocketAddr = SocketAddr::new(vip_v4(20), 5432);
pub(crate) const DATABASE_V6: SocketAddr = SocketAddr::new(vip_v6(0x20), 5432);

pub(crate) const API_HOST: &str = "api.example.com";
pub(crate) const SHOP_HOST: &str = "shop.example.com";

/// How long a connection to the database may take.
pub(crate) const CONNECT: Duration = Duration::from_secs(5);

const AUDIENCE: &str = "orders-api";

/// Everything but the daemon.
pub(crate) struct Site {
    pub(crate) echo: Echo,
    issuer: Issuer,
    pub(crate) key: SigningKey,
    pub(crate) databases: Vec<Database>,
    pub(crate) client: Host,
    pub(crate) node: Host,
    /// The backend of all tunnels.
    pub(crate) tunnel: Host,
    _api: Host,
    ca: String,
    announce: &'static str,
    directory: TempDir,
    _lab: Lab,
}

/// A backend of the database services.
pub(crate) struct Database {
    pub(crate) name: String,
    pub(crate) host: Host,
    _greeters: [Greeter; 2],
}

impl Site {
    /// Lays the network; the configuration that it writes has all four databases, and the node answers for the
    /// virtual addresses on the segment.
    pub(crate) fn lay() -> Self {
        Self::lay_out("neighbour")
    }

    /// The same, but the client routes the virtual addresses to the node: nobody announces them, nobody has them.
    pub(crate) fn lay_routed() -> Self {
        Self::lay_out("none")
    }

    fn lay_out(announce: &'static str) -> Self {
        let directory = gate::folder("e2e");
        let mut lab = Lab::new().unwrap();
        let node = lab.node("node", Path::new(BPFFS)).unwrap();
        let client = lab.host("client").unwrap();
        if announce == "none" {
            route_vips(&client, &node);
        } else {
            client.on_link(Prefix::new(vip_v4(0), 24)).unwrap();
            client.on_link(Prefix::new(vip_v6(0), 64)).unwrap();
        }
        let tunnel = lab.host("tunnel").unwrap();
        for interface in ["all", UPLINK] {
            // The outer source varies with the flow: no route leads back to it.
            sysctl(&tunnel.ns, &format!("ipv4/conf/{interface}/rp_filter"), "0").unwrap();
        }
        let api = lab.host("api").unwrap();
        let databases = (1..=4)
            .map(|n| Database::plug(&mut lab, &format!("db-{n}")))
            .collect();

        let listener = listen(&api, SocketAddr::from((api.v4, 9000)));
        let echo = Echo::start("api", listener).unwrap();
        let issuer =
            Issuer::start(listen(&node, SocketAddr::from(([127, 0, 0, 1], 8080)))).unwrap();
        let key = SigningKey::generate("first", Algorithm::ES256).unwrap();
        issuer.publish([&key]);

        let authority = Authority::new("e2e").unwrap();
        for (file, host) in [("api", API_HOST), ("shop", SHOP_HOST)] {
            authority
                .leaf(&[host])
                .unwrap()
                .write(directory.path(), file)
                .unwrap();
        }
        fs::write(directory.path().join("ca.crt"), authority.pem()).unwrap();
        let site = Self {
            echo,
            issuer,
            key,
            databases,
            client,
            node,
            tunnel,
            _api: api,
            ca: authority.pem(),
            announce,
            directory,
            _lab: lab,
        };
        site.configure(&["db-1", "db-2", "db-3", "db-4"]);
        site
    }

    /// Writes the configuration, with these databases.
    pub(crate) fn configure(&self, databases: &[&str]) {
        let backends = |address: fn(&Host) -> IpAddr| {
            let chosen = self
                .databases
                .iter()
                .filter(|db| databases.contains(&db.name.as_str()));
            let backends: Vec<String> = chosen
                .map(|db| format!("{{ address: \"{}\" }}", address(&db.host)))
                .collect();
            backends.join(", ")
        };
        let text = gate::configuration(
            "e2e.yaml",
            &[
                ("DIR", &self.directory.path().display()),
                ("ANNOUNCE", &self.announce),
                ("ISSUER", &self.issuer.url()),
                ("API", &self.echo.address()),
                ("DATABASES", &backends(|host| host.v4.into())),
                ("DATABASES_V6", &backends(|host| host.v6.into())),
                ("TUNNEL_V4", &self.tunnel.v4),
                ("TUNNEL_V6", &self.tunnel.v6),
            ],
        );
        // Whole or not at all, as a careful operator does it.
        let next = self.directory.path().join("tollgate.yaml.next");
        fs::write(&next, text).unwrap();
        fs::rename(&next, self.config()).unwrap();
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.directory.path().join("tollgate.yaml")
    }

    pub(crate) fn ca_file(&self) -> PathBuf {
        self.directory.path().join("ca.crt")
    }

    /// Starts the daemon on the node and waits until it is ready.
    pub(crate) fn open(&self) -> Gate {
        Gate::start(self.launch())
    }

    /// What it takes to start the daemon on the node.
    pub(crate) fn launch(&self) -> Launch {
        gate::launch_on(&self.node, self.directory.path())
    }

    /// Lets the issuer publish these keys and no others.
    pub(crate) fn publish<'a>(&self, keys: impl IntoIterator<Item = &'a SigningKey>) {
        self.issuer.publish(keys);
    }

    /// The claims of a good token.
    pub(crate) fn claims(&self, subject: &str) -> Token {
        self.issuer.token(subject, AUDIENCE)
    }

    /// A good token.
    pub(crate) fn token(&self, subject: &str) -> String {
        self.claims(subject).sign(&self.key).unwrap()
    }

    /// The API as the client reaches it.
    pub(crate) fn target(&self, address: SocketAddr, host: &str) -> Target {
        Target {
            address,
            host: host.to_owned(),
            ca: self.ca.clone(),
            place: Some(Arc::clone(&self.client.ns)),
            caller: Default::default(),
        }
    }

    pub(crate) fn curl(&self) -> Curl {
        Curl::find(Some(Arc::clone(&self.client.ns)), self.ca_file(), API_HOST).unwrap()
    }

    /// Connects to a database from the client and reads which one it is.
    pub(crate) fn database(&self, address: SocketAddr) -> io::Result<(TcpStream, String)> {
        self.client
            .ns
            .run(|| {
                let mut stream = TcpStream::connect_timeout(&address, CONNECT)?;
                stream.set_read_timeout(Some(CONNECT))?;
                let name = read_line(&mut stream)?;
                Ok((stream, name))
            })
            .unwrap()
    }
}

impl Database {
    fn plug(lab: &mut Lab, name: &str) -> Self {
        let host = lab.host(name).unwrap();
        let greeters = [DATABASE_V4, DATABASE_V6].map(|address| {
            host.hold_vip(address.ip()).unwrap();
            Greeter::start(name, listen(&host, address)).unwrap()
        });
        Self {
            name: name.to_owned(),
            host,
            _greeters: greeters,
        }
    }
}

/// A line without its line feed.
pub(crate) fn read_line(stream: &mut TcpStream) -> io::Result<String> {
    let mut line = Vec::new();
    loop {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        match byte {
            [b'\n'] => return String::from_utf8(line).map_err(io::Error::other),
            [byte] => line.push(byte),
        }
    }
}

/// Whether an XDP program is attached to the node's uplink.
pub(crate) fn has_xdp(node: &Host) -> bool {
    gate::printed(&node.ns, "ip", &["-details", "link", "show", "dev", UPLINK]).contains("xdp")
}

/// All pins on the node, in the bpffs that only it sees.
pub(crate) fn pins(node: &Host) -> Vec<PathBuf> {
    fn walk(directory: &Path, found: &mut Vec<PathBuf>) {
        let Ok(entries) = fs::read_dir(directory) else {
            return;
        };
        for entry in entries.flatten() {
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => walk(&entry.path(), found),
                _ => found.push(entry.path()),
            }
        }
    }
    let mut found = Vec::new();
    let ours = Path::new(BPFFS).join("tollgate");
    node.ns.run(|| walk(&ours, &mut found)).unwrap();
    found
}
