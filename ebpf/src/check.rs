//! The outer header of a check that takes the way of clients' packets. Pure.

use tollgate_common::{
    backend::{GUE, Header, IPV4},
    check::Way,
    checksum,
};

/// Bytes of the longest outer header.
pub const LONGEST: usize = IPV4 + GUE;

/// Bytes of [`outer`]'s words that come before the header: its first word begins with the Ethernet header's last bytes.
pub const BEFORE: usize = 6;

/// The outer IPv4 header of [`Way`] around a packet of `len` bytes, with the UDP and GUE headers behind it where the way is
/// `gue`, behind [`BEFORE`] bytes; `entropy` tells connections apart. As [`rewrite`](crate::rewrite) makes it of the same words,
/// and words again: the verifier wants them in their places.
#[inline(always)]
#[must_use]
pub fn outer(way: &Way, len: u16, entropy: u16, is_gue: bool) -> [u64; 5] {
    /// Source ports are ephemeral ones (RFC 6335, section 6).
    const EPHEMERAL: u16 = 0xc000;
    /// Version 0, no options, IPv4 inside, behind a UDP checksum of none.
    const IPV4_INSIDE: u64 = 4 << 24;

    let room = if is_gue { LONGEST } else { IPV4 } as u16;
    let whole = u64::from((len + room).to_be());
    let source = u64::from(entropy) & way[4] >> Header::VARYING;
    let sum = (way[3] & 0xffff) + whole + source;
    let checksum = u64::from(!checksum::fold_few(sum));
    let end = way[4] & 0xffff;
    let words = [
        way[1],
        way[2] | whole,
        way[3] & !0xffff | checksum | source << 32,
    ];
    let [a, b, c] = words;
    if !is_gue {
        return [a, b, c, end, 0];
    }
    let from = u64::from((EPHEMERAL | entropy).to_be());
    let to = way[6] >> Header::PORT;
    let size = u64::from((len + GUE as u16).to_be());
    [
        a,
        b,
        c,
        end | from << 16 | to << 32 | size << 48,
        IPV4_INSIDE,
    ]
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use etherparse::{Ipv4HeaderSlice, UdpHeaderSlice};
    use tollgate_common::backend::SOURCE_V4;

    use super::*;

    fn way(inner: u8, port: u16) -> Way {
        let header = Header::ipip4([1; 6], [2; 6], SOURCE_V4, [10, 0, 0, 7], inner);
        let words = if port > 0 { header.gue(port) } else { header };
        let mut way = [0; 10];
        way[..7].copy_from_slice(&words.0);
        way
    }

    #[test]
    fn it_is_a_header_that_others_read() {
        for (inner, port, room) in [(4, 0, 20), (17, 6080, 32)] {
            for (len, entropy) in [(40, 0), (60, 0xffff), (1400, 0x1234)] {
                let words = outer(&way(inner, port), len, entropy, port > 0);
                let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
                let head = &bytes[BEFORE..BEFORE + LONGEST];
                let ip = Ipv4HeaderSlice::from_slice(&head[..20]).unwrap();
                let ip = ip.to_header();
                assert_eq!(ip.header_checksum, ip.calc_header_checksum());
                assert_eq!((ip.total_len, ip.time_to_live), (len + room, 64));
                assert_eq!((ip.protocol.0, ip.destination), (inner, [10, 0, 0, 7]));
                assert_eq!(ip.source[..2], SOURCE_V4.address[..2]);
                assert_eq!(u16::from_le_bytes([ip.source[2], ip.source[3]]), entropy);
                if port > 0 {
                    let udp = UdpHeaderSlice::from_slice(&head[20..28]).unwrap();
                    assert_eq!((udp.destination_port(), udp.length()), (port, len + 12));
                    assert_eq!((udp.checksum(), &head[28..]), (0, &[0, 4, 0, 0][..]));
                }
            }
        }
    }
}
