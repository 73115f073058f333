//! The decision over any bytes; tests/suites/datapath/decap.rs has each kind through the kernel.

use std::vec::Vec;

use proptest::prelude::*;

use super::*;

struct Bytes<'a>(&'a [u8]);

impl Frame for Bytes<'_> {
    fn at<const N: usize>(&self, at: usize) -> Option<&[u8; N]> {
        self.0.get(at..)?.first_chunk()
    }

    fn holds(&self, len: u32) -> bool {
        self.0.len() >= len as usize
    }

    fn is_merged(&self) -> bool {
        false
    }
}

/// Takes whatever comes.
struct All;

impl Rules for All {
    fn gue_port(&self) -> u16 {
        6080_u16.to_be()
    }

    fn is_own(&self, _: &Address) -> bool {
        true
    }

    fn is_source(&self, _: &Address) -> bool {
        true
    }

    fn is_vip(&self, _: &Address) -> bool {
        true
    }
}

/// Bytes that begin as tunnels do, so that they come far.
fn frames() -> impl Strategy<Value = Vec<u8>> {
    let outer = prop_oneof![Just((4_u8, 0x45_u8)), Just((6, 0x60))];
    let next = prop_oneof![Just(4_u8), Just(41), Just(17)];
    let body = prop::collection::vec(any::<u8>(), 0..160);
    (outer, next, body, any::<[u8; 40]>(), 0..4_u8).prop_map(
        |((version, first), next, body, noise, shim)| {
            let mut frame = std::vec![2; 12];
            let mut ip = noise.to_vec();
            ip[0] = first;
            if version == 4 {
                frame.extend([0x08, 0x00]);
                ip.truncate(20);
                let len = (20 + body.len()) as u16;
                ip[2..4].copy_from_slice(&len.to_be_bytes());
                (ip[6], ip[7], ip[9], ip[10], ip[11]) = (0x40, 0, next, 0, 0);
                let sum = !checksum::fold(checksum::sum(&ip));
                ip[10..12].copy_from_slice(&sum.to_ne_bytes());
            } else {
                frame.extend([0x86, 0xdd]);
                ip[4..6].copy_from_slice(&(body.len() as u16).to_be_bytes());
                ip[6] = next;
            }
            frame.extend(ip);
            let at = frame.len();
            frame.extend(&body);
            if next == 17 && body.len() >= 14 {
                frame[at + 2..at + 4].copy_from_slice(&6080_u16.to_be_bytes());
                frame[at + 4..at + 6].copy_from_slice(&(body.len() as u16).to_be_bytes());
                if shim < 2 {
                    frame[at + 8..at + 12].copy_from_slice(&[0, [4, 41][usize::from(shim)], 0, 0]);
                    frame[at + 12] = [0x45, 0x60][usize::from(shim)];
                }
            } else if let Some(inner) = frame.get_mut(at) {
                *inner = if next == 4 { 0x45 } else { 0x60 };
            }
            frame
        },
    )
}

proptest! {
    #[test]
    fn what_is_taken_out_is_a_packet_that_lies_in_the_frame(frame in frames()) {
        let decision = decide(&Bytes(&frame), &All);
        if !decision.outcome.is_decapsulated() {
            prop_assert_eq!(decision.take, 0);
            return Ok(());
        }
        let inner = &frame[ETHERNET + usize::from(decision.take)..];
        let is_v6 = decision.outcome as u32 & 1 != 0;
        let len = if is_v6 {
            IPV6 + usize::from(u16::from_be_bytes([inner[4], inner[5]]))
        } else {
            usize::from(u16::from_be_bytes([inner[2], inner[3]]))
        };
        prop_assert_eq!(inner[0] >> 4, if is_v6 { 6 } else { 4 });
        prop_assert!(len <= inner.len());
    }

    #[test]
    fn no_bytes_are_read_beyond_the_frame(frame in prop::collection::vec(any::<u8>(), 0..160)) {
        let _decided = decide(&Bytes(&frame), &All);
    }
}
