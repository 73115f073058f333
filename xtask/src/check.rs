//! `cargo xtask check`: everything that judges the sources without running the product.

use crate::setup::{self, BUILD, CHECK};
use crate::shell::{self, Outcome, Stages, cargo};
use crate::{docs, tidy};

/// What the kernel side is compiled for; rustc's target of our own byte order.
const BPF_TARGET: &str = if cfg!(target_endian = "big") {
    "bpfeb-unknown-none"
} else {
    "bpfel-unknown-none"
};

pub(crate) fn run() -> Outcome {
    setup::ensure(&[BUILD, CHECK])?;
    let mut stages = Stages::new();
    stages.stage("tidy", tidy::run);
    stages.stage("fmt", || {
        shell::run(&mut cargo(["fmt", "--all", "--check"])?)
    });
    stages.stage("deny", || {
        shell::run(&mut cargo([
            "deny",
            "--workspace",
            "check",
            "bans",
            "licenses",
            "sources",
        ])?)
    });
    stages.stage("clippy", || {
        shell::run(&mut cargo([
            "clippy",
            "--workspace",
            "--all-targets",
            "--",
            "-D",
            "warnings",
        ])?)
    });
    stages.stage("clippy (bpf)", clippy_bpf);
    stages.stage("docs", docs::check);
    stages.stage("rustdoc", || {
        shell::run(
            cargo(["doc", "--workspace", "--no-deps", "--quiet"])?
                .env("RUSTDOCFLAGS", "-D warnings"),
        )
    });
    stages.finish("check")
}

/// The programs exist only for the BPF target, so the host's clippy never sees them. A target folder of its own: the
/// unstable flags would otherwise make cargo rebuild what the host shares.
fn clippy_bpf() -> Outcome {
    let mut command = cargo([
        "clippy",
        "--package",
        "tollgate-ebpf",
        "--bins",
        "--features",
        "bpf",
    ])?;
    command.args([
        "--release",
        "--target",
        BPF_TARGET,
        "-Z",
        "build-std=core",
        "--target-dir",
        "target/bpf-clippy",
    ]);
    command
        .args(["--", "-D", "warnings"])
        .env("RUSTC_BOOTSTRAP", "1");
    shell::run(&mut command)
}
