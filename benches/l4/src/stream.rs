//! Packets a second through a pair of veth: one CPU makes them, balances them and takes them in again.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use nix::sched::sched_getcpu;
use tollgate::demo::lab::in_path;
use tollgate_bench_ebpf::{Order, Setup};
use tollgate_datapath::model::Proto;
use tollgate_tests::bpf::Bench;

use crate::Failure;
use crate::driver::Drivers;
use crate::frames::{self, CLIENT_V4};
use crate::measure::cpu_time;
use crate::services::{BACKENDS, port, vip};
use crate::site::{Site, inside, ip};

/// What stands at the balancer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// A program that drops all.
    Drop,
    /// A program that sends all back as they are.
    Transmit,
    /// The floor without a flow table.
    Stateless,
    /// The product's program.
    Ours,
    /// The kernel's router, over as many ways as there are backends.
    Routed,
    /// The kernel's address translation by nftables, with its connection tracking.
    Translated,
}

/// What came through.
#[derive(Clone, Debug, PartialEq)]
pub struct Rate {
    /// What stood there.
    pub way: Way,
    /// Millions of packets a second, the most and the median of all rounds; `None`: not measured.
    pub mpps: Option<(f64, f64)>,
    /// What is to be said about it.
    pub note: Option<String>,
}

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// Turns over all ways.
    pub rounds: usize,
    /// Time for each of them in a turn.
    pub window: Duration,
}

const ALL: [Way; 6] = [
    Way::Drop,
    Way::Transmit,
    Way::Stateless,
    Way::Ours,
    Way::Routed,
    Way::Translated,
];
const FLOWS: u32 = 1 << 16;
/// Frames in one call of the kernel, which makes a pool of buffers for each call: twice the flows.
const COUNT: u32 = FLOWS * 2;
/// Of the frames that were sent so many may be lost on the way, or it is said.
const LOSS: f64 = 0.01;

/// What a balancer could come to here: no less than this, in millions of packets a second.
pub const BAR: f64 = 4.0;

impl Way {
    /// What people call it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Drop => "dropped at once",
            Self::Transmit => "XDP_TX at once",
            Self::Stateless => "stateless floor",
            Self::Ours => "tollgate",
            Self::Routed => "kernel routing, ECMP",
            Self::Translated => "nftables DNAT",
        }
    }
}

/// Measures all ways in turns.
///
/// # Errors
/// The kernel's, or those of the programs that set up what is compared.
pub fn measure(
    site: &Site,
    drivers: &mut Drivers,
    bench: &mut Bench,
    effort: Effort,
) -> Result<Vec<Rate>, Failure> {
    let to = vip(true, port::IPIP, Proto::Udp);
    let frame = frames::datagram(to);
    drivers.prepare(&Setup {
        length: frame.len() as u32,
        grown: 0,
        order: Order::Random as u32,
        mask: FLOWS - 1,
        first: CLIENT_V4.to_bits(),
        partial: frames::partial_sum(&frame),
        cut: 0,
        ifindex: site.gen0,
        header: frames::header(&frame),
    })?;
    site.route()?;
    let next = (1..=BACKENDS).map(|last| format!(" nexthop via 10.99.0.{last} dev out0"));
    let next: String = next.collect();
    ip(&site.balancer, &format!("route add {}/32{next}", to.ip))?;

    let sink = within(&site.outside, || drivers.attach("sink", "gen0"))?;
    let has_nft = in_path("nft").is_some();
    let mut samples = vec![Vec::new(); ALL.len()];
    let mut lost = vec![0.0_f64; ALL.len()];
    for _ in 0..effort.rounds {
        for (at, &way) in ALL.iter().enumerate() {
            if way == Way::Translated && !has_nft {
                continue;
            }
            let (mpps, share) = window(site, drivers, bench, way, &frame, effort.window)?;
            samples[at].push(mpps);
            lost[at] = lost[at].max(share);
        }
    }
    within(&site.outside, || drivers.detach("sink", sink))?;

    let rates = ALL.into_iter().zip(samples.into_iter().zip(lost));
    Ok(rates
        .map(|(way, (mut samples, lost))| {
            samples.sort_by(f64::total_cmp);
            let mpps = samples.last().zip(samples.get(samples.len() / 2));
            let note = if mpps.is_none() {
                Some("not measured: nft is not installed (Debian package nftables)".to_owned())
            } else {
                (lost > LOSS).then(|| format!("up to {:.0} % were lost", lost * 100.0))
            };
            Rate {
                way,
                mpps: mpps.map(|(&most, &median)| (most, median)),
                note,
            }
        })
        .collect())
}

/// One way for a while: millions of packets a second that arrived, and the share that did not.
fn window(
    site: &Site,
    drivers: &mut Drivers,
    bench: &mut Bench,
    way: Way,
    frame: &[u8],
    window: Duration,
) -> Result<(f64, f64), Failure> {
    let program = match way {
        Way::Drop => "sink",
        Way::Transmit => "empty",
        Way::Stateless => "stateless",
        // veth takes live frames only where a program is.
        Way::Routed | Way::Translated => "pass",
        Way::Ours => "",
    };
    let doing = "attach the product's program to lb0";
    let ours = if way == Way::Ours {
        let link = within(&site.balancer, || {
            let program = bench.object.xdp().map_err(Failure::of(doing))?;
            program
                .attach("lb0", aya::programs::xdp::XdpMode::Driver)
                .map_err(Failure::of(doing))
        })?;
        Some(link)
    } else {
        None
    };
    let theirs = if ours.is_none() {
        Some(within(&site.balancer, || drivers.attach(program, "lb0"))?)
    } else {
        None
    };
    if way == Way::Translated {
        nft(site, &translation())?;
    }

    let arrived = |drivers: &Drivers| match way {
        Way::Routed | Way::Translated => site.forwarded(),
        _ => drivers.arrived(),
    };
    let window = window.as_nanos() as f64;
    let outcome = site.outside.run(|| {
        // Flows have been seen before the clock runs: connections are tracked from their first packet on.
        drivers.generate(frame, COUNT)?;
        let before = arrived(drivers)?;
        let (begun, mut took, mut sent) = (Cpu::read()?, 0.0, 0);
        while took < window {
            drivers.generate(frame, COUNT)?;
            sent += u64::from(COUNT);
            took = Cpu::read()?.since(&begun);
        }
        Ok::<_, Failure>((arrived(drivers)? - before, sent, took))
    });
    let (came, sent, took) = outcome.map_err(Failure::of("enter the outside"))??;

    if way == Way::Translated {
        nft(site, "flush ruleset")?;
    }
    if let Some(link) = theirs {
        within(&site.balancer, || drivers.detach(program, link))?;
    }
    if let Some(link) = ours {
        let doing = "detach the product's program";
        let program = bench.object.xdp().map_err(Failure::of(doing))?;
        program.detach(link).map_err(Failure::of(doing))?;
    }
    let share = 1.0 - came as f64 / sent as f64;
    Ok((came as f64 / took * 1e3, share))
}

/// The time that packets took so far on this CPU.
struct Cpu {
    /// Nanoseconds of this thread. What the kernel does for packets while it has the CPU is among it, unless the kernel was
    /// built to count interrupts apart (`CONFIG_IRQ_TIME_ACCOUNTING`).
    own: f64,
    /// The same of the kernel's thread that takes over when that becomes too much.
    ksoftirqd: f64,
}

impl Cpu {
    fn read() -> Result<Self, Failure> {
        Ok(Self {
            own: cpu_time()?,
            ksoftirqd: ksoftirqd().unwrap_or_default(),
        })
    }

    fn since(&self, before: &Self) -> f64 {
        self.own - before.own + self.ksoftirqd - before.ksoftirqd
    }
}

/// Nanoseconds that `ksoftirqd` of this thread's CPU had; `None` where processes of the kernel are not to be seen.
fn ksoftirqd() -> Option<f64> {
    static PLACE: OnceLock<Option<PathBuf>> = OnceLock::new();

    let find = || {
        let cpu = sched_getcpu().ok()?;
        let name = format!("ksoftirqd/{cpu}\n");
        let processes = fs::read_dir("/proc").ok()?.flatten();
        let mut named = processes
            .map(|process| process.path())
            .filter(|path| fs::read_to_string(path.join("comm")).is_ok_and(|comm| comm == name));
        named.next().map(|path| path.join("schedstat"))
    };
    let text = fs::read_to_string(PLACE.get_or_init(find).as_ref()?).ok()?;
    text.split(' ').next()?.parse().ok()
}

/// The rules of a service as kube-proxy writes them: one of the backends at random, for each connection.
fn translation() -> String {
    let to = vip(true, port::IPIP, Proto::Udp);
    let backends = (1..=BACKENDS).map(|last| format!("{} : 10.99.0.{last}", last - 1));
    let backends = backends.collect::<Vec<_>>().join(", ");
    format!(
        "table ip l4 {{\n chain to {{\n type nat hook prerouting priority dstnat\n \
         ip daddr {} udp dport {} dnat to numgen random mod {BACKENDS} map {{ {backends} }}\n }}\n}}\n",
        to.ip, to.port
    )
}

fn nft(site: &Site, rules: &str) -> Result<(), Failure> {
    let mut command = Command::new("nft");
    command.arg(rules).stdin(Stdio::null());
    inside(&site.balancer, &mut command, "nft")
}

/// Does something in a namespace.
fn within<T: Send>(
    ns: &tollgate::demo::lab::Netns,
    what: impl FnOnce() -> Result<T, Failure> + Send,
) -> Result<T, Failure> {
    ns.run(what)
        .map_err(Failure::of(format!("enter {}", ns.name())))?
}
