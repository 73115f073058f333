//! Checks of backends that take the way of clients' packets: what the programs at the node's interfaces know of them.

/// Ways that can be told at once: one for each entry of a backend.
pub const WAYS: u32 = 32_768;

/// Connections of checks that are remembered; the oldest goes for a new one.
pub const CONNECTIONS: u32 = 16_384;

/// The mark (SO_MARK) of a check of the backend with this entry. The entry stands in the upper half, so that the lower half,
/// where others have their bits, is the operator's to choose.
#[must_use]
pub const fn mark(base: u16, entry: u16) -> u32 {
    (entry as u32) << 16 | base as u32
}

/// What is done to a check's packets, by their mark: the words of the outer header as of
/// [`Backend::header`](crate::backend::Backend::header), the VIP and the backend's address as they load, and how.
///
/// The last word is the program's: how many packets it turned.
pub type Way = [u64; 10];

/// Word of a [`Way`]: the VIP in the lower half, the backend's address in the upper.
pub const ADDRESSES: usize = 7;
/// Word of a [`Way`]: the number of its [`Kind`](crate::backend::Kind).
pub const KIND: usize = 8;
/// Word of a [`Way`]: packets that were turned.
pub const TURNED: usize = 9;

/// A connection as the node sees its answers: the VIP and the node's address as they load, the ports in their order on the wire.
pub type Connection = [u32; 3];

/// For so many seconds after the last packet of a check its answers are known as such.
pub const REMEMBERED: u32 = 60;
/// For so many, once it has ended: the last segments are still to come.
pub const ENDED: u32 = 5;

/// What is remembered of a connection: the backend's address as it loads, and until which second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flow {
    /// The backend's address as it loads.
    pub backend: u32,
    /// The second of the monotonic clock, 31 bits.
    pub until: u32,
    /// Whether this side has ended it.
    pub ended: bool,
}

impl Flow {
    const ENDED: u64 = 1 << 63;

    /// As it stands in the map.
    #[inline(always)]
    #[must_use]
    pub const fn pack(self) -> u64 {
        let ended = if self.ended { Self::ENDED } else { 0 };
        self.backend as u64 | (self.until as u64) << 32 & !Self::ENDED | ended
    }

    /// From the map.
    #[inline(always)]
    #[must_use]
    pub const fn unpack(word: u64) -> Self {
        Self {
            backend: word as u32,
            until: ((word & !Self::ENDED) >> 32) as u32,
            ended: word & Self::ENDED != 0,
        }
    }

    /// After a packet of the check at second `now`: `ends` says that it has FIN, `opens` that it has SYN.
    #[inline(always)]
    #[must_use]
    pub const fn after(
        before: Option<Self>,
        backend: u32,
        now: u32,
        opens: bool,
        ends: bool,
    ) -> Self {
        let was_ended = matches!(before, Some(Self { ended: true, .. }));
        let ended = ends || was_ended && !opens;
        Self {
            backend,
            until: now + if ended { ENDED } else { REMEMBERED },
            ended,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_is_remembered_while_it_lives_and_shortly_after() {
        let opened = Flow::after(None, 7, 100, true, false);
        assert_eq!((opened.until, opened.ended), (160, false));
        let goes_on = Flow::after(Some(opened), 7, 110, false, false);
        assert_eq!((goes_on.until, goes_on.ended), (170, false));
        let ends = Flow::after(Some(goes_on), 7, 111, false, true);
        assert_eq!((ends.until, ends.ended), (116, true));
        // The last acknowledgement does not begin it anew; another SYN from the same port does.
        let last = Flow::after(Some(ends), 7, 112, false, false);
        assert_eq!((last.until, last.ended), (117, true));
        let next = Flow::after(Some(last), 8, 113, true, false);
        assert_eq!((next.backend, next.until, next.ended), (8, 173, false));
        for flow in [opened, ends, next] {
            assert_eq!(Flow::unpack(flow.pack()), flow);
        }
    }
}
