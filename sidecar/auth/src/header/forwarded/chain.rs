//! The entries of a list of forwarders, read from left to right, of which the right end counts.

use std::net::IpAddr;

use super::net::Forwarders;

/// The most trusted hops between a client and the peer. Far more than anybody has, and little to pass on.
const MAX_HOPS: usize = 32;

/// What is believed of the entries so far: the last one that is no trusted forwarder, and what follows it.
///
/// Reading from the left gives what reading from the right gives, in one pass: whoever is not trusted makes all before it
/// hearsay. `Forwarded` could not be read from the right at all, since commas may stand in quotes.
#[derive(Debug, Default)]
pub(super) struct Chain {
    client: Option<Result<IpAddr, &'static str>>,
    hops: Vec<IpAddr>,
    is_long: bool,
}

impl Chain {
    /// One more entry: an address, or why it is none. Whether it is the client's own, unless another follows.
    pub(super) fn push(
        &mut self,
        node: Result<IpAddr, &'static str>,
        forwarders: &Forwarders,
    ) -> bool {
        match node {
            Ok(address) if self.client.is_some() && forwarders.trust(address) => {
                if self.hops.len() < MAX_HOPS {
                    self.hops.push(address);
                } else {
                    self.is_long = true;
                }
                false
            }
            // The leftmost of a list of forwarders alone is as far as anybody vouches.
            node => {
                self.client = Some(node);
                self.hops.clear();
                self.is_long = false;
                true
            }
        }
    }

    /// The client and the hops behind it; `None` without entries.
    ///
    /// # Errors
    ///
    /// What is believed names no address, or is too long.
    pub(super) fn end(self) -> Result<Option<(IpAddr, Vec<IpAddr>)>, String> {
        match self.client {
            None => Ok(None),
            Some(Err(why)) => Err(why.to_owned()),
            Some(Ok(_)) if self.is_long => Err(format!("names more than {MAX_HOPS} trusted hops")),
            Some(Ok(client)) => Ok(Some((client, self.hops))),
        }
    }
}
