//! Every path a file names, in `use` trees and written out, and where it leads inside its crate.

use std::collections::BTreeMap;

use crate::tidy::house::CRATES;
use crate::tidy::source::{File, Token, Tree};

/// A path as written, with the modules it was written in.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Named {
    pub(super) segments: Vec<String>,
    pub(super) line: usize,
    pub(super) test: bool,
    /// Written with a leading `::`: an outside crate, whatever modules are called.
    outside: bool,
    /// Inline modules around it.
    inline: Vec<String>,
}

/// Where a path leads.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Leads {
    /// Into the same crate: the module path from its root, as far as written.
    Inside(Vec<String>),
    /// Into another crate, its name first.
    Outside(Vec<String>),
}

/// The files of one crate target, by module path. A crate's lib and bin share a folder and, here, a root.
pub(super) struct Modules<'a> {
    pub(super) files: BTreeMap<Vec<String>, &'a File>,
}

impl<'a> Modules<'a> {
    /// Each of our crates with the modules below its `src`.
    pub(super) fn of(tree: &'a Tree) -> Vec<Self> {
        let crates = CRATES.iter().map(|package| {
            let source = format!("{}/src/", package.folder);
            let files = tree.files.iter().filter_map(|file| {
                let inside = file.path.strip_prefix(&source)?;
                Some((module_path(inside), file))
            });
            Self {
                files: files.collect(),
            }
        });
        crates.filter(|modules| !modules.files.is_empty()).collect()
    }

    /// The file that holds a module path: its longest beginning that is a file.
    pub(super) fn holder(&self, path: &[String]) -> Option<(&Vec<String>, &'a File)> {
        (0..=path.len()).rev().find_map(|length| {
            let (module, file) = self.files.get_key_value(&path[..length])?;
            Some((module, *file))
        })
    }

    /// Follows a path that stands in the file of `module`.
    pub(super) fn follow(&self, module: &[String], named: &Named) -> Leads {
        let here: Vec<String> = module.iter().chain(&named.inline).cloned().collect();
        let Some((first, rest)) = named.segments.split_first() else {
            return Leads::Inside(here);
        };
        match first.as_str() {
            "crate" => Leads::Inside(rest.to_vec()),
            "self" => Leads::Inside([&here[..], rest].concat()),
            "super" => {
                let supers = named
                    .segments
                    .iter()
                    .take_while(|segment| *segment == "super")
                    .count();
                let above = &here[..here.len().saturating_sub(supers)];
                Leads::Inside([above, &named.segments[supers..]].concat())
            }
            _ => {
                let inside = [&here[..], &named.segments[..]].concat();
                if !named.outside && self.files.contains_key(&inside[..=here.len()]) {
                    Leads::Inside(inside)
                } else {
                    Leads::Outside(named.segments.clone())
                }
            }
        }
    }
}

/// `downstream/tls.rs` is `[downstream, tls]`; `lib.rs` and `main.rs` are the root.
fn module_path(inside: &str) -> Vec<String> {
    match inside.strip_suffix(".rs").unwrap_or(inside) {
        "lib" => Vec::new(),
        // A binary beside a library: a leaf of its own, which nothing can import.
        "main" => vec!["main".to_owned()],
        module => module.split('/').map(str::to_owned).collect(),
    }
}

/// All paths of a file, in order.
pub(super) fn named(file: &File) -> Vec<Named> {
    let mut reader = Reader {
        tokens: &file.tokens,
        at: 0,
        found: Vec::new(),
        inline: Vec::new(),
        depth: 0,
    };
    reader.read();
    reader.found
}

struct Reader<'a> {
    tokens: &'a [Token],
    at: usize,
    found: Vec<Named>,
    /// Inline modules that are open, each with the brace depth outside of it.
    inline: Vec<(String, usize)>,
    depth: usize,
}

impl Reader<'_> {
    fn read(&mut self) {
        while self.at < self.tokens.len() {
            match self.text(0) {
                "{" => self.depth += 1,
                "}" => self.close(),
                "mod" if self.text(2) == "{" => {
                    self.inline.push((self.text(1).to_owned(), self.depth));
                    self.at += 1;
                }
                // `use<'a>` bounds what a return type captures and names no path.
                "use" if self.text(1) != "<" => {
                    self.at += 1;
                    let outside = self.take("::");
                    self.use_tree(&mut Vec::new(), outside);
                    continue;
                }
                // `pub(in crate::downstream)` says who may see, not what is used.
                "in" if self.at >= 2 && self.tokens[self.at - 2].text == "pub" => self.skip_path(),
                word if is_word(word) && self.text(1) == "::" => {
                    self.written_path();
                    continue;
                }
                _ => {}
            }
            self.at += 1;
        }
    }

    fn text(&self, ahead: usize) -> &str {
        self.tokens
            .get(self.at + ahead)
            .map_or("", |token| &token.text)
    }

    fn take(&mut self, text: &str) -> bool {
        let there = self.text(0) == text;
        self.at += usize::from(there);
        there
    }

    fn close(&mut self) {
        self.depth = self.depth.saturating_sub(1);
        if self
            .inline
            .last()
            .is_some_and(|(_, outside)| *outside == self.depth)
        {
            self.inline.pop();
        }
    }

    fn note(&mut self, segments: Vec<String>, at: usize, outside: bool) {
        let Some(token) = self.tokens.get(at) else {
            return;
        };
        let inline = self.inline.iter().map(|(name, _)| name.clone()).collect();
        self.found.push(Named {
            segments,
            line: token.line,
            test: token.test,
            outside,
            inline,
        });
    }

    /// One branch of a use tree, up to the `,`, `}` or `;` behind it.
    fn use_tree(&mut self, before: &mut Vec<String>, outside: bool) {
        let (length, start) = (before.len(), self.at);
        loop {
            match self.text(0) {
                "{" => {
                    self.at += 1;
                    while !matches!(self.text(0), "}" | "") {
                        self.use_tree(before, outside);
                        self.take(",");
                    }
                    self.at += 1;
                    break;
                }
                "*" => {
                    self.at += 1;
                    self.note(before.clone(), start, outside);
                    break;
                }
                // `{self, x}`: the path so far.
                "self" if length > 0 && before.len() == length => {
                    self.at += 1;
                    self.note(before.clone(), start, outside);
                    break;
                }
                word if is_word(word) => before.push(word.to_owned()),
                _ => break,
            }
            self.at += 1;
            if !self.take("::") {
                self.note(before.clone(), start, outside);
                break;
            }
        }
        while !matches!(self.text(0), "," | "}" | ";" | "") {
            self.at += 1;
        }
        before.truncate(length);
    }

    fn written_path(&mut self) {
        let start = self.at;
        let before = start.checked_sub(1).map(|at| self.tokens[at].text.as_str());
        let outside = before == Some("::");
        let mut segments = Vec::new();
        while is_word(self.text(0)) {
            segments.push(self.text(0).to_owned());
            self.at += 1;
            if !self.take("::") {
                break;
            }
        }
        self.note(segments, start, outside);
    }

    fn skip_path(&mut self) {
        while is_word(self.text(1)) || self.text(1) == "::" {
            self.at += 1;
        }
    }
}

fn is_word(text: &str) -> bool {
    text.bytes()
        .next()
        .is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(text: &str) -> Vec<String> {
        let tree = Tree::of(&[("common/src/x.rs", text)]);
        named(&tree.files[0])
            .iter()
            .map(|named| named.segments.join("::"))
            .collect()
    }

    #[test]
    fn use_trees_are_unfolded() {
        assert_eq!(
            paths("use a::{self, b::{c, d as e}, f::*};\npub(crate) use g;"),
            ["a", "a::b::c", "a::b::d", "a::f", "g"]
        );
    }

    #[test]
    fn written_paths_are_found_and_visibility_is_not_one() {
        let text = "pub(in crate::x) fn f(y: crate::a::B<c::D>) -> impl E + use<> { for z in self::g() {} h::<i>::j() }";
        assert_eq!(paths(text), ["crate::a::B", "c::D", "self::g", "h"]);
    }

    #[test]
    fn paths_lead_to_files_whatever_way_they_are_written() {
        let tree = Tree::of(&[
            ("sidecar/src/lib.rs", ""),
            (
                "sidecar/src/downstream.rs",
                "use http::Request; use tls::Acceptor; use ::tls::x;",
            ),
            (
                "sidecar/src/downstream/tls.rs",
                "use super::connection::C; use crate::proxy::P; mod tests { use super::*; use super::super::connection; }",
            ),
            ("sidecar/src/downstream/connection.rs", ""),
            ("sidecar/src/proxy.rs", ""),
        ]);
        let crates = Modules::of(&tree);
        let modules = &crates[0];
        let leads = |module: &[&str]| -> Vec<String> {
            let module: Vec<String> = module.iter().map(|&name| name.to_owned()).collect();
            let file = modules.files[&module];
            let follow = |named: &Named| match modules.follow(&module, named) {
                Leads::Inside(path) => modules
                    .holder(&path)
                    .map(|(_, file)| file.path.clone())
                    .unwrap_or_default(),
                Leads::Outside(path) => path.join("::"),
            };
            named(file).iter().map(follow).collect()
        };
        assert_eq!(
            leads(&["downstream"]),
            ["http::Request", "sidecar/src/downstream/tls.rs", "tls::x"]
        );
        assert_eq!(
            leads(&["downstream", "tls"]),
            [
                "sidecar/src/downstream/connection.rs",
                "sidecar/src/proxy.rs",
                "sidecar/src/downstream/tls.rs",
                "sidecar/src/downstream/connection.rs",
            ]
        );
    }
}
