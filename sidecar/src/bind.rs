//! Binding addresses: what a process without rights has done for it, where the port is one that wants them.

use std::io;
use std::net::{SocketAddr, TcpListener};

use socket2::{Domain, Protocol, Socket, Type};

/// Connections that may wait to be accepted, per socket; the kernel caps it at net.core.somaxconn.
const BACKLOG: i32 = 4096;

/// Binds as many sockets to an address, that share what comes (SO_REUSEPORT, socket(7)), and listen. With port 0 the kernel
/// chooses one for all of them. `alone`: nobody else may listen there, or the kernel would share it with that one
/// without a word, and each would get a part of the connections.
///
/// # Errors
///
/// The address cannot be bound, or not alone.
pub fn listeners(address: SocketAddr, count: usize, alone: bool) -> io::Result<Vec<TcpListener>> {
    if alone {
        let probe = tcp(address)?;
        probe.bind(&address.into())?;
    }
    let mut sockets = Vec::with_capacity(count);
    let mut address = address;
    for _ in 0..count {
        let socket = tcp(address)?;
        socket.set_reuse_port(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        socket.set_nonblocking(true)?;
        let socket = TcpListener::from(socket);
        address = socket.local_addr()?;
        sockets.push(socket);
    }
    Ok(sockets)
}

fn tcp(address: SocketAddr) -> io::Result<Socket> {
    let domain = Domain::for_address(address);
    let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        // `[::]` takes both families, whatever net.ipv6.bindv6only says.
        socket.set_only_v6(false)?;
    }
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_of_one_address_share_its_port_and_no_other_daemon_does() {
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let sockets = listeners(any, 3, true).unwrap();
        let address = sockets[0].local_addr().unwrap();
        assert!(
            sockets
                .iter()
                .all(|one| one.local_addr().unwrap() == address)
        );
        let error = listeners(address, 1, true).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        assert_eq!(listeners(address, 1, false).unwrap().len(), 1);
    }
}
