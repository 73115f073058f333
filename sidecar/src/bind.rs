//! Binding addresses: what a process without rights has done for it, where the port is one that wants them.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use nix::sys::socket::{getsockopt, sockopt};
use socket2::{Domain, Protocol, Socket, Type};

/// Connections that may wait to be accepted, per socket; the kernel caps it at net.core.somaxconn.
const BACKLOG: i32 = 4096;

/// How long an address may be another's: a predecessor that was killed is given a moment to be gone.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often is looked.
const STEP: Duration = Duration::from_millis(20);

/// Binds as many sockets to an address, that share what comes (SO_REUSEPORT, socket(7)), and listen. With port 0 the kernel
/// chooses one for all of them. `beside`: a socket that listens there already, and is to share with these. Without one nobody else
/// may: the kernel would let whoever asks share with a stranger of the same user, without a word, and each would get a part of the connections.
///
/// # Errors
///
/// The address cannot be bound; another listens there, or another than `beside` does.
pub async fn listeners(
    address: SocketAddr,
    count: usize,
    beside: Option<&TcpListener>,
) -> io::Result<Vec<TcpListener>> {
    match beside {
        Some(beside) => {
            let listens = getsockopt(beside, sockopt::AcceptConn)?;
            if !listens || beside.local_addr()? != address {
                let why = format!("no socket that listens on {address} came with the question");
                return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
            }
        }
        None => alone(address).await?,
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

/// Waits until nobody listens on an address, for a moment.
async fn alone(address: SocketAddr) -> io::Result<()> {
    let mut left = PATIENCE;
    loop {
        match tcp(address)?.bind(&address.into()) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && !left.is_zero() => {
                tokio::time::sleep(STEP).await;
                left = left.saturating_sub(STEP);
            }
            bound => return bound,
        }
    }
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

    #[tokio::test(start_paused = true)]
    async fn sockets_of_one_address_share_its_port_and_strangers_do_not() {
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let sockets = listeners(any, 3, None).await.unwrap();
        let address = sockets[0].local_addr().unwrap();
        assert!(
            sockets
                .iter()
                .all(|one| one.local_addr().unwrap() == address)
        );
        let error = listeners(address, 1, None).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        let beside = sockets.first();
        assert_eq!(listeners(address, 1, beside).await.unwrap().len(), 1);
        // Another's address is not opened by a socket of one's own.
        let other = listeners(any, 1, None).await.unwrap();
        let error = listeners(address, 1, other.first()).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    }

    #[tokio::test]
    async fn who_is_about_to_go_is_waited_for() {
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let before = listeners(any, 1, None).await.unwrap();
        let address = before[0].local_addr().unwrap();
        let (bound, ()) = tokio::join!(listeners(address, 1, None), async {
            tokio::task::yield_now().await;
            drop(before);
        });
        assert_eq!(bound.unwrap().len(), 1);
    }
}
