//! What hyper reads in the same bytes.

use std::cell::RefCell;
use std::convert::Infallible;
use std::rc::Rc;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{HeaderMap, Request, Response};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
use tollgate_http::Path;

use super::Message;

/// Room for all of a case, so that nobody waits for anybody.
const ROOM: usize = 4 << 20;

fn run<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(future)
}

/// The requests that are whole, each answered with 200 and nothing.
pub(super) fn requests(bytes: &[u8]) -> Vec<Message> {
    let asked = Rc::<RefCell<Vec<Message>>>::default();
    let service = service_fn(|request: Request<Incoming>| {
        let asked = Rc::clone(&asked);
        async move {
            let (head, body) = request.into_parts();
            if let Ok(body) = body.collect().await {
                let path = Path::parse(head.uri.path().as_bytes());
                let path =
                    path.map_or_else(|_| head.uri.path().to_owned(), |path| path.to_string());
                let target = match head.uri.query() {
                    Some(query) => format!("{path}?{}", query.as_bytes().escape_ascii()),
                    None => path,
                };
                asked.borrow_mut().push(Message {
                    line: format!("{} {target} {:?}", head.method, head.version),
                    fields: fields(&head.headers, true),
                    content: body.to_bytes().to_vec(),
                });
            }
            Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new()))
        }
    });
    run(async {
        let (mut near, far) = duplex(ROOM);
        near.write_all(bytes).await.unwrap();
        near.shutdown().await.unwrap();
        // How it ends is no matter: what was read before it is.
        drop(
            hyper::server::conn::http1::Builder::new()
                .half_close(true)
                .max_buf_size(ROOM)
                .serve_connection(TokioIo::new(far), service)
                .await,
        );
        drop(near.read_to_end(&mut Vec::new()).await);
    });
    asked.take()
}

/// The response to a request with `method`, if it is whole.
pub(super) fn response(method: &str, bytes: &[u8]) -> Option<Message> {
    run(async {
        let (mut near, far) = duplex(ROOM);
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(far))
            .await
            .ok()?;
        let asked = async {
            let request = Request::builder()
                .method(method)
                .uri("/")
                .header("host", "a.test")
                .body(Empty::<Bytes>::new())
                .unwrap();
            let (head, body) = sender.send_request(request).await.ok()?.into_parts();
            let content = body.collect().await.ok()?.to_bytes().to_vec();
            Some(Message {
                line: head.status.as_u16().to_string(),
                fields: fields(&head.headers, false),
                content,
            })
        };
        let answer = async {
            // Not before it was asked: bytes that come early are an error of their own.
            drop(near.read(&mut [0; 256]).await);
            drop(near.write_all(bytes).await);
            drop(near.shutdown().await);
        };
        tokio::join!(asked, answer, connection).0
    })
}

fn fields(headers: &HeaderMap, is_request: bool) -> Vec<(String, Vec<u8>)> {
    let mut lines: Vec<_> = headers
        .iter()
        // Ours stands in the authority.
        .filter(|(name, _)| !is_request || *name != "host")
        .map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec()))
        .collect();
    lines.sort_by(|one, other| one.0.cmp(&other.0));
    lines
}
