//! The steps of `tollgate demo --once`, and the curl lines without it.

use std::io::{self, Read as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::{Value, json};

use super::error::DemoError;
use super::issuer::{IssuerError, forge_subject};
use super::scene::{API, AUDIENCE, Balanced, Scene};
use super::transcript::{Transcript, no_value, saw, say};

/// Walks through all steps, printing each. True if all went as stated.
pub(super) fn walk(scene: &mut Scene) -> bool {
    let mut transcript = Transcript::default();
    say(&format!(
        "The API at https://{API}/orders wants a token with the scope orders:read; /ping is public.\n"
    ));
    tokens(scene, &mut transcript);
    forged_headers(scene, &mut transcript);
    if let Some(balanced) = &scene.balanced {
        say(&format!(
            "\nThe database at {} is balanced in the kernel.\n",
            balanced.database
        ));
        connections(scene, balanced, &mut transcript);
    }
    say("\nThe end.\n");
    end(scene, &mut transcript);
    transcript.close(|| scene.daemon.log_tail())
}

/// Curl lines for another terminal, and how to stop.
pub(super) fn lines_to_paste(scene: &Scene) -> Result<String, DemoError> {
    let tokens = Tokens::mint(scene)?;
    let mut out =
        String::from("Lines to paste into another terminal; their tokens are good for an hour.\n");
    let mut line = |title: &str, address: SocketAddr, path: &str, more: &[String]| {
        out.push_str(&format!(
            "\n# {title}\n{}\n",
            scene.curl.line(address, path, more)
        ));
    };
    line(
        "a good token: the API sees x-user-id",
        scene.api,
        "/orders",
        &[bearer(&tokens.good)].concat(),
    );
    line("no token: 401 token_missing", scene.api, "/orders", &[]);
    line(
        "expired: 401 token_expired",
        scene.api,
        "/orders",
        &bearer(&tokens.expired),
    );
    line(
        "forged: 401 signature_invalid",
        scene.api,
        "/orders",
        &bearer(&tokens.forged),
    );
    line(
        "no scope: 403 scope_insufficient",
        scene.api,
        "/orders",
        &bearer(&tokens.unscoped),
    );
    line(
        "a forged header on a public route: gone",
        scene.api,
        "/ping",
        &forgeries(),
    );
    if let Some(balanced) = &scene.balanced {
        line(
            "over IPv6",
            balanced.api_v6,
            "/orders",
            &bearer(&tokens.good),
        );
        let at = balanced.database;
        out.push_str(&format!(
            "\n# the database: which host answers changes with the client's port\n\
             nsenter --net={} bash -c 'read name < /dev/tcp/{}/{}; echo \"$name\"'\n",
            super::lab::path_of(&balanced.client),
            at.ip(),
            at.port(),
        ));
    }
    let launch = scene.daemon.launch();
    out.push_str(&format!(
        "\n# what the daemon says of itself\n{} status --admin {}\n",
        launch.binary.display(),
        launch.socket.display(),
    ));
    out.push_str("\nctrl-C ends it and leaves nothing behind.\n");
    Ok(out)
}

struct Tokens {
    good: String,
    expired: String,
    forged: String,
    unscoped: String,
}

impl Tokens {
    fn mint(scene: &Scene) -> Result<Self, IssuerError> {
        let unscoped = scene
            .issuer
            .token("alice", AUDIENCE)
            .claim("groups", json!(["app-orders", "staff"]));
        let token = unscoped.clone().claim("scope", "orders:read");
        let good = token.sign(&scene.key)?;
        Ok(Self {
            forged: forge_subject(&good, "admin"),
            expired: token.expires_in(-60).sign(&scene.key)?,
            unscoped: unscoped.sign(&scene.key)?,
            good,
        })
    }
}

fn bearer(token: &str) -> Vec<String> {
    vec!["-H".to_owned(), format!("Authorization: Bearer {token}")]
}

/// The three spellings by which a header is smuggled past a proxy that compares names.
const FORGED_NAMES: [&str; 3] = ["X-User-Id", "X_User_Id", "x.user.id"];

fn forgeries() -> Vec<String> {
    FORGED_NAMES
        .iter()
        .flat_map(|name| ["-H".to_owned(), format!("{name}: root")])
        .collect()
}

fn tokens(scene: &Scene, transcript: &mut Transcript) {
    let tokens = match Tokens::mint(scene) {
        Ok(tokens) => tokens,
        Err(error) => return transcript.broken("tokens are minted", &error),
    };
    let good = bearer(&tokens.good);
    let newest = if scene.curl.speaks_http2() {
        "HTTP/2"
    } else {
        "HTTP/1.1"
    };

    transcript.request(
        "A good token passes; its claims reach the API as headers",
        "GET /orders, token: alice, groups app-orders and staff",
        scene.curl.get(scene.api, "/orders", &good),
        |reply| {
            reply.status == 200
                && reply.version == newest
                && saw(reply, "x-user-id") == ["alice"]
                && saw(reply, "x-user-groups") == ["app-orders"]
        },
    );
    if let Some(balanced) = &scene.balanced {
        transcript.request(
            "The same over IPv6",
            &format!("GET /orders to {}", balanced.api_v6),
            scene.curl.get(balanced.api_v6, "/orders", &good),
            |reply| reply.status == 200 && saw(reply, "x-user-id") == ["alice"],
        );
    }
    let http1 = [good, vec!["--http1.1".to_owned()]].concat();
    transcript.request(
        "The same over HTTP/1.1",
        "GET /orders",
        scene.curl.get(scene.api, "/orders", &http1),
        |reply| {
            reply.status == 200
                && reply.version == "HTTP/1.1"
                && saw(reply, "x-user-id") == ["alice"]
        },
    );

    let before = scene.api_requests();
    for (title, sent, more, status, reason) in [
        (
            "No token is refused",
            "GET /orders",
            vec![],
            401,
            "token_missing",
        ),
        (
            "An expired token is refused",
            "GET /orders, token: alice, expired a minute ago",
            bearer(&tokens.expired),
            401,
            "token_expired",
        ),
        (
            "A forged token is refused",
            "GET /orders, alice's token, its subject changed to admin",
            bearer(&tokens.forged),
            401,
            "signature_invalid",
        ),
        (
            "A token without the scope is refused",
            "GET /orders, token: alice, no scope",
            bearer(&tokens.unscoped),
            403,
            "scope_insufficient",
        ),
    ] {
        transcript.request(
            title,
            sent,
            scene.curl.get(scene.api, "/orders", &more),
            |reply| {
                reply.status == status
                    && reply.json()["reason"] == reason
                    && reply
                        .field("www-authenticate")
                        .is_some_and(|value| value.starts_with("Bearer"))
            },
        );
    }
    let reached = scene.api_requests() - before;
    transcript.step(
        "None of these four reached the API",
        "the API hosts' own count",
        &format!("{reached} requests"),
        reached == 0,
    );
}

fn forged_headers(scene: &Scene, transcript: &mut Transcript) {
    let sent = format!("{}: root", FORGED_NAMES.join(", "));
    let tokens = match Tokens::mint(scene) {
        Ok(tokens) => tokens,
        Err(error) => return transcript.broken("tokens are minted", &error),
    };
    let with_token = [bearer(&tokens.good), forgeries()].concat();
    transcript.request(
        "Forged identity headers never arrive: the API sees the token's",
        &format!("GET /orders, token: alice, {sent}"),
        scene.curl.get(scene.api, "/orders", &with_token),
        |reply| {
            reply.status == 200 && saw(reply, "x-user-id") == ["alice"] && no_value(reply, "root")
        },
    );
    transcript.request(
        "Nor on a public route, where no token replaces them",
        &format!("GET /ping, no token, {sent}"),
        scene.curl.get(scene.api, "/ping", &forgeries()),
        |reply| {
            reply.status == 200 && saw(reply, "x-user-id").is_empty() && no_value(reply, "root")
        },
    );
}

/// How many connections the walk opens to the database.
const CONNECTIONS: u16 = 64;

fn connections(scene: &Scene, balanced: &Balanced, transcript: &mut Transcript) {
    let before = database_packets(scene);
    let answered = balanced.client.run(|| {
        (0..CONNECTIONS)
            .map(|_| greeting(balanced.database))
            .collect::<io::Result<Vec<String>>>()
    });
    let answered = match answered {
        Ok(Ok(answered)) => answered,
        Ok(Err(error)) => return transcript.broken("connections to the database", &error),
        Err(error) => return transcript.broken("connections to the database", &error),
    };
    let shares: Vec<(&str, usize, u64)> = balanced
        .backends
        .iter()
        .map(|backend| {
            let named = answered.iter().filter(|name| *name == backend.name).count();
            (backend.name, named, backend.greeter.connections())
        })
        .collect();
    let text: Vec<String> = shares
        .iter()
        .map(|(name, n, _)| format!("{name}: {n}"))
        .collect();
    transcript.step(
        "Connections spread over both hosts, which answer the client directly",
        &format!("{CONNECTIONS} TCP connections"),
        &text.join(", "),
        shares.iter().map(|(_, named, _)| named).sum::<usize>() == usize::from(CONNECTIONS)
            && shares
                .iter()
                .all(|&(_, named, accepted)| named > 0 && named as u64 == accepted),
    );

    // A connection takes its SYN, an ACK and a FIN or RST through the node at least; answers do not pass it.
    let least = u64::from(CONNECTIONS) * 3;
    let (counted, back) = match (before, database_packets(scene)) {
        (Ok(before), Ok(after)) => (after - before, format!("{} packets", after - before)),
        (Err(error), _) | (_, Err(error)) => (0, error.to_string()),
    };
    transcript.step(
        "XDP forwarded every packet, and counted it",
        &format!(
            "`tollgate status`, which says of eth0: {}",
            attachment(scene)
        ),
        &back,
        counted >= least,
    );
}

/// Connects, reads the host's name, closes.
fn greeting(database: SocketAddr) -> io::Result<String> {
    const PATIENCE: Duration = Duration::from_secs(5);
    let mut stream = TcpStream::connect_timeout(&database, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.shutdown(std::net::Shutdown::Write)?;
    let mut name = String::new();
    stream.read_to_string(&mut name)?;
    Ok(name.trim_end().to_owned())
}

fn database_packets(scene: &Scene) -> io::Result<u64> {
    let status = scene.daemon.status()?;
    let services = status["datapath"]["services"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    services
        .iter()
        .find(|service| service["name"] == "database")
        .and_then(|service| service["packets"].as_u64())
        .ok_or_else(|| io::Error::other("the status knows no service `database`"))
}

fn attachment(scene: &Scene) -> String {
    let status = scene.daemon.status().unwrap_or_default();
    match &status["datapath"]["interfaces"][0]["mode"] {
        Value::String(mode) => format!("XDP {mode}"),
        _ => "nothing".to_owned(),
    }
}

fn end(scene: &mut Scene, transcript: &mut Transcript) {
    let ended = scene.daemon.terminate(Duration::from_secs(10));
    let (back, as_stated) = match ended {
        Ok(status) => (status.to_string(), status.success()),
        Err(error) => (error.to_string(), false),
    };
    transcript.step(
        "The daemon drains and stops when told to",
        "SIGTERM",
        &back,
        as_stated,
    );
}
