//! Checks of backends by the way of clients' packets: the programs that bring marked connections to the VIP.
//!
//! Nothing of it is pinned. Links go with the process that checks, and the datapath does not notice; where the kernel has none
//! for TC (before 6.6) the filters stay for the next process to replace, until nobody checks so any more or `tollgate down`.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::{IpAddr, Ipv4Addr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use aya::{
    Ebpf, EbpfLoader,
    maps::{HashMap as BpfMap, MapData, MapError},
    programs::{ProgramError, SchedClassifier, TcAttachType, links::FdLink},
};
use tollgate_common::{
    backend::{Kind, Out},
    check::{ADDRESSES, KIND, TURNED, Way, mark},
    tables::Tables,
    tag::Tags,
};

use crate::{
    model::{Deliver, Tunnel},
    netlink::{Device, Netlink, NetlinkError},
    object::{ObjectError, is_permission, program, refused},
    tables::{self, NextHop},
    tc,
};

#[repr(align(8))]
struct Aligned<T: ?Sized>(T);

static OBJECT: &Aligned<[u8]> = &Aligned(*include_bytes!(concat!(env!("OUT_DIR"), "/check.bpf.o")));

/// The program at the way out.
pub const OUT: &str = "tollgate_check_out";
/// The program at the way in.
pub const IN: &str = "tollgate_check_in";
const CHECKS: &str = "CHECKS";

/// In this order: who turns packets must know their answers.
const PROGRAMS: [(&str, TcAttachType); 2] =
    [(IN, TcAttachType::Ingress), (OUT, TcAttachType::Egress)];

/// A backend as a check of it must know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checked {
    /// The number of its entry.
    pub entry: u16,
    /// The service's address.
    pub vip: Ipv4Addr,
    /// The backend's own.
    pub backend: Ipv4Addr,
    /// The way to it.
    pub kind: Kind,
}

impl Checked {
    /// Of a backend with this entry, if its checks can take the way of its packets: both addresses must be IPv4's, and the
    /// service one address.
    #[must_use]
    pub const fn of(deliver: &Deliver, vip: IpAddr, backend: IpAddr, entry: u16) -> Option<Self> {
        let (IpAddr::V4(vip), IpAddr::V4(backend)) = (vip, backend) else {
            return None;
        };
        let kind = match deliver {
            Deliver::Listener(_) | Deliver::Nat(_) => return None,
            Deliver::L2(_) => Kind::L2,
            Deliver::Ipip(_) => Kind::Ipip4,
            Deliver::Gue(_) => Kind::Gue4,
        };
        Some(Self {
            entry,
            vip,
            backend,
            kind,
        })
    }

    /// The mark of its checks.
    #[must_use]
    pub const fn mark(self, base: u16) -> u32 {
        mark(base, self.entry)
    }

    fn way(self, tunnel: Tunnel) -> Way {
        // The frame's own addresses are the kernel's to find: it sends to the backend.
        let hop = NextHop {
            ifindex: 0,
            source: [0; 6],
            destination: [0; 6],
            mtu: u16::MAX,
            tags: Tags::NONE,
        };
        let (vip, backend) = (self.vip.into(), self.backend.into());
        let (header, _) = tables::entry(vip, self.kind, backend, Some(&hop), tunnel, 0);
        let mut way = [0; 10];
        way[..7].copy_from_slice(&header);
        let loaded = |address: Ipv4Addr| u64::from(u32::from_ne_bytes(address.octets()));
        way[ADDRESSES] = loaded(self.vip) | loaded(self.backend) << 32;
        way[KIND] = self.kind as u64;
        way
    }
}

/// Why checks cannot take the way of clients' packets.
#[derive(Debug, thiserror::Error)]
pub enum ChecksError {
    /// Loading.
    #[error(transparent)]
    Object(#[from] ObjectError),
    /// An interface.
    #[error("the programs of checks were not attached to {0}")]
    Attach(String, #[source] Box<ProgramError>),
    /// A map.
    #[error("the ways of checks were not written")]
    Map(#[from] MapError),
    /// The interfaces cannot be read.
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
}

/// The map of ways, which the program at the way out counts in.
#[derive(Clone, Debug)]
pub struct Turned(Arc<Mutex<BpfMap<MapData, u32, Way>>>);

impl Turned {
    /// How many packets with a mark were turned towards the VIP; `None`: no such mark is known.
    #[must_use]
    pub fn count(&self, mark: u32) -> Option<u64> {
        self.map().get(&mark, 0).ok().map(|way| way[TURNED])
    }

    fn map(&self) -> MutexGuard<'_, BpfMap<MapData, u32, Way>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What keeps a program attached.
#[derive(Debug)]
enum How {
    Link(FdLink),
    Filter,
}

/// The programs, and the ways that they know.
#[derive(Debug)]
pub struct Checks {
    ebpf: Ebpf,
    map: Turned,
    ways: HashMap<u32, Way>,
    entries: Vec<u16>,
    /// Where each is attached, by the index of the interface and its own name; with the interface's name.
    attached: BTreeMap<(u32, &'static str), (String, How)>,
}

impl Checks {
    /// Loads the programs, attached nowhere. Must be called, as all that follows, on a thread in the network namespace of the
    /// interfaces, inside a tokio runtime with I/O and time enabled.
    ///
    /// # Errors
    /// [`ObjectError`].
    pub fn load() -> Result<Self, ObjectError> {
        if OBJECT.0.is_empty() {
            return Err(ObjectError::Stub);
        }
        let mut ebpf = EbpfLoader::new().load(&OBJECT.0).map_err(|error| {
            if is_permission(&error) {
                ObjectError::Rights(Box::new(error))
            } else {
                ObjectError::Load(Box::new(error))
            }
        })?;
        for name in [OUT, IN] {
            let program: &mut SchedClassifier = program(&mut ebpf, name)?;
            program.load().map_err(|source| refused(name, source))?;
        }
        let map = ebpf.take_map(CHECKS).ok_or(ObjectError::Missing(CHECKS))?;
        // It is one of this type, or the programs had not been loaded.
        let map = BpfMap::try_from(map).map_err(|_| ObjectError::Missing(CHECKS))?;
        Ok(Self {
            ebpf,
            map: Turned(Arc::new(Mutex::new(map))),
            ways: HashMap::new(),
            entries: Vec::new(),
            attached: BTreeMap::new(),
        })
    }

    /// One of the programs: [`OUT`] or [`IN`].
    ///
    /// # Errors
    /// [`ObjectError::Missing`].
    pub fn program(&mut self, name: &'static str) -> Result<&mut SchedClassifier, ObjectError> {
        program(&mut self.ebpf, name)
    }

    /// Tells which packets were turned.
    #[must_use]
    pub fn turned(&self) -> Turned {
        self.map.clone()
    }

    /// Lets checks of these backends take their packets' way, by a mark of `base` and their entry. One that is not named any
    /// more is sent as it is, so its checks must have ended.
    ///
    /// # Errors
    /// [`ChecksError`]: some ways may be written.
    pub fn know(
        &mut self,
        backends: &[Checked],
        base: u16,
        tunnel: Tunnel,
    ) -> Result<(), ChecksError> {
        let wanted = backends.iter().map(|one| (one.mark(base), one.way(tunnel)));
        let wanted: HashMap<u32, Way> = wanted.collect();
        let mut map = self.map.map();
        for (mark, way) in &wanted {
            if self.ways.get(mark) != Some(way) {
                map.insert(mark, way, 0)?;
                self.ways.insert(*mark, *way);
            }
        }
        let gone = self.ways.keys().filter(|mark| !wanted.contains_key(mark));
        for mark in gone.copied().collect::<Vec<_>>() {
            map.remove(&mark)?;
            self.ways.remove(&mark);
        }
        drop(map);
        self.entries = backends.iter().map(|one| one.entry).collect();
        Ok(())
    }

    /// Attaches the programs to these interfaces, and to those that the tables say the backends are behind, as far as they
    /// are there and lack them. Each interface by itself.
    ///
    /// # Errors
    /// [`ChecksError`], of the last interface that has not got both; the others have.
    pub async fn attach(
        &mut self,
        interfaces: &[String],
        tables: &Tables,
    ) -> Result<(), ChecksError> {
        let devices = Netlink::open()?.devices().await?;
        // What was made anew has another index, and lost them with the old one.
        self.attached.retain(|(index, _), (name, _)| {
            let mut devices = devices.iter();
            devices.any(|one| one.index == *index && one.name == *name)
        });
        let entries = self.entries.iter().map(|id| usize::from(*id));
        let outs = entries.filter_map(|id| Some(tables.backends.get(id)?.out.load()));
        let ways_out: BTreeSet<u32> = outs.map(|out| Out::unpack(out).ifindex()).collect();
        let named = |device: &&Device| {
            interfaces.contains(&device.name) || ways_out.contains(&device.index)
        };
        let mut failed = None;
        for device in devices.iter().filter(named) {
            for (name, at) in PROGRAMS {
                if let Err(error) = self.put(device, name, at) {
                    failed = Some(error);
                    // Without the one at the way in, the one at the way out would make every backend seem silent.
                    break;
                }
            }
        }
        failed.map_or(Ok(()), Err)
    }

    /// Attaches one program where it is not.
    fn put(
        &mut self,
        device: &Device,
        name: &'static str,
        at: TcAttachType,
    ) -> Result<(), ChecksError> {
        let program = program::<SchedClassifier>(&mut self.ebpf, name)?;
        let stands = self.attached.get(&(device.index, name));
        if stands.is_some_and(|(_, how)| how.is_on(device)) {
            return Ok(());
        }
        self.attached.remove(&(device.index, name));
        // A filter is put in its own place again.
        let how = put(program, &device.name, at)
            .map_err(|error| ChecksError::Attach(device.name.clone(), Box::new(error)))?;
        self.attached
            .insert((device.index, name), (device.name.clone(), how));
        Ok(())
    }

    /// Ends for good: filters, which no process takes with it, are detached.
    pub fn end(self) {
        for ((_, program), (interface, how)) in &self.attached {
            if matches!(how, How::Filter) {
                detach(interface, program);
            }
        }
    }
}

/// Detaches the filters that processes left at these interfaces.
pub(crate) fn detach_all(devices: &[Device]) {
    for device in devices {
        for (name, _) in PROGRAMS {
            detach(&device.name, name);
        }
    }
}

fn detach(interface: &str, name: &str) {
    for (_, at) in PROGRAMS.iter().filter(|(one, _)| *one == name) {
        if let Err(error) = tc::detach(interface, *at, name) {
            tracing::debug!(interface, name, %error, "the filter was not detached");
        }
    }
}

impl How {
    /// Whether it is known to be at a device still. Of a filter nobody says it cheaply.
    fn is_on(&self, device: &Device) -> bool {
        match self {
            Self::Link(link) => tc::is_at(link, device.index),
            Self::Filter => false,
        }
    }
}

/// By a link, which Linux has from 6.6 on and which goes with the process, else by a filter: in the place of the one that
/// another process left or still has.
fn put(
    program: &mut SchedClassifier,
    interface: &str,
    at: TcAttachType,
) -> Result<How, ProgramError> {
    match tc::link(program, interface, at) {
        Err(error) if tc::is_missing(&error) => {}
        attached => return attached.map(How::Link),
    }
    tc::filter(program, interface, at, tc::CHECK)?;
    Ok(How::Filter)
}
