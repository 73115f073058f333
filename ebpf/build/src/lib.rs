//! Builds an eBPF object of this workspace, called by the build scripts of the crates that embed one: the product's and
//! the benchmark's are compiled with the same flags.
//!
//! Only the child build sees `RUSTC_BOOTSTRAP`: `-Z build-std=core` is what the BPF target needs of it. Where the BPF
//! tools are missing, or `TOLLGATE_BPF_SKIP` is set, an empty object is written: checks and lints work without them,
//! and whoever opens such an object is told.

use std::{
    env,
    error::Error,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// A program of this workspace for the BPF target.
pub struct Program {
    /// The package.
    pub package: &'static str,
    /// Its binary.
    pub bin: &'static str,
    /// The feature that makes the package one for that target.
    pub feature: &'static str,
    /// Folders of the packages that it is made of, from the workspace's root.
    pub folders: &'static [&'static str],
}

/// Builds a program into `OUT_DIR/NAME` and tells cargo what to watch. Only for build scripts, in packages of this workspace.
///
/// # Errors
/// When the build fails, with what the compiler said, or cargo has not set what it sets for build scripts.
pub fn build(program: &Program, name: &str) -> Result<(), Box<dyn Error>> {
    let out = PathBuf::from(variable("OUT_DIR")?);
    let root = root()?;
    for folder in program.folders {
        for input in ["src", "Cargo.toml"] {
            let input = root.join(folder).join(input);
            println!("cargo:rerun-if-changed={}", input.display());
        }
    }
    println!("cargo:rerun-if-env-changed=TOLLGATE_BPF_SKIP");
    println!("cargo:rerun-if-changed=build.rs");

    let object = out.join(name);
    let Some(linker) = linker() else {
        fs::write(&object, [])?;
        return Ok(());
    };
    let target_dir = out.join("bpf");
    compile(program, &root, &linker, &target_dir)?;
    let built = format!("bpfel-unknown-none/release/{}", program.bin);
    fs::copy(target_dir.join(built), &object)?;
    Ok(())
}

/// The workspace's root: the nearest folder with its lock file above the package that is being built.
fn root() -> Result<PathBuf, Box<dyn Error>> {
    let manifest = PathBuf::from(variable("CARGO_MANIFEST_DIR")?);
    let root = manifest
        .ancestors()
        .find(|folder| folder.join("Cargo.lock").is_file());
    root.map(Path::to_owned)
        .ok_or_else(|| format!("no Cargo.lock above {}", manifest.display()).into())
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

fn compile(
    program: &Program,
    root: &Path,
    linker: &Path,
    target_dir: &Path,
) -> Result<(), Box<dyn Error>> {
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
        .args(["build", "--quiet", "--locked"])
        .args(["--package", program.package, "--bin", program.bin])
        .args(["--features", program.feature, "--release"])
        .args(["--target", "bpfel-unknown-none"])
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
