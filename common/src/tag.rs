//! VLAN tags (IEEE 802.1Q, clause 9): up to two before the EtherType.

/// The tags of a frame, as one word: the bytes behind the MAC addresses as they load, four for each tag; 0 for none.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Tags(pub u64);

impl Tags {
    /// No tag.
    pub const NONE: Self = Self(0);

    /// EtherType of a customer's tag (802.1Q).
    pub const C: u16 = 0x8100;
    /// EtherType of a provider's tag (802.1ad).
    pub const S: u16 = 0x88a8;

    /// One tag: its EtherType and its VLAN, 0 to 4095, priority 0.
    #[must_use]
    pub const fn one(ethertype: u16, vlan: u16) -> Self {
        Self(Self::bytes(ethertype, vlan) as u64)
    }

    /// These, and before them one `tag`, which is the outer one then. There may be one tag yet.
    #[must_use]
    pub const fn within(self, tag: Self) -> Self {
        Self(self.0 << 32 | tag.0 & 0xffff_ffff)
    }

    const fn bytes(ethertype: u16, vlan: u16) -> u32 {
        let ([a, b], [c, d]) = (ethertype.to_be_bytes(), (vlan & 0xfff).to_be_bytes());
        u32::from_le_bytes([a, b, c, d])
    }

    /// How many bytes they take: 0, 4 or 8.
    #[inline(always)]
    #[must_use]
    pub const fn len(self) -> u8 {
        if self.0 == 0 {
            0
        } else if self.0 >> 32 == 0 {
            4
        } else {
            8
        }
    }

    /// Whether there is none.
    #[inline(always)]
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_the_bytes_of_the_wire() {
        assert_eq!((Tags::NONE.len(), Tags::NONE.is_empty()), (0, true));
        let customer = Tags::one(Tags::C, 7);
        assert_eq!((customer.len(), customer.is_empty()), (4, false));
        assert_eq!(customer.0.to_le_bytes(), [0x81, 0, 0, 7, 0, 0, 0, 0]);
        let both = customer.within(Tags::one(Tags::S, 0xfff));
        assert_eq!((both.len(), both.is_empty()), (8, false));
        assert_eq!(
            both.0.to_le_bytes(),
            [0x88, 0xa8, 0x0f, 0xff, 0x81, 0, 0, 7]
        );
        // VLAN 0 is a tag too (priority alone), and what is no VLAN leaves the priority be.
        assert_eq!(Tags::one(Tags::C, 0).len(), 4);
        assert_eq!(Tags::one(Tags::C, 0x1007), customer);
        assert_eq!(Tags::NONE.within(customer), customer);
    }
}
