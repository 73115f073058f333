//! Why a check did not pass.

use std::io;
use std::time::Duration;

/// Why a check did not pass, in words that stand in status and log.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// Nobody listens there.
    #[error("the connection was refused")]
    Refused,
    /// No connection, for another reason.
    #[error("it cannot be reached: {0}")]
    Unreachable(io::Error),
    /// It does not accept a connection in time.
    #[error("it accepted no connection within {0:?}")]
    ConnectTimeout(Duration),
    /// It accepts, and does not answer in time.
    #[error("it did not answer within {0:?}")]
    AnswerTimeout(Duration),
    /// No TLS with it, or not with whom it should be.
    #[error("TLS failed: {0}")]
    Tls(io::Error),
    /// No HTTP, or none to the end.
    #[error("it did not answer in HTTP: {0}")]
    Http(hyper::Error),
    /// Another status than those that pass.
    #[error("it answered {0}")]
    Status(u16),
    /// An answer that is none of gRPC's health service.
    #[error("it did not answer as a gRPC health service: {0}")]
    Grpc(String),
    /// The health service says so itself.
    #[error("its health service says {0}")]
    NotServing(&'static str),
    /// This host's own trouble, which says nothing of the member.
    #[error("this host could not ask: {0}")]
    Own(io::Error),
}

impl Failure {
    /// Of the error of connecting.
    pub(super) fn of_connecting(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::ConnectionRefused => Self::Refused,
            // No descriptor, no port, no memory; or rights that are missing here.
            io::ErrorKind::AddrNotAvailable
            | io::ErrorKind::AddrInUse
            | io::ErrorKind::OutOfMemory
            | io::ErrorKind::PermissionDenied => Self::Own(error),
            _ if matches!(
                error.raw_os_error(),
                Some(nix::libc::EMFILE | nix::libc::ENFILE | nix::libc::ENOBUFS)
            ) =>
            {
                Self::Own(error)
            }
            _ => Self::Unreachable(error),
        }
    }

    /// Whether somebody answered, so that packets went there and came back.
    pub(super) const fn is_answer(&self) -> bool {
        !matches!(
            self,
            Self::Own(_) | Self::Unreachable(_) | Self::ConnectTimeout(_)
        )
    }

    /// Whether it says anything of the member.
    pub(super) const fn is_own(&self) -> bool {
        matches!(self, Self::Own(_))
    }

    /// The word for it in metrics.
    pub(super) const fn word(&self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Unreachable(_) => "unreachable",
            Self::ConnectTimeout(_) => "connect_timeout",
            Self::AnswerTimeout(_) => "answer_timeout",
            Self::Tls(_) => "tls",
            Self::Http(_) | Self::Grpc(_) => "malformed",
            Self::Status(_) => "status",
            Self::NotServing(_) => "not_serving",
            Self::Own(_) => "own",
        }
    }

    /// All that [`Failure::word`] may be.
    pub(super) const WORDS: [&str; 9] = [
        "refused",
        "unreachable",
        "connect_timeout",
        "answer_timeout",
        "tls",
        "malformed",
        "status",
        "not_serving",
        "own",
    ];
}
