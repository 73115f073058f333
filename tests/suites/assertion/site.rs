//! An issuer, an echo API, and the real binary between a client and them.

use std::fs;
use std::net::TcpListener;

use serde_json::{Value, json};
use tempfile::TempDir;
use tollgate::demo::daemon::Launch;
use tollgate::demo::echo::Echo;
use tollgate::demo::issuer::{Issuer, SigningKey};
use tollgate::demo::pki::Authority;
use tollgate_tests::client::{Caller, Request, Target};
use tollgate_tests::gate::{self, Gate};
use tollgate_tests::port::Port;

use crate::python::Python;

const API_HOST: &str = "api.example.com";
const JWKS: &str = "/.well-known/tollgate/jwks.json";

pub(crate) struct Site {
    pub(crate) python: Python,
    issuer: Issuer,
    key: SigningKey,
    edge: Port,
    admin: Port,
    ca: String,
    _echo: Echo,
    _gate: Gate,
    _directory: TempDir,
}

impl Site {
    pub(crate) fn open() -> Self {
        let directory = tempfile::Builder::new()
            .prefix("tollgate-assertion-")
            .tempdir()
            .unwrap();
        let place = directory.path();
        let authority = Authority::new("assertion").unwrap();
        let leaf = authority.leaf(&[API_HOST, "127.0.0.1"]).unwrap();
        leaf.write(place, "api").unwrap();
        let ca = place.join("ca.crt");
        fs::write(&ca, authority.pem()).unwrap();
        let secret = "a secret of this suite alone, long enough: 0123456789";
        fs::write(place.join("secret"), secret).unwrap();
        let listen = || TcpListener::bind("127.0.0.1:0").unwrap();
        let issuer = Issuer::start(listen()).unwrap();
        let key = SigningKey::generate("k", jsonwebtoken::Algorithm::ES256).unwrap();
        issuer.publish([&key]);
        let echo = Echo::start("api", listen()).unwrap();
        let (edge, admin) = (Port::hold(), Port::hold());
        let text = gate::configuration(
            "assertion.yaml",
            &[
                ("DIR", &place.display()),
                ("ISSUER", &issuer.url()),
                ("API", &echo.address()),
                ("EDGE", &edge.address()),
                ("ADMIN", &admin.address()),
            ],
        );
        let config = place.join("tollgate.yaml");
        fs::write(&config, text).unwrap();
        let gate = Gate::start(Launch {
            binary: gate::binary(),
            config,
            admin: admin.address(),
            socket: place.join("admin.sock"),
            logs: place.to_owned(),
            place: None,
            env: Vec::new(),
        });
        Self {
            python: Python::find().trusting(ca),
            issuer,
            key,
            edge,
            admin,
            ca: authority.pem(),
            _echo: echo,
            _gate: gate,
            _directory: directory,
        }
    }

    pub(crate) fn issuer(&self) -> &str {
        self.issuer.url()
    }

    /// Alice's token.
    pub(crate) fn token(&self) -> String {
        let token = self.issuer.token("alice", "orders-api");
        token
            .claim("groups", json!(["app-a", "app-b,c"]))
            .claim("profile", json!({ "name": "Zoë" }))
            .sign(&self.key)
            .unwrap()
    }

    /// Where the admin address publishes the keys.
    pub(crate) fn admin_jwks(&self) -> String {
        format!("http://{}{JWKS}", self.admin.address())
    }

    /// Where the listener does.
    pub(crate) fn edge_jwks(&self) -> String {
        format!("https://{}{JWKS}", self.edge.address())
    }

    /// A request with Alice's token as it reached the API, in the words of the sample verifier.
    pub(crate) fn arrived(&self, request: &Request) -> Value {
        let target = Target {
            address: self.edge.address(),
            host: API_HOST.to_owned(),
            ca: self.ca.clone(),
            place: None,
            caller: Caller::default(),
        };
        let reply = target.h1(&request.clone().bearer(&self.token())).unwrap();
        assert_eq!(reply.status, 200, "{reply:?}");
        let mut echo = reply.json();
        echo["scheme"] = json!("https");
        echo
    }
}

/// The value of a header.
pub(crate) fn value(request: &Value, name: &str) -> String {
    let lines = request["headers"].as_array().unwrap();
    let line = lines.iter().find(|line| line[0] == name).unwrap();
    line[1].as_str().unwrap().to_owned()
}

/// The request with another value of a header, or without it.
pub(crate) fn change(request: &Value, name: &str, value: Option<&str>) -> Value {
    let mut request = request.clone();
    let lines = request["headers"].as_array_mut().unwrap();
    let at = lines.iter().position(|line| line[0] == name).unwrap();
    match value {
        Some(value) => lines[at][1] = json!(value),
        None => drop(lines.remove(at)),
    }
    request
}

/// The request with one more header.
pub(crate) fn push(request: &Value, name: &str, value: &str) -> Value {
    let mut request = request.clone();
    let lines = request["headers"].as_array_mut().unwrap();
    lines.push(json!([name, value]));
    request
}
