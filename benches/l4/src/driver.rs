//! The programs in the kernel that drive the one under test, and the runs.

use aya::{
    Ebpf, TestRun as _,
    maps::{Array, MapData, MapError, PerCpuArray, ProgramArray},
    programs::{ProgramFd, TestRunOptions, Xdp, xdp::XdpLinkId},
};
use tollgate_bench_ebpf::Setup;

use crate::Failure;

#[repr(align(8))]
struct Aligned<T: ?Sized>(T);

static OBJECT: &Aligned<[u8]> = &Aligned(*include_bytes!(concat!(env!("OUT_DIR"), "/bench.bpf.o")));

/// The drivers, floors and empty programs (benches/l4/ebpf), loaded.
pub struct Drivers {
    ebpf: Ebpf,
    setup: Array<MapData, [u64; Setup::WORDS]>,
    state: Array<MapData, u64>,
    target: ProgramArray<MapData>,
    arrived: PerCpuArray<MapData, u64>,
}

/// What a run ended with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// What the program answered last, an XDP action.
    pub action: u32,
    /// Bytes of the frame after it.
    pub length: usize,
}

/// Frames that are under way at once in a run with live ones.
const BATCH: u32 = 64;

impl Drivers {
    /// Loads them.
    ///
    /// # Errors
    /// When the crate was built without the BPF tools, or the kernel refuses a program.
    pub fn load() -> Result<Self, Failure> {
        let doing = "load the benchmark's programs";
        if OBJECT.0.is_empty() {
            return Err(Failure::new(
                doing,
                "this build has none; run `cargo xtask setup` and build again without TOLLGATE_BPF_SKIP",
            ));
        }
        let mut ebpf = Ebpf::load(&OBJECT.0).map_err(Failure::of(doing))?;
        for (name, program) in ebpf.programs_mut() {
            let doing = format!("load {name}");
            let program: &mut Xdp = program.try_into().map_err(Failure::of(&doing))?;
            program.load().map_err(Failure::of(&doing))?;
        }
        let mut drivers = Self {
            setup: map(&mut ebpf, "SETUP")?,
            state: map(&mut ebpf, "STATE")?,
            target: map(&mut ebpf, "TARGET")?,
            arrived: map(&mut ebpf, "ARRIVED")?,
            ebpf,
        };
        // Any number but 0 begins xorshift64.
        drivers
            .state
            .set(0, 88_172_645_463_325_252, 0)
            .map_err(Failure::of("write the map STATE"))?;
        Ok(drivers)
    }

    /// A program of this object, to be driven.
    ///
    /// # Errors
    /// When it has none of this name.
    pub fn program(&self, name: &str) -> Result<ProgramFd, Failure> {
        let doing = format!("open {name}");
        let fd = self.xdp(name)?.fd().map_err(Failure::of(&doing))?;
        fd.try_clone().map_err(Failure::of(doing))
    }

    /// Hands a program to the drivers, and what they are to do for it.
    ///
    /// # Errors
    /// The maps'; a program of another kind than the drivers is refused.
    pub fn aim(&mut self, target: &ProgramFd, setup: &Setup) -> Result<(), Failure> {
        self.prepare(setup)?;
        self.target
            .set(0, target, 0)
            .map_err(Failure::of("hand the program under test to its driver"))
    }

    /// Runs what they were handed `repeat` times behind a driver, with `frame` come in at the interface `ingress`.
    ///
    /// # Errors
    /// The kernel's.
    pub fn run(
        &self,
        driver: &str,
        frame: &[u8],
        ingress: u32,
        repeat: u32,
    ) -> Result<Ended, Failure> {
        // struct xdp_md: data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress_ifindex.
        let context: Vec<u8> = [0, frame.len() as u32, 0, ingress, 0, 0]
            .into_iter()
            .flat_map(u32::to_ne_bytes)
            .collect();
        let options = TestRunOptions {
            data_in: Some(frame),
            ctx_in: Some(&context),
            repeat,
            ..TestRunOptions::new()
        };
        let result = self
            .xdp(driver)?
            .test_run(options)
            .map_err(Failure::of(format!(
                "run a program behind {driver} with {} bytes from interface {ingress}",
                frame.len()
            )))?;
        Ok(Ended {
            action: result.return_value,
            length: result.data_size_out as usize,
        })
    }

    /// What is handed to the drivers before a run.
    ///
    /// # Errors
    /// The map's.
    pub fn prepare(&mut self, setup: &Setup) -> Result<(), Failure> {
        self.setup
            .set(0, setup.words(), 0)
            .map_err(Failure::of("write the map SETUP"))
    }

    /// Sends `count` live frames to the interface that was prepared, from a namespace that this thread is in.
    ///
    /// # Errors
    /// The kernel's.
    pub fn generate(&self, frame: &[u8], count: u32) -> Result<(), Failure> {
        let mut options = TestRunOptions {
            data_in: Some(frame),
            repeat: count,
            ..TestRunOptions::new()
        };
        options.attrs = options.attrs.xdp_live_frames(BATCH);
        self.xdp("generate_v4")?
            .test_run(options)
            .map(drop)
            .map_err(Failure::of("send live frames"))
    }

    /// Attaches a program of this object to an interface of the namespace that this thread is in, in its driver.
    ///
    /// # Errors
    /// The kernel's.
    pub fn attach(&mut self, name: &str, interface: &str) -> Result<XdpLinkId, Failure> {
        let doing = format!("attach {name} to {interface}");
        let program = self.ebpf.program_mut(name);
        let program: &mut Xdp = program
            .ok_or_else(|| Failure::new(&doing, "there is no such program"))?
            .try_into()
            .map_err(Failure::of(&doing))?;
        program
            .attach(interface, aya::programs::xdp::XdpMode::Driver)
            .map_err(Failure::of(doing))
    }

    /// Takes it off again.
    ///
    /// # Errors
    /// The kernel's.
    pub fn detach(&mut self, name: &str, link: XdpLinkId) -> Result<(), Failure> {
        let doing = format!("detach {name}");
        let program = self.ebpf.program_mut(name);
        let program: &mut Xdp = program
            .ok_or_else(|| Failure::new(&doing, "there is no such program"))?
            .try_into()
            .map_err(Failure::of(&doing))?;
        program.detach(link).map_err(Failure::of(doing))
    }

    /// Frames that came to the program `sink`, over all CPUs.
    ///
    /// # Errors
    /// The map's.
    pub fn arrived(&self) -> Result<u64, Failure> {
        let values = self
            .arrived
            .get(&0, 0)
            .map_err(Failure::of("read the map ARRIVED"))?;
        Ok(values.iter().sum())
    }

    fn xdp(&self, name: &str) -> Result<&Xdp, Failure> {
        let program = self.ebpf.program(name).ok_or_else(|| {
            Failure::new(
                format!("open {name}"),
                "there is no such program in the object",
            )
        })?;
        program
            .try_into()
            .map_err(Failure::of(format!("open {name}")))
    }
}

fn map<M>(ebpf: &mut Ebpf, name: &str) -> Result<M, Failure>
where
    M: TryFrom<aya::maps::Map, Error = MapError>,
{
    let doing = format!("open the map {name}");
    ebpf.take_map(name)
        .ok_or_else(|| Failure::new(&doing, "there is no such map in the object"))?
        .try_into()
        .map_err(Failure::of(&doing))
}
