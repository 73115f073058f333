//! What the user chooses about a backend host; a leaf.

use std::{net::IpAddr, path::PathBuf};

use tollgate_common::{backend::GUE_PORT, decap::PREFIXES};

use super::error::DecapError;
use crate::{
    model::{Tunnel, Unfit},
    prefix::Prefix,
};

/// The port of GUE, unless another one is named (IANA's).
pub const DEFAULT_GUE_PORT: u16 = GUE_PORT;

/// The networks that the balancers' outer headers come from, unless others are named.
#[must_use]
pub fn default_sources() -> Vec<Prefix> {
    Tunnel::default().sources().to_vec()
}

/// What is taken out of which tunnels, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The interface that tunnels arrive on.
    pub interface: String,
    /// How the program is attached.
    pub mode: Mode,
    /// The addresses inside that packets are taken out for; at least one.
    pub vips: Vec<Prefix>,
    /// The addresses of this host that tunnels are taken at; at least one.
    pub addresses: Vec<IpAddr>,
    /// Where tunnels may come from.
    pub sources: Vec<Prefix>,
    /// The UDP port of GUE.
    pub gue_port: u16,
    /// The folder of the pins, on a BPF file system.
    pub bpffs: PathBuf,
}

/// Which program is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// What is attached already, else XDP where the driver takes it, else TC.
    Auto,
    /// XDP, in the driver.
    Xdp,
    /// TC: by tcx (Linux 6.6), or by a classic filter before that.
    Tc,
    /// TC by a classic filter of the clsact qdisc.
    Clsact,
}

impl Config {
    /// Checks what the kernel would not.
    ///
    /// # Errors
    /// [`DecapError::NoVips`], [`DecapError::WideVip`], [`DecapError::Vip`], [`DecapError::TooMany`],
    /// [`DecapError::NoAddresses`], [`DecapError::Address`], [`DecapError::TooManyAddresses`].
    pub fn check(&self) -> Result<(), DecapError> {
        if self.vips.is_empty() {
            return Err(DecapError::NoVips);
        }
        for (what, list) in [("--vip", &self.vips), ("--from", &self.sources)] {
            if list.len() > PREFIXES as usize {
                return Err(DecapError::TooMany(what, list.len()));
            }
        }
        match self.addresses.len() {
            0 => return Err(DecapError::NoAddresses),
            count if count > PREFIXES as usize => return Err(DecapError::TooManyAddresses(count)),
            _ => {}
        }
        for address in &self.addresses {
            Unfit::check(*address).map_err(|why| DecapError::Address(*address, why))?;
        }
        for vip in &self.vips {
            if vip.is_wide() {
                return Err(DecapError::WideVip(*vip));
            }
            Unfit::check(vip.address()).map_err(|why| DecapError::Vip(*vip, why))?;
        }
        Ok(())
    }
}
