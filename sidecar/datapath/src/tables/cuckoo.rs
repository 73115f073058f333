//! Where services stand in their table: two cells a key, one entry a cell (Pagh and Rodler, "Cuckoo hashing", 2004).
//!
//! Here is only decided where; who carries the moves out copies an entry before its old cell is written over, so that
//! each is found at every moment.

use std::collections::{HashSet, VecDeque};

use tollgate_common::{limits::CELLS, service::Key};

/// Who stands where.
#[derive(Clone, Debug)]
pub struct Cuckoo {
    cells: Vec<Option<Key>>,
}

/// One entry goes from one cell to another, which is free by then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Move {
    /// Who moves.
    pub key: Key,
    /// Where it stood.
    pub from: usize,
    /// Where it stands now.
    pub to: usize,
}

/// Both cells of the key, and all that could be freed for it, are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

impl Default for Cuckoo {
    fn default() -> Self {
        Self {
            cells: vec![None; CELLS],
        }
    }
}

impl Cuckoo {
    /// Notes who stands at a cell already.
    pub fn note(&mut self, cell: usize, key: Key) {
        self.cells[cell] = Some(key);
    }

    /// The cell of a key.
    #[must_use]
    pub fn find(&self, key: Key) -> Option<usize> {
        key.cells()
            .into_iter()
            .find(|&cell| self.cells[cell] == Some(key))
    }

    /// Takes a key out.
    pub fn remove(&mut self, key: Key) -> Option<usize> {
        let cell = self.find(key)?;
        self.cells[cell] = None;
        Some(cell)
    }

    /// Puts a key in that is not there: the moves that make room, in their order, and the cell that is free then.
    ///
    /// # Errors
    /// [`Full`] if no chain of moves ends at a free cell; nothing has changed then.
    pub fn insert(&mut self, key: Key) -> Result<(Vec<Move>, usize), Full> {
        let path = self.path(key)?;
        let mut moves = Vec::new();
        // From the free end backwards, so that each move goes into a free cell.
        for pair in path.windows(2).rev() {
            let (from, to) = (pair[0], pair[1]);
            let Some(key) = self.cells[from].take() else {
                continue;
            };
            self.cells[to] = Some(key);
            moves.push(Move { key, from, to });
        }
        self.cells[path[0]] = Some(key);
        Ok((moves, path[0]))
    }

    /// The shortest chain of cells from one of the key's to a free one.
    fn path(&self, key: Key) -> Result<Vec<usize>, Full> {
        let mut seen = HashSet::new();
        let mut steps: Vec<(usize, Option<usize>)> = Vec::new();
        let mut queue = VecDeque::new();
        for cell in key.cells() {
            if seen.insert(cell) {
                queue.push_back(steps.len());
                steps.push((cell, None));
            }
        }
        while let Some(step) = queue.pop_front() {
            let (cell, _) = steps[step];
            let Some(occupant) = self.cells[cell] else {
                let mut path: Vec<usize> = std::iter::successors(Some(step), |&step| steps[step].1)
                    .map(|step| steps[step].0)
                    .collect();
                path.reverse();
                return Ok(path);
            };
            for other in occupant.cells() {
                if seen.insert(other) {
                    queue.push_back(steps.len());
                    steps.push((other, Some(step)));
                }
            }
        }
        Err(Full)
    }
}

#[cfg(test)]
mod tests {
    use tollgate_common::{
        limits::SERVICES,
        service::{TCP, UDP},
    };

    use super::*;

    fn keys(salt: u32) -> impl Iterator<Item = Key> {
        (0..SERVICES as u32 * 2).map(move |i| match i % 3 {
            0 => Key::v4((salt + i).to_be(), 443, TCP),
            1 => Key::v4(0x0a01_0001_u32.to_be(), (i as u16).to_be(), UDP),
            _ => Key::v6(0xb80d_0120, u64::from(salt + i).to_be(), 443, TCP),
        })
    }

    /// Services and the entries of their addresses, as many as may ever be: everyone finds a place and is found.
    #[test]
    fn a_full_node_fits() {
        for salt in [1, 0x0a00_0000, 0xc000_0200] {
            let mut table = Cuckoo::default();
            for key in keys(salt) {
                table.insert(key).expect("a quarter full");
            }
            for key in keys(salt) {
                let cell = table.find(key).expect("inserted");
                assert!(key.cells().contains(&cell));
            }
        }
    }

    /// Addresses and ports come in rows, and the first cell of a key follows from one multiplication: no stride fills the
    /// table so unevenly that a key finds no place, and most keys stand in their first cell, which is looked at first.
    #[test]
    fn regular_keys_fit() {
        let count = SERVICES as u32 * 2;
        let v4 = |address: u32, port: u16, proto| Key::v4(address.to_be(), port.to_be(), proto);
        let v6 = |hi: u64, lo: u64| Key::v6(hi.to_be(), lo.to_be(), 443_u16.to_be(), TCP);
        let mut rows: Vec<(String, Vec<Key>)> = Vec::new();
        for shift in 0..32 {
            let row = (0..count).map(|i| v4(i.rotate_left(shift) ^ 0x0a00_0001, 443, TCP));
            rows.push((format!("IPv4 << {shift}"), row.collect()));
        }
        for shift in (0..64).step_by(4) {
            let counted = |i: u32| u64::from(i).rotate_left(shift);
            let row = (0..count).map(|i| v6(0x2001_0db8_0000_0000, counted(i)));
            rows.push((format!("IPv6 host << {shift}"), row.collect()));
            let row = (0..count).map(|i| v6(0x2001_0db8_0000_0000 ^ counted(i), 1));
            rows.push((format!("IPv6 network << {shift}"), row.collect()));
        }
        for width in [1, 2, 4, 16, 64, 256] {
            let ports = (0..count / 2).flat_map(|i| {
                let (address, port) = (0xcb00_7100 + i % width, 8000 + (i / width) as u16);
                [v4(address, port, TCP), v4(address, port, UDP)]
            });
            rows.push((format!("{width} addresses with ports"), ports.collect()));
        }
        for (name, keys) in rows {
            let mut table = Cuckoo::default();
            for key in &keys {
                assert!(table.insert(*key).is_ok(), "{name}: {key:?} has no place");
            }
            let is_first = |key: &&Key| table.find(**key) == Some(key.cells()[0]);
            let first = keys.iter().filter(is_first).count();
            assert!(
                first * 4 >= keys.len() * 3,
                "{name}: only {first} in their first cell"
            );
        }
    }

    /// The moves lead from the old state to the new one, each into a free cell.
    #[test]
    fn moves_can_be_carried_out_one_by_one() {
        let mut table = Cuckoo::default();
        let mut mirror: Vec<Option<Key>> = vec![None; CELLS];
        let mut moved = 0;
        for key in keys(7).chain(keys(1 << 20)) {
            let Ok((moves, cell)) = table.insert(key) else {
                continue;
            };
            for Move { key, from, to } in moves {
                assert_eq!((mirror[from], mirror[to]), (Some(key), None));
                mirror[to] = mirror[from].take();
                moved += 1;
            }
            assert_eq!(mirror[cell].replace(key), None);
        }
        assert!(moved > 0, "the test has not tested a move");
        assert_eq!(mirror, table.cells);
    }

    #[test]
    fn what_does_not_fit_changes_nothing() {
        let mut table = Cuckoo::default();
        for cell in 0..CELLS {
            table.note(cell, Key::v4(cell as u32, 1, TCP));
        }
        let before = table.clone();
        assert_eq!(table.insert(Key::v4(1, 2, UDP)), Err(Full));
        assert_eq!(table.cells, before.cells);
    }
}
