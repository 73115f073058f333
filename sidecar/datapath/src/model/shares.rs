//! How much of its share each backend has: all of it, unless its checks say otherwise.

use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
};

use super::vip::Vip;

/// The quarters of a whole share. Each change of a share moves slots, so there are few steps.
pub const WHOLE: u8 = 4;

/// What checks leave a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "(u8, bool)", into = "(u8, bool)")]
pub struct Share {
    /// The quarters of its share that it has.
    pub quarters: u8,
    /// Whether its checks find it down. It may have a share for all that, where too few others are up.
    pub down: bool,
}

/// More quarters than a whole has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} quarters are more than the {WHOLE} of a whole share")]
pub struct ShareError(u8);

impl TryFrom<(u8, bool)> for Share {
    type Error = ShareError;

    fn try_from((quarters, down): (u8, bool)) -> Result<Self, ShareError> {
        if quarters > WHOLE {
            return Err(ShareError(quarters));
        }
        Ok(Self { quarters, down })
    }
}

impl From<Share> for (u8, bool) {
    fn from(share: Share) -> Self {
        (share.quarters, share.down)
    }
}

impl Share {
    /// All of it.
    pub const WHOLE: Self = Self::of(WHOLE);

    /// So many quarters; none: it is down.
    #[must_use]
    pub const fn of(quarters: u8) -> Self {
        Self {
            quarters,
            down: quarters == 0,
        }
    }
}

/// The shares that backends have, by their service and address; who is not there has a whole one.
pub type Shares = HashMap<Vip, BTreeMap<IpAddr, Share>>;
