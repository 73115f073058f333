//! A request body on its way to an upstream.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
/// A body as hyper hands it over.
pub use hyper::body::Incoming;

/// Whether a trailer of this name must not reach the other side.
pub type TrailerFilter = Arc<dyn Fn(&[u8]) -> bool + Send + Sync>;

/// `filter`, and the names in `nominated`, which are sorted and in lower case as hyper's are.
pub fn nominated_too(filter: &TrailerFilter, nominated: Vec<Box<[u8]>>) -> TrailerFilter {
    let filter = Arc::clone(filter);
    if nominated.is_empty() {
        return filter;
    }
    Arc::new(move |name| {
        let found = nominated.binary_search_by(|one| (**one).cmp(name));
        found.is_ok() || filter(name)
    })
}

/// A request body. Trailers lose what a client must not say; bytes are counted.
pub struct RequestBody {
    incoming: Option<Incoming>,
    filter: TrailerFilter,
    progress: Arc<Progress>,
}

/// How far a request body has come.
#[derive(Debug, Default)]
pub struct Progress {
    received: AtomicU64,
    complete: AtomicBool,
}

impl Progress {
    /// Bytes received.
    pub fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    /// Nothing more is to come.
    pub fn is_complete(&self) -> bool {
        self.complete.load(Ordering::Relaxed)
    }
}

impl RequestBody {
    /// The body that belongs to a request; `filter` names trailers to be dropped.
    pub fn new(incoming: Incoming, filter: TrailerFilter, progress: Arc<Progress>) -> Self {
        let incoming = (!incoming.is_end_stream()).then_some(incoming);
        progress
            .complete
            .store(incoming.is_none(), Ordering::Relaxed);
        Self {
            incoming,
            filter,
            progress,
        }
    }

    /// How far it has come.
    pub(super) fn progress(&self) -> Arc<Progress> {
        Arc::clone(&self.progress)
    }
}

/// Takes out the trailers that must not pass.
pub(super) fn filter(trailers: &mut HeaderMap, refuses: &TrailerFilter) {
    let refused: Vec<_> = trailers
        .keys()
        .filter(|name| refuses(name.as_str().as_bytes()))
        .cloned()
        .collect();
    for name in refused {
        trailers.remove(name);
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let this = &mut *self;
        let Some(incoming) = &mut this.incoming else {
            return Poll::Ready(None);
        };
        let mut frame = std::task::ready!(Pin::new(incoming).poll_frame(cx));
        if let Some(Ok(frame)) = &mut frame {
            if let Some(data) = frame.data_ref() {
                this.progress
                    .received
                    .fetch_add(data.len() as u64, Ordering::Relaxed);
            } else if let Some(trailers) = frame.trailers_mut() {
                filter(trailers, &this.filter);
            }
        }
        if frame.is_none() || this.incoming.as_ref().is_some_and(Body::is_end_stream) {
            this.progress.complete.store(true, Ordering::Relaxed);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming
            .as_ref()
            .map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}
