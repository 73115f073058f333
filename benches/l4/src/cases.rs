//! What is measured: packets, in how many flows, and what they may cost.

use tollgate_bench_ebpf::Order;
use tollgate_common::{
    backend::ETHERNET,
    verdict::{QUOTE, Verdict},
};
use tollgate_datapath::model::{Proto, Vip};

use crate::frames;
use crate::services::{port, vip};

/// One kind of packet.
#[derive(Clone, Debug)]
pub struct Case {
    /// What people call it.
    pub name: &'static str,
    /// The driver that knows its frames (benches/l4/ebpf/src/drive.rs).
    pub driver: &'static str,
    /// The frame.
    pub frame: Vec<u8>,
    /// How many flows there are, a power of two.
    pub flows: u32,
    /// The order in which they come.
    pub order: Order,
    /// What becomes of each packet.
    pub verdict: Verdict,
    /// Bytes that are cut off its end.
    pub cut: u32,
    /// A frame that each flow begins with, before anything is measured.
    pub before: Option<Vec<u8>>,
    /// Whether the pins of a round are forgotten before the next.
    pub forgets: bool,
    /// Whether the floor without a flow table is measured beside it.
    pub stateless: bool,
    /// Whether the floor with a flow table is.
    pub lru: bool,
    /// What it may cost.
    pub bar: Bar,
}

/// What a packet may cost.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Bar {
    /// Nanoseconds, of the least of all rounds.
    pub ns: Option<f64>,
    /// Times the stateless floor, both by the median.
    pub ratio: Option<f64>,
}

const ONE: u32 = 1;
const KI_64: u32 = 1 << 16;
const MI: u32 = 1 << 20;
/// More than there is room for pins.
const MI_2: u32 = 1 << 21;
/// More than any measurement sends.
const NEW: u32 = 1 << 24;

const V4: Bar = Bar {
    ns: Some(30.0),
    ratio: Some(1.5),
};
const V6: Bar = Bar {
    ns: Some(35.0),
    ratio: Some(1.75),
};
const PASS: Bar = Bar {
    ns: Some(12.0),
    ratio: None,
};
const MOVING_1: Bar = Bar {
    ns: Some(35.0),
    ratio: None,
};
const MOVING_10: Bar = Bar {
    ns: Some(60.0),
    ratio: None,
};
const NONE: Bar = Bar {
    ns: None,
    ratio: None,
};

/// All of them, in the order of the table.
#[must_use]
pub fn all() -> Vec<Case> {
    let v4 = |port| vip(true, port, Proto::Tcp);
    let v6 = |port| vip(false, port, Proto::Tcp);
    let (v4_udp, v6_udp) = (
        vip(true, port::IPIP, Proto::Udp),
        vip(false, port::IPIP, Proto::Udp),
    );
    let moving_udp = vip(true, port::MOVING_100, Proto::Udp);
    let tcp = |name, vip: Vip, flows| Case::sent(name, vip, frames::established(vip), flows);
    vec![
        tcp("v4 TCP, 1 flow", v4(port::IPIP), ONE).floors().bar(V4),
        tcp("v4 TCP, 64 Ki flows", v4(port::IPIP), KI_64)
            .floors()
            .bar(V4),
        tcp("v4 TCP, 1 Mi flows", v4(port::IPIP), MI)
            .floors()
            .bar(V4),
        Case {
            frame: frames::opening(v4(port::IPIP)),
            order: Order::Sequence,
            ..tcp("v4 SYN, each a new flow", v4(port::IPIP), NEW)
                .floors()
                .bar(V4)
        },
        Case::sent("v4 UDP, 1 flow", v4_udp, frames::datagram(v4_udp), ONE)
            .floors()
            .bar(V4),
        Case::sent(
            "v4 UDP, 64 Ki flows",
            v4_udp,
            frames::datagram(v4_udp),
            KI_64,
        )
        .floors()
        .bar(V4),
        tcp("v6 TCP, 64 Ki flows", v6(port::IPIP), KI_64)
            .floors()
            .bar(V6),
        Case::sent(
            "v6 UDP, 64 Ki flows",
            v6_udp,
            frames::datagram(v6_udp),
            KI_64,
        )
        .floors()
        .bar(V6),
        passed("v4 TCP, not for a VIP", v4(port::IPIP)),
        passed("v6 TCP, not for a VIP", v6(port::IPIP)),
        tcp("v4 TCP, 1 % of slots moving", v4(port::MOVING_1), KI_64).bar(MOVING_1),
        tcp("v4 TCP, 10 % of slots moving", v4(port::MOVING_10), KI_64).bar(MOVING_10),
        tcp("v4 TCP, all slots moving", v4(port::MOVING_100), KI_64),
        Case {
            before: Some(frames::opening(v4(port::PINNED_10))),
            ..tcp(
                "v4 TCP, 10 % moving, pinned flows",
                v4(port::PINNED_10),
                KI_64,
            )
        },
        Case {
            frame: frames::opening(v4(port::MOVING_100)),
            order: Order::Sequence,
            forgets: true,
            ..tcp("v4 SYN, all moving, each pinned", v4(port::MOVING_100), NEW)
        },
        Case {
            order: Order::Sequence,
            forgets: true,
            ..Case::sent(
                "v4 UDP, all moving, each pinned",
                moving_udp,
                frames::datagram(moving_udp),
                NEW,
            )
        },
        Case {
            driver: "drive_piece_v4",
            order: Order::Sequence,
            ..Case::sent(
                "v4 first fragments, each noted",
                v4_udp,
                frames::first_fragment(v4_udp),
                NEW,
            )
        },
        Case {
            verdict: Verdict::Redirected,
            ..tcp("v4 TCP, to another interface", v4(port::ELSEWHERE), KI_64)
        },
        tcp("v4 TCP, GUE", v4(port::GUE), KI_64),
        tcp("v4 TCP, in IPv6", v4(port::OTHER), KI_64),
        Case {
            driver: "drive_tagged_v4",
            frame: frames::with_tag(frames::established(v4(port::IPIP))),
            ..tcp("v4 TCP, tagged", v4(port::IPIP), KI_64)
        },
        Case {
            driver: "drive_tagged_v4",
            frame: frames::with_tag(frames::stranger(v4(port::IPIP))),
            verdict: Verdict::NotOurs,
            ..tcp("v4 TCP, tagged, not for a VIP", v4(port::IPIP), KI_64)
        },
        Case {
            driver: "drive_icmp_v4",
            frame: frames::unreachable(v4(port::IPIP)),
            ..tcp("v4 ICMP error", v4(port::IPIP), KI_64)
        },
        Case {
            driver: "drive_icmp_v6",
            frame: frames::unreachable(v6(port::IPIP)),
            ..tcp("v6 ICMP error", v6(port::IPIP), KI_64)
        },
        told("v4 TCP, too big, told", v4(port::NARROW)),
        told("v6 TCP, too big, told", v6(port::NARROW)),
        // The last, for a million pins take a while to forget.
        Case {
            frame: frames::opening(v4(port::MOVING_100)),
            order: Order::Sequence,
            before: Some(frames::opening(v4(port::FILLING))),
            ..tcp("v4 SYN, all moving, pins full", v4(port::MOVING_100), MI_2)
        },
    ]
}

/// A few of them, for a look: one of each kind.
#[must_use]
pub fn quick() -> Vec<Case> {
    const FEW: [&str; 8] = [
        "v4 TCP, 1 flow",
        "v4 TCP, 64 Ki flows",
        "v4 SYN, each a new flow",
        "v4 UDP, 64 Ki flows",
        "v6 TCP, 64 Ki flows",
        "v4 TCP, not for a VIP",
        "v4 TCP, 1 % of slots moving",
        "v4 TCP, 10 % of slots moving",
    ];
    let mut cases = all();
    cases.retain(|case| FEW.contains(&case.name));
    cases
}

impl Case {
    fn sent(name: &'static str, vip: Vip, frame: Vec<u8>, flows: u32) -> Self {
        Self {
            name,
            driver: if vip.ip.is_ipv4() {
                "drive_v4"
            } else {
                "drive_v6"
            },
            frame,
            flows,
            order: if flows == ONE {
                Order::Same
            } else {
                Order::Random
            },
            verdict: Verdict::Sent,
            cut: 0,
            before: None,
            forgets: false,
            stateless: false,
            lru: false,
            bar: NONE,
        }
    }

    /// Measures the floors beside it.
    fn floors(self) -> Self {
        Self {
            stateless: true,
            lru: self.driver == "drive_v4",
            ..self
        }
    }

    const fn bar(mut self, bar: Bar) -> Self {
        self.bar = bar;
        self
    }
}

fn passed(name: &'static str, vip: Vip) -> Case {
    Case {
        verdict: Verdict::NotOurs,
        ..Case::sent(name, vip, frames::stranger(vip), KI_64).bar(PASS)
    }
}

/// A packet that becomes the message about it, which quotes its first bytes.
fn told(name: &'static str, vip: Vip) -> Case {
    let frame = frames::long(vip);
    Case {
        verdict: Verdict::TooBigTold,
        cut: (frame.len() - ETHERNET - QUOTE) as u32,
        ..Case::sent(name, vip, frame, KI_64)
    }
}
