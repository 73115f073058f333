//! Watching packets: for as long as this is open, another program stands behind the links to the interfaces. It does what the
//! XDP program does, by the same code and maps, and tells of packets. Links are updated in place, so no packet passes by; the
//! program that serves otherwise has no line for it, and costs nothing more.
//!
//! Whoever watches holds a lock on the folder of programs. Is it gone without having put the other program back, the daemon
//! does within seconds; until then the program goes on and tells nothing.

use std::{
    fs::File,
    io,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
};

use aya::{
    maps::{MapError, perf::PerfEvent},
    programs::Xdp,
};
use tollgate_common::{
    answer::Answer,
    capture::{Record, count, flow, side, word},
};

mod error;
pub mod filter;
mod names;
mod watcher;

pub use error::CaptureError;
pub use names::ServiceNames;
pub use watcher::{MOST, PROGRAM, What};

use crate::{
    maps,
    object::{ObjectError, program},
    pins::Pins,
};
use filter::Filter;
use names::services;
use watcher::{Watcher, lock, pinned_program};

/// What is told of one packet, before or after.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Nanosecond of the monotonic clock.
    pub at: u64,
    /// Which packet: before and after have the same.
    pub packet: u64,
    /// As it leaves, not as it came.
    pub after: bool,
    /// Bytes of the frame.
    pub len: u32,
    /// Its first bytes.
    pub bytes: Vec<u8>,
    /// Index of the interface that it came in at.
    pub interface: u32,
    /// The client of its flow; `None`: no IP packet.
    pub client: Option<SocketAddr>,
    /// The address that its flow goes to.
    pub vip: Option<SocketAddr>,
    /// The flow's protocol number.
    pub proto: u8,
    /// Whether it is of a connection that it opens.
    pub opens: bool,
    /// What the kernel was told to do: an `xdp_action`.
    pub action: u32,
    /// What was counted.
    pub verdict: &'static str,
    /// The service's name.
    pub service: Option<String>,
    /// The backend's address.
    pub backend: Option<IpAddr>,
}

/// What was counted so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// Packets or events that passed the filter.
    pub passed: u64,
    /// Of what was to be told so much found no room in the buffers.
    pub lost: u64,
    /// Packets or events beyond the rate.
    pub held: u64,
}

/// The index of an interface by its name.
pub type Interfaces = Box<dyn Fn(&str) -> Option<u32> + Send>;

/// An open watch. Dropping it puts the program back that was there.
pub struct Capture {
    bpffs: PathBuf,
    what: What,
    filter: Filter,
    names: ServiceNames,
    interface: Interfaces,
    watcher: Watcher,
    /// What was counted by watchers before this one.
    before: Counted,
    /// Held for as long as this is open.
    _lock: File,
}

impl Capture {
    /// Begins to watch the datapath whose pins are in a folder. Inside a tokio runtime with I/O enabled, in the datapath's
    /// network namespace.
    ///
    /// # Errors
    /// [`CaptureError`].
    pub fn open(
        bpffs: &Path,
        what: What,
        filter: &Filter,
        names: ServiceNames,
        interface: Interfaces,
    ) -> Result<Self, CaptureError> {
        let pins = Pins::of(bpffs);
        let lock = lock(&pins)?;
        let watcher = Watcher::load(&pins, what, filter, &names, &*interface)?;
        let mut capture = Self {
            bpffs: bpffs.to_owned(),
            what,
            filter: filter.clone(),
            names,
            interface,
            watcher,
            before: Counted::default(),
            _lock: lock,
        };
        if capture.watcher.take_place(&pins)? == 0 {
            return Err(CaptureError::NoLink(bpffs.to_owned()));
        }
        Ok(capture)
    }

    /// To be called every second or so: says that somebody watches still, and looks whether another program was put in place,
    /// as a restarted daemon does; then that one is watched. True: it is.
    ///
    /// # Errors
    /// [`CaptureError`]: nothing is watched any more.
    pub fn follow(&mut self) -> Result<bool, CaptureError> {
        let pins = Pins::of(&self.bpffs);
        let now = pinned_program(&pins)?.id();
        let is_another = now != self.watcher.stands_for;
        if is_another {
            let next = Watcher::load(
                &pins,
                self.what,
                &self.filter,
                &self.names,
                &*self.interface,
            )?;
            self.before = self.counted()?;
            self.watcher = next;
        }
        self.watcher.renew()?;
        let placed = self.watcher.take_place(&pins)?;
        Ok(is_another || placed > 0)
    }

    /// Waits until there may be something to [`take`](Self::take).
    ///
    /// # Errors
    /// The system's.
    pub async fn ready(&self) -> io::Result<()> {
        let mut guard = self.watcher.ready.readable().await?;
        guard.clear_ready();
        Ok(())
    }

    /// What was told since, in the order of time.
    ///
    /// # Errors
    /// The system's.
    pub fn take(&mut self) -> io::Result<Vec<Seen>> {
        let mut raw = Vec::new();
        for buffer in &mut self.watcher.buffers {
            buffer.for_each(|event| {
                // What is lost is counted where it is told.
                if let PerfEvent::Sample { head, tail } = event {
                    raw.push([head, tail].concat());
                }
            });
        }
        let mut seen: Vec<Seen> = raw.iter().filter_map(|bytes| self.seen(bytes)).collect();
        seen.sort_by_key(|one| one.at);
        Ok(seen)
    }

    /// What was counted.
    ///
    /// # Errors
    /// The map's.
    pub fn counted(&self) -> Result<Counted, MapError> {
        let counts = &self.watcher.counts;
        let sum = |index| -> Result<u64, MapError> { Ok(counts.get(&index, 0)?.iter().sum()) };
        Ok(Counted {
            passed: self.before.passed + sum(count::PASSED)?,
            lost: self.before.lost + sum(count::LOST)?,
            held: self.before.held + sum(count::HELD)?,
        })
    }

    /// Ends as a process does that is killed: the lock is gone, and nothing is put back.
    pub fn abandon(mut self) {
        self.watcher.number = 0;
    }

    /// The program that stands in for the other one, for test runs.
    ///
    /// # Errors
    /// [`ObjectError::Missing`].
    pub fn program(&mut self) -> Result<&mut Xdp, ObjectError> {
        program(&mut self.watcher.ebpf, PROGRAM)
    }

    /// One record in words.
    fn seen(&self, bytes: &[u8]) -> Option<Seen> {
        let record: Record = maps::value(bytes)?;
        let data = bytes.get(size_of::<Record>()..)?;
        let data = data.get(..record.captured as usize)?.to_vec();
        let Record { words, cpu, .. } = record;
        let answer = Answer(words[word::ANSWER]);
        let line = words[word::FLOW];
        let proto = (line >> flow::PROTO) as u8;
        let socket = |at: usize, first: u32| {
            let port = (line >> first) as u16;
            (line >> flow::VERSION & 0xff != 0)
                .then(|| SocketAddr::new(address([words[at], words[at + 1]]), port))
        };
        let backend = address([words[word::BACKEND], words[word::BACKEND + 1]]);
        Some(Seen {
            at: record.at,
            packet: u64::from(cpu) << 48 | record.number & ((1 << 48) - 1),
            after: record.side == side::AFTER,
            len: record.len,
            bytes: data,
            interface: words[word::INTERFACE] as u32,
            client: socket(word::CLIENT, flow::CLIENT_PORT),
            vip: socket(word::VIP, flow::PORT),
            proto,
            opens: answer.opens(),
            action: answer.action(),
            verdict: answer.verdict().map_or("unknown", |one| one.label()),
            service: self.service(answer.service()),
            backend: (!backend.is_unspecified()).then_some(backend),
        })
    }

    /// The name of the service with a number; where none is known, what clients send to.
    fn service(&self, number: u16) -> Option<String> {
        let vip = services(&self.watcher.tables)
            .find(|(one, _)| *one == number)?
            .1;
        Some(
            self.names
                .get(&vip)
                .cloned()
                .unwrap_or_else(|| vip.to_string()),
        )
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        if let Err(error) = self.watcher.give_back(&Pins::of(&self.bpffs)) {
            // The daemon does it then.
            tracing::warn!(%error, "the datapath's own program was not put back");
        }
    }
}

/// An address out of its halves.
fn address([hi, lo]: [u64; 2]) -> IpAddr {
    let ip = std::net::Ipv6Addr::from_bits(u128::from(hi) << 64 | u128::from(lo));
    ip.to_ipv4_mapped().map_or(IpAddr::V6(ip), IpAddr::V4)
}
