//! Connections to addresses that no interface owns, to sockets that are bound to others; and who answers for them.

use std::{
    io::{self, Read as _},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    os::fd::AsFd as _,
    time::Duration,
};

use socket2::{Domain, Protocol, Socket, Type};
use tempfile::TempDir;
use tollgate::demo::lab::{Host, Lab, Prefix, UPLINK, missing_rights, sysctl};
use tollgate_datapath::{
    Announce, Config, Datapath, XdpMode,
    model::{Backend, Deliver, Model, Proto, Service},
};

use crate::room::{device, inside};

const V4: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 10));
const V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x10));
const FORWARDED_V4: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 20));
const FORWARDED_V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x20));

struct Site {
    _lab: Lab,
    node: Host,
    client: Host,
    folder: TempDir,
}

impl Site {
    fn new() -> Self {
        if let Some(missing) = missing_rights() {
            panic!("this test steers connections between network namespaces: {missing}");
        }
        let folder = TempDir::with_prefix("tollgate-steer-").unwrap();
        let mut lab = Lab::new().unwrap();
        let node = lab.node("node", folder.path()).unwrap();
        let client = lab.host("client").unwrap();
        for vip in [V4, V6, FORWARDED_V4, FORWARDED_V6] {
            client.on_link(Prefix::host(vip)).unwrap();
        }
        Self {
            _lab: lab,
            node,
            client,
            folder,
        }
    }

    fn config(&self) -> Config {
        Config {
            interfaces: vec![UPLINK.to_owned()],
            xdp: XdpMode::Auto,
            bpffs: self.folder.path().join("tollgate"),
            announce: Announce::Neighbour,
        }
    }

    /// What a client hears that connects: the greeting of whoever accepts.
    fn greeting(&self, to: IpAddr, port: u16) -> io::Result<String> {
        self.greeting_within(to, port, Duration::from_secs(5))
    }

    fn greeting_within(&self, to: IpAddr, port: u16, patience: Duration) -> io::Result<String> {
        let connect = || {
            let mut stream = TcpStream::connect_timeout(&SocketAddr::new(to, port), patience)?;
            stream.set_read_timeout(Some(Duration::from_secs(5)))?;
            let mut text = String::new();
            stream.read_to_string(&mut text)?;
            Ok(text)
        };
        self.client.ns.run(connect).unwrap()
    }

    /// A socket on the node that greets everyone with `name`, for as long as the returned guard is held.
    fn greeter(&self, name: &'static str, address: SocketAddr, group: bool) -> TcpListener {
        let listener = self
            .node
            .ns
            .run(|| {
                let socket = Socket::new(
                    Domain::for_address(address),
                    Type::STREAM,
                    Some(Protocol::TCP),
                )?;
                socket.set_reuse_address(true)?;
                socket.set_reuse_port(group)?;
                socket.bind(&address.into())?;
                socket.listen(64)?;
                Ok::<TcpListener, io::Error>(socket.into())
            })
            .unwrap()
            .unwrap();
        let accepting = listener.try_clone().unwrap();
        std::thread::spawn(move || {
            while let Ok((mut stream, _)) = accepting.accept() {
                let _sent = io::Write::write_all(&mut stream, name.as_bytes());
            }
        });
        listener
    }
}

/// Ends the accepting thread and closes the socket for good.
fn close(listener: TcpListener) {
    let socket = Socket::from(listener);
    let _ended = socket.shutdown(std::net::Shutdown::Both);
}

fn model() -> Model {
    let steered = |name: &str, ip| {
        Service::new(
            name.to_owned(),
            format!("{}/tcp", SocketAddr::new(ip, 443)).parse().unwrap(),
            Deliver::Listener("edge".to_owned()),
        )
    };
    let forwarded = |name: &str, ip, address: IpAddr| {
        Service::new(
            name.to_owned(),
            format!("{}/tcp", SocketAddr::new(ip, 5432))
                .parse()
                .unwrap(),
            Deliver::Ipip(vec![Backend {
                address,
                weight: 1,
                drain: false,
            }]),
        )
    };
    Model {
        services: vec![
            steered("api", V4),
            steered("api6", V6),
            forwarded("db", FORWARDED_V4, Ipv4Addr::new(10, 77, 0, 200).into()),
            forwarded("db6", FORWARDED_V6, "fd77::200".parse().unwrap()),
        ],
        ..Model::default()
    }
}

fn refused(result: io::Result<String>) {
    let error = result.expect_err("nobody may answer");
    assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused, "{error}");
}

#[test]
fn connections_go_to_the_registered_socket_and_to_no_other() {
    let site = Site::new();
    let config = site.config();
    // The node's own service, on all addresses: it must keep its port and get nothing of 443.
    let _own = site.greeter("own", "[::]:8080".parse().unwrap(), false);
    let _trap = site.greeter("trap", "[::]:443".parse().unwrap(), false);
    let edge = site.greeter("edge", "[::]:8443".parse().unwrap(), false);
    let again = site.greeter("again", "[::]:8444".parse().unwrap(), false);

    let socket = edge.try_clone().unwrap();
    let mut datapath = inside(&site.node.ns, || async {
        let mut datapath = Datapath::open(&config).await.unwrap();
        datapath.apply(&model()).await.unwrap();
        datapath
    });
    for vip in [V4, V6] {
        refused(site.greeting(vip, 443)); // no socket yet
    }
    datapath.register("edge", socket.as_fd()).unwrap();
    for vip in [V4, V6] {
        assert_eq!(site.greeting(vip, 443).unwrap(), "edge");
    }
    assert_eq!(site.greeting(site.node.v4.into(), 8080).unwrap(), "own");
    assert_eq!(site.greeting(site.node.v4.into(), 443).unwrap(), "trap");
    let status = datapath.status();
    for service in &status.services[..2] {
        assert!(service.packets > 0 && service.bytes > 0, "{service:?}");
    }
    assert!(status.verdicts["listener"] > 0 && status.verdicts["not_ours"] > 0);

    // The daemon goes, and its socket with it: refused, not passed by.
    drop((datapath, socket));
    close(edge);
    for vip in [V4, V6] {
        refused(site.greeting(vip, 443));
    }
    // The next one adopts, and registers its own.
    inside(&site.node.ns, || async {
        let mut datapath = Datapath::open(&config).await.unwrap();
        assert!(datapath.status().adopted);
        datapath.register("edge", again.as_fd()).unwrap();
        datapath.apply(&model()).await.unwrap();
    });
    for vip in [V4, V6] {
        assert_eq!(site.greeting(vip, 443).unwrap(), "again");
    }
}

#[test]
fn a_registered_socket_stands_for_its_whole_reuseport_group() {
    let site = Site::new();
    let config = site.config();
    let first = site.greeter("first", "[::]:8443".parse().unwrap(), true);
    let _second = site.greeter("second", "[::]:8443".parse().unwrap(), true);
    inside(&site.node.ns, || async {
        let mut datapath = Datapath::open(&config).await.unwrap();
        datapath.register("edge", first.as_fd()).unwrap();
        datapath.apply(&model()).await.unwrap();
    });
    let heard: Vec<String> = (0..40).map(|_| site.greeting(V4, 443).unwrap()).collect();
    for name in ["first", "second"] {
        assert!(
            heard.iter().any(|text| text == name),
            "{name} got none of {}",
            heard.len()
        );
    }
}

#[test]
fn only_a_listening_tcp_socket_is_registered() {
    let site = Site::new();
    let config = site.config();
    let (services, errors) = inside(&site.node.ns, || async {
        let mut datapath = Datapath::open(&config).await.unwrap();
        let udp = UdpSocket::bind("0.0.0.0:0").unwrap();
        let tcp = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        let mut refusal = |socket| {
            let refused = datapath
                .register("edge", socket)
                .expect_err("not listening");
            refused.to_string()
        };
        let refusals = [refusal(udp.as_fd()), refusal(tcp.as_fd())];
        (datapath.status().services.len(), refusals)
    });
    assert_eq!(services, 0);
    for error in errors {
        assert!(
            error.contains("must be a TCP socket that listens"),
            "{error}"
        );
    }
}

/// Nobody answers for the address at all.
fn silent(site: &Site, vip: IpAddr) {
    let error = site
        .greeting_within(vip, 9, Duration::from_millis(800))
        .expect_err("nobody has it");
    assert_ne!(error.kind(), io::ErrorKind::ConnectionRefused, "{vip}");
}

/// A port of a virtual address that no service has: the node's kernel says "refused". A client that got no answer to
/// its ARP or neighbour solicitation would hear nothing of the kind.
fn neighbours_are_answered(forwarding: bool) {
    let site = Site::new();
    if forwarding {
        sysctl(&site.node.ns, "ipv6/conf/all/forwarding", "1").unwrap();
    }
    let config = site.config();
    for vip in [V4, V6, FORWARDED_V4, FORWARDED_V6] {
        silent(&site, vip);
    }
    inside(&site.node.ns, || async {
        let mut datapath = Datapath::open(&config).await.unwrap();
        datapath.apply(&model()).await.unwrap();
        // What stays is answered for, what goes is not.
        let mut model = model();
        model.services.remove(0);
        datapath.apply(&model).await.unwrap();
    });
    for vip in [V6, FORWARDED_V4, FORWARDED_V6] {
        refused(site.greeting(vip, 9));
    }
    silent(&site, V4);
}

#[test]
fn neighbours_are_answered_on_a_host() {
    neighbours_are_answered(false);
}

#[test]
fn neighbours_are_answered_on_a_router() {
    neighbours_are_answered(true);
}

/// Somebody who listens on all addresses gets no connection of a virtual one: not while it comes, not while it goes,
/// not when the datapath is taken down.
#[test]
fn nobody_else_gets_a_connection_while_addresses_come_and_go() {
    const ROUNDS: usize = 8;
    let site = Site::new();
    let config = site.config();
    let vips: Vec<IpAddr> = (100..200)
        .map(|last| Ipv4Addr::new(203, 0, 113, last).into())
        .collect();
    for vip in &vips {
        site.client.on_link(Prefix::host(*vip)).unwrap();
    }
    let _trap = site.greeter("trap", "0.0.0.0:443".parse().unwrap(), false);
    let edge = site.greeter("edge", "[::]:8443".parse().unwrap(), false);
    let full = Model {
        services: vips
            .iter()
            .map(|ip| {
                Service::new(
                    ip.to_string(),
                    format!("{ip}:443/tcp").parse().unwrap(),
                    Deliver::Listener("edge".to_owned()),
                )
            })
            .collect(),
        ..Model::default()
    };
    let done = std::sync::atomic::AtomicBool::new(false);
    let (trapped, steered) = std::thread::scope(|scope| {
        let clients: Vec<_> = vips
            .chunks(25)
            .map(|vips| {
                let (site, done) = (&site, &done);
                scope.spawn(move || {
                    let (mut trapped, mut steered) = (0, 0);
                    while !done.load(std::sync::atomic::Ordering::Relaxed) {
                        for vip in vips {
                            match site
                                .greeting_within(*vip, 443, Duration::from_millis(20))
                                .as_deref()
                            {
                                Ok("trap") => trapped += 1,
                                Ok("edge") => steered += 1,
                                _ => {}
                            }
                        }
                    }
                    (trapped, steered)
                })
            })
            .collect();
        inside(&site.node.ns, || async {
            let mut datapath = Datapath::open(&config).await.unwrap();
            for _ in 0..ROUNDS {
                datapath.register("edge", edge.as_fd()).unwrap();
                datapath.apply(&full).await.unwrap();
                tokio::time::sleep(Duration::from_millis(50)).await;
                datapath.apply(&Model::default()).await.unwrap();
            }
            datapath.register("edge", edge.as_fd()).unwrap();
            datapath.apply(&full).await.unwrap();
            tokio::time::sleep(Duration::from_millis(50)).await;
            tollgate_datapath::down(&config.bpffs).await.unwrap();
        });
        done.store(true, std::sync::atomic::Ordering::Relaxed);
        clients
            .into_iter()
            .map(|client| client.join().unwrap())
            .fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1))
    });
    assert!(steered > 0, "the clients did connect");
    assert_eq!(trapped, 0, "of {steered}");
}

/// What XDP does not see reaches the host's stack, for which the address is local: it must not be handed to whoever
/// listens there, and what the client hears is the kernel's "refused".
#[test]
fn packets_of_a_forwarded_service_that_pass_by_xdp_are_refused() {
    let site = Site::new();
    let config = site.config();
    let _trap = site.greeter("trap", "[::]:5432".parse().unwrap(), false);
    // Of both families.
    let trap = site.node.ns.run(|| UdpSocket::bind("[::]:5432").unwrap());
    let trap = trap.unwrap();
    inside(&site.node.ns, || async {
        let mut datapath = Datapath::open(&config).await.unwrap();
        let mut model = model();
        for at in [2, 3] {
            let mut udp = model.services[at].clone();
            udp.name.push_str("-udp");
            udp.vip.proto = Proto::Udp;
            model.services.push(udp);
        }
        datapath.apply(&model).await.unwrap();
        std::fs::remove_file(config.bpffs.join("link/xdp_eth0")).unwrap();
        // The kernel detaches a moment after the link's last pin went.
        while device(UPLINK).await.xdp.is_some() {
            tokio::task::yield_now().await;
        }
    });
    let unreachable = |vip: IpAddr| {
        let any = if vip.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        let socket = UdpSocket::bind(any)?;
        socket.set_read_timeout(Some(Duration::from_secs(5)))?;
        socket.connect((vip, 5432))?;
        socket.send(b"x")?;
        socket.recv(&mut [0; 8])
    };
    for vip in [FORWARDED_V4, FORWARDED_V6] {
        refused(site.greeting(vip, 5432));
        let heard = site.client.ns.run(|| unreachable(vip)).unwrap();
        let error = heard.expect_err("nobody may answer");
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused, "{error}");
    }
    trap.set_nonblocking(true).unwrap();
    let got = trap.recv(&mut [0; 8]).expect_err("nothing is for the host");
    assert_eq!(got.kind(), io::ErrorKind::WouldBlock);
}
