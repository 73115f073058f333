//! The Rust toolchain in use: where it lies, which LLVM it carries, whether it has the sources of `core`.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::shell::{Failure, Outcome, on_path, output, run};

/// The folder of the toolchain that builds this workspace.
pub(super) fn sysroot() -> Outcome<&'static Path> {
    static SYSROOT: OnceLock<PathBuf> = OnceLock::new();
    if let Some(known) = SYSROOT.get() {
        return Ok(known);
    }
    let said = output(rustc().args(["--print", "sysroot"]))?;
    Ok(SYSROOT.get_or_init(|| PathBuf::from(said.trim_end())))
}

/// The toolchain's own shared LLVM, by its real file name.
pub(super) fn llvm() -> Outcome<PathBuf> {
    let folder = sysroot()?.join("lib");
    let entries = fs::read_dir(&folder)
        .map_err(|error| Failure::new(format!("{}: {error}", folder.display())))?;
    let names = entries
        .filter_map(Result::ok)
        .map(|entry| entry.file_name());
    pick_llvm(names).map(|name| folder.join(name)).ok_or_else(|| {
        Failure::new(format!(
            "bpf-linker: {} holds no libLLVM.so.*: it links against the LLVM that rustup's Linux toolchains carry; \
             install the toolchain by rustup",
            folder.display()
        ))
    })
}

/// LLVM's major version, as bpf-linker's cargo feature wants it.
pub(super) fn llvm_major() -> Outcome<String> {
    let said = output(rustc().arg("-vV"))?;
    parse_llvm_major(&said)
        .map(str::to_owned)
        .ok_or_else(|| Failure::new(format!("`rustc -vV` names no LLVM version:\n{said}")))
}

pub(super) fn has_source() -> Outcome<bool> {
    Ok(sysroot()?
        .join("lib/rustlib/src/rust/library/core/Cargo.toml")
        .is_file())
}

pub(super) fn add_source() -> Outcome {
    if on_path("rustup").is_none() {
        return Err(Failure::new(
            "rust-src: no rustup here; install the sources of this toolchain's standard library by the means \
             that brought the toolchain",
        ));
    }
    run(Command::new("rustup").args(["component", "add", "rust-src"]))?;
    if has_source()? {
        return Ok(());
    }
    Err(Failure::new(format!(
        "rust-src: rustup says it is installed, {} does not have it",
        sysroot()?.display()
    )))
}

/// The effective user is root. The owner of our own /proc entry tells without a system call binding.
pub(crate) fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt as _;
    fs::metadata("/proc/self").is_ok_and(|entry| entry.uid() == 0)
}

fn rustc() -> Command {
    Command::new(env::var_os("RUSTC").unwrap_or_else(|| OsString::from("rustc")))
}

/// Toolchains hold `libLLVM.so.22.1-rust-1.95.0-stable` and, beside it, a linker script `libLLVM-22-….so`.
fn pick_llvm(names: impl Iterator<Item = OsString>) -> Option<OsString> {
    names
        .filter(|name| name.to_string_lossy().starts_with("libLLVM.so."))
        .max()
}

fn parse_llvm_major(said: &str) -> Option<&str> {
    let version = said
        .lines()
        .find_map(|line| line.strip_prefix("LLVM version: "))?;
    let major = version.split('.').next()?;
    (!major.is_empty() && major.bytes().all(|byte| byte.is_ascii_digit())).then_some(major)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_major_comes_from_rustcs_own_words() {
        let said = "rustc 1.95.0 (59807616e 2026-04-14)\nrelease: 1.95.0\nLLVM version: 22.1.2\n";
        assert_eq!(parse_llvm_major(said), Some("22"));
        assert_eq!(parse_llvm_major("rustc 1.95.0\n"), None);
        assert_eq!(parse_llvm_major("LLVM version: next\n"), None);
    }

    #[test]
    fn the_library_is_told_from_its_linker_script() {
        let names = [
            "librustc_driver-6108.so",
            "libLLVM-22-rust-1.95.0-stable.so",
            "libLLVM.so.22.1-rust-1.95.0-stable",
        ];
        let picked = pick_llvm(names.into_iter().map(OsString::from));
        assert_eq!(
            picked.as_deref(),
            Some("libLLVM.so.22.1-rust-1.95.0-stable".as_ref())
        );
        assert_eq!(
            pick_llvm(["libc.so.6"].into_iter().map(OsString::from)),
            None
        );
    }
}
