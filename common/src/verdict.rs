//! What became of a packet: each is counted once, under one of these.

/// What became of a packet; the number is its index in the map of verdicts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u32)]
pub enum Verdict {
    /// To no service of ours, or not TCP or UDP over IP at all: to the stack, untouched.
    NotOurs = 0,
    /// IPv4 with options, or IPv6 with extension headers that do not lead to the ports here (routing, mobility, more than
    /// four of them, farther than is read): to the stack, which knows them.
    Options = 1,
    /// To a steered service: to the stack, where sk_lookup picks the listener.
    Listener = 2,
    /// To a backend by the port it came in at.
    Sent = 3,
    /// To a backend by another interface.
    Redirected = 4,
    /// A later fragment to an address with forwarded services only, whose first one was not seen.
    Fragment = 5,
    /// The service has no backend that takes flows.
    NoBackend = 6,
    /// The backend's next hop is not known yet.
    NoNextHop = 7,
    /// Longer than the way to the backend allows, the outer header included, and its sender was not told.
    TooBig = 8,
    /// To a service, but its lengths contradict each other or the frame.
    Malformed = 9,
    /// The driver left no room before the packet for an outer header.
    NoHeadroom = 10,
    /// Its TTL or hop limit does not allow to send it on.
    Expired = 11,
    /// Too big, and turned into the ICMP message that tells its sender so (RFC 1191, RFC 8201).
    TooBigTold = 12,
    /// TC: to a backend, its addresses and ports translated.
    Translated = 13,
    /// TC: from a backend to its client, translated back. XDP has counted it as [`Self::NotOurs`].
    Answered = 14,
    /// TC: of a flow that is not known, or no more, and does not begin it.
    NoFlow = 15,
    /// TC: it begins a flow, and there is no room for one more translation, or too many began in this second.
    NoRoom = 16,
    /// TC: it begins a flow, and of the source ports that were tried none is free towards the backend.
    NoPort = 17,
}

/// As many bytes of a packet are quoted by the message of [`Verdict::TooBigTold`]: its headers, and more than the eight
/// bytes of payload that senders look for.
pub const QUOTE: usize = 128;

/// What the kernel is told to do with the packet, by the numbers of its `xdp_action` (include/uapi/linux/bpf.h).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum Disposition {
    /// Dropped.
    Drop = 1,
    /// On into the stack.
    Pass = 2,
    /// Out of the port that it came in at.
    Transmit = 3,
    /// Out of another interface.
    Redirect = 4,
}

impl Verdict {
    /// All of them, each at the index of its number.
    pub const ALL: [Self; 18] = [
        Self::NotOurs,
        Self::Options,
        Self::Listener,
        Self::Sent,
        Self::Redirected,
        Self::Fragment,
        Self::NoBackend,
        Self::NoNextHop,
        Self::TooBig,
        Self::Malformed,
        Self::NoHeadroom,
        Self::Expired,
        Self::TooBigTold,
        Self::Translated,
        Self::Answered,
        Self::NoFlow,
        Self::NoRoom,
        Self::NoPort,
    ];

    /// Room for verdicts where they are counted by service: as many as there are, and some for later ones.
    pub const ROOM: usize = 32;

    /// In place of a verdict: XDP leaves the packet to TC, which counts it. Shown nowhere.
    pub const LEFT_TO_TC: u32 = Self::ROOM as u32 - 1;

    /// The word for it in status and metrics.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::NotOurs => "not_ours",
            Self::Options => "options",
            Self::Listener => "listener",
            Self::Sent => "sent",
            Self::Redirected => "redirected",
            Self::Fragment => "fragment",
            Self::NoBackend => "no_backend",
            Self::NoNextHop => "no_next_hop",
            Self::TooBig => "too_big",
            Self::Malformed => "malformed",
            Self::NoHeadroom => "no_headroom",
            Self::Expired => "expired",
            Self::TooBigTold => "too_big_told",
            Self::Translated => "translated",
            Self::Answered => "answered",
            Self::NoFlow => "no_flow",
            Self::NoRoom => "no_room",
            Self::NoPort => "no_port",
        }
    }

    /// Whether only TC gives it.
    #[must_use]
    pub const fn is_of_tc(self) -> bool {
        matches!(
            self,
            Self::Translated | Self::Answered | Self::NoFlow | Self::NoRoom | Self::NoPort
        )
    }

    /// What the kernel is told.
    #[inline(always)]
    #[must_use]
    pub const fn disposition(self) -> Disposition {
        match self {
            Self::NotOurs | Self::Options | Self::Listener => Disposition::Pass,
            Self::Sent | Self::TooBigTold => Disposition::Transmit,
            Self::Redirected | Self::Translated | Self::Answered => Disposition::Redirect,
            Self::Fragment
            | Self::NoBackend
            | Self::NoNextHop
            | Self::TooBig
            | Self::Malformed
            | Self::NoHeadroom
            | Self::Expired
            | Self::NoFlow
            | Self::NoRoom
            | Self::NoPort => Disposition::Drop,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_indices_and_labels_differ() {
        for (index, verdict) in Verdict::ALL.iter().enumerate() {
            assert_eq!(*verdict as usize, index);
            assert!(
                Verdict::ALL[..index]
                    .iter()
                    .all(|other| other.label() != verdict.label())
            );
        }
    }
}
