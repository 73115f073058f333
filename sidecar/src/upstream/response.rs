//! A response body on its way from an upstream.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use super::body::{self, TrailerFilter};
use super::pool::Lease;

/// A response body. When it has been read to its end its connection goes back to the pool; dropped before, the
/// connection is closed, since what is left on it cannot be told from the next answer.
pub struct ResponseBody {
    incoming: Incoming,
    lease: Option<Lease>,
    filter: Option<TrailerFilter>,
}

impl ResponseBody {
    pub(super) fn new(incoming: Incoming, lease: Lease) -> Self {
        let mut body = Self {
            incoming,
            lease: Some(lease),
            filter: None,
        };
        body.finished();
        body
    }

    /// Trailers that `filter` names do not reach the client.
    pub fn without_trailers(&mut self, filter: TrailerFilter) {
        self.filter = Some(filter);
    }

    fn finished(&mut self) {
        if self.incoming.is_end_stream()
            && let Some(lease) = self.lease.take()
        {
            lease.give_back();
        }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let mut frame = std::task::ready!(Pin::new(&mut self.incoming).poll_frame(cx));
        if let (Some(filter), Some(Ok(frame))) = (&self.filter, &mut frame)
            && let Some(trailers) = frame.trailers_mut()
        {
            body::filter(trailers, filter);
        }
        match &frame {
            None => {
                if let Some(lease) = self.lease.take() {
                    lease.give_back();
                }
            }
            Some(Ok(_)) => self.finished(),
            Some(Err(_)) => self.lease = None,
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}
