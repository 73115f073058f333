//! Translated flows as words: each a row, both of its directions in it.

use tollgate_common::nat::{Translation, Tuple};

/// Words of a row.
pub(super) const FLOW: usize = 26;

/// A flow, its service and its backend named by their places.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Flow {
    pub(super) service: u32,
    pub(super) backend: u32,
    /// What the client's packets bear.
    pub(super) key: Tuple,
    /// What becomes of them.
    pub(super) way: Translation,
    /// What becomes of answers.
    pub(super) back: Translation,
}

impl Flow {
    pub(super) fn words(&self) -> [u32; FLOW] {
        let Self { key, way, back, .. } = self;
        let [a, b, c, d] = halves(key.source);
        let [e, f, g, h] = halves(key.destination);
        let [i, j, k, l] = halves(way.to.source);
        let [m, n, o, p] = halves(way.to.destination);
        [
            self.service,
            self.backend,
            a,
            b,
            c,
            d,
            e,
            f,
            g,
            h,
            key.ports,
            key.tag,
            i,
            j,
            k,
            l,
            m,
            n,
            o,
            p,
            way.to.ports,
            way.seen,
            back.seen,
            way.flags,
            back.flags,
            way.interface,
        ]
    }

    /// Of at least [`FLOW`] words; what a later build appends is passed over. Which backend and service it is of is not said in the
    /// translations.
    pub(super) fn of(words: &[u32]) -> Option<Self> {
        let (&[service, backend], rest) = words.split_first_chunk()?;
        let (source, rest) = rest.split_first_chunk()?;
        let (destination, rest) = rest.split_first_chunk()?;
        let (&[ports, tag], rest) = rest.split_first_chunk()?;
        let (to_source, rest) = rest.split_first_chunk()?;
        let (to_destination, rest) = rest.split_first_chunk()?;
        let &[to_ports, seen, back_seen, flags, back_flags, interface, ..] = rest else {
            return None;
        };
        let key = Tuple {
            source: whole(source),
            destination: whole(destination),
            ports,
            tag,
        };
        let to = Tuple {
            source: whole(to_source),
            destination: whole(to_destination),
            ports: to_ports,
            tag,
        };
        let one = |to, seen, flags| Translation {
            to,
            seen,
            flags,
            interface,
            ..Translation::default()
        };
        Some(Self {
            service,
            backend,
            key,
            way: one(to, seen, flags),
            back: one(key.reversed(), back_seen, back_flags),
        })
    }

    /// Both of its translations, of the service of this number and this backend's life.
    pub(super) fn both(&self, service: u16, backend: u32) -> [(Tuple, Translation); 2] {
        let service = u32::from(service);
        let way = Translation {
            backend,
            service,
            ..self.way
        };
        let back = Translation {
            backend,
            service: service | Translation::ANSWERS,
            ..self.back
        };
        [(way.to.reversed(), back), (self.key, way)]
    }
}

const fn halves([hi, lo]: [u64; 2]) -> [u32; 4] {
    [hi as u32, (hi >> 32) as u32, lo as u32, (lo >> 32) as u32]
}

const fn whole(&[a, b, c, d]: &[u32; 4]) -> [u64; 2] {
    [a as u64 | (b as u64) << 32, c as u64 | (d as u64) << 32]
}
