//! Two hundred connections with data flowing, and fifty changes of the backends under them. A connection whose backend
//! lives must live, whatever happens to the others; only a node that has no history may break some.

use std::{
    collections::BTreeMap,
    io::{self, Read as _, Write as _},
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    sync::Arc,
    time::Duration,
};

use tollgate::demo::{
    echo::Greeter,
    lab::{Host, Lab, Netns, Prefix, UPLINK},
};
use tollgate_common::{pin::Pin, pin::PinKey, tables::Guards};
use tollgate_datapath::{
    Announce, Config, Datapath, FlowQuestion, XdpMode,
    model::{Backend, Deliver, Model, Service},
    tables::maglev::{self, Member},
};

use crate::room::inside;

const VIP: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 20);
const PORT: u16 = 5432;
const BACKENDS: u8 = 7;
/// They stay all the time, so that there is always somebody.
const ALWAYS: u8 = 2;
const CONNECTIONS: usize = 200;
const CHANGES: usize = 50;
/// Connections that begin after each change.
const NEW: usize = 4;
/// How long an answer may take; on the node's own switch it takes microseconds.
const PATIENCE: Duration = Duration::from_secs(3);

/// A number of the history, and what it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    Add(u8),
    Drain(u8),
    Undrain(u8),
    Weigh(u8, u32),
    Remove(u8),
    /// Its host is gone, and with it its connections; then it is removed.
    Kill(u8),
}

/// What the service has: weight and drain, by number of the backend.
type Set = BTreeMap<u8, (u32, bool)>;

/// Fifty changes, the same each time.
fn history() -> Vec<(Change, Set)> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut roll = |sides: u64| {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        (state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16) % sides
    };
    let mut set: Set = (1..=4).map(|n| (n, (1, false))).collect();
    let mut history = Vec::new();
    while history.len() < CHANGES {
        let n = 1 + roll(BACKENDS.into()) as u8;
        let change = match (set.get(&n).copied(), roll(6)) {
            (None, _) => Change::Add(n),
            (Some((_, true)), 0..=2) => Change::Undrain(n),
            (Some((_, false)), 0 | 1) if n > ALWAYS => Change::Drain(n),
            (Some((weight, _)), 2) => Change::Weigh(n, weight % 3 + 1),
            (Some(_), 3) if n > ALWAYS && set.len() > 3 => Change::Remove(n),
            (Some(_), 4) if n > ALWAYS && set.len() > 3 => Change::Kill(n),
            _ => continue,
        };
        match change {
            Change::Add(n) => drop(set.insert(n, (1, false))),
            Change::Drain(n) => set.entry(n).or_default().1 = true,
            Change::Undrain(n) => set.entry(n).or_default().1 = false,
            Change::Weigh(n, weight) => set.entry(n).or_default().0 = weight,
            Change::Remove(n) | Change::Kill(n) => drop(set.remove(&n)),
        }
        history.push((change, set.clone()));
    }
    history
}

/// A node, a client, and a backend for each number.
struct Site {
    nodes: Vec<(Host, Datapath)>,
    client: Host,
    backends: BTreeMap<u8, Host>,
    idle: Duration,
    _greeters: Vec<Greeter>,
    _lab: Lab,
    _folders: Vec<tempfile::TempDir>,
}

impl Site {
    fn lay(nodes: usize, idle: Duration) -> Self {
        if let Some(missing) = tollgate::demo::lab::missing_rights() {
            panic!("this test attaches eBPF programs in network namespaces: {missing}");
        }
        let mut lab = Lab::new().unwrap();
        let folders: Vec<_> = (0..nodes)
            .map(|_| tempfile::TempDir::with_prefix("tollgate-history-").unwrap())
            .collect();
        let nodes = folders.iter().enumerate().map(|(n, folder)| {
            let host = lab.node(&format!("node-{n}"), folder.path()).unwrap();
            let config = Config {
                interfaces: vec![UPLINK.to_owned()],
                xdp: XdpMode::Native,
                bpffs: folder.path().join("tollgate"),
                announce: Announce::None,
            };
            let datapath = inside(&host.ns, || async {
                Datapath::open(&config).await.unwrap()
            });
            (host, datapath)
        });
        let nodes: Vec<_> = nodes.collect();
        let client = lab.host("client").unwrap();
        client
            .via(Prefix::host(VIP.into()), nodes[0].0.v4.into())
            .unwrap();
        let mut greeters = Vec::new();
        let backends = (1..=BACKENDS).map(|n| {
            let host = lab.host(&format!("db-{n}")).unwrap();
            host.hold_vip(VIP.into()).unwrap();
            let listener = host
                .ns
                .run(|| TcpListener::bind((VIP, PORT)))
                .unwrap()
                .unwrap();
            greeters.push(Greeter::start(&n.to_string(), listener).unwrap());
            (n, host)
        });
        Self {
            backends: backends.collect(),
            nodes,
            client,
            idle,
            _greeters: greeters,
            _lab: lab,
            _folders: folders,
        }
    }

    fn apply(&mut self, node: usize, set: &Set) {
        let backends = set.iter().map(|(n, (weight, drain))| Backend {
            address: self.backends[n].v4.into(),
            weight: *weight,
            drain: *drain,
        });
        let vip = format!("{VIP}:{PORT}/tcp").parse().unwrap();
        let mut service = Service::new("db".into(), vip, Deliver::L2(backends.collect()));
        service.connection_idle = self.idle;
        let model = Model {
            services: vec![service],
            ..Model::default()
        };
        let (host, datapath) = &mut self.nodes[node];
        inside(&host.ns, || async { datapath.apply(&model).await.unwrap() });
    }

    /// A round of what the daemon does every few seconds.
    fn refresh(&mut self, node: usize) {
        let (host, datapath) = &mut self.nodes[node];
        inside(&host.ns, || async { datapath.refresh().await.unwrap() });
    }

    /// Where the first node says that a connection goes, and whether its slot moves.
    fn explained(&self, connection: &Connection) -> (Option<IpAddr>, bool) {
        let question = FlowQuestion {
            client: connection.client,
            destination: SocketAddr::new(VIP.into(), PORT),
            udp: false,
        };
        let explanation = self.nodes[0].1.explain(&question).unwrap();
        let answer = explanation.answers.last().and_then(|one| one.backend);
        (answer, explanation.slot.is_some_and(|slot| slot.moving))
    }

    /// Routes the client's packets to another node.
    fn turn_to(&self, node: usize) {
        let gateway = self.nodes[node].0.v4.to_string();
        let route = format!("{VIP}/32");
        let arguments = ["route", "replace", &route, "via", &gateway];
        let ran = self.client.ns.run(|| {
            std::process::Command::new("ip")
                .args(arguments)
                .status()
                .map(|status| status.success())
        });
        assert!(ran.unwrap().unwrap(), "ip {arguments:?}");
    }
}

/// A connection, and the backend that took it.
struct Connection {
    stream: TcpStream,
    client: SocketAddr,
    backend: u8,
    /// Changes that it has lived through.
    age: usize,
}

impl Connection {
    fn open(client: &Netns) -> io::Result<Self> {
        client
            .run(|| {
                let to = SocketAddr::new(VIP.into(), PORT);
                let mut stream = TcpStream::connect_timeout(&to, PATIENCE)?;
                stream.set_read_timeout(Some(PATIENCE))?;
                stream.set_nodelay(true)?;
                let mut greeting = [0; 2];
                stream.read_exact(&mut greeting)?;
                Ok(Self {
                    backend: greeting[0] - b'0',
                    client: stream.local_addr()?,
                    stream,
                    age: 0,
                })
            })
            .unwrap()
    }

    fn ask(&mut self) -> io::Result<()> {
        self.stream.write_all(b"data that flows")
    }

    fn hear(&mut self) -> io::Result<()> {
        let mut answer = [0; 15];
        self.stream.read_exact(&mut answer)
    }
}

/// What came of a history.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Outcome {
    /// Connections whose backend lived, at each change.
    lived: usize,
    /// Of these, those that broke.
    broken: usize,
    /// Of those that did not, those older than three changes.
    old: usize,
    /// Connections whose backend was removed or killed.
    cut: usize,
    /// Connections that could not begin, or began at a backend that is gone. One that drains may still get some: in the slots
    /// of later steps, and where there is no room for a pin.
    refused: usize,
}

/// Each sends and hears; those that cannot are gone.
fn talk(connections: &mut Vec<Connection>) {
    let asked: Vec<bool> = connections
        .iter_mut()
        .map(|one| one.ask().is_ok())
        .collect();
    let mut asked = asked.into_iter();
    connections.retain_mut(|one| asked.next().unwrap_or(false) && one.hear().is_ok());
}

/// Runs the history; `at` is called before each change.
fn run(site: &mut Site, at: impl FnMut(&mut Site, usize)) -> Outcome {
    run_while(site, at, |_, _| false)
}

/// The same; after each change data flows for as long as `more` says.
fn run_while(
    site: &mut Site,
    mut at: impl FnMut(&mut Site, usize),
    mut more: impl FnMut(&mut Site, usize) -> bool,
) -> Outcome {
    site.apply(0, &(1..=4).map(|n| (n, (1, false))).collect());
    let client = Arc::clone(&site.client.ns);
    let mut connections: Vec<Connection> = (0..CONNECTIONS)
        .map(|_| Connection::open(&client).unwrap())
        .collect();
    let mut outcome = Outcome::default();
    for (number, (change, set)) in history().into_iter().enumerate() {
        at(site, number);
        if let Change::Kill(n) = change {
            link(&site.backends[&n], "down");
        }
        site.apply(0, &set);
        site.refresh(0);
        let lives = |connection: &Connection| set.contains_key(&connection.backend);
        outcome.cut += connections.iter().filter(|one| !lives(one)).count();
        connections.retain(lives);
        outcome.lived += connections.len();
        let before = connections.len();
        talk(&mut connections);
        for one in &mut connections {
            one.age += 1;
        }
        // Data goes on flowing for as long as the test wants.
        while more(site, number) {
            site.refresh(0);
            talk(&mut connections);
        }
        outcome.broken += before - connections.len();
        for one in &connections {
            assert_eq!(
                site.explained(one).0,
                Some(site.backends[&one.backend].v4.into())
            );
        }
        outcome.old += connections.iter().filter(|one| one.age > 3).count();
        if let Change::Kill(n) = change {
            link(&site.backends[&n], "up");
        }
        let missing = CONNECTIONS.saturating_sub(connections.len()).max(NEW);
        for _ in 0..missing {
            match Connection::open(&client) {
                Ok(one) if set.contains_key(&one.backend) => connections.push(one),
                _ => outcome.refused += 1,
            }
        }
    }
    outcome
}

fn link(host: &Host, state: &str) {
    let arguments = ["link", "set", UPLINK, state];
    let ran = host
        .ns
        .run(|| std::process::Command::new("ip").args(arguments).status());
    assert!(ran.unwrap().unwrap().success(), "ip {arguments:?}");
}

/// What must be true of every history on a node that saw all of it.
fn check(what: &str, outcome: Outcome) {
    println!("{what}: {outcome:?}");
    assert_eq!(
        (outcome.broken, outcome.refused),
        (0, 0),
        "{what}: {outcome:?}"
    );
    assert!(
        outcome.lived > CHANGES * 150 && outcome.old > CHANGES * 50,
        "{what}: {outcome:?}"
    );
    assert!(outcome.cut > 50, "{what}: {outcome:?}");
}

#[test]
fn connections_outlive_fifty_changes() {
    let mut site = Site::lay(1, Duration::from_secs(3600));
    let outcome = run(&mut site, |_, _| {});
    check("an hour's memory", outcome);
}

/// Data flows more often than every second, and after each tenth change until slots have settled under it.
#[test]
fn connections_outlive_fifty_changes_with_a_short_memory() {
    const ROUNDS: usize = 5_000;
    let mut site = Site::lay(1, Duration::from_secs(1));
    let (mut moving, mut rounds, mut settled) = (0, 0, 0);
    let outcome = run_while(
        &mut site,
        |_, _| {},
        |site, number| {
            let now = site.nodes[0].1.status().flows.moving;
            if number % 10 != 9 {
                return false;
            }
            if rounds > 0 && now < moving {
                settled += moving - now;
                rounds = 0;
                return false;
            }
            (moving, rounds) = (now, rounds + 1);
            assert!(rounds < ROUNDS, "no slot of {now} settled");
            true
        },
    );
    println!("{settled} slots settled under the flows");
    check("a second's memory", outcome);
    assert!(settled > 100, "{settled}");
}

#[test]
fn connections_outlive_fifty_changes_without_room_for_pins() {
    let mut site = Site::lay(1, Duration::from_secs(3600));
    let pins = site._folders[0].path().join("tollgate/map/pins");
    let outcome = run(&mut site, |site, number| {
        // The first round after a start looks through the pins, the next one half a minute later.
        if number == 1 {
            let filled = inside(&site.nodes[0].0.ns, || async { fill(&pins) });
            println!("{filled} pins of nobody's");
        }
    });
    check("a full table of pins", outcome);
    let left = inside(&site.nodes[0].0.ns, || async { room(&pins) });
    assert_eq!(
        left, 0,
        "nobody's pins were forgotten before the history was over"
    );
}

/// How many more pins there is room for, one at most.
fn room(pins: &std::path::Path) -> usize {
    let key = PinKey {
        hash: 0,
        slot: u32::MAX - 1,
        extra: 0,
    };
    usize::from(map_of(pins).insert(key, Pin::default(), 0).is_ok())
}

fn map_of(pins: &std::path::Path) -> aya::maps::HashMap<aya::maps::MapData, PinKey, Pin> {
    let map = aya::maps::MapData::from_pin(pins).unwrap();
    aya::maps::HashMap::try_from(aya::maps::Map::HashMap(map)).unwrap()
}

/// Pins of slots that are no service's, until there is no room.
fn fill(pins: &std::path::Path) -> usize {
    let mut map = map_of(pins);
    let mut filled = 0;
    for hash in 0_u64.. {
        let key = PinKey {
            hash,
            slot: u32::MAX,
            extra: 0,
        };
        match map.insert(key, Pin::default(), 0) {
            Ok(()) => filled += 1,
            Err(_) => break,
        }
    }
    filled
}

#[test]
fn connections_outlive_fifty_changes_under_the_flood_guard() {
    let mut site = Site::lay(1, Duration::from_secs(3600));
    let none = Guards { pins: 0, icmp: 0 };
    let outcome = run(&mut site, |site, _| {
        site.nodes[0].1.tables().guards.store(none.pack());
    });
    check("the flood guard", outcome);
    assert_eq!(site.nodes[0].1.status().flows.pins, 0);
}

/// The client's packets come to another node in the middle of the history, which has the same configuration and never
/// had another one. That it breaks some is known, and said; those whose slot does not move it must not.
#[test]
fn a_node_without_history_breaks_those_whose_slot_moves_alone() {
    let mut site = Site::lay(2, Duration::from_secs(3600));
    site.apply(0, &(1..=4).map(|n| (n, (1, false))).collect());
    let client = Arc::clone(&site.client.ns);
    let mut connections: Vec<Connection> = (0..CONNECTIONS)
        .map(|_| Connection::open(&client).unwrap())
        .collect();
    let after: Set = (1..=5).map(|n| (n, (1, false))).collect();
    site.apply(0, &after);
    site.refresh(0);
    let moving = site.nodes[0].1.status().services[0].slots.unwrap();
    assert!(moving.moving > 0);
    site.apply(1, &after);
    site.turn_to(1);
    let asked: Vec<bool> = connections
        .iter_mut()
        .map(|one| one.ask().is_ok())
        .collect();
    let broken = connections
        .iter_mut()
        .zip(asked)
        .filter_map(|(one, asked)| (!asked || one.hear().is_err()).then_some(&*one))
        .collect::<Vec<_>>();
    println!(
        "of {CONNECTIONS} connections {} broke; {} of {} slots were moving",
        broken.len(),
        moving.moving,
        moving.count
    );
    assert!(broken.iter().all(|one| site.explained(one).1));
    assert!(
        !broken.is_empty(),
        "what is said of such a node is worth saying"
    );
}

/// What others would have done to flows of the same history: docs/datapath.md has the figures.
#[test]
fn what_other_rules_break_in_the_same_history() {
    const FLOWS: usize = 20_000;
    const LEN: u32 = 16_381;
    let member = |(n, (weight, _)): (&u8, &(u32, bool))| Member {
        address: IpAddr::from([10, 77, 0, 10 + n]),
        weight: *weight,
        id: u16::from(*n),
    };
    let table = |set: &Set| {
        let members = set.iter().filter(|(_, (_, drain))| !drain).map(member);
        maglev::table(&members.collect::<Vec<_>>(), LEN)
    };
    let first: Set = (1..=4).map(|n| (n, (1, false))).collect();
    // Plain Maglev: the table alone tells. katran: the table, and an LRU of so many flows that were seen last.
    for (what, room) in [
        ("maglev", 0),
        ("katran, room for all", FLOWS),
        ("katran, room for half", FLOWS / 2),
    ] {
        let mut slots = table(&first);
        let slot = |flow: usize| flow * 7919 % LEN as usize;
        let mut flows: Vec<u16> = (0..FLOWS).map(|flow| slots[slot(flow)]).collect();
        let (mut lived, mut broken) = (0, 0);
        for (number, (_, set)) in history().into_iter().enumerate() {
            slots = table(&set);
            for flow in 0..FLOWS {
                let lives = set.contains_key(&(flows[flow] as u8));
                // All flows send in turn: an LRU with room for some of them holds none that comes again.
                let is_known =
                    lives && room >= FLOWS || lives && (flow + number) % FLOWS < room && room > 0;
                let now = if is_known {
                    flows[flow]
                } else {
                    slots[slot(flow)]
                };
                lived += usize::from(lives);
                broken += usize::from(lives && now != flows[flow]);
                flows[flow] = now;
            }
        }
        println!(
            "{what}: {broken} of {lived} flows broke, {:.1} in ten thousand a change",
            broken as f64 * 1e4 / lived as f64
        );
        assert_eq!(broken == 0, room >= FLOWS, "{what}");
    }
}
