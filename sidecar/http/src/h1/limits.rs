//! How much is read of what a stranger sends.

use crate::fields::MAX_NAME;

/// The most fields that any limit allows: so many fit on the stack while a head is parsed.
pub const MAX_FIELDS: usize = 256;

/// How much is read of a message, in bytes where nothing else is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// A head, from its first line to the empty one.
    pub head: usize,
    /// The target of a request. RFC 9112 section 3 asks for 8 000 at least; a token of 16 KiB may stand in a query.
    pub target: usize,
    /// Field lines of a head, and of trailers; at most [`MAX_FIELDS`] whatever is said here.
    pub fields: usize,
    /// A field name.
    pub name: usize,
    /// A trailer section, which is kept until it is whole.
    pub trailers: usize,
    /// Chunk extensions, of all chunks of a body together. They are read over, so all that they can do is to cost.
    pub extensions: usize,
    /// A body, without its framing.
    pub body: u64,
    /// What is read of a body that nobody wants, framing and trailers included, to keep the connection; beyond it is
    /// cheaper to open another. A longer one ends the connection, at once where its length is known.
    pub drain: u64,
    /// Interim responses to one request.
    pub interim: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            head: 64 << 10,
            target: 24 << 10,
            fields: 100,
            name: MAX_NAME,
            trailers: 8 << 10,
            extensions: 16 << 10,
            body: u64::MAX,
            drain: 64 << 10,
            interim: 16,
        }
    }
}

impl Limits {
    pub(super) fn fields(&self) -> usize {
        self.fields.min(MAX_FIELDS)
    }
}
