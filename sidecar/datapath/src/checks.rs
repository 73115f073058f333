//! Checks of backends by the way of clients' packets: the programs that bring marked connections to the VIP.
//!
//! Nothing of it is pinned. The programs go with the process that checks, and the datapath does not notice.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::{IpAddr, Ipv4Addr},
};

use aya::{
    Ebpf, EbpfLoader,
    maps::{HashMap as BpfMap, MapData, MapError},
    programs::{
        ProgramError, SchedClassifier, TcAttachType,
        links::LinkOrder,
        tc::{self, NlOptions, TcAttachOptions},
    },
};
use nix::errno::Errno;
use tollgate_common::{
    backend::{Kind, Out},
    check::{ADDRESSES, KIND, Way, mark},
    tables::Tables,
    tag::Tags,
};

use crate::{
    model::{Deliver, Tunnel},
    netlink::{Device, Netlink, NetlinkError},
    object::{ObjectError, errno, is_permission, program, refused},
    tables::{self, NextHop},
};

#[repr(align(8))]
struct Aligned<T: ?Sized>(T);

static OBJECT: &Aligned<[u8]> = &Aligned(*include_bytes!(concat!(env!("OUT_DIR"), "/check.bpf.o")));

/// The program at the way out.
pub const OUT: &str = "tollgate_check_out";
/// The program at the way in.
pub const IN: &str = "tollgate_check_in";
const CHECKS: &str = "CHECKS";

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
        let mut way = [0; 9];
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

/// The programs, and the ways that they know.
#[derive(Debug)]
pub struct Checks {
    ebpf: Ebpf,
    ways: HashMap<u32, Way>,
    entries: Vec<u16>,
    /// Indexes and names of the interfaces that they are attached to.
    attached: BTreeMap<u32, String>,
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
        Ok(Self {
            ebpf,
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
        let map = self
            .ebpf
            .map_mut(CHECKS)
            .ok_or(ObjectError::Missing(CHECKS))?;
        let mut map: BpfMap<&mut MapData, u32, Way> = BpfMap::try_from(map)?;
        for (mark, way) in &wanted {
            if self.ways.get(mark) != Some(way) {
                map.insert(mark, way, 0)?;
            }
        }
        for mark in self.ways.keys().filter(|mark| !wanted.contains_key(mark)) {
            map.remove(mark)?;
        }
        self.ways = wanted;
        self.entries = backends.iter().map(|one| one.entry).collect();
        Ok(())
    }

    /// Attaches the programs to these interfaces, and to those that the tables say the backends are behind, as far as they
    /// are there and lack them.
    ///
    /// # Errors
    /// [`ChecksError`]: those before are attached.
    pub async fn attach(
        &mut self,
        interfaces: &[String],
        tables: &Tables,
    ) -> Result<(), ChecksError> {
        let devices = Netlink::open()?.devices().await?;
        // What was made anew has another index, and lost them with the old one.
        self.attached.retain(|index, name| {
            let mut devices = devices.iter();
            devices.any(|one| one.index == *index && one.name == *name)
        });
        let entries = self.entries.iter().map(|id| usize::from(*id));
        let outs = entries.filter_map(|id| Some(tables.backends.get(id)?.out.load()));
        let ways_out: BTreeSet<u32> = outs.map(|out| Out::unpack(out).ifindex()).collect();
        let named = |device: &&Device| {
            interfaces.contains(&device.name) || ways_out.contains(&device.index)
        };
        for device in devices.iter().filter(named) {
            if self.attached.contains_key(&device.index) {
                continue;
            }
            for (name, at) in [(OUT, TcAttachType::Egress), (IN, TcAttachType::Ingress)] {
                put(self.program(name)?, name, &device.name, at)
                    .map_err(|error| ChecksError::Attach(device.name.clone(), Box::new(error)))?;
            }
            self.attached.insert(device.index, device.name.clone());
        }
        Ok(())
    }
}

/// By a link, which Linux has from 6.6 on, else by a filter. Both go with the program.
fn put(
    program: &mut SchedClassifier,
    name: &str,
    interface: &str,
    at: TcAttachType,
) -> Result<(), ProgramError> {
    let first = TcAttachOptions::TcxOrder(LinkOrder::first());
    match program.attach_with_options(interface, at, first) {
        Err(error) if errno(&error) == Some(Errno::EINVAL as i32) => {}
        attached => return attached.map(drop),
    }
    match tc::qdisc_add_clsact(interface) {
        // Somebody has made it before.
        Err(error) if errno(&error) == Some(Errno::EEXIST as i32) => {}
        made => made?,
    }
    // A filter outlives a process that was killed.
    let _stale = tc::qdisc_detach_program(interface, at, name);
    let options = TcAttachOptions::Netlink(NlOptions::default());
    program
        .attach_with_options(interface, at, options)
        .map(drop)
}
