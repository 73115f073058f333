//! Identity headers: what a client could have forged goes, what was verified is written.

pub mod assertion;
pub mod client_cert;
pub mod encode;
pub mod filter;
pub mod forwarded;
pub mod inject;
mod registry;
pub mod response;
pub mod scrub;
pub mod template;

pub use encode::{Encoding, encode};
pub use filter::Filter;
pub use inject::{Content, FromClaim, InjectSet, Injection};
pub use scrub::{
    ManagedNames, NameError, check_name, fold, hop_by_hop, is_hop_by_hop, is_respelled,
    is_unvouched, nominations, scrub,
};
pub use template::{Template, TemplateError};
