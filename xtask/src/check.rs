//! `cargo xtask check`: everything that judges the sources without running the product.

use crate::setup::{self, BUILD, CHECK};
use crate::shell::{self, Failure, Outcome, Stages, cargo};
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
        shell::run(&mut cargo(["fmt", "--all", "--check"])?)?;
        let mut fuzz = cargo(["fmt", "--manifest-path", "fuzz/Cargo.toml", "--check"])?;
        shell::run(&mut fuzz)
    });
    stages.stage("lock", fuzz_lock);
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
    stages.stage("rustdoc", rustdoc);
    stages.finish("check")
}

/// With the examples, although nobody reads their pages: they want what tests want, so dependencies have the features that clippy
/// has checked them with, and are not checked anew.
fn rustdoc() -> Outcome {
    let mut command = cargo(["doc", "--workspace", "--no-deps", "--quiet"])?;
    command.args(["--lib", "--bins", "--examples"]);
    shell::run(command.env("RUSTDOCFLAGS", "-D warnings"))
}

/// The fuzz targets have a lock file of their own, which a new dependency of ours makes stale.
fn fuzz_lock() -> Outcome {
    let mut command = cargo(["metadata", "--format-version", "1"])?;
    command.args(["--manifest-path", "fuzz/Cargo.toml"]);
    shell::output(command.arg("--locked"))
        .map(|_| ())
        .map_err(|failure| {
            Failure::new(format!(
                "{failure}
once without --locked writes it anew; commit fuzz/Cargo.lock with the dependency"
            ))
        })
}

/// The programs exist only for the BPF target, so the host's clippy never sees them. A target folder of its own: the
/// unstable flags would otherwise make cargo rebuild what the host shares.
fn clippy_bpf() -> Outcome {
    clippy_object("bpf")?;
    clippy_object("capture")?;
    clippy_object("decap")?;
    clippy_object("check")
}

/// The programs of one feature: each object is built with its own alone.
fn clippy_object(feature: &str) -> Outcome {
    let mut command = cargo([
        "clippy",
        "--package",
        "tollgate-ebpf",
        "--package",
        "tollgate-bench-ebpf",
        "--bins",
        "--features",
        feature,
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
