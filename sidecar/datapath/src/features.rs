//! What the running kernel has of what the datapath can use, and what each lack costs.

use std::{borrow::Cow, path::Path};

use aya::{
    maps::MapType,
    programs::ProgramType,
    sys::{BpfHelper, is_helper_supported, is_map_supported, is_program_supported},
    util::KernelVersion,
};

/// One feature of the kernel.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Feature {
    /// What it is called.
    pub name: Cow<'static, str>,
    /// Whether it is there; `None`: that was not found out, most often for lack of rights.
    pub there: Option<bool>,
    /// What is missing without it.
    pub without: Cow<'static, str>,
}

/// The oldest kernel that is supported.
const FLOOR: (u8, u8) = (6, 1);
/// The first kernel with tcx links.
const TCX: (u8, u8) = (6, 6);

/// The kernel's version as it says it; empty: it does not.
#[must_use]
pub fn kernel() -> String {
    let text = std::fs::read_to_string("/proc/sys/kernel/osrelease");
    text.unwrap_or_default().trim().to_owned()
}

/// Asks the kernel for each. Loads some programs of two instructions, and makes some maps, for a moment.
#[must_use]
pub fn probe() -> Vec<Feature> {
    let version = KernelVersion::current().ok();
    let from =
        |(major, minor)| version.map(|version| version >= KernelVersion::new(major, minor, 0));
    let feature = |name, there, without| Feature {
        name: Cow::Borrowed(name),
        there,
        without: Cow::Borrowed(without),
    };
    let program = |kind| is_program_supported(kind).ok();
    let helper = |kind, which| is_helper_supported(kind, which).ok();
    let map = |kind| is_map_supported(kind).ok();
    vec![
        feature(
            "Linux 6.1",
            from(FLOOR),
            "older kernels are not tried: programs may be refused by their verifier",
        ),
        feature(
            "xdp",
            program(ProgramType::Xdp),
            "nothing is balanced or steered",
        ),
        feature(
            "xdp frags",
            helper(ProgramType::Xdp, BpfHelper::BPF_FUNC_xdp_get_buff_len),
            "frames in several buffers, of a large MTU, are not seen",
        ),
        feature(
            "sk_lookup",
            program(ProgramType::SkLookup),
            "no connection can be steered to a listener",
        ),
        feature(
            "coarse clock",
            helper(ProgramType::Xdp, BpfHelper::BPF_FUNC_ktime_get_coarse_ns),
            "flows cannot be remembered while slots move",
        ),
        feature(
            "perf buffers",
            map(MapType::PerfEventArray),
            "no `tollgate capture` and no `tollgate flow watch`",
        ),
        feature(
            "BTF",
            Some(Path::new("/sys/kernel/btf/vmlinux").exists()),
            "tools show the programs and maps without names of types",
        ),
        feature(
            "tcx",
            from(TCX),
            "programs at TC are attached by classic filters (clsact), which others may remove",
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_asked_for_once_and_says_what_it_is_for() {
        let all = probe();
        for (at, one) in all.iter().enumerate() {
            assert!(!one.without.is_empty());
            assert!(all[..at].iter().all(|other| other.name != one.name));
        }
        assert!(kernel().contains('.'));
    }
}
