//! VLAN tags taken off and put on: in between a frame is like any other.

use tollgate_common::tag::Tags;

use crate::packet::{Packet, u16_at, u32_at, u64_at};

/// Takes up to two tags off. `None`: there are more of them, or no room to take one; nothing changed.
#[inline(always)]
pub fn take(packet: &mut impl Packet) -> Option<Tags> {
    /// As many bytes as are moved or read: addresses, two tags, an EtherType.
    const HEAD: usize = 22;

    let head = packet.head::<HEAD>()?;
    let macs = (u64_at::<0, _>(head), u32_at::<8, _>(head));
    let mut tags = u64::from(u32_at::<12, _>(head));
    if is_tag(u16_at::<16, _>(head)) {
        if is_tag(u16_at::<20, _>(head)) {
            return None;
        }
        tags |= u64::from(u32_at::<16, _>(head)) << 32;
    }
    let tags = Tags(tags);
    packet.shrink(tags.len()).then_some(())?;
    let head = packet.head_mut::<12>()?;
    head[..8].copy_from_slice(&macs.0.to_le_bytes());
    head[8..].copy_from_slice(&macs.1.to_le_bytes());
    Some(tags)
}

/// Puts tags, at least one, before the EtherType. False: there is no room, nothing changed.
#[inline(always)]
pub fn put(packet: &mut impl Packet, tags: Tags) -> bool {
    let Some(head) = packet.head::<12>() else {
        return false;
    };
    let macs = (u64_at::<0, _>(head), u32_at::<8, _>(head));
    // Constant numbers of bytes: the verifier follows no other ones.
    let is_double = tags.len() == 8;
    if !(if is_double {
        packet.grow(8)
    } else {
        packet.grow(4)
    }) {
        return false;
    }
    let Some(head) = packet.head_mut::<20>() else {
        return false;
    };
    head[..8].copy_from_slice(&macs.0.to_le_bytes());
    head[8..12].copy_from_slice(&macs.1.to_le_bytes());
    head[12..16].copy_from_slice(&(tags.0 as u32).to_le_bytes());
    if is_double {
        head[16..20].copy_from_slice(&((tags.0 >> 32) as u32).to_le_bytes());
    }
    true
}

#[inline(always)]
const fn is_tag(ethertype: u16) -> bool {
    ethertype == Tags::C.to_be() || ethertype == Tags::S.to_be()
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use proptest::{collection::vec, prelude::*};

    use super::*;
    use crate::packet::host::Buffer;

    /// A frame with so many tags; what follows them begins with no tag.
    fn frame(tags: &[(bool, u16)], rest: &[u8]) -> Vec<u8> {
        let mut frame: Vec<u8> = (1..=12).collect();
        for (is_provider, control) in tags {
            let ethertype = if *is_provider { Tags::S } else { Tags::C };
            frame.extend(ethertype.to_be_bytes());
            frame.extend(control.to_be_bytes());
        }
        frame.extend([0x08, 0x00]);
        frame.extend(rest);
        frame
    }

    proptest! {
        #[test]
        fn what_is_taken_off_and_put_back_is_as_before(
            tags in vec(any::<(bool, u16)>(), 1..=2),
            rest in vec(any::<u8>(), 10..80),
        ) {
            let before = frame(&tags, &rest);
            let mut packet = Buffer::new(&before, 0);
            let taken = take(&mut packet).expect("one or two tags");
            prop_assert_eq!(usize::from(taken.len()), 4 * tags.len());
            let bytes = taken.0.to_le_bytes();
            prop_assert_eq!(&bytes[..4 * tags.len()], &before[12..12 + 4 * tags.len()]);
            prop_assert_eq!(packet.frame(), &frame(&[], &rest)[..]);
            prop_assert!(put(&mut packet, taken));
            prop_assert_eq!(packet.frame(), &before[..]);
        }

        #[test]
        fn three_tags_and_more_are_left(
            tags in vec(any::<(bool, u16)>(), 3..6), rest in vec(any::<u8>(), 10..80),
        ) {
            let before = frame(&tags, &rest);
            let mut packet = Buffer::new(&before, 0);
            prop_assert_eq!(take(&mut packet), None);
            prop_assert_eq!(packet.frame(), &before[..]);
        }

        #[test]
        fn tags_are_put_where_they_belong_if_there_is_room(
            tags in vec(any::<(bool, u16)>(), 1..=2), room in 0..12_usize,
        ) {
            let (plain, wanted) = (frame(&[], &[7; 30]), frame(&tags, &[7; 30]));
            let bytes = &wanted[12..12 + 4 * tags.len()];
            let mut word = [0; 8];
            word[..bytes.len()].copy_from_slice(bytes);
            let mut packet = Buffer::new(&plain, room);
            let is_put = put(&mut packet, Tags(u64::from_le_bytes(word)));
            prop_assert_eq!(is_put, room >= bytes.len());
            prop_assert_eq!(packet.frame(), if is_put { &wanted[..] } else { &plain[..] });
        }
    }
}
