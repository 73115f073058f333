//! The sources, read once and cut into tokens.

use std::fs;
use std::io;
use std::path::Path;

use crate::tidy::house::SOURCES;

/// Every source file and manifest of ours, sorted by path.
pub(super) struct Tree {
    pub(super) files: Vec<File>,
    /// Path and text of each `Cargo.toml`.
    pub(super) manifests: Vec<(String, String)>,
}

/// A Rust file, its path relative to the repository.
pub(super) struct File {
    pub(super) path: String,
    pub(super) lines: usize,
    pub(super) tokens: Vec<Token>,
}

/// An identifier, `::`, or a single character of punctuation. Comments, strings, characters, lifetimes and numbers are
/// dropped: no rule of the house reads them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) text: String,
    pub(super) line: usize,
    /// Inside `#[cfg(test)]` or `#[test]`, or in a file of tests.
    pub(super) test: bool,
}

impl Tree {
    pub(super) fn read(root: &Path) -> io::Result<Self> {
        let mut texts = Vec::new();
        for folder in SOURCES {
            let folder = root.join(folder);
            if folder.is_dir() {
                walk(root, &folder, &mut texts)?;
            }
        }
        texts.sort();
        Ok(Self::new(texts))
    }

    fn new(texts: Vec<(String, String)>) -> Self {
        let (manifests, sources): (Vec<_>, Vec<_>) = texts
            .into_iter()
            .partition(|(path, _)| path.ends_with("Cargo.toml"));
        let files = sources
            .into_iter()
            .map(|(path, text)| File::new(path, &text))
            .collect();
        Self { files, manifests }
    }

    #[cfg(test)]
    pub(super) fn of(sources: &[(&str, &str)]) -> Self {
        Self::new(
            sources
                .iter()
                .map(|(path, text)| ((*path).to_owned(), (*text).to_owned()))
                .collect(),
        )
    }
}

impl File {
    fn new(path: String, text: &str) -> Self {
        let mut tokens = tokenize(text);
        if path.ends_with("/tests.rs") || path.contains("/tests/") {
            tokens.iter_mut().for_each(|token| token.test = true);
        } else {
            mark_tests(&mut tokens);
        }
        Self {
            path,
            lines: text.lines().count(),
            tokens,
        }
    }

    /// Places, each as the index of its first token, where these tokens stand in a row.
    pub(super) fn find<'a>(&'a self, row: &'a [&str]) -> impl Iterator<Item = usize> + 'a {
        (0..self.tokens.len()).filter(move |&at| {
            self.tokens.len() - at >= row.len()
                && self.tokens[at..]
                    .iter()
                    .zip(row)
                    .all(|(token, word)| token.text == *word)
        })
    }
}

/// The file or folder `place` (without `.rs`) holds `path`.
pub(super) fn stands_in(path: &str, place: &str) -> bool {
    let rest = path.strip_prefix(place);
    rest.is_some_and(|rest| place.is_empty() || rest == ".rs" || rest.starts_with('/'))
}

fn walk(root: &Path, folder: &Path, texts: &mut Vec<(String, String)>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        if path.is_dir() {
            if name != "target" && !name.starts_with('.') {
                walk(root, &path, texts)?;
            }
        } else if name.ends_with(".rs") || name == "Cargo.toml" {
            let relative = path
                .strip_prefix(root)
                .unwrap_or(&path)
                .to_string_lossy()
                .into_owned();
            texts.push((relative, fs::read_to_string(&path)?));
        }
    }
    Ok(())
}

fn tokenize(text: &str) -> Vec<Token> {
    let bytes = text.as_bytes();
    let mut tokens = Vec::new();
    let (mut at, mut line) = (0, 1);
    while at < bytes.len() {
        let end = match bytes[at] {
            b if b.is_ascii_whitespace() => at + 1,
            b'/' if bytes[at..].starts_with(b"//") => skip_to(bytes, at, b"\n"),
            b'/' if bytes[at..].starts_with(b"/*") => skip_block_comment(bytes, at),
            b'"' => skip_string(bytes, at + 1),
            b'\'' => skip_quote(bytes, at),
            b if b.is_ascii_digit() => skip_word(bytes, at),
            b if is_word(b) => {
                let end = skip_word(bytes, at);
                match literal_after_prefix(bytes, at, end) {
                    Some(end) => end,
                    None => {
                        push(&mut tokens, text, at, end, line);
                        end
                    }
                }
            }
            b':' if bytes[at..].starts_with(b"::") => {
                push(&mut tokens, text, at, at + 2, line);
                at + 2
            }
            _ => {
                push(&mut tokens, text, at, at + 1, line);
                at + 1
            }
        };
        let end = end.min(bytes.len());
        line += bytes[at..end].iter().filter(|&&byte| byte == b'\n').count();
        at = end;
    }
    tokens
}

fn push(tokens: &mut Vec<Token>, text: &str, from: usize, to: usize, line: usize) {
    // Bytes beyond ASCII outside literals are identifiers in other scripts; the house has none.
    if let Some(text) = text.get(from..to) {
        tokens.push(Token {
            text: text.to_owned(),
            line,
            test: false,
        });
    }
}

const fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80
}

fn skip_word(bytes: &[u8], at: usize) -> usize {
    at + bytes[at..]
        .iter()
        .take_while(|&&byte| is_word(byte))
        .count()
}

fn skip_to(bytes: &[u8], at: usize, mark: &[u8]) -> usize {
    let found = bytes[at..]
        .windows(mark.len())
        .position(|window| window == mark);
    found.map_or(bytes.len(), |offset| at + offset + mark.len())
}

fn skip_block_comment(bytes: &[u8], at: usize) -> usize {
    let (mut at, mut depth) = (at + 2, 1);
    while at < bytes.len() && depth > 0 {
        let step = match bytes.get(at..at + 2) {
            Some(b"/*") => (2, 1),
            Some(b"*/") => (2, -1),
            _ => (1, 0),
        };
        at += step.0;
        depth += step.1;
    }
    at
}

/// From behind the opening quote to behind the closing one.
fn skip_string(bytes: &[u8], mut at: usize) -> usize {
    while at < bytes.len() && bytes[at] != b'"' {
        at += if bytes[at] == b'\\' { 2 } else { 1 };
    }
    at + 1
}

/// A character literal, or a lifetime.
fn skip_quote(bytes: &[u8], at: usize) -> usize {
    if bytes.get(at + 1) == Some(&b'\\') {
        return skip_to(bytes, at + 3, b"'");
    }
    let word = skip_word(bytes, at + 1);
    if bytes.get(word) == Some(&b'\'') {
        return word + 1;
    }
    // Neither: punctuation in quotes, such as '('.
    if word == at + 1 { at + 3 } else { word }
}

/// `b"…"`, `r#"…"#`, `c"…"`, `b'…'`: the literal's end, when the word at `at..end` is its prefix.
fn literal_after_prefix(bytes: &[u8], at: usize, end: usize) -> Option<usize> {
    let prefix = &bytes[at..end];
    if !matches!(prefix, b"b" | b"c" | b"r" | b"br" | b"cr") {
        return None;
    }
    if prefix == b"b" && bytes.get(end) == Some(&b'\'') {
        return Some(skip_quote(bytes, end));
    }
    let hashes = bytes[end..]
        .iter()
        .take_while(|&&byte| byte == b'#')
        .count();
    if bytes.get(end + hashes) != Some(&b'"') {
        return None;
    }
    if !prefix.ends_with(b"r") {
        return (hashes == 0).then(|| skip_string(bytes, end + 1));
    }
    let mut close = vec![b'"'];
    close.resize(hashes + 1, b'#');
    Some(skip_to(bytes, end + hashes + 1, &close))
}

/// Marks each item under `#[cfg(test)]`, `#[cfg(all(test, …))]`, `#[test]` and their like.
fn mark_tests(tokens: &mut [Token]) {
    let mut at = 0;
    while at < tokens.len() {
        let Some(end) = attribute_end(tokens, at) else {
            at += 1;
            continue;
        };
        if is_test_attribute(&tokens[at..end]) {
            let item = item_end(tokens, end);
            tokens[at..item]
                .iter_mut()
                .for_each(|token| token.test = true);
            at = item;
        } else {
            at = end;
        }
    }
}

/// Behind the closing bracket of the outer attribute that begins at `at`.
fn attribute_end(tokens: &[Token], at: usize) -> Option<usize> {
    if tokens[at].text != "#" || tokens.get(at + 1)?.text != "[" {
        return None;
    }
    let mut depth = 0_usize;
    for (offset, token) in tokens[at + 1..].iter().enumerate() {
        match token.text.as_str() {
            "[" => depth += 1,
            "]" => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Some(at + 1 + offset + 1);
        }
    }
    None
}

fn is_test_attribute(attribute: &[Token]) -> bool {
    let has = |word: &str| attribute.iter().any(|token| token.text == word);
    let first = attribute.get(2).map(|token| token.text.as_str());
    match first {
        Some("cfg") => has("test") && !has("not"),
        // `#[test]`, `#[tokio::test]`; their last word before any parenthesis.
        _ => attribute
            .split(|token| token.text == "(")
            .next()
            .and_then(|head| head.iter().rev().find(|token| token.text != "]"))
            .is_some_and(|token| token.text == "test"),
    }
}

/// Behind the item that begins at `at`, further attributes included: its `;`, or the brace that closes its body.
fn item_end(tokens: &[Token], at: usize) -> usize {
    let (mut braces, mut others) = (0_usize, 0_usize);
    for (offset, token) in tokens[at..].iter().enumerate() {
        match token.text.as_str() {
            "{" => braces += 1,
            "}" => {
                braces = braces.saturating_sub(1);
                if braces == 0 && others == 0 {
                    return at + offset + 1;
                }
            }
            "(" | "[" => others += 1,
            ")" | "]" => others = others.saturating_sub(1),
            ";" if braces == 0 && others == 0 => return at + offset + 1,
            _ => {}
        }
    }
    tokens.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> String {
        let words: Vec<String> = tokenize(text).into_iter().map(|token| token.text).collect();
        words.join(" ")
    }

    #[test]
    fn literals_comments_and_lifetimes_are_dropped() {
        assert_eq!(words("a /* b /* c */ d */ e // f\ng"), "a e g");
        assert_eq!(
            words(r##"x("unsafe \" {", r#"todo!("y")"#, b'"', 'z', '\'', '{', '\u{1F600}') w"##),
            "x ( , , , , , , ) w"
        );
        assert_eq!(
            words("fn f<'a>(x: &'a str) -> [u8; 0x1F] {}"),
            "fn f < > ( x : & str ) - > [ u8 ; ] { }"
        );
        assert_eq!(words("c\"a\" br\"b\" crate::b::c"), "crate :: b :: c");
    }

    #[test]
    fn lines_are_counted_across_literals() {
        let tokens = tokenize("a\n\"x\ny\"\nb");
        assert_eq!(
            tokens.iter().map(|token| token.line).collect::<Vec<_>>(),
            [1, 4]
        );
    }

    #[test]
    fn test_code_is_told_from_the_product() {
        let text = "fn a() {}\n#[cfg(test)]\nmod tests { fn b() { c(); } }\nfn d() {}\n#[cfg(not(test))]\nfn e() {}\n\
                    #[tokio::test]\nasync fn f(x: [u8; 2]) { g; }\n#[cfg(test)]\nuse h::i;\nfn j() {}";
        let tree = Tree::of(&[("common/src/x.rs", text)]);
        let product: Vec<&str> = tree.files[0]
            .tokens
            .iter()
            .filter(|token| {
                !token.test
                    && token.text.len() == 1
                    && token.text.as_bytes()[0].is_ascii_alphabetic()
            })
            .map(|token| token.text.as_str())
            .collect();
        assert_eq!(product, ["a", "d", "e", "j"]);
    }

    #[test]
    fn a_place_is_a_file_or_its_folder() {
        assert!(stands_in("sidecar/src/client.rs", "sidecar/src/client"));
        assert!(stands_in(
            "sidecar/src/client/pool.rs",
            "sidecar/src/client"
        ));
        assert!(!stands_in("sidecar/src/clients.rs", "sidecar/src/client"));
        assert!(stands_in("anything.rs", ""));
    }
}
