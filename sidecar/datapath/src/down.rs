//! Everything out of the kernel again.

use std::{path::Path, time::Duration};

use crate::{
    checks,
    effects::grace,
    error::DownError,
    netlink::{Netlink, NetlinkError},
    pins::Pins,
    routes::{There, Wanted},
    translate,
};

/// What [`down`] removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Removed {
    /// Links, programs and maps.
    pub pins: usize,
    /// Routes, addresses and proxy entries.
    pub routes: usize,
}

/// Detaches the datapath and removes every trace of it: links, programs, maps, and in this network namespace routes,
/// addresses and proxy entries. Nothing there is no error.
///
/// # Errors
/// [`DownError`]; what was removed before stays removed.
pub async fn down(bpffs: &Path) -> Result<Removed, DownError> {
    let interfaces = Pins::xdp_interfaces(bpffs)?;
    let netlink = Netlink::open()?;
    // The addresses first: once nothing steers, whoever listens on all addresses would get their connections.
    let there = There::read(&netlink).await?;
    let routes = there.remove(&netlink, &Wanted::default()).await?;
    grace();
    let links = bpffs.join("link");
    let translated = translate::detach_all(&links)?;
    checks::detach_all(&netlink.devices().await?);
    let pins = translated + Pins::remove_all(bpffs)?;
    detached(&netlink, &interfaces).await?;
    Ok(Removed { pins, routes })
}

/// Waits for the kernel to detach what lost its pins: it does so some milliseconds later. Not for ever: a device may
/// have got another program meanwhile.
async fn detached(netlink: &Netlink, interfaces: &[String]) -> Result<(), NetlinkError> {
    const TRIES: u32 = 100;
    const STEP: Duration = Duration::from_millis(10);
    for _ in 0..TRIES {
        let devices = netlink.devices().await?;
        if !devices
            .iter()
            .any(|one| one.xdp.is_some() && interfaces.contains(&one.name))
        {
            break;
        }
        tokio::time::sleep(STEP).await;
    }
    Ok(())
}
