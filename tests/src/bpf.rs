//! Programs under test: loaded without pins, fed with packets by `BPF_PROG_TEST_RUN`, their tables filled by the
//! product's own code with next hops of the test's choice.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use aya::{
    TestRun as _,
    programs::{ProgramError, TestRunOptions, Xdp, XdpMode, links::FdLink},
};
use tollgate::demo::lab::{UPLINK, missing_rights};
use tollgate_common::{
    pin::{Pin, PinKey},
    verdict::Verdict,
};
use tollgate_datapath::{
    maps::{Pinned, second},
    model::Model,
    object::Object,
    reconcile::{Applied, Effects, Hops, Settled, State},
    translate::{self, Known},
};

/// What XDP programs answer (linux/bpf.h).
pub mod action {
    /// `XDP_DROP`
    pub const DROP: u32 = 1;
    /// `XDP_PASS`
    pub const PASS: u32 = 2;
    /// `XDP_TX`
    pub const TX: u32 = 3;
    /// `XDP_REDIRECT`
    pub const REDIRECT: u32 = 4;
}

/// The interface that test runs come in by: the namespace's loopback.
pub const INGRESS: u32 = 1;

/// The programs, with tables.
pub struct Bench {
    /// The programs and maps.
    pub object: Object,
    state: State,
}

/// What a test run did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ran {
    /// One of [`action`].
    pub action: u32,
    /// What was counted.
    pub verdict: Verdict,
    /// The frame afterwards.
    pub frame: Vec<u8>,
}

/// The pins of the loaded programs; nothing else has to be done, for no packet is under way between two runs.
struct Pins<'a>(&'a mut Pinned);

impl Effects for Pins<'_> {
    fn reset(&mut self, _: u16) {}
    fn reset_drops(&mut self, _: u16) {}
    fn forget(&mut self, _: u32) {}
    fn grace(&mut self) {}

    fn now(&self) -> u32 {
        second()
    }

    fn retain_pins(&mut self, keep: &mut dyn FnMut(&PinKey, &Pin) -> bool) -> Option<usize> {
        Some(self.0.retain(keep).expect("the pins"))
    }
}

impl Bench {
    /// Loads the programs. Fails, saying why, without the rights or without the object.
    #[must_use]
    pub fn new() -> Self {
        Self::load(None)
    }

    /// The same, attached to the uplink of this namespace, with maps, program and link pinned in a folder, where a daemon would
    /// pin them.
    #[must_use]
    pub fn pinned(folder: &Path) -> Self {
        let maps = folder.join("map");
        for folder in [&maps, &folder.join("prog"), &folder.join("link")] {
            std::fs::create_dir_all(folder).expect("a folder on a BPF file system");
        }
        let mut bench = Self::load(Some(&maps));
        let program = bench.object.xdp().expect("the XDP program");
        program.pin(folder.join("prog/xdp")).expect("a pin");
        let link = program
            .attach(UPLINK, XdpMode::default())
            .expect("an interface");
        let link = program.take_link(link).expect("a link");
        let link = FdLink::try_from(link).expect("a link that can be pinned");
        link.pin(folder.join(format!("link/xdp_{UPLINK}")))
            .expect("a pin");
        bench
    }

    fn load(pins: Option<&Path>) -> Self {
        if let Some(missing) = missing_rights() {
            panic!("this test loads eBPF programs: {missing}");
        }
        let object = Object::load(pins).unwrap_or_else(|error| panic!("{}", chain(&error)));
        object.tables.sign();
        Self {
            state: State::read(&object.tables),
            object,
        }
    }

    /// Makes the tables say what the model means.
    pub fn apply(&mut self, model: &Model, hops: &Hops) -> Applied {
        let Self { object, state } = self;
        let Object { tables, pinned, .. } = object;
        state
            .apply(tables, model, hops, &mut Pins(pinned))
            .unwrap_or_else(|error| panic!("{error}"))
    }

    /// Whether this kernel lets so many bytes before a frame be somebody else's: older ones 32 at most. The packet that finds
    /// out is counted.
    pub fn takes_metadata(&mut self, metadata: usize) -> bool {
        let program = self.object.xdp().expect("the XDP program");
        try_test_run(program, &[0; 64], metadata).is_ok()
    }

    /// Sends a frame through the XDP program, `metadata` bytes before it taken by somebody else.
    pub fn run(&mut self, frame: &[u8], metadata: usize) -> Ran {
        self.counted(|object| {
            let program = object.xdp().expect("the XDP program");
            test_run(program, frame, metadata)
        })
    }

    /// Sends a frame through another program that counts in the same maps.
    pub fn run_by(&mut self, program: &Xdp, frame: &[u8], metadata: usize) -> Ran {
        self.counted(|_| test_run(program, frame, metadata))
    }

    fn counted(&mut self, run: impl FnOnce(&mut Object) -> (u32, Vec<u8>)) -> Ran {
        let before = self.verdicts();
        let (action, frame) = run(&mut self.object);
        let after = self.verdicts();
        let counted: Vec<_> = Verdict::ALL
            .into_iter()
            .filter(|v| after[v] != before[v])
            .collect();
        let [verdict] = counted[..] else {
            panic!("one packet was counted as {counted:?}")
        };
        assert_eq!(
            after[&verdict],
            before[&verdict] + 1,
            "{verdict:?} is counted once"
        );
        Ran {
            action,
            verdict,
            frame,
        }
    }

    /// Sends a frame through the TC program: what that says, what was counted, if anything, and the frame afterwards.
    pub fn translate(&mut self, frame: &[u8]) -> (i32, Option<Verdict>, Vec<u8>) {
        let before = self.verdicts();
        let mut out = vec![0; frame.len() + 64];
        let options = TestRunOptions {
            data_in: Some(frame),
            data_out: Some(&mut out),
            ..TestRunOptions::default()
        };
        let program = self.object.translate().expect("the TC program");
        let result = program
            .test_run(options)
            .unwrap_or_else(|error| panic!("{} bytes at TC: {}", frame.len(), chain(&error)));
        out.truncate(result.data_size_out as usize);
        let after = self.verdicts();
        let counted: Vec<_> = Verdict::ALL
            .into_iter()
            .filter(|verdict| after[verdict] != before[verdict])
            .collect();
        let verdict = match counted[..] {
            [] => None,
            [verdict] if after[&verdict] == before[&verdict] + 1 => Some(verdict),
            _ => panic!("one packet was counted as {counted:?}"),
        };
        (result.return_value as i32, verdict, out)
    }

    /// The same, and nothing is counted: for many frames.
    pub fn translate_only(&mut self, frame: &[u8]) -> (i32, [u8; 64]) {
        let mut out = [0; 64];
        let options = TestRunOptions {
            data_in: Some(frame),
            data_out: Some(&mut out),
            ..TestRunOptions::default()
        };
        let program = self.object.translate().expect("the TC program");
        let result = program.test_run(options).expect("a test run");
        (result.return_value as i32, out)
    }

    /// Forgets the translations that are over at that second; says how many are left.
    pub fn sweep(&mut self, model: &Model, now: u32) -> usize {
        let Self { object, state } = self;
        let Object {
            tables, translated, ..
        } = object;
        let known = Known::of(tables, state, model, now);
        translate::sweep(translated, now, &known).expect("the translations")
    }

    /// Sends a frame through the XDP program and looks at nothing but the answer and the frame's new destination: for
    /// many frames.
    pub fn glance(&mut self, frame: &[u8]) -> (u32, [u8; 6]) {
        let mut out = [0; 512];
        let options = TestRunOptions {
            data_in: Some(frame),
            data_out: Some(&mut out),
            ..TestRunOptions::default()
        };
        let program = self.object.xdp().expect("the XDP program");
        let result = program.test_run(options).expect("a test run");
        let [a, b, c, d, e, f, ..] = out;
        (result.return_value, [a, b, c, d, e, f])
    }

    /// A round of what the daemon does every few seconds; all flows may be silent for so many seconds.
    pub fn settle(&mut self, idle: u32) -> Settled {
        let Self { object, state } = self;
        let Object { tables, pinned, .. } = object;
        state.settle(tables, &mut Pins(pinned), |_| idle)
    }

    /// The flows that are pinned.
    pub fn pins(&mut self) -> HashMap<PinKey, Pin> {
        let mut pins = HashMap::new();
        let all = self
            .object
            .pinned
            .retain(|key, pin| pins.insert(*key, *pin).is_none());
        assert_eq!(all.expect("the pins"), pins.len());
        pins
    }

    /// Starts as a new daemon would, from what the tables say.
    pub fn restart(&mut self) {
        self.state = State::read(&self.object.tables);
    }

    fn verdicts(&self) -> BTreeMap<Verdict, u64> {
        self.object.counters.verdicts().expect("the verdicts")
    }
}

/// A test run: the answer, and the frame afterwards.
fn test_run(program: &Xdp, frame: &[u8], metadata: usize) -> (u32, Vec<u8>) {
    try_test_run(program, frame, metadata).unwrap_or_else(|error| {
        panic!(
            "a test run of {} bytes, {metadata} before them: {}",
            frame.len(),
            chain(&error)
        )
    })
}

fn try_test_run(
    program: &Xdp,
    frame: &[u8],
    metadata: usize,
) -> Result<(u32, Vec<u8>), ProgramError> {
    let mut data = vec![0; metadata];
    data.extend_from_slice(frame);
    // struct xdp_md: where the data begins behind the metadata, and where it ends.
    let context: Vec<u8> = [metadata, data.len(), 0, 0, 0, 0]
        .iter()
        .flat_map(|&word| (word as u32).to_ne_bytes())
        .collect();
    let mut out = vec![0; frame.len() + 256];
    let options = TestRunOptions {
        data_in: Some(&data),
        data_out: Some(&mut out),
        ctx_in: (metadata > 0).then_some(&context),
        ..TestRunOptions::default()
    };
    let result = program.test_run(options)?;
    out.truncate(result.data_size_out as usize);
    // What the kernel gives back begins with the metadata.
    Ok((result.return_value, out.split_off(metadata)))
}

impl Default for Bench {
    fn default() -> Self {
        Self::new()
    }
}

/// An error and its causes.
pub fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |error| error.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
