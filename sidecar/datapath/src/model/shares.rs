//! How much of its share each backend has: all of it, unless its checks say otherwise.

use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
};

use super::vip::Vip;

/// The quarters of a whole share. Each change of a share moves slots, so there are few steps.
pub const WHOLE: u8 = 4;

/// The quarters of their share that backends have, by their service and address; who is not there has all four.
pub type Shares = HashMap<Vip, BTreeMap<IpAddr, u8>>;
