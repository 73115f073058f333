//! The provider: `tests/idp/server.mjs` in a process of its own.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, ChildStdout, Stdio};

use nix::sys::signal::Signal;
use serde_json::Value;
use tollgate::demo::lab::{Process, in_path, tethered};
use tollgate::demo::pki::Authority;
use tollgate_tests::client::{Reply, Request, Target};
use tollgate_tests::gate::PATIENCE;
use tollgate_tests::port::Port;

const CURE: &str = "cargo xtask setup --with idp; cargo xtask test --full";
/// What server.mjs calls the API.
const RESOURCE: &str = "https%3A%2F%2Forders.example.com%2F";
/// Of its clients; it leaves this process for the provider's alone.
const SECRET: &str = "known-to-this-suite-alone";

/// An issuer at a fixed address. It may die and come back, with the keys that it had.
pub(crate) struct Provider {
    port: Port,
    /// The authority that its certificate is of, as PEM.
    ca: String,
    /// Holds its certificate, its keys and what it says to standard error.
    folder: PathBuf,
    running: Option<Running>,
}

struct Running {
    process: Process,
    commands: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Provider {
    /// Starts it; `folder` keeps its files.
    pub(crate) fn start(authority: &Authority, folder: &Path) -> Self {
        let leaf = authority.leaf(&["127.0.0.1"]).unwrap();
        leaf.write(folder, "idp").unwrap();
        let mut provider = Self {
            port: Port::hold(),
            ca: authority.pem(),
            folder: folder.to_owned(),
            running: None,
        };
        provider.revive();
        provider
    }

    /// Its identifier.
    pub(crate) fn issuer(&self) -> String {
        format!("https://{}", self.port.address())
    }

    /// An access token for the orders API and these scopes, by client_credentials: the client whose tokens are signed
    /// with `algorithm`.
    pub(crate) fn token(&self, algorithm: &str, scope: &str) -> String {
        let resource = format!("&resource={RESOURCE}&scope={}", scope.replace(' ', "+"));
        self.granted(algorithm, &resource)
    }

    /// A token that names no API: this provider then gives one that only itself can read.
    pub(crate) fn opaque_token(&self) -> String {
        self.granted("ES256", "")
    }

    /// An ID token for a user of the ES256 client.
    pub(crate) fn id_token(&mut self) -> String {
        text(&self.tell("id-token"), "idToken")
    }

    /// New keys sign from now on; the old ones stay published.
    pub(crate) fn rotate(&mut self) {
        self.tell("rotate");
    }

    /// The keys that no longer sign are published no more. How many key sets had been served until then.
    pub(crate) fn retire(&mut self) -> u64 {
        served(&self.tell("retire"))
    }

    /// How many key sets it has served since it was started.
    pub(crate) fn key_sets(&mut self) -> u64 {
        served(&self.tell("count"))
    }

    /// SIGKILL: gone when this returns.
    pub(crate) fn kill(&mut self) {
        let mut running = self.running.take().expect("it runs");
        running.process.signal(Signal::SIGKILL).unwrap();
        running.process.wait(PATIENCE).unwrap();
    }

    /// Its keys are lost: it makes others when it comes back.
    pub(crate) fn forget_keys(&self) {
        fs::remove_file(self.folder.join("idp.json")).unwrap();
    }

    /// Starts it at its address, with the keys of its state file. Returns when it serves.
    pub(crate) fn revive(&mut self) {
        let node = in_path("node").unwrap_or_else(|| panic!("`node` is not in PATH: {CURE}"));
        let server = Path::new(env!("CARGO_MANIFEST_DIR")).join("idp/server.mjs");
        let log = self.folder.join("idp.log");
        let mut command = tethered(&node);
        let options: [(&str, OsString); 6] = [
            ("--modules", modules().into()),
            ("--cert", self.folder.join("idp.crt").into()),
            ("--key", self.folder.join("idp.key").into()),
            ("--state", self.folder.join("idp.json").into()),
            ("--secret", SECRET.into()),
            ("--port", self.port.address().port().to_string().into()),
        ];
        command.arg(server);
        for (name, value) in options {
            command.arg(name).arg(value);
        }
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(File::options().create(true).append(true).open(log).unwrap());
        let mut child = command.spawn().unwrap();
        self.running = Some(Running {
            commands: child.stdin.take().unwrap(),
            answers: BufReader::new(child.stdout.take().unwrap()),
            process: child.into(),
        });
        assert_eq!(text(&self.answer(), "issuer"), self.issuer());
    }

    fn granted(&self, algorithm: &str, more: &str) -> String {
        let mut request =
            Request::get("/token").field("content-type", "application/x-www-form-urlencoded");
        request.method = "POST".to_owned();
        request.body = format!(
            "grant_type=client_credentials&client_id=orders-{algorithm}&client_secret={SECRET}{more}"
        )
        .into();
        let reply: Reply = self.target().h1(&request).unwrap();
        assert_eq!(reply.status, 200, "{:?}\n{}", reply.body, self.log());
        text(&reply.json(), "access_token")
    }

    fn target(&self) -> Target {
        let address = self.port.address();
        Target {
            address,
            host: address.ip().to_string(),
            ca: self.ca.clone(),
            place: None,
            caller: Default::default(),
        }
    }

    fn tell(&mut self, command: &str) -> Value {
        let running = self.running.as_mut().expect("it runs");
        writeln!(running.commands, "{command}").unwrap();
        let answer = self.answer();
        assert_eq!(answer["error"], Value::Null, "{command}\n{}", self.log());
        answer
    }

    /// The next line that it says; it ends with the process, so this ends as well.
    fn answer(&mut self) -> Value {
        let running = self.running.as_mut().expect("it runs");
        let mut line = String::new();
        running.answers.read_line(&mut line).unwrap();
        let answer = serde_json::from_str(&line);
        answer
            .unwrap_or_else(|error| panic!("the provider says {line:?} ({error})\n{}", self.log()))
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.join("idp.log")).unwrap_or_default()
    }
}

/// The folder with `node_modules`.
fn modules() -> PathBuf {
    let folder = std::env::var_os("TOLLGATE_IDP").unwrap_or_else(|| {
        panic!("TOLLGATE_IDP is not set; it names the folder that holds the provider: {CURE}")
    });
    let folder = PathBuf::from(folder);
    let package = folder.join("node_modules/oidc-provider/package.json");
    assert!(
        package.is_file(),
        "TOLLGATE_IDP holds no oidc-provider ({} is missing): {CURE}",
        package.display()
    );
    folder
}

fn text(answer: &Value, member: &str) -> String {
    let text = answer[member].as_str();
    text.unwrap_or_else(|| panic!("no `{member}` in {answer}"))
        .to_owned()
}

fn served(answer: &Value) -> u64 {
    answer["keySets"].as_u64().expect("a count")
}
