//! Why a model does not fit.

use tollgate_common::limits::{BACKENDS, LISTENERS, SHAPES, SLOTS};

use crate::{
    model::{ModelError, Vip},
    tables::maglev,
};

/// Why nothing was done: everything is as it was.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// The model itself.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// No number is left.
    #[error("all {BACKENDS} backend entries are taken; move services to another node")]
    NoEntry,
    /// No room is left in the pool.
    #[error(
        "service `{0}`: no {1} slots in one piece are left of {SLOTS} ({table}); let services have fewer backends, or move some to another node",
        table = maglev::SIZES
    )]
    NoSlots(String, u32),
    /// No cell.
    #[error("service `{0}`: the service table has no place for {1}; move it to another node")]
    NoCell(String, Vip),
    /// No number is left.
    #[error(
        "all {LISTENERS} listener numbers are taken, and `{0}` has none; take listeners out first, then put this one in"
    )]
    NoListener(String),
    /// Too many kinds of prefixes.
    #[error(
        "services for prefixes and for any port come in {0} kinds, each length by itself, more than {SHAPES} of one IP version; give some of them the same length"
    )]
    NoShape(usize),
}
