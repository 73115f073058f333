//! Builds the eBPF object that this crate embeds.
//!
//! Only the child build sees `RUSTC_BOOTSTRAP`: `-Z build-std=core` is what the BPF target needs of it. Where the BPF
//! tools are missing, or `TOLLGATE_BPF_SKIP` is set, an empty object is written: checks and lints work without them,
//! and whoever opens the datapath of such a binary is told.

use std::{
    env,
    error::Error,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

const OBJECT: &str = "tollgate-ebpf";

fn main() -> Result<(), Box<dyn Error>> {
    let manifest = PathBuf::from(variable("CARGO_MANIFEST_DIR")?);
    let out = PathBuf::from(variable("OUT_DIR")?);
    let root = manifest.join("../..");
    for input in [
        "ebpf/src",
        "ebpf/Cargo.toml",
        "common/src",
        "common/Cargo.toml",
    ] {
        println!("cargo:rerun-if-changed={}", root.join(input).display());
    }
    println!("cargo:rerun-if-env-changed=TOLLGATE_BPF_SKIP");
    println!("cargo:rerun-if-changed=build.rs");

    let object = out.join("tollgate.bpf.o");
    let Some(linker) = linker() else {
        fs::write(&object, [])?;
        return Ok(());
    };
    let target_dir = out.join("bpf");
    build(&root, &linker, &target_dir)?;
    fs::copy(
        target_dir.join(format!("bpfel-unknown-none/release/{OBJECT}")),
        &object,
    )?;
    Ok(())
}

/// The linker to build with; `None`: write a stub. A linker that is installed later is noticed: cargo runs this again
/// as long as a file it names is missing.
fn linker() -> Option<PathBuf> {
    if env::var_os("TOLLGATE_BPF_SKIP").is_some_and(|skip| !skip.is_empty()) {
        return None;
    }
    let kept = env::var_os("HOME")
        .map(|home| PathBuf::from(home).join(".cache/tollgate/tools/bin/bpf-linker"));
    if let Some(kept) = &kept {
        println!("cargo:rerun-if-changed={}", kept.display());
    }
    let path = env::var_os("PATH").unwrap_or_default();
    let in_path = env::split_paths(&path).map(|folder| folder.join("bpf-linker"));
    kept.into_iter()
        .chain(in_path)
        .find(|linker| linker.is_file())
}

fn build(root: &Path, linker: &Path, target_dir: &Path) -> Result<(), Box<dyn Error>> {
    let flags = [
        format!(
            "--cfg=bpf_target_arch=\"{}\"",
            variable("CARGO_CFG_TARGET_ARCH")?.to_string_lossy()
        ),
        format!("-Clinker={}", linker.display()),
        "-Cdebuginfo=2".to_owned(),
        "-Clink-arg=--btf".to_owned(),
        // 32-bit subregisters and jumps (kernel 5.1).
        "-Ctarget-cpu=v3".to_owned(),
        // Packets are read and written by whole words wherever they lie; without it, byte by byte (9 to 19 ns more).
        "-Clink-arg=--cpu-features=+allows-misaligned-mem-access".to_owned(),
    ];
    let mut cargo = Command::new(variable("CARGO")?);
    cargo
        .current_dir(root)
        .args([
            "build",
            "--quiet",
            "--locked",
            "--package",
            "tollgate-ebpf",
            "--bin",
            OBJECT,
        ])
        .args([
            "--features",
            "bpf",
            "--release",
            "--target",
            "bpfel-unknown-none",
        ])
        .args(["-Z", "build-std=core", "--target-dir"])
        .arg(target_dir)
        .env("RUSTC_BOOTSTRAP", "1")
        .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"));
    // What cargo and clippy set for the outer build is not meant for this one.
    for name in [
        "RUSTC",
        "RUSTC_WRAPPER",
        "RUSTC_WORKSPACE_WRAPPER",
        "CARGO_TARGET_DIR",
    ] {
        cargo.env_remove(name);
    }
    let output = cargo.output()?;
    if !output.status.success() {
        return Err(format!(
            "the eBPF object was not built ({}):\n{}\n`cargo xtask setup` installs what it needs; TOLLGATE_BPF_SKIP=1 builds without it",
            output.status,
            String::from_utf8_lossy(&output.stderr),
        )
        .into());
    }
    Ok(())
}

fn variable(name: &str) -> Result<OsString, String> {
    env::var_os(name).ok_or_else(|| format!("cargo has not set {name}"))
}
