//! Packets as a file that Wireshark reads: pcapng (draft-ietf-opsawg-pcapng), as much of it as is written here.
//!
//! Own code, since the crate for it (pcap-file) has not released what knows the options that matter here, and what is written
//! are four kinds of blocks.

use std::io::{self, Write};

/// Which half of a packet's way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Direction {
    /// As it came in.
    In,
    /// As it leaves.
    Out,
}

/// A packet to be written.
pub(super) struct Packet<'a> {
    /// The index of its interface.
    pub(super) device: u32,
    /// How that is called; asked once.
    pub(super) name: &'a dyn Fn() -> String,
    /// Whether it came in or leaves.
    pub(super) direction: Direction,
    /// Nanoseconds since 1970.
    pub(super) at: u64,
    /// Bytes of the frame.
    pub(super) len: u32,
    /// Those that there are.
    pub(super) bytes: &'a [u8],
    /// The same for both halves of a packet's way, and for no other packet.
    pub(super) number: u64,
    /// The `xdp_action`.
    pub(super) action: u32,
    /// What else is known of it.
    pub(super) comment: &'a str,
}

/// A file as it is written. Numbers stand in this machine's order, which the file tells.
pub(super) struct Writer<W> {
    out: W,
    snaplen: u32,
    /// The interfaces that were described; their numbers are their places.
    devices: Vec<(u32, Direction)>,
}

mod block {
    pub(super) const SECTION: u32 = 0x0a0d_0d0a;
    pub(super) const INTERFACE: u32 = 1;
    pub(super) const STATISTICS: u32 = 5;
    pub(super) const PACKET: u32 = 6;
}

mod option {
    pub(super) const END: u16 = 0;
    pub(super) const COMMENT: u16 = 1;
    pub(super) const NAME: u16 = 2;
    pub(super) const FLAGS: u16 = 2;
    pub(super) const APPLICATION: u16 = 4;
    pub(super) const NUMBER: u16 = 5;
    pub(super) const DROPPED: u16 = 7;
    pub(super) const VERDICT: u16 = 7;
    pub(super) const RESOLUTION: u16 = 9;
}

impl<W: Write> Writer<W> {
    /// Begins a file.
    pub(super) fn new(out: W, snaplen: u32) -> io::Result<Self> {
        const MAGIC: u32 = 0x1a2b_3c4d;
        const UNKNOWN_LENGTH: u64 = u64::MAX;
        let mut writer = Self {
            out,
            snaplen,
            devices: Vec::new(),
        };
        let mut body = Body::default();
        body.word(MAGIC);
        body.half(1);
        body.half(0);
        body.long(UNKNOWN_LENGTH);
        let application = concat!("tollgate ", env!("CARGO_PKG_VERSION"));
        body.option(option::APPLICATION, application.as_bytes());
        writer.block(block::SECTION, body)?;
        writer.flush()?;
        Ok(writer)
    }

    /// Writes a packet; before the first one of an interface, what that is.
    pub(super) fn packet(&mut self, packet: &Packet<'_>) -> io::Result<()> {
        const INBOUND: u32 = 1;
        const OUTBOUND: u32 = 2;
        /// The verdict is an `xdp_action`.
        const XDP: u8 = 2;
        let interface = self.interface(packet)?;
        let mut body = Body::default();
        body.word(interface);
        body.word((packet.at >> 32) as u32);
        body.word(packet.at as u32);
        body.word(packet.bytes.len() as u32);
        body.word(packet.len);
        body.bytes(packet.bytes);
        let flags = match packet.direction {
            Direction::In => INBOUND,
            Direction::Out => OUTBOUND,
        };
        body.option(option::COMMENT, packet.comment.as_bytes());
        body.option(option::FLAGS, &flags.to_ne_bytes());
        body.option(option::NUMBER, &packet.number.to_ne_bytes());
        if packet.direction == Direction::Out {
            let action = u64::from(packet.action).to_ne_bytes();
            body.option(option::VERDICT, &[&[XDP], action.as_slice()].concat());
        }
        self.block(block::PACKET, body)
    }

    /// The number of a packet's interface in the file.
    fn interface(&mut self, packet: &Packet<'_>) -> io::Result<u32> {
        const ETHERNET: u16 = 1;
        const NANOSECONDS: u8 = 9;
        let device = (packet.device, packet.direction);
        if let Some(at) = self.devices.iter().position(|one| *one == device) {
            return Ok(at as u32);
        }
        let way = match packet.direction {
            Direction::In => "in",
            Direction::Out => "out",
        };
        let mut body = Body::default();
        body.half(ETHERNET);
        body.half(0);
        body.word(self.snaplen);
        body.option(
            option::NAME,
            format!("{} {way}", (packet.name)()).as_bytes(),
        );
        body.option(option::RESOLUTION, &[NANOSECONDS]);
        self.block(block::INTERFACE, body)?;
        self.devices.push(device);
        Ok((self.devices.len() - 1) as u32)
    }

    /// Ends the file, with how much is missing.
    pub(super) fn finish(&mut self, lost: u64) -> io::Result<()> {
        if !self.devices.is_empty() {
            let mut body = Body::default();
            // Of the first interface: which one a lost record was of, nobody knows.
            body.word(0);
            body.long(0);
            body.option(option::DROPPED, &lost.to_ne_bytes());
            self.block(block::STATISTICS, body)?;
        }
        self.flush()
    }

    /// Lets whoever reads have what was written.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    fn block(&mut self, kind: u32, mut body: Body) -> io::Result<()> {
        /// Kind and length before, length behind.
        const FRAME: usize = 12;
        if body.has_options {
            body.half(option::END);
            body.half(0);
        }
        let len = ((body.data.len() + FRAME) as u32).to_ne_bytes();
        self.out.write_all(&kind.to_ne_bytes())?;
        self.out.write_all(&len)?;
        self.out.write_all(&body.data)?;
        self.out.write_all(&len)
    }
}

/// The inside of a block, always a multiple of four bytes between its parts.
#[derive(Default)]
struct Body {
    data: Vec<u8>,
    has_options: bool,
}

impl Body {
    fn half(&mut self, value: u16) {
        self.data.extend(value.to_ne_bytes());
    }

    fn word(&mut self, value: u32) {
        self.data.extend(value.to_ne_bytes());
    }

    fn long(&mut self, value: u64) {
        self.data.extend(value.to_ne_bytes());
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.data.extend(bytes);
        self.data.resize(self.data.len().next_multiple_of(4), 0);
    }

    fn option(&mut self, code: u16, value: &[u8]) {
        // Longer ones cannot be said; ours are names and numbers.
        let value = &value[..value.len().min(usize::from(u16::MAX))];
        self.half(code);
        self.half(value.len() as u16);
        self.bytes(value);
        self.has_options = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Kinds and bodies of the blocks of a file, each checked for its two lengths.
    fn blocks(mut file: &[u8]) -> Vec<(u32, Vec<u8>)> {
        let word = |bytes: &[u8]| u32::from_ne_bytes(bytes[..4].try_into().unwrap());
        let mut blocks = Vec::new();
        while !file.is_empty() {
            let len = word(&file[4..]) as usize;
            assert!(len.is_multiple_of(4));
            assert_eq!(word(&file[len - 4..]) as usize, len);
            blocks.push((word(file), file[8..len - 4].to_vec()));
            file = &file[len..];
        }
        blocks
    }

    #[test]
    fn interfaces_are_described_once_and_before_their_packets() {
        let mut file = Vec::new();
        let mut writer = Writer::new(&mut file, 100).unwrap();
        for (direction, bytes) in [
            (Direction::In, [1_u8, 2, 3].as_slice()),
            (Direction::Out, &[0; 8]),
            (Direction::In, &[]),
        ] {
            let packet = Packet {
                device: 2,
                name: &|| "eth0".to_owned(),
                direction,
                at: 5_000_000_007,
                len: 60,
                bytes,
                number: 1,
                action: 3,
                comment: "verdict sent",
            };
            writer.packet(&packet).unwrap();
        }
        writer.finish(4).unwrap();
        let blocks = blocks(&file);
        let kinds: Vec<u32> = blocks.iter().map(|(kind, _)| *kind).collect();
        assert_eq!(
            kinds,
            [
                block::SECTION,
                block::INTERFACE,
                block::PACKET,
                block::INTERFACE,
                block::PACKET,
                block::PACKET,
                block::STATISTICS,
            ]
        );
        let has = |at: usize, text: &str| {
            blocks[at]
                .1
                .windows(text.len())
                .any(|one| one == text.as_bytes())
        };
        assert!(has(1, "eth0 in") && has(3, "eth0 out") && has(2, "verdict sent"));
        // Interface, time in two halves, bytes that there are, bytes of the frame, and the bytes, padded.
        let words = [0_u32, 1, 705_032_711, 3, 60];
        let head: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
        assert_eq!(blocks[2].1[..24], [&head[..], &[1, 2, 3, 0]].concat());
    }
}
