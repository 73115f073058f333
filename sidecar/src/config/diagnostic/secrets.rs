//! Secrets in a configuration, found in its text: what is shown of a file must not hold them, and a file with mistakes
//! is often no YAML.
//!
//! So this is no parser. It looks for what reads like a private member of a JWK in any spelling, takes rather too much
//! for its value than too little, and leaves lines and columns as they are.

/// Members of a JWK that hold private or shared key material (RFC 7518 sections 6.2.2, 6.3.2 and 6.4.1), and what says where
/// a secret is and may hold the secret itself by mistake.
const PRIVATE: [&str; 9] = ["k", "d", "p", "q", "dp", "dq", "qi", "oth", "secret"];

/// Names a variable of the environment, in capital letters; anything else there may be what the variable should hold.
const VARIABLE: &str = "env";

/// Says where a secret is, in its value or below.
const WHERE: &str = "secret";

/// Names a file. In what [`WHERE`] says, a file that is not there may be what the file should hold; and so a variable that
/// is not set, whatever it is called.
const FILE: &str = "file";

/// Whether what [`WHERE`] says under a name, [`FILE`] or [`VARIABLE`], is there.
pub(super) type Exists<'e> = &'e dyn Fn(Place, &str) -> bool;

/// A kind of place for secrets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// A file, relative to the configuration's folder.
    File,
    /// A variable of the environment.
    Variable,
}

/// From this length on a run of base64url that mixes small and capital letters and digits is taken for a key, whatever
/// stands before it: the least secret of HS256 has 43 such characters (RFC 7518 section 3.2). So is one of hexadecimal
/// digits.
const LONG: usize = 40;

/// Shorter values are not searched for in messages: they would stand in half of all words.
const LEAST: usize = 4;

/// A text without its secrets.
pub(super) struct Masked {
    /// The text with `*` for each character of a secret.
    pub(super) text: String,
    /// What was masked, line by line.
    secrets: Vec<String>,
}

impl Masked {
    /// Masks the values of [`PRIVATE`] members, passwords in URLs and keys without a name in `source`.
    pub(super) fn new(source: &str, exists: Exists<'_>) -> Self {
        let mut scan = Scan::new(source);
        scan.members();
        scan.places(exists);
        let secrets = scan.secrets();
        scan.passwords();
        scan.keys();
        Self {
            text: scan.masked(),
            secrets,
        }
    }

    /// `message` without what was masked in the text: a message may repeat a value, by way of an alias for one.
    pub(super) fn message(&self, message: &str) -> String {
        let mut out = message.to_owned();
        for secret in &self.secrets {
            if out.contains(secret) {
                out = out.replace(secret, &"*".repeat(secret.chars().count()));
            }
        }
        let mut scan = Scan::new(&out);
        scan.passwords();
        scan.keys();
        scan.masked()
    }
}

/// A text, and which of its characters are secret.
struct Scan {
    text: Vec<char>,
    secret: Vec<bool>,
    /// Secrets that are masked together with something else.
    apart: Vec<String>,
}

impl Scan {
    fn new(source: &str) -> Self {
        let text: Vec<char> = source.chars().collect();
        let secret = vec![false; text.len()];
        Self {
            text,
            secret,
            apart: Vec::new(),
        }
    }

    fn masked(&self) -> String {
        let show = |(&c, &secret): (&char, &bool)| if secret { '*' } else { c };
        self.text.iter().zip(&self.secret).map(show).collect()
    }

    /// The masked stretches, longest first, so that none is left over from a longer one that it is a part of.
    fn secrets(&self) -> Vec<String> {
        let mut all = self.apart.clone();
        let mut run = String::new();
        for (at, &c) in self.text.iter().enumerate() {
            if self.secret[at] {
                run.push(c);
            }
            if !self.secret[at] || at + 1 == self.text.len() {
                let trimmed = run.trim();
                if trimmed.chars().count() >= LEAST {
                    all.push(trimmed.to_owned());
                }
                run.clear();
            }
        }
        all.sort_by_key(|one| std::cmp::Reverse(one.len()));
        all.dedup();
        all
    }

    fn at(&self, at: usize) -> Option<char> {
        self.text.get(at).copied()
    }

    fn mask(&mut self, from: usize, to: usize) {
        for at in from..to {
            self.secret[at] = !is_break(self.text[at]);
        }
    }

    /// What stands between `://` and `@`.
    fn passwords(&mut self) {
        let mut at = 0;
        while at + 3 <= self.text.len() {
            if self.text[at..at + 3] != [':', '/', '/'] {
                at += 1;
                continue;
            }
            let start = at + 3;
            let is_end = |c: &char| c.is_whitespace() || matches!(c, '/' | '?' | '#');
            let end = self.find(start, |c| is_end(&c));
            if let Some(length) = self.text[start..end].iter().rposition(|&c| c == '@') {
                self.mask(start, start + length);
            }
            at = start;
        }
    }

    /// Long runs of base64url that are no words.
    fn keys(&mut self) {
        let is_letter = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        let mut at = 0;
        while at < self.text.len() {
            let end = self.find(at, |c| !is_letter(c));
            let run = &self.text[at..end];
            let holds = |kind: fn(&char) -> bool| run.iter().any(kind);
            let is_mixed = holds(char::is_ascii_uppercase) && holds(char::is_ascii_lowercase);
            let is_hex = run.iter().all(char::is_ascii_hexdigit);
            if run.len() >= LONG && holds(char::is_ascii_digit) && (is_mixed || is_hex) {
                self.mask(at, end);
            }
            at = end.max(at + 1);
        }
    }

    /// The values of [`PRIVATE`] members.
    fn members(&mut self) {
        let mut at = 0;
        while at < self.text.len() {
            at = match self.private_name(at) {
                Some(end) => self.value(at, end),
                None => at + 1,
            };
        }
    }

    /// What stands for a file or a variable where a secret is said to be, and is none.
    fn places(&mut self, exists: Exists<'_>) {
        for at in 0..self.text.len() {
            let Some((name, colon)) = self.name(at).filter(|(name, _)| name == WHERE) else {
                continue;
            };
            let value = self.content(colon);
            let end = match self.at(value) {
                Some('{') => self.closing(value),
                _ => self.below(at + name.len(), self.indent(at), |_, _| true),
            };
            let mut inner = colon;
            while inner < end {
                inner = match self.name(inner) {
                    Some((name, colon)) if name == FILE => {
                        self.place(inner, colon, &|value| exists(Place::File, value))
                    }
                    Some((name, colon)) if name == VARIABLE => {
                        self.place(inner, colon, &|value| exists(Place::Variable, value))
                    }
                    _ => inner + 1,
                };
            }
        }
    }

    /// Masks the value behind `colon` unless it is there. Where to go on.
    fn place(&mut self, name: usize, colon: usize, exists: &dyn Fn(&str) -> bool) -> usize {
        let start = self.content(colon);
        let before = self.secret.clone();
        let next = self.value(name, colon).max(start);
        let (from, to) = match self.at(start) {
            Some(quote @ ('"' | '\'')) => {
                let closed = self.unquoted(start, quote);
                (start + 1, closed.saturating_sub(1).max(start + 1))
            }
            _ => {
                // Behind a blank a comment begins.
                let comment = self.text[start..next]
                    .windows(2)
                    .position(|pair| pair[0].is_whitespace() && pair[1] == '#');
                (start, comment.map_or(next, |length| start + length))
            }
        };
        let value: String = self.text[from..to.min(self.text.len())].iter().collect();
        let value = value.trim();
        if exists(value) {
            self.secret = before;
        } else if value.chars().count() >= LEAST {
            // A message repeats it without what stands around it here.
            self.apart.push(value.to_owned());
        }
        next.max(colon)
    }

    /// Where the value of the private member begins whose name begins at `at`: behind the colon.
    fn private_name(&self, at: usize) -> Option<usize> {
        let (name, colon) = self.name(at)?;
        let is_private = match name.as_str() {
            VARIABLE => !self.is_variable(colon),
            // No name in a configuration needs an escape.
            name => PRIVATE.contains(&name) || name.contains('\\'),
        };
        is_private.then_some(colon)
    }

    /// The name of a member that begins at `at`, and where its value begins: behind the colon.
    fn name(&self, at: usize) -> Option<(String, usize)> {
        let before = at.checked_sub(1).and_then(|before| self.at(before));
        // With a colon before or behind it is a group of an IPv6 address.
        if before.is_some_and(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | '/' | ':')) {
            return None;
        }
        let (name, end) = match self.at(at)? {
            quote @ ('"' | '\'') => {
                // No private name is longer, however it is escaped.
                let limit = (at + 1 + 3 * "\\U0000006b".len()).min(self.text.len());
                let length = self.text[at + 1..limit].iter().position(|&c| c == quote)?;
                let end = at + 1 + length;
                (&self.text[at + 1..end], end + 1)
            }
            _ => {
                let end = self.find(at, |c| !c.is_ascii_alphabetic());
                (&self.text[at..end], end)
            }
        };
        let name: String = name.iter().collect();
        let colon = self.blank(end);
        let is_name = self.at(colon) == Some(':') && self.at(colon + 1) != Some(':');
        is_name.then_some((name, colon + 1))
    }

    /// Whether the value behind `colon` is the name of a variable, as the lowering takes it, or there is none.
    fn is_variable(&self, colon: usize) -> bool {
        let start = self.blank(colon);
        let is_end = |c: char| c.is_whitespace() || matches!(c, ',' | '}');
        let end = self.find(start, is_end);
        let value: String = self.text[start..end].iter().collect();
        value
            .trim_matches(['"', '\''])
            .bytes()
            .all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_')
    }

    /// Masks the value that begins behind `colon`, of the member that begins at `name`. Where to go on.
    fn value(&mut self, name: usize, colon: usize) -> usize {
        let start = self.content(colon);
        let is_below = self.text[colon..start].iter().any(|&c| is_break(c));
        if is_below && self.is_member(start) {
            return colon;
        }
        let indent = self.indent(name);
        let end = match self.at(start) {
            None => return colon,
            // A mapping; its own private members are masked.
            Some('{') => return start + 1,
            Some('[') => self.closing(start),
            Some('|' | '>') => self.below(start, indent, |_, _| true),
            Some(quote @ ('"' | '\'')) => {
                let closed = self.unquoted(start, quote);
                self.plain(closed)
            }
            Some(_) => {
                let end = self.plain(start);
                match self.at(end) {
                    None => end,
                    Some(c) if !is_break(c) => end,
                    Some(_) => self.below(end, indent, |scan, line| {
                        !scan.is_member(line) && !matches!(scan.at(line), Some('}' | ']' | '#'))
                    }),
                }
            }
        };
        let blanks = self.text[start..end].iter().rev();
        let length = end - start - blanks.take_while(|c| c.is_whitespace()).count();
        self.mask(start, start + length);
        // The quotes may be seen.
        if matches!(self.at(start), Some('"' | '\'')) {
            self.secret[start] = false;
            let last = start + length.saturating_sub(1);
            if self.at(last) == self.at(start) {
                self.secret[last] = false;
            }
        }
        end.max(colon)
    }

    /// Where the value behind `colon` begins: past anchors and tags.
    fn content(&self, colon: usize) -> usize {
        let mut start = self.blank(colon);
        while matches!(self.at(start), Some('&' | '!')) {
            start = self.blank(self.find(start, char::is_whitespace));
        }
        start
    }

    /// The first place from `from` on whose character is one; the end if none is.
    fn find(&self, from: usize, is_one: impl Fn(char) -> bool) -> usize {
        let rest = self.text.get(from..).unwrap_or_default();
        let length = rest.iter().position(|&c| is_one(c));
        length.map_or(self.text.len(), |length| from + length)
    }

    /// Past white space, line breaks and comments.
    fn blank(&self, from: usize) -> usize {
        let mut at = self.find(from, |c| !c.is_whitespace());
        while at > from && self.at(at) == Some('#') {
            at = self.find(at, is_break);
            at = self.find(at, |c| !c.is_whitespace());
        }
        at
    }

    /// The columns before the first character of the line that `at` stands in.
    fn indent(&self, at: usize) -> usize {
        let line = self.text[..at].iter().rposition(|&c| is_break(c));
        let line = line.map_or(0, |before| before + 1);
        self.find(line, |c| c != ' ') - line
    }

    /// Whether what begins at `at` reads like a member or an item with one, not like a value.
    fn is_member(&self, at: usize) -> bool {
        let at = match (self.at(at), self.at(at + 1)) {
            (Some('-' | '?'), Some(' ')) => self.find(at + 1, |c| c != ' '),
            _ => at,
        };
        let (end, is_quoted) = match self.at(at) {
            Some(quote @ ('"' | '\'')) => (self.unquoted(at, quote), true),
            _ => {
                let is_end =
                    |c: char| c.is_whitespace() || matches!(c, ':' | ',' | '{' | '}' | '[' | ']');
                (self.find(at, is_end), false)
            }
        };
        let colon = self.find(end, |c| !matches!(c, ' ' | '\t'));
        let is_name = end > at && self.at(colon) == Some(':');
        // JSON needs no blank behind its colons.
        is_name && (is_quoted || self.at(colon + 1).is_none_or(char::is_whitespace))
    }

    /// Behind the quote that closes the one at `start`.
    fn unquoted(&self, start: usize, quote: char) -> usize {
        let mut at = start + 1;
        while let Some(c) = self.at(at) {
            let is_escape = match quote {
                '"' => c == '\\',
                _ => c == quote && self.at(at + 1) == Some(quote),
            };
            if c == quote && !is_escape {
                return at + 1;
            }
            at += if is_escape { 2 } else { 1 };
        }
        self.text.len()
    }

    /// Behind the bracket or brace that closes the one at `start`.
    fn closing(&self, start: usize) -> usize {
        let mut depth = 0_usize;
        for at in start..self.text.len() {
            match self.text[at] {
                '[' | '{' => depth += 1,
                ']' | '}' => depth = depth.saturating_sub(1),
                _ => {}
            }
            if depth == 0 {
                return at + 1;
            }
        }
        self.text.len()
    }

    /// The end of a value without quotes in its line: a bracket that closes, or a comma with a member behind it.
    fn plain(&self, from: usize) -> usize {
        let mut at = from;
        while let Some(c) = self.at(at) {
            let next = self.at(at + 1);
            let is_end = match c {
                ',' => {
                    let member = self.blank(at + 1);
                    self.is_member(member)
                        || self.private_name(member).is_some()
                        || matches!(self.at(member), Some('"' | '\'' | '{' | '}' | ']'))
                }
                '}' | ']' => next.is_none_or(|n| n.is_whitespace() || matches!(n, ',' | '}' | ']')),
                c => is_break(c),
            };
            if is_end {
                return at;
            }
            at += 1;
        }
        at
    }

    /// The end of the lines below `at` that are empty or stand further in than `indent`, and that `is_part`.
    fn below(&self, at: usize, indent: usize, is_part: impl Fn(&Self, usize) -> bool) -> usize {
        let mut end = self.find(at, is_break);
        while end < self.text.len() {
            let line = self.find(end, |c| !is_break(c));
            let first = self.find(line, |c| c != ' ');
            let is_empty = self.at(first).is_none_or(is_break);
            if !is_empty && (first - line <= indent || !is_part(self, first)) {
                break;
            }
            end = self.find(first, is_break);
        }
        end
    }
}

/// Either character of a line break (YAML 1.2.2 section 5.4).
fn is_break(c: char) -> bool {
    matches!(c, '\n' | '\r')
}

#[cfg(test)]
mod tests;
