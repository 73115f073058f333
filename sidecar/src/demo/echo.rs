//! An API that answers with what reached it, and a TCP service that answers with its own name.

use std::io::{self, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::{Request, Response};
use serde::Serialize;
use serde_json::json;
use tokio::sync::watch;

use super::serve::{self, Server};

/// A request as it reached the API.
#[derive(Clone, Debug, Serialize)]
pub struct Seen {
    /// The name of the API host that answered.
    pub backend: String,
    /// The method.
    pub method: String,
    /// The path, without the query.
    pub path: String,
    /// The query, without its question mark.
    pub query: Option<String>,
    /// The `Host` field.
    pub host: Option<String>,
    /// All fields, names in lower case; bytes that are not UTF-8 are replaced.
    pub headers: Vec<(String, String)>,
    /// The length of the body in bytes.
    pub body_len: usize,
}

impl Seen {
    /// The values of a field, in order.
    pub fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.headers
            .iter()
            .filter(move |(field, _)| field.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }
}

/// The echo API. Every answer is the JSON form of [`Seen`].
///
/// A request whose query is `hold` is answered only after [`Echo::release`].
#[derive(Debug)]
pub struct Echo {
    server: Server,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    name: String,
    /// The last [`MEMORY`] requests.
    seen: Mutex<Vec<Seen>>,
    count: AtomicU64,
    released: watch::Sender<bool>,
}

/// How many requests [`Echo::seen`] remembers.
const MEMORY: usize = 10_000;

impl Echo {
    /// Serves `listener`, answering as the host `name`.
    ///
    /// # Errors
    /// When its thread cannot be started.
    pub fn start(name: &str, listener: TcpListener) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            name: name.to_owned(),
            seen: Mutex::default(),
            count: AtomicU64::new(0),
            released: watch::Sender::new(false),
        });
        let for_requests = Arc::clone(&shared);
        let server = Server::start(&format!("echo-{name}"), listener, move |request| {
            answer(Arc::clone(&for_requests), request)
        })?;
        Ok(Self { server, shared })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// How many requests have reached it, held ones included.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.shared.count.load(Ordering::Acquire)
    }

    /// The requests that have reached it, oldest first, 10 000 at most.
    #[must_use]
    pub fn seen(&self) -> Vec<Seen> {
        self.shared
            .seen
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Lets held requests be answered, those to come as well.
    pub fn release(&self) {
        self.shared.released.send_replace(true);
    }
}

async fn answer(shared: Arc<Shared>, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let (head, body) = request.into_parts();
    let body_len = match body.collect().await {
        Ok(body) => body.to_bytes().len(),
        Err(error) => return serve::json(400, &json!({ "error": error.to_string() })),
    };
    let seen = Seen {
        backend: shared.name.clone(),
        method: head.method.to_string(),
        path: head.uri.path().to_owned(),
        query: head.uri.query().map(str::to_owned),
        host: head
            .headers
            .get("host")
            .map(|host| String::from_utf8_lossy(host.as_bytes()).into_owned()),
        headers: head
            .headers
            .iter()
            .map(|(name, value)| {
                (
                    name.to_string(),
                    String::from_utf8_lossy(value.as_bytes()).into_owned(),
                )
            })
            .collect(),
        body_len,
    };
    {
        let mut memory = shared.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if memory.len() < MEMORY {
            memory.push(seen.clone());
        }
    }
    shared.count.fetch_add(1, Ordering::Release);
    if seen.query.as_deref() == Some("hold") {
        // The sender lives in `shared`, so this ends by a release only.
        drop(
            shared
                .released
                .subscribe()
                .wait_for(|released| *released)
                .await,
        );
    }
    match serde_json::to_value(&seen) {
        Ok(value) => serve::json(200, &value),
        Err(error) => serve::json(500, &json!({ "error": error.to_string() })),
    }
}

/// A TCP service that greets each connection with its name and a line feed, then answers every byte with the same
/// byte until the client closes.
#[derive(Debug)]
pub struct Greeter {
    connections: Arc<AtomicU64>,
}

impl Greeter {
    /// Serves `listener`. Its threads end with the process.
    ///
    /// # Errors
    /// When its thread cannot be started.
    pub fn start(name: &str, listener: TcpListener) -> io::Result<Self> {
        let connections = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&connections);
        let greeting = format!("{name}\n");
        listener.set_nonblocking(true)?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .build()?;
        thread::Builder::new()
            .name(format!("greeter-{name}"))
            .spawn(move || {
                runtime.block_on(async move {
                    let Ok(listener) = tokio::net::TcpListener::from_std(listener) else {
                        return;
                    };
                    loop {
                        let Ok((stream, _)) = listener.accept().await else {
                            continue;
                        };
                        count.fetch_add(1, Ordering::Relaxed);
                        // Into the socket's empty buffer: does not block, and fails only when the client is gone.
                        let Ok(mut stream) = stream.into_std() else {
                            continue;
                        };
                        drop(stream.write_all(greeting.as_bytes()));
                        let Ok(stream) = tokio::net::TcpStream::from_std(stream) else {
                            continue;
                        };
                        tokio::spawn(async move {
                            let (mut from, mut to) = stream.into_split();
                            drop(tokio::io::copy(&mut from, &mut to).await);
                        });
                    }
                });
            })?;
        Ok(Self { connections })
    }

    /// How many connections it has accepted.
    #[must_use]
    pub fn connections(&self) -> u64 {
        self.connections.load(Ordering::Relaxed)
    }
}
