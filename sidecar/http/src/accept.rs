//! Which of several forms of an answer a client would rather have (`Accept`, RFC 9110 section 12.5.1).

use bytes::Bytes;

use crate::fields::{Fields, is_token_byte};

/// Of all `Accept` lines together, as many bytes are read. Browsers send some 200.
const LONGEST: usize = 2048;

/// The most forms that can be offered.
const MOST_OFFERED: usize = 8;

/// The `Accept` lines of a request, kept until it is known that there is something to choose. Nearly every request has one
/// at most, and keeping it does not allocate.
#[derive(Clone, Debug, Default)]
pub struct Accept {
    first: Option<Bytes>,
    others: Vec<Bytes>,
}

impl Accept {
    /// Those of these fields.
    pub fn of(fields: &Fields) -> Self {
        let mut lines = fields.get_all("accept").cloned();
        Self {
            first: lines.next(),
            others: lines.collect(),
        }
    }

    fn lines(&self) -> impl Iterator<Item = &Bytes> {
        self.first.iter().chain(&self.others)
    }
}

/// The form, of those `offered` as `type/subtype` in lower case, that `Accept` gives the highest weight; of equal ones the
/// first. Parameters other than `q` and `charset=utf-8` mean none of them: what is offered has no others.
///
/// `None`: there is no `Accept`, it is not one by its grammar or longer than 2 KiB, or it takes none of them. Whoever
/// answers then does as if everything were welcome (section 12.4.1). At most eight forms are looked at.
pub fn preferred(accept: &Accept, offered: &[&str]) -> Option<usize> {
    let mut found = [Match::default(); MOST_OFFERED];
    let mut read = 0;
    for line in accept.lines() {
        read += line.len();
        if read > LONGEST {
            return None;
        }
        let mut rest = Scan(line);
        while let Some(range) = rest.range()? {
            for (form, best) in offered.iter().zip(&mut found) {
                if let Some(precision) = range.precision(form.as_bytes()) {
                    *best = (*best).max(Match {
                        precision,
                        weight: range.weight,
                    });
                }
            }
        }
    }
    let mut best = None;
    for (at, one) in found.iter().enumerate().take(offered.len()) {
        if one.weight > best.map_or(0, |(_, weight)| weight) {
            best = Some((at, one.weight));
        }
    }
    best.map(|(at, _)| at)
}

/// How a form was met: the most precise range decides (section 12.5.1), of equally precise ones the kindest.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Match {
    precision: u8,
    /// Thousandths.
    weight: u16,
}

struct Range<'a> {
    kind: &'a [u8],
    subtype: &'a [u8],
    weight: u16,
    /// 0, or 1 with `charset=utf-8`; `None`: parameters that nothing on offer has.
    parameters: Option<u8>,
}

impl Range<'_> {
    fn precision(&self, form: &[u8]) -> Option<u8> {
        let slash = form.iter().position(|&b| b == b'/')?;
        let (kind, subtype) = (&form[..slash], &form[slash + 1..]);
        let parameters = self.parameters?;
        match (self.kind, self.subtype) {
            (b"*", _) => Some(1),
            (one, b"*") if one.eq_ignore_ascii_case(kind) => Some(2),
            (one, other)
                if one.eq_ignore_ascii_case(kind) && other.eq_ignore_ascii_case(subtype) =>
            {
                Some(3 + parameters)
            }
            _ => None,
        }
    }
}

/// What is left of a line.
struct Scan<'a>(&'a [u8]);

impl<'a> Scan<'a> {
    /// The next range of the list; `Some(None)` at its end, `None` where it is none.
    fn range(&mut self) -> Option<Option<Range<'a>>> {
        // Empty elements count for nothing (section 5.6.1.2).
        loop {
            self.space();
            if !self.eat(b',') {
                break;
            }
        }
        if self.0.is_empty() {
            return Some(None);
        }
        let kind = self.token()?;
        if !self.eat(b'/') {
            return None;
        }
        let subtype = self.token()?;
        if kind == b"*" && subtype != b"*" {
            return None;
        }
        let mut weight = None;
        let mut parameters = Some(0);
        loop {
            self.space();
            if !self.eat(b';') {
                break;
            }
            self.space();
            if self.0.is_empty() || matches!(self.0[0], b';' | b',') {
                continue;
            }
            let name = self.token()?;
            if !self.eat(b'=') {
                return None;
            }
            if name.eq_ignore_ascii_case(b"q") {
                // One of two weights would be a guess.
                if weight.replace(weight_of(self.token()?)?).is_some() {
                    return None;
                }
            } else {
                let value = self.value()?;
                let is_ours =
                    name.eq_ignore_ascii_case(b"charset") && value.eq_ignore_ascii_case(b"utf-8");
                parameters = parameters.filter(|_| is_ours).map(|_| 1);
            }
        }
        if !self.0.is_empty() && self.0[0] != b',' {
            return None;
        }
        Some(Some(Range {
            kind,
            subtype,
            weight: weight.unwrap_or(1000),
            parameters,
        }))
    }

    fn space(&mut self) {
        while let [b' ' | b'\t', rest @ ..] = self.0 {
            self.0 = rest;
        }
    }

    fn eat(&mut self, byte: u8) -> bool {
        match self.0 {
            [first, rest @ ..] if *first == byte => {
                self.0 = rest;
                true
            }
            _ => false,
        }
    }

    fn token(&mut self) -> Option<&'a [u8]> {
        let end = self.0.iter().position(|&b| !is_token_byte(b));
        let (token, rest) = self.0.split_at(end.unwrap_or(self.0.len()));
        self.0 = rest;
        (!token.is_empty()).then_some(token)
    }

    /// A token, or what stands between quotes, its escapes left in: nothing that is looked for has any.
    fn value(&mut self) -> Option<&'a [u8]> {
        if !self.eat(b'"') {
            return self.token();
        }
        let all = self.0;
        loop {
            match self.0 {
                [b'"', rest @ ..] => {
                    let value = &all[..all.len() - self.0.len()];
                    self.0 = rest;
                    return Some(value);
                }
                [b'\\', _, rest @ ..] | [_, rest @ ..] => self.0 = rest,
                [] => return None,
            }
        }
    }
}

/// `qvalue` of section 12.4.2, in thousandths.
fn weight_of(text: &[u8]) -> Option<u16> {
    let (whole, digits) = match text {
        [whole] => (whole, &[][..]),
        [whole, b'.', digits @ ..] if digits.len() <= 3 => (whole, digits),
        _ => return None,
    };
    let mut weight = match whole {
        b'0' => 0,
        b'1' => 1000,
        _ => return None,
    };
    for (digit, unit) in digits.iter().zip([100, 10, 1]) {
        if !digit.is_ascii_digit() {
            return None;
        }
        weight += u16::from(digit - b'0') * unit;
    }
    (weight <= 1000).then_some(weight)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OFFERED: [&str; 4] = [
        "application/problem+json",
        "application/json",
        "text/html",
        "text/plain",
    ];

    fn check(lines: &[&str]) -> Option<&'static str> {
        let mut fields = Fields::new();
        for line in lines {
            fields.push("Accept", (*line).to_owned());
        }
        preferred(&Accept::of(&fields), &OFFERED).map(|at| OFFERED[at])
    }

    #[test]
    fn the_highest_weight_wins_and_the_first_of_equal_ones() {
        let problem = Some("application/problem+json");
        let json = Some("application/json");
        let html = Some("text/html");
        let plain = Some("text/plain");
        for (accept, expected) in [
            ("*/*", problem),
            ("application/*", problem),
            ("application/json", json),
            ("APPLICATION/JSON", json),
            ("application/json, text/plain, */*", problem),
            ("application/problem+json, application/json", problem),
            ("application/problem+json;q=0.5, application/json", json),
            ("text/html", html),
            ("text/*", html),
            ("text/plain, text/html;q=0.9", plain),
            // Firefox, Chrome and Safari, as they ask for a page.
            (
                "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
                html,
            ),
            (
                "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,*/*;q=0.8,application/signed-exchange;v=b3;q=0.7",
                html,
            ),
            ("text/html, application/json", json),
            ("text/html;q=0.9, application/json;q=0.8", html),
            ("text/html;q=0.8, */*;q=0.8", problem),
            // The more precise range decides, wherever it stands.
            (
                "*/*, application/*;q=0.1, application/problem+json;q=0",
                html,
            ),
            ("text/html;q=0, text/*", plain),
            ("text/*;q=0, text/html", html),
            ("text/html;charset=utf-8, */*;q=0.1", html),
            ("text/html;charset=\"UTF-8\";q=0.7, */*;q=0.1", html),
            (
                "text/html;charset=utf-8;q=0.1, text/html, text/plain;q=0.5",
                plain,
            ),
            ("text/html;level=1, text/plain;q=0.1", plain),
            ("text/html;level=utf-8, text/plain;q=0.1", plain),
            ("text/html;charset=latin1, text/plain;q=0.1", plain),
            ("text/html;q=0.001", html),
            (" , text/html ;q=1.000 ,, ", html),
            ("text/html;", html),
            ("text/plain;x=\"a,b;\\\"q=1\", text/html;q=0.1", html),
        ] {
            assert_eq!(check(&[accept]), expected, "{accept}");
        }
        assert_eq!(check(&["text/plain;q=0.5", "text/html"]), html);
        assert_eq!(check(&[]), None);
        assert_eq!(check(&[""]), None);
    }

    #[test]
    fn what_takes_none_of_them_or_has_no_grammar_is_as_if_it_were_not_there() {
        for accept in [
            "image/png",
            "*/*;q=0",
            "text/html;q=0",
            "text/html;level=1",
            "text",
            "text/",
            "/html",
            "*/html",
            "text/html;q",
            "text/html;q=",
            "text/html;q=2",
            "text/html;q=1.001",
            "text/html;q=0.0001",
            "text/html;q=-1",
            "text/html;q=.5",
            "text/html;q=1;q=1",
            "text/html;q=\"1\"",
            "text/html;x=\"",
            "text/html;x=\"\\",
            "text/html application/json",
            "text/html\u{e4}",
            "text/html, (comment)",
            "text/html, \0",
        ] {
            assert_eq!(check(&[accept]), None, "{accept}");
        }
    }

    /// Whatever stands there costs one pass over 2 KiB at most.
    #[test]
    fn a_hostile_field_is_read_no_further_than_its_limit() {
        let long = format!("text/html{}", ",*/*;q=0.1".repeat(1000));
        assert_eq!(check(&[&long]), None);
        let just = format!("text/html{}", " ".repeat(LONGEST - "text/html".len()));
        assert_eq!(check(&[&just]), Some("text/html"));
        assert_eq!(check(&[&just, " "]), None);
        let many = ["text/html;q=0.5"; 200];
        assert_eq!(check(&many), None);
        assert_eq!(check(&many[..100]), Some("text/html"));
        for filler in [",", ";", "\"", "\\", " ", "a/b;x=\"", "*/*,"] {
            let accept = filler.repeat(LONGEST / filler.len());
            let _ = check(&[&accept]);
            let _ = check(&[&format!("text/html;x={accept}")]);
        }
    }
}
