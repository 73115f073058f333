//! The hash of a flow: multiply-xorshift over 64 bits, seeded per service, the same on all nodes.

const K1: u64 = 0x9fb2_1c65_1e98_df25;
const K2: u64 = 0xd6e8_feb8_6659_fd93;
pub(crate) const K3: u64 = 0xa076_1d64_78bd_642f;

/// One round: the high half of the product, where every input bit took part, is folded onto the low one.
#[inline(always)]
#[must_use]
pub const fn mix(x: u64) -> u64 {
    let x = x.wrapping_mul(K1);
    x ^ (x >> 32)
}

/// What tells the flows of a service apart; the service's own address and port do not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Flow {
    /// Source address, and both ports, as loaded from the packet.
    V4(u32, u32),
    /// Source address in two words, and both ports, as loaded from the packet.
    V6(u64, u64, u32),
}

impl Flow {
    /// An IPv4 flow from its addresses as people write them.
    #[must_use]
    pub const fn v4(source: [u8; 4], source_port: u16, port: u16) -> Self {
        Self::V4(u32::from_ne_bytes(source), ports(source_port, port))
    }

    /// An IPv6 flow from its addresses as people write them.
    #[must_use]
    pub const fn v6(source: [u8; 16], source_port: u16, port: u16) -> Self {
        let word = u128::from_le_bytes(source);
        Self::V6(word as u64, (word >> 64) as u64, ports(source_port, port))
    }

    /// The same client, whatever its port.
    #[inline(always)]
    #[must_use]
    pub const fn client(self) -> Self {
        match self {
            Self::V4(source, _) => Self::V4(source, 0),
            Self::V6(hi, lo, _) => Self::V6(hi, lo, 0),
        }
    }

    /// The flow's hash. Two multiplications for IPv4: one alone is too regular over sequential ports. The seed comes in
    /// before the last one: the rest is done while the processor looks for the service that has it.
    #[inline(always)]
    #[must_use]
    pub const fn hash(self, seed: u64) -> Hash {
        let mixed = match self {
            Self::V4(source, ports) => mix((source as u64) << 32 ^ ports as u64),
            Self::V6(hi, lo, ports) => mix(mix(mix(hi) ^ lo) ^ ports as u64),
        };
        Hash((mixed ^ seed).wrapping_mul(K2))
    }
}

const fn ports(source: u16, destination: u16) -> u32 {
    source.to_be() as u32 | (destination.to_be() as u32) << 16
}

/// The hash of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hash(pub u64);

impl Hash {
    /// Which of `len` slots: a multiplication scales the upper half, so no division and no bounds check.
    #[inline(always)]
    #[must_use]
    pub const fn slot(self, len: u32) -> u32 {
        (((self.0 >> 32) * len as u64) >> 32) as u32
    }

    /// 32 bits for the outer header, mixed once more: they must not repeat what the slot has said already, or all
    /// flows of one backend would fall into few receive queues there.
    #[inline(always)]
    #[must_use]
    pub const fn entropy(self) -> u32 {
        ((self.0 ^ (self.0 >> 32)).wrapping_mul(K3) >> 32) as u32
    }
}

/// The seed of a service's flow hash: from its key alone, so that all nodes agree without talking.
#[must_use]
pub const fn seed(hi: u64, lo: u64, tag: u32) -> u64 {
    mix(mix(mix(hi) ^ lo) ^ tag as u64).wrapping_mul(K3)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Chi-square over 256 cells stays below its 99.99 % quantile (around 345 for 255 degrees of freedom) on the
    /// inputs that tell bad hashes: sequential ports, sequential addresses, a stride over both.
    #[test]
    fn regular_flows_spread_evenly() {
        let from = |a: u32, port: u16| Flow::v4((0x0a00_0000 + a).to_be_bytes(), port, 443);
        let from6 = |a: u32, port: u16| {
            let mut source = [0; 16];
            source[..2].copy_from_slice(&[0x20, 0x01]);
            source[4..8].copy_from_slice(&a.to_be_bytes());
            Flow::v6(source, port, 443)
        };
        let spread = |flow: &dyn Fn(u32) -> Flow| {
            let mut cells = [0_u32; 256];
            let mut low = [0_u32; 256];
            for i in 0..65_536 {
                let hash = flow(i).hash(0x1234_5678_9abc_def0);
                cells[hash.slot(256) as usize] += 1;
                low[(hash.entropy() & 0xff) as usize] += 1;
            }
            for cells in [cells, low] {
                let chi: f64 = cells
                    .iter()
                    .map(|&n| (f64::from(n) - 256.0).powi(2) / 256.0)
                    .sum();
                assert!(chi < 345.0, "chi-square {chi}");
            }
        };
        spread(&|i| from(1, i as u16));
        spread(&|i| from(i, 40_000));
        spread(&|i| from(i >> 8, 1024 + (i & 0xff) as u16));
        spread(&|i| from6(1, i as u16));
        spread(&|i| from6(i, 40_000));
    }

    #[test]
    fn slots_stay_in_range() {
        for len in [0, 1, 251, 65_537] {
            assert!(Hash(u64::MAX).slot(len) < len.max(1));
            assert_eq!(Hash(0).slot(len), 0);
        }
    }
}
