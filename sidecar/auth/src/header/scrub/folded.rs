//! Names reduced to letters and digits, as servers that fold them read them.

/// Names are folded up to this length.
pub(super) const SHORT: usize = 64;

/// What a byte folds to: a lower-case letter, a digit, or 0 for nothing.
pub(super) const FOLDS_TO: [u8; 256] = {
    let (mut table, mut at) = ([0; 256], 0);
    while at < 256 {
        let byte = at as u8;
        if byte.is_ascii_alphanumeric() {
            table[at] = byte.to_ascii_lowercase();
        }
        at += 1;
    }
    table
};

/// All of a folded name, byte by byte.
pub(super) fn folded(name: &[u8]) -> impl Iterator<Item = u8> {
    name.iter()
        .map(|&byte| FOLDS_TO[usize::from(byte)])
        .filter(|&byte| byte != 0)
}

/// The first [`SHORT`] bytes of a folded name, on the stack.
pub(super) struct Folded {
    bytes: [u8; SHORT],
    length: usize,
    /// There is no more of it.
    pub(super) is_whole: bool,
}

impl Folded {
    pub(super) fn of(name: &[u8]) -> Self {
        let (mut bytes, mut length) = ([0; SHORT], 0);
        let (head, rest) = name.split_at(name.len().min(SHORT));
        for &byte in head {
            let folded = FOLDS_TO[usize::from(byte)];
            // Written over by the next byte if it is none. No more places are filled than bytes were read.
            bytes[length % SHORT] = folded;
            length += usize::from(folded != 0);
        }
        let mut is_whole = true;
        for byte in folded(rest) {
            match bytes.get_mut(length) {
                Some(place) => *place = byte,
                None => {
                    is_whole = false;
                    break;
                }
            }
            length += 1;
        }
        Self {
            bytes,
            length,
            is_whole,
        }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes[..self.length.min(SHORT)]
    }
}
