//! The way to the API tier: choose an endpoint, take or open a connection, send, wait for the response head.

mod balance;
pub mod body;
mod connect;
pub mod endpoint;
pub mod failure;
mod pool;
pub mod response;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use http::{HeaderName, HeaderValue};
use tokio::time::timeout;
use tollgate_http::{Fields, RequestHead, ResponseHead};

use self::body::RequestBody;
use self::connect::connect;
use self::endpoint::Upstream;
use self::failure::Failure;
use self::pool::{InFlight, Lease, Pool};
use self::response::ResponseBody;

/// An upstream at work: its endpoints and their connections. Outlives reloads that leave its configuration alone.
pub struct Client {
    config: Upstream,
    endpoints: Vec<Endpoint>,
    turn: AtomicUsize,
}

struct Endpoint {
    address: SocketAddr,
    pool: Arc<Pool>,
}

/// A response and who gave it.
pub struct Answer {
    /// Status and fields as the upstream sent them.
    pub head: ResponseHead,
    /// The body, as it arrives.
    pub body: ResponseBody,
    /// Where it came from.
    pub endpoint: SocketAddr,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.config.fmt(f)
    }
}

impl Client {
    /// Connects to nothing yet. `workers` is how many runtimes will send through it.
    pub fn new(config: Upstream, workers: usize) -> Self {
        let endpoints = config
            .endpoints
            .iter()
            .map(|&address| Endpoint {
                address,
                pool: Pool::new(workers, config.timeouts.idle),
            })
            .collect();
        Self {
            config,
            endpoints,
            turn: AtomicUsize::new(0),
        }
    }

    /// What it was made from.
    pub fn config(&self) -> &Upstream {
        &self.config
    }

    /// Sends a request and waits for the response head.
    ///
    /// A pooled connection that its upstream closed meanwhile is no failure: where nothing was sent, a fresh one is
    /// used. `worker` is the index of the calling worker.
    ///
    /// # Errors
    ///
    /// See [`Failure`]; the request may have reached the upstream only in `FirstByteTimeout`, `Reset`, `Malformed`.
    pub async fn send(
        &self,
        worker: usize,
        head: RequestHead,
        body: RequestBody,
    ) -> Result<Answer, Failure> {
        let busy = |index: usize| self.endpoints[index].pool.in_flight();
        let index = balance::pick(self.config.balance, &self.turn, self.endpoints.len(), busy)
            .ok_or(Failure::NoEndpoint)?;
        let Endpoint { address, pool } = &self.endpoints[index];
        let in_flight = InFlight::new(pool);
        let limits = &self.config.timeouts;
        let received = body.received();
        let mut request = encode(head, body)?;

        loop {
            let (mut sender, fresh) = match pool.take(worker) {
                Some(sender) => (sender, false),
                None => (connect(*address, limits.connect).await?, true),
            };
            if sender.ready().await.is_err() && !fresh {
                continue;
            }
            let mut sending = std::pin::pin!(sender.try_send_request(request));
            // A long upload is no silence: the limit starts anew with each piece of the request body.
            let mut progress = received.load(Ordering::Relaxed);
            let sent = loop {
                if let Ok(sent) = timeout(limits.first_byte, sending.as_mut()).await {
                    break sent;
                }
                let now = received.load(Ordering::Relaxed);
                if now == progress {
                    return Err(Failure::FirstByteTimeout(*address, limits.first_byte));
                }
                progress = now;
            };
            let mut error = match sent {
                Ok(response) => {
                    let (parts, incoming) = response.into_parts();
                    return Ok(Answer {
                        head: ResponseHead {
                            status: parts.status.as_u16(),
                            fields: fields_of(&parts.headers),
                        },
                        body: ResponseBody::new(
                            incoming,
                            Lease {
                                sender,
                                worker,
                                in_flight,
                            },
                        ),
                        endpoint: *address,
                    });
                }
                Err(error) => error,
            };
            match error.take_message() {
                // Handed back: not a byte of it was written.
                Some(unsent) if !fresh => request = unsent,
                _ => return Err(classify(*address, error.into_error())),
            }
        }
    }
}

fn classify(address: SocketAddr, error: hyper::Error) -> Failure {
    if error.is_parse() || error.is_parse_status() {
        Failure::Malformed(address, error)
    } else {
        Failure::Reset(address, error)
    }
}

/// RFC 9112, section 3.2: origin form, and `Host` first.
fn encode(head: RequestHead, body: RequestBody) -> Result<http::Request<RequestBody>, Failure> {
    let unsendable = |error: &dyn std::fmt::Display| Failure::Unsendable(error.to_string());
    let target = match &head.query {
        None => http::Uri::try_from(head.path.as_str()),
        Some(query) => {
            let mut target = Vec::with_capacity(head.path.as_str().len() + 1 + query.len());
            target.extend_from_slice(head.path.as_str().as_bytes());
            target.push(b'?');
            target.extend_from_slice(query);
            http::Uri::from_maybe_shared(bytes::Bytes::from(target))
        }
    }
    .map_err(|error| unsendable(&error))?;
    let method = http::Method::from_bytes(head.method.as_str().as_bytes())
        .map_err(|error| unsendable(&error))?;
    let mut request = http::Request::new(body);
    *request.method_mut() = method;
    *request.uri_mut() = target;
    let headers = request.headers_mut();
    headers.reserve(head.fields.len() + 1);
    let host = head
        .authority
        .map(|authority| authority.to_string())
        .unwrap_or_default();
    let host = HeaderValue::from_maybe_shared(bytes::Bytes::from(host))
        .map_err(|error| unsendable(&error))?;
    headers.insert(http::header::HOST, host);
    for field in head.fields {
        let name = HeaderName::from_bytes(&field.name).map_err(|error| unsendable(&error))?;
        let value =
            HeaderValue::from_maybe_shared(field.value).map_err(|error| unsendable(&error))?;
        headers.append(name, value);
    }
    Ok(request)
}

fn fields_of(headers: &http::HeaderMap) -> Fields {
    let mut fields = Fields::with_capacity(headers.len());
    for (name, value) in headers {
        fields.push(
            bytes::Bytes::copy_from_slice(name.as_str().as_bytes()),
            bytes::Bytes::copy_from_slice(value.as_bytes()),
        );
    }
    fields
}
