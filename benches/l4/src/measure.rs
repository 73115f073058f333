//! Nanoseconds a packet: test runs in turns over all that is compared, on one CPU, by the time that this thread had it.

use aya::programs::ProgramFd;
use nix::sched::{CpuSet, sched_setaffinity};
use nix::time::{ClockId, clock_gettime};
use nix::unistd::Pid;
use tollgate_bench_ebpf::{Order, Setup};
use tollgate_common::verdict::{Disposition, Verdict};
use tollgate_tests::bpf::{Bench, action};

use crate::Failure;
use crate::cases::Case;
use crate::driver::{Drivers, Ended};
use crate::frames::{self, CLIENT_V4};

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// Turns over all that is compared.
    pub rounds: usize,
    /// Packets in each run.
    pub repeat: u32,
}

/// Nanoseconds a packet, without what the driver and the kernel's loop take.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Net {
    /// From the least of all rounds.
    pub min: f64,
    /// From the median of all rounds.
    pub median: f64,
}

/// What was measured of a case.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Measured {
    /// The product's program.
    pub ours: Net,
    /// The floor without a flow table.
    pub stateless: Option<Net>,
    /// The floor with one.
    pub lru: Option<Net>,
}

/// Keeps this thread on one CPU, the last that it may use: the first has most interrupts.
///
/// # Errors
/// The kernel's.
pub fn pin() -> Result<(), Failure> {
    let doing = "keep to one CPU";
    let allowed = nix::sched::sched_getaffinity(Pid::from_raw(0)).map_err(Failure::of(doing))?;
    let last = (0..CpuSet::count())
        .rev()
        .find(|&cpu| allowed.is_set(cpu).unwrap_or_default());
    let mut one = CpuSet::new();
    one.set(last.unwrap_or_default())
        .map_err(Failure::of(doing))?;
    sched_setaffinity(Pid::from_raw(0), &one).map_err(Failure::of(doing))
}

/// A program and what it took in each round.
struct Lane {
    program: ProgramFd,
    setup: Setup,
    samples: Vec<f64>,
}

/// Measures a case, packets coming in at the interface `ingress`. Says so when packets become something else than they should.
///
/// # Errors
/// The kernel's; and when a packet does not become what the case says.
pub fn measure(
    drivers: &mut Drivers,
    bench: &mut Bench,
    case: &Case,
    ingress: u32,
    effort: Effort,
) -> Result<Measured, Failure> {
    let ours = ours(bench)?;
    let setup = probe(drivers, bench, case, ingress)?;
    // Whatever was sent before, the table of pins is empty.
    forget(bench)?;
    let mut lanes = Lanes {
        drivers,
        case,
        ingress,
        lanes: Vec::new(),
    };
    let grown = Setup {
        grown: 20,
        cut: 0,
        ..setup
    };
    let none = Setup {
        grown: 0,
        cut: 0,
        ..setup
    };
    let of_ours = lanes.add(ours, setup);
    let base = lanes.base(setup)?;
    let base_floor = lanes.base(grown)?;
    let empty = lanes.open("empty", none)?;
    let back = lanes.open("grow_and_back", none)?;
    // It leaves the frame as long as it was, and is told by how much to move it.
    let back_ours = match setup.cut {
        0 => back,
        _ => lanes.open("quote_and_back", setup)?,
    };
    let stateless = case.stateless.then(|| lanes.open("stateless", grown));
    let lru = case.lru.then(|| lanes.open("lru", grown));
    let (stateless, lru) = (stateless.transpose()?, lru.transpose()?);

    if let Some(frame) = &case.before {
        let begun = Setup {
            header: frames::header(frame),
            ..setup
        };
        lanes.walk(of_ours, begun)?;
    }
    if let Some(lane) = lru
        && case.order == Order::Random
    {
        // Each flow once, or half of the rounds would still insert.
        lanes.walk(lane, lanes.lanes[lane].setup)?;
    }
    let before = counted(bench, case.verdict)?;
    lanes.run(effort, || if case.forgets { forget(bench) } else { Ok(()) })?;
    let after = counted(bench, case.verdict)?;
    let sent = u64::from(effort.repeat + warming(effort)) * (effort.rounds as u64 + 1);
    if after - before != sent {
        let became = format!("{} of {sent} became {:?}", after - before, case.verdict);
        return Err(Failure::new(format!("measure {}", case.name), became));
    }

    // What a program itself takes to move the frame's beginning is its own, and in the base too.
    let net = |lane: usize, base: usize, back: usize, moves: bool| {
        let at = |quantile: fn(&Lane) -> f64| {
            let [lane, base, back, empty] =
                [lane, base, back, empty].map(|lane| quantile(&lanes.lanes[lane]));
            let own = if moves { (back - empty) / 2.0 } else { 0.0 };
            lane - base + own
        };
        Net {
            min: at(Lane::min),
            median: at(Lane::median),
        }
    };
    let floor = |lane| net(lane, base_floor, back, true);
    Ok(Measured {
        ours: net(of_ours, base, back_ours, setup.grown != 0),
        stateless: stateless.map(floor),
        lru: lru.map(floor),
    })
}

/// What the driver has to do for the product's program, found out by one packet; and that it undoes what that does.
///
/// # Errors
/// As of [`measure`].
pub fn probe(
    drivers: &mut Drivers,
    bench: &mut Bench,
    case: &Case,
    ingress: u32,
) -> Result<Setup, Failure> {
    let program = ours(bench)?;
    let mut setup = Setup {
        length: case.frame.len() as u32,
        grown: 0,
        order: case.order as u32,
        mask: case.flows - 1,
        first: CLIENT_V4.to_bits(),
        partial: frames::partial_sum(&case.frame),
        cut: case.cut,
        ifindex: 0,
        header: frames::header(&case.frame),
    };
    let mut run = |setup: &Setup, repeat| {
        let before = counted(bench, case.verdict)?;
        drivers.aim(&program, setup)?;
        let ended = drivers.run(case.driver, &case.frame, ingress, repeat)?;
        Ok::<_, Failure>((ended, counted(bench, case.verdict)? - before))
    };
    let (once, _) = run(&setup, 1)?;
    setup.grown = (once.length as i32) + case.cut as i32 - case.frame.len() as i32;
    const AGAIN: u32 = 100;
    let (again, became) = run(&setup, AGAIN)?;
    let wanted = Ended {
        action: match case.verdict.disposition() {
            Disposition::Pass => action::PASS,
            Disposition::Drop => action::DROP,
            Disposition::Transmit => action::TX,
            Disposition::Redirect => action::REDIRECT,
        },
        length: once.length,
    };
    if again != wanted || became != u64::from(AGAIN) {
        return Err(Failure::new(
            format!("drive {}", case.name),
            format!(
                "{became} of {AGAIN} packets became {:?}, and the last {again:?} in place of {wanted:?}",
                case.verdict
            ),
        ));
    }
    Ok(setup)
}

fn ours(bench: &mut Bench) -> Result<ProgramFd, Failure> {
    let doing = "open the product's program";
    let program = bench.object.xdp().map_err(Failure::of(doing))?;
    let fd = program.fd().map_err(Failure::of(doing))?;
    fd.try_clone().map_err(Failure::of(doing))
}

fn counted(bench: &Bench, verdict: Verdict) -> Result<u64, Failure> {
    let verdicts = bench.object.counters.verdicts();
    let verdicts = verdicts.map_err(Failure::of("read the verdicts"))?;
    Ok(verdicts.get(&verdict).copied().unwrap_or_default())
}

fn forget(bench: &mut Bench) -> Result<(), Failure> {
    let kept = bench.object.pinned.retain(|_, _| false);
    kept.map(drop).map_err(Failure::of("forget the pins"))
}

struct Lanes<'a> {
    drivers: &'a mut Drivers,
    case: &'a Case,
    ingress: u32,
    lanes: Vec<Lane>,
}

impl Lanes<'_> {
    fn add(&mut self, program: ProgramFd, setup: Setup) -> usize {
        self.lanes.push(Lane {
            program,
            setup,
            samples: Vec::new(),
        });
        self.lanes.len() - 1
    }

    fn open(&mut self, name: &str, setup: Setup) -> Result<usize, Failure> {
        let program = self.drivers.program(name)?;
        Ok(self.add(program, setup))
    }

    /// The empty program that leaves as much for the driver to undo.
    fn base(&mut self, setup: Setup) -> Result<usize, Failure> {
        let name = match (setup.grown, setup.cut) {
            (0, 0) => "empty",
            (16, 0) => "grow_16",
            (20, 0) => "grow_20",
            (32, 0) => "grow_32",
            (40, 0) => "grow_40",
            (_, 1..) => "quote",
            (grown, 0) => {
                return Err(Failure::new(
                    format!("measure {}", self.case.name),
                    format!("no empty program grows a frame by {grown} bytes"),
                ));
            }
        };
        self.open(name, setup)
    }

    /// Sends each flow once through a lane's program.
    fn walk(&mut self, lane: usize, setup: Setup) -> Result<(), Failure> {
        let setup = Setup {
            order: Order::Sequence as u32,
            ..setup
        };
        self.drivers.aim(&self.lanes[lane].program, &setup)?;
        let case = self.case;
        self.drivers
            .run(case.driver, &case.frame, self.ingress, case.flows)
            .map(drop)
    }

    fn run(
        &mut self,
        effort: Effort,
        mut before_round: impl FnMut() -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let (driver, frame, ingress) = (self.case.driver, &self.case.frame, self.ingress);
        // What the first round finds is cold in other ways than caches.
        for round in 0..=effort.rounds {
            before_round()?;
            for lane in &mut self.lanes {
                self.drivers.aim(&lane.program, &lane.setup)?;
                let send = |count| self.drivers.run(driver, frame, ingress, count);
                send(warming(effort))?;
                let begun = cpu_time()?;
                send(effort.repeat)?;
                let took = cpu_time()? - begun;
                if round > 0 {
                    lane.samples.push(took / f64::from(effort.repeat));
                }
            }
        }
        for lane in &mut self.lanes {
            lane.samples.sort_by(f64::total_cmp);
        }
        Ok(())
    }
}

impl Lane {
    fn min(&self) -> f64 {
        self.samples.first().copied().unwrap_or_default()
    }

    fn median(&self) -> f64 {
        let middle = self.samples.get(self.samples.len() / 2);
        middle.copied().unwrap_or_default()
    }
}

/// Packets before those that are measured: what the program before has left in the caches is none of this one's.
const fn warming(effort: Effort) -> u32 {
    effort.repeat / 4
}

/// Nanoseconds that this thread had a CPU.
pub(crate) fn cpu_time() -> Result<f64, Failure> {
    let time = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)
        .map_err(Failure::of("read this thread's time"))?;
    Ok(time.tv_sec() as f64 * 1e9 + time.tv_nsec() as f64)
}
