//! The provider, an echo API, and what lies between them and a client.

use std::fs;
use std::net::TcpListener;
use std::path::PathBuf;

use serde_json::Value;
use tempfile::TempDir;
use tollgate::demo::curl::{self, Curl};
use tollgate::demo::daemon::Launch;
use tollgate::demo::echo::Echo;
use tollgate::demo::pki::Authority;
use tollgate_tests::client::{Reply, Request, Target};
use tollgate_tests::gate::{self, Gate};
use tollgate_tests::port::Port;

use crate::provider::Provider;

const API_HOST: &str = "api.example.com";

/// Everything but the daemon.
pub(crate) struct Site {
    pub(crate) provider: Provider,
    echo: Echo,
    edge: Port,
    admin: Port,
    ca: String,
    /// What the configuration says of the issuer's `keys`.
    keys: &'static str,
    directory: TempDir,
}

impl Site {
    /// The configuration that it writes takes access tokens alone (`at+jwt`).
    pub(crate) fn lay(keys: &'static str) -> Self {
        let directory = tempfile::Builder::new()
            .prefix("tollgate-idp-")
            .tempdir()
            .unwrap();
        let authority = Authority::new("idp").unwrap();
        let leaf = authority.leaf(&[API_HOST]).unwrap();
        leaf.write(directory.path(), "api").unwrap();
        fs::write(directory.path().join("ca.crt"), authority.pem()).unwrap();
        let site = Self {
            provider: Provider::start(&authority, directory.path()),
            echo: Echo::start("api", TcpListener::bind("127.0.0.1:0").unwrap()).unwrap(),
            edge: Port::hold(),
            admin: Port::hold(),
            ca: authority.pem(),
            keys,
            directory,
        };
        site.configure("at+jwt");
        site
    }

    /// Writes the configuration, with this `token_type`.
    pub(crate) fn configure(&self, token_type: &str) {
        let text = gate::configuration(
            "idp.yaml",
            &[
                ("DIR", &self.directory.path().display()),
                ("ISSUER", &self.provider.issuer()),
                ("API", &self.echo.address()),
                ("EDGE", &self.edge.address()),
                ("ADMIN", &self.admin.address()),
                ("KEYS", &self.keys),
                ("TYPE", &token_type),
            ],
        );
        let next = self.directory.path().join("tollgate.yaml.next");
        fs::write(&next, text).unwrap();
        fs::rename(&next, self.config()).unwrap();
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.directory.path().join("tollgate.yaml")
    }

    /// Starts the daemon, and waits until it has found the provider's keys.
    pub(crate) fn open(&self) -> Gate {
        Gate::start(self.launch(&self.ca_file()))
    }

    /// What starts the daemon; `trusted` has the only authorities that it trusts.
    pub(crate) fn launch(&self, trusted: &std::path::Path) -> Launch {
        Launch {
            binary: gate::binary(),
            config: self.config(),
            admin: self.admin.address(),
            socket: self.directory.path().join("admin.sock"),
            logs: self.directory.path().to_owned(),
            place: None,
            env: vec![
                ("SSL_CERT_FILE".into(), trusted.into()),
                // A folder without authorities: whatever the caller's environment says.
                (
                    "SSL_CERT_DIR".into(),
                    self.directory.path().join("none").into(),
                ),
            ],
        }
    }

    /// A file for [`Self::launch`], with this content.
    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.directory.path().join(name);
        fs::write(&path, text).unwrap();
        path
    }

    /// One request to the edge.
    pub(crate) fn send(&self, request: &Request) -> Reply {
        let target = Target {
            address: self.edge.address(),
            host: API_HOST.to_owned(),
            ca: self.ca.clone(),
            place: None,
            caller: Default::default(),
        };
        target.h1(request).unwrap()
    }

    /// `GET /orders` with this token.
    pub(crate) fn orders(&self, token: &str) -> Reply {
        self.send(&Request::get("/orders").bearer(token))
    }

    /// The same by curl.
    pub(crate) fn curl(&self, token: &str) -> curl::Reply {
        let curl = Curl::find(None, self.ca_file(), API_HOST).unwrap();
        let bearer = ["-H".to_owned(), format!("authorization: Bearer {token}")];
        curl.get(self.edge.address(), "/orders", &bearer).unwrap()
    }

    /// This token opens the API.
    #[track_caller]
    pub(crate) fn accepts(&self, token: &str) {
        let reply = self.orders(token);
        assert_eq!(reply.status, 200, "{:?}", reply.body);
    }

    /// This token is refused, with this status and reason.
    #[track_caller]
    pub(crate) fn refuses(&self, token: &str, status: u16, reason: &str) {
        let before = self.echo.count();
        let reply = self.orders(token);
        assert_eq!(
            (reply.status, &*said(&reply)),
            (status, reason),
            "{reply:?}"
        );
        assert_eq!(self.echo.count(), before, "it reached the API");
    }

    fn ca_file(&self) -> PathBuf {
        self.directory.path().join("ca.crt")
    }
}

/// The reason in a refusal.
pub(crate) fn said(reply: &Reply) -> String {
    let reason = reply.json()["reason"].as_str().map(str::to_owned);
    reason.unwrap_or_else(|| panic!("no reason: {reply:?}"))
}

/// What the status says of the issuer.
pub(crate) fn issuer(gate: &Gate) -> Value {
    gate.status()["issuers"][0].clone()
}

/// A number of it.
pub(crate) fn number(issuer: &Value, name: &str) -> u64 {
    let number = issuer[name].as_u64();
    number.unwrap_or_else(|| panic!("no {name} in {issuer}"))
}
