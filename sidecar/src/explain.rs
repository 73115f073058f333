//! Why the daemon decides as it does, of a token and of a request: the same for the running daemon and for a
//! configuration that is only read.

mod asked;
mod decide;
mod place;
mod route;
mod sheet;
mod token;
mod words;

pub use self::asked::RouteQuestion;
pub use self::place::Place;
pub use self::route::{Considered, RouteExplanation, route};
pub use self::sheet::Section;
pub use self::token::{moment, token};
