//! Numbers as they stand in heads.

/// Appends `number` in decimal digits.
pub(crate) fn append(mut number: u64, out: &mut Vec<u8>) {
    let mut digits = [b'0'; 20];
    let mut from = digits.len();
    loop {
        from -= 1;
        digits[from] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[from..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_they_are_printed() {
        for number in [0, 7, 10, 65_535, 1 << 32, u64::MAX] {
            let mut out = Vec::new();
            append(number, &mut out);
            assert_eq!(out, number.to_string().as_bytes());
        }
    }
}
