//! The Internet checksum (RFC 1071), computed over 16-bit words as they load: the sum is the same in either byte order.

/// Sum of all 16-bit words of `bytes`, not folded; an odd last byte counts as if a zero followed.
#[must_use]
pub fn sum(bytes: &[u8]) -> u64 {
    let (pairs, rest) = bytes.as_chunks::<2>();
    let sum: u64 = pairs
        .iter()
        .map(|pair| u64::from(u16::from_ne_bytes(*pair)))
        .sum();
    sum + rest
        .first()
        .map_or(0, |&last| u64::from(u16::from_ne_bytes([last, 0])))
}

/// Folds a sum to 16 bits, the carries added in (RFC 1071, section 2). Not complemented.
#[inline(always)]
#[must_use]
pub const fn fold(sum: u64) -> u16 {
    let sum = (sum & 0xffff_ffff) + (sum >> 32);
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    ((sum & 0xffff) + (sum >> 16)) as u16
}

/// The same of a sum of at most 65 537 words, whose carries fit 16 bits themselves.
#[inline(always)]
#[must_use]
pub const fn fold_few(sum: u64) -> u16 {
    let sum = sum as u32;
    let sum = (sum & 0xffff) + (sum >> 16);
    ((sum & 0xffff) + (sum >> 16)) as u16
}

/// The header checksum, as it loads, when the TTL gets one less (RFC 1624, equation 3): the word that begins with the TTL
/// has 0x0100 less, so the complement of the sum has as much more, its carry added in.
#[inline(always)]
#[must_use]
pub const fn one_less(checksum: u16) -> u16 {
    const ONE: u32 = u16::from_ne_bytes([1, 0]) as u32;
    let sum = checksum as u32 + ONE;
    // 0xffff is what RFC 1624 says must not be made: the complement of minus zero.
    (sum + (sum >= 0xffff) as u32) as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_hop_less_is_what_the_whole_sum_says() {
        for ttl in 1..=255_u8 {
            for rest in [
                0_u16, 1, 0x00ff, 0x0100, 0x1234, 0xfeff, 0xff00, 0xfffe, 0xffff,
            ] {
                let of = |ttl: u8| {
                    let [a, b] = rest.to_be_bytes();
                    !fold(sum(&[0x45, 0, ttl, 6, a, b]))
                };
                assert_eq!(one_less(of(ttl)), of(ttl - 1), "{ttl}, {rest:#x}");
            }
        }
    }

    #[test]
    fn few_words_fold_to_the_same() {
        const MOST: u64 = 65_537 * 0xffff;
        let edges = [0, 1, 0xffff, 0x1_0000, 0x1_ffff, 0x2_0000, MOST - 1, MOST];
        for sum in edges.into_iter().chain((0..MOST).step_by(65_521)) {
            assert_eq!(fold_few(sum), fold(sum), "{sum:#x}");
        }
    }

    #[test]
    fn header_of_rfc1071_example() {
        // RFC 1071, section 3: the words 0001 f203 f4f5 f6f7 sum up to ddf2.
        let sum = sum(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]);
        assert_eq!(fold(sum).to_be(), 0xddf2);
    }

    #[test]
    fn carries_of_the_largest_sum_fold_away() {
        assert_eq!(fold(u64::from(u16::MAX) * 40_000), u16::MAX);
        assert_eq!(fold(u64::MAX), u16::MAX);
    }
}
