//! The network that is measured in: two namespaces without names, gone with the process.
//!
//! ```text
//!   outside                balancer
//!   gen0 ────── veth ────── lb0    the program under test
//!   end0 ────── veth ────── out0   where routers send to
//! ```

use std::fs;
use std::process::Command;

use nix::net::if_::if_nametoindex;
use tollgate::demo::lab::{Netns, path_of, sysctl};

use crate::Failure;
use crate::services::{BACKENDS, NEXT_MAC};

/// The namespaces.
#[derive(Debug)]
pub struct Site {
    /// Where packets come from and go to.
    pub outside: Netns,
    /// Where the program under test is attached.
    pub balancer: Netns,
    /// Index of `lb0` in `balancer`.
    pub lb0: u32,
    /// Index of `out0` in `balancer`.
    pub out0: u32,
    /// Index of `gen0` in `outside`.
    pub gen0: u32,
}

impl Site {
    /// Lays it.
    ///
    /// # Errors
    /// Without the rights, without veth, or without the program `ip`.
    pub fn lay() -> Result<Self, Failure> {
        let doing = "lay the network";
        let outside = Netns::new("outside").map_err(Failure::of(doing))?;
        let balancer = Netns::new("balancer").map_err(Failure::of(doing))?;
        for ns in [&outside, &balancer] {
            // Neighbour discovery would be among what is measured.
            sysctl(ns, "ipv6/conf/default/disable_ipv6", "1").map_err(Failure::of(doing))?;
        }
        let peer = path_of(&outside);
        ip(
            &balancer,
            &format!("link add lb0 type veth peer name gen0 netns {peer}"),
        )?;
        ip(
            &balancer,
            &format!("link add out0 type veth peer name end0 netns {peer}"),
        )?;
        for (ns, link) in [
            (&balancer, "lo"),
            (&balancer, "lb0"),
            (&balancer, "out0"),
            (&outside, "lo"),
            (&outside, "gen0"),
            (&outside, "end0"),
        ] {
            ip(ns, &format!("link set {link} up"))?;
        }
        Ok(Self {
            lb0: index(&balancer, "lb0")?,
            out0: index(&balancer, "out0")?,
            gen0: index(&outside, "gen0")?,
            outside,
            balancer,
        })
    }

    /// Makes the balancer a router to the backends, who are behind `out0` and take no packet: their MAC address is nobody's.
    ///
    /// # Errors
    /// The kernel's.
    pub fn route(&self) -> Result<(), Failure> {
        let ns = &self.balancer;
        for (name, value) in [
            ("ipv4/ip_forward", "1"),
            ("ipv4/conf/all/rp_filter", "0"),
            ("ipv4/conf/lb0/rp_filter", "0"),
            // By ports too, as a balancer has it.
            ("ipv4/fib_multipath_hash_policy", "1"),
        ] {
            sysctl(ns, name, value).map_err(Failure::of("make the balancer a router"))?;
        }
        let mac = |mac: [u8; 6]| mac.map(|byte| format!("{byte:02x}")).join(":");
        let own = mac(tollgate_tests::packet::NODE_MAC);
        ip(ns, &format!("link set lb0 address {own}"))?;
        ip(ns, "addr add 10.99.255.254/16 dev out0")?;
        for last in 1..=BACKENDS {
            let next = mac(NEXT_MAC);
            ip(
                ns,
                &format!("neigh add 10.99.0.{last} lladdr {next} dev out0 nud permanent"),
            )?;
        }
        Ok(())
    }

    /// Frames that came to `end0`.
    ///
    /// # Errors
    /// When the kernel's statistics cannot be read.
    pub fn forwarded(&self) -> Result<u64, Failure> {
        let doing = "read the statistics of end0";
        let text = self
            .outside
            .run(|| fs::read_to_string("/proc/thread-self/net/dev"))
            .map_err(Failure::of(doing))?
            .map_err(Failure::of(doing))?;
        let line = text
            .lines()
            .find_map(|line| line.trim().strip_prefix("end0:"));
        let packets = line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok());
        packets.ok_or_else(|| Failure::new(doing, "the kernel shows none"))
    }
}

/// Runs `ip` with these words in a namespace.
///
/// # Errors
/// When it is not installed, or fails; with what it said.
pub fn ip(ns: &Netns, words: &str) -> Result<(), Failure> {
    let mut command = Command::new("ip");
    command.args(words.split_whitespace());
    inside(ns, &mut command, &format!("ip {words}"))
}

/// Runs a command in a namespace to its end.
pub(crate) fn inside(ns: &Netns, command: &mut Command, what: &str) -> Result<(), Failure> {
    let doing = format!("run `{what}`");
    let output = ns
        .run(|| command.output())
        .map_err(Failure::of(&doing))?
        .map_err(Failure::of(&doing))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(Failure::new(doing, said.trim().to_owned()))
}

fn index(ns: &Netns, link: &str) -> Result<u32, Failure> {
    let doing = format!("find {link}");
    ns.run(|| if_nametoindex(link))
        .map_err(Failure::of(&doing))?
        .map_err(Failure::of(doing))
}
