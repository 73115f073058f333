//! What verbs that go into the kernel must hold.

use crate::setup::bpffs::{Capability, lacking};
use crate::shell::{Failure, Outcome};

/// Says at once what the kernel's suites lack, rather than letting their first test find out.
pub(crate) fn require_kernel(verbs: &str) -> Outcome {
    let lacking = lacking(&[Capability::Bpf, Capability::NetAdmin, Capability::SysAdmin]);
    if lacking.is_empty() {
        return Ok(());
    }
    let lacking: Vec<String> = lacking.iter().map(ToString::to_string).collect();
    Err(Failure::new(format!(
        "{verbs} wants CAP_BPF to load programs, CAP_NET_ADMIN and CAP_SYS_ADMIN to attach them in namespaces of its own; \
         this process lacks {}. Run as root, or run what needs no rights (unit, api): cargo xtask test --unprivileged",
        lacking.join(", ")
    )))
}
