//! The way to the API tier: choose an endpoint, take or open a connection, send, wait for the response head.

mod balance;
pub mod body;
mod connect;
pub mod endpoint;
pub mod failure;
mod outage;
mod pool;
pub mod response;
mod share;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use http::{HeaderName, HeaderValue};
use hyper::client::conn::http1::SendRequest;
use tokio::time::timeout;
use tollgate_http::{Fields, RequestHead, ResponseHead};

use self::body::{Progress, RequestBody};
use self::connect::connect;
use self::endpoint::Upstream;
use self::failure::Failure;
use self::outage::Outage;
use self::pool::{InFlight, Lease, Pool};
use self::response::ResponseBody;
use self::share::Share;

/// An upstream at work: its endpoints and their connections. Outlives reloads that leave its configuration alone.
pub struct Client {
    config: Upstream,
    endpoints: Vec<Endpoint>,
    turn: AtomicUsize,
}

struct Endpoint {
    address: SocketAddr,
    pool: Arc<Pool>,
    outage: Outage,
    share: Share,
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
                outage: Outage::default(),
                share: Share::default(),
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

    /// Lets an endpoint have so many quarters of its share of requests: 4 is all, 0 none. Its connections stay until
    /// nobody uses them.
    pub fn set_share(&self, address: SocketAddr, quarters: u8) {
        let its = self.endpoints.iter().filter(|one| one.address == address);
        its.for_each(|one| one.share.set(quarters));
    }

    /// Closes connections of `worker` that nobody has used for too long.
    pub fn sweep(&self, worker: usize) {
        for endpoint in &self.endpoints {
            endpoint.pool.sweep(worker);
        }
    }

    /// Sends a request and waits for the response head.
    ///
    /// An endpoint that accepts no connection is no failure as long as another does, and neither is a pooled connection
    /// that its upstream closed meanwhile: where nothing was sent, another is used. `worker` is the index of the calling
    /// worker.
    ///
    /// # Errors
    ///
    /// See [`Failure`]; the request may have reached the upstream only in `FirstByteTimeout`, `Reset`, `Malformed`,
    /// `BodyTimeout` and `BodyBroken`.
    pub async fn send(
        &self,
        worker: usize,
        head: RequestHead,
        body: RequestBody,
    ) -> Result<Answer, Failure> {
        let progress = body.progress();
        let mut request = encode(head, body)?;
        let mut tried = Vec::new();
        let mut refused = None;
        loop {
            let Some(index) = self.pick(&tried) else {
                return Err(refused.unwrap_or(Failure::NoEndpoint));
            };
            let endpoint = &self.endpoints[index];
            let in_flight = InFlight::new(&endpoint.pool);
            let (sender, fresh) = match self.sender(worker, endpoint).await {
                Ok(sender) => sender,
                Err(failure) if failure.is_of_connecting() => {
                    tried.push(index);
                    refused = Some(failure);
                    continue;
                }
                Err(failure) => return Err(failure),
            };
            let lease = Lease {
                sender,
                worker,
                in_flight,
            };
            match self
                .exchange(endpoint.address, lease, request, &progress)
                .await
            {
                Ok(answer) => return Ok(answer),
                // A pooled connection that was closed before a byte was written on it.
                Err(Broken::Unsent(unsent)) if !fresh => request = *unsent,
                Err(Broken::Unsent(_)) => {
                    let error = io::Error::from(io::ErrorKind::ConnectionReset);
                    return Err(Failure::Refused(endpoint.address, error));
                }
                Err(Broken::Failed(failure)) => return Err(failure),
            }
        }
    }

    fn pick(&self, tried: &[usize]) -> Option<usize> {
        let pick = |out: &dyn Fn(usize) -> bool| {
            balance::pick(
                self.config.balance,
                &self.turn,
                self.endpoints.len(),
                |index| {
                    if out(index) {
                        balance::OUT
                    } else {
                        self.endpoints[index].pool.in_flight()
                    }
                },
                |index| self.endpoints[index].share.quarters(),
            )
        };
        let is_out = |index| tried.contains(&index) || self.endpoints[index].share.quarters() == 0;
        // When all are left alone, one of them is as good as the other, and asking is how they come back. Those that their
        // checks say are down have nothing to come back by but their checks.
        pick(&|index| is_out(index) || self.endpoints[index].outage.is_on())
            .or_else(|| pick(&is_out))
    }

    /// A connection, and whether it is fresh.
    async fn sender(
        &self,
        worker: usize,
        endpoint: &Endpoint,
    ) -> Result<(SendRequest<RequestBody>, bool), Failure> {
        if let Some(sender) = endpoint.pool.take(worker) {
            return Ok((sender, false));
        }
        let connected = connect(endpoint.address, self.config.timeouts.connect).await;
        match &connected {
            Ok(_) => endpoint.outage.ended(),
            Err(_) => endpoint.outage.failed(),
        }
        Ok((connected?, true))
    }

    async fn exchange(
        &self,
        address: SocketAddr,
        mut lease: Lease,
        request: Request,
        progress: &Progress,
    ) -> Result<Answer, Broken> {
        let limit = self.config.timeouts.first_byte;
        let mut sending = std::pin::pin!(lease.sender.try_send_request(request));
        // A long upload is no silence: the limit starts anew with each piece of the request body.
        let mut received = progress.received();
        let sent = loop {
            if let Ok(sent) = timeout(limit, sending.as_mut()).await {
                break sent;
            }
            let now = progress.received();
            if now == received {
                return Err(Broken::Failed(if progress.is_complete() {
                    Failure::FirstByteTimeout(address, limit)
                } else {
                    Failure::BodyTimeout(limit)
                }));
            }
            received = now;
        };
        let mut error = match sent {
            Ok(response) => {
                let (parts, incoming) = response.into_parts();
                return Ok(Answer {
                    head: ResponseHead {
                        status: parts.status.as_u16(),
                        fields: fields_of(&parts.headers),
                    },
                    body: ResponseBody::new(incoming, lease),
                    endpoint: address,
                });
            }
            Err(error) => error,
        };
        Err(match error.take_message() {
            Some(unsent) => Broken::Unsent(Box::new(unsent)),
            None => Broken::Failed(classify(address, error.into_error())),
        })
    }
}

type Request = http::Request<RequestBody>;

/// What came of an exchange instead of an answer.
enum Broken {
    /// Handed back: not a byte of it was written.
    Unsent(Box<Request>),
    Failed(Failure),
}

fn classify(address: SocketAddr, error: hyper::Error) -> Failure {
    if error.is_user() {
        Failure::BodyBroken(error)
    } else if error.is_parse() || error.is_parse_status() {
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
