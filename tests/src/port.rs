//! A port that stays ours while nobody listens on it.

use std::net::SocketAddr;

use socket2::{Domain, Socket, Type};

/// A port on loopback. A socket is bound to it and never listens: who connects is refused, nobody else is given it, and
/// a server that sets `SO_REUSEADDR`, as servers do, may bind and listen there, go, and come back.
#[derive(Debug)]
pub struct Port {
    address: SocketAddr,
    _held: Socket,
}

impl Port {
    /// One that is free.
    #[must_use]
    pub fn hold() -> Self {
        let held = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        held.set_reuse_address(true).unwrap();
        held.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into())
            .unwrap();
        let address = held.local_addr().unwrap().as_socket().unwrap();
        Self {
            address,
            _held: held,
        }
    }

    /// Where it is.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}
