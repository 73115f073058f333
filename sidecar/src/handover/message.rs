//! What the two daemons say. Each message is JSON with a name; fields and messages that one does not know it passes over, so
//! that builds of different versions understand each other.

use serde::{Deserialize, Serialize};

/// What this build speaks. Raised when an older build could not understand what must be understood.
pub(super) const PROTOCOL: u32 = 1;
/// The oldest that this build still understands.
pub(super) const OLDEST: u32 = 1;

/// What a socket is for.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// One of a listener's sockets.
    Listener,
    /// The admin socket.
    AdminSocket,
    /// The admin address over TCP.
    AdminTcp,
    /// Where a hand-over is asked for.
    HandOver,
    /// What this build does not know.
    #[serde(other)]
    Other,
}

/// A socket by what it is for.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Named {
    /// What it is for.
    pub role: Role,
    /// The listener's name, or the path of a Unix socket.
    #[serde(default)]
    pub name: String,
}

/// A message; in the order of a hand-over that goes well.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "say", rename_all = "snake_case")]
pub(super) enum Message {
    /// The new one: who it is, and what it speaks.
    Hello {
        protocol: u32,
        #[serde(default)]
        oldest: u32,
        #[serde(default)]
        version: String,
        #[serde(default)]
        pid: u32,
    },
    /// The running one: the descriptors that come with it are these sockets.
    Sockets {
        #[serde(default)]
        sockets: Vec<Named>,
    },
    /// The running one: these were all sockets.
    Welcome {
        #[serde(default)]
        version: String,
        #[serde(default)]
        ready: bool,
    },
    /// The new one: all that can fail without the kernel has gone well.
    Prepared {},
    /// The running one: it has left the datapath alone. A descriptor that comes with it is a file with what the datapath
    /// remembers.
    Rested {},
    /// The new one: it has the datapath, and begins to accept from these sockets.
    Done {
        #[serde(default)]
        taken: Vec<Named>,
    },
    /// The running one: it has understood, and drains.
    Bye {},
    /// Either: it will not be.
    Failed {
        #[serde(default)]
        why: String,
    },
    /// What this build does not know.
    #[serde(other)]
    Other,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_later_build_says_more_is_passed_over() {
        let said = |text: &str| serde_json::from_str::<Message>(text).unwrap();
        assert_eq!(
            said(r#"{"say":"welcome","version":"9","ready":true,"mood":"fine"}"#),
            Message::Welcome {
                version: "9".to_owned(),
                ready: true
            }
        );
        assert_eq!(said(r#"{"say":"sing","song":[1]}"#), Message::Other);
        let sockets = said(
            r#"{"say":"sockets","sockets":[{"role":"quic","name":"a","id":1},{"role":"listener","name":"b"}]}"#,
        );
        let Message::Sockets { sockets } = sockets else {
            panic!("{sockets:?}")
        };
        assert_eq!(sockets[0].role, Role::Other);
        assert_eq!(sockets[1].role, Role::Listener);
    }

    #[test]
    fn what_an_earlier_build_does_not_say_has_a_default() {
        let said = |text: &str| serde_json::from_str::<Message>(text).unwrap();
        assert_eq!(
            said(r#"{"say":"done"}"#),
            Message::Done { taken: Vec::new() }
        );
        assert_eq!(
            said(r#"{"say":"failed"}"#),
            Message::Failed { why: String::new() }
        );
    }
}
