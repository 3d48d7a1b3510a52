//! Rust text as the rules see it: comments, strings and characters blanked behind their opening quote, everything else in
//! place.
//!
//! A scanner, not a parser: it knows where code is, where braces match, where functions and test code begin and end. It
//! tolerates whatever the compiler accepts and never fails.

use std::ops::Range;

/// A text and its blanked twin; offsets into one are offsets into the other.
pub struct Code {
    pub text: String,
    pub blanked: String,
}

/// A function with a body.
pub struct Function {
    pub name: String,
    pub span: Range<usize>,
}

impl Code {
    pub fn new(text: &str) -> Self {
        Self { text: text.to_owned(), blanked: blank(text) }
    }

    /// Line of an offset, from 1.
    pub fn line_of(&self, offset: usize) -> usize {
        self.text[..offset].matches('\n').count() + 1
    }

    pub fn line_count(&self) -> usize {
        self.text.lines().count()
    }

    /// Every identifier and keyword with its offset.
    pub fn words(&self) -> impl Iterator<Item = (usize, &str)> {
        let is_word = |c: char| c.is_alphanumeric() || c == '_';
        let mut rest = 0;
        std::iter::from_fn(move || {
            let start = rest + self.blanked[rest..].find(is_word)?;
            let length = self.blanked[start..].find(|c| !is_word(c)).unwrap_or(self.blanked.len() - start);
            rest = start + length;
            Some((start, &self.blanked[start..rest]))
        })
    }

    /// Where `needle` occurs in the code.
    pub fn finds(&self, needle: &str) -> Vec<usize> {
        self.blanked.match_indices(needle).map(|(offset, _)| offset).collect()
    }

    pub fn functions(&self) -> Vec<Function> {
        let mut words = self.words().peekable();
        let mut functions = Vec::new();
        while let Some((offset, word)) = words.next() {
            if word != "fn" {
                continue;
            }
            // `fn(u8)` is a type: no name follows.
            let Some((name_offset, name)) = words.peek() else { break };
            let named = self.blanked[offset + 2..*name_offset].trim().is_empty();
            let body = self.item_end(offset);
            if named && self.blanked[..body].ends_with('}') {
                functions.push(Function { name: (*name).to_owned(), span: offset..body });
            }
        }
        functions
    }

    /// Items that exist only under `cfg(test)`.
    pub fn test_spans(&self) -> Vec<Range<usize>> {
        self.attributes()
            .filter(|span| {
                let inside: String = self.blanked[span.clone()].split_whitespace().collect();
                inside.starts_with("#[cfg(test)") || inside.starts_with("#[cfg(all(test,")
            })
            .map(|span| span.start..self.item_end(span.end))
            .collect()
    }

    /// Every attribute, `#[...]` or `#![...]`.
    pub fn attributes(&self) -> impl Iterator<Item = Range<usize>> {
        self.blanked.match_indices('#').filter_map(|(start, _)| {
            let open = self.blanked[start + 1..].trim_start_matches('!');
            let open_offset = self.blanked.len() - open.len();
            open.starts_with('[').then(|| start..self.closing(open_offset))
        })
    }

    /// The end of the item that begins at `start`: after its block, or after its semicolon.
    fn item_end(&self, start: usize) -> usize {
        let mut offset = start;
        while let Some(byte) = self.blanked.as_bytes().get(offset) {
            match byte {
                b'{' => return self.closing(offset),
                b';' => return offset + 1,
                b'(' | b'[' => offset = self.closing(offset),
                _ => offset += 1,
            }
        }
        self.blanked.len()
    }

    /// The offset after the bracket that closes the one at `open`; the end of the text when there is none.
    pub fn closing(&self, open: usize) -> usize {
        let mut depth = 0_usize;
        for (offset, byte) in self.blanked.bytes().enumerate().skip(open) {
            match byte {
                b'(' | b'[' | b'{' => depth += 1,
                b')' | b']' | b'}' => depth = depth.saturating_sub(1),
                _ => continue,
            }
            if depth == 0 {
                return offset + 1;
            }
        }
        self.blanked.len()
    }
}

/// Replaces what is not code by spaces, byte for byte; newlines stay.
fn blank(text: &str) -> String {
    let mut blanked = text.as_bytes().to_vec();
    let mut offset = 0;
    while offset < text.len() {
        let (hidden, next) = token(text, offset);
        for byte in &mut blanked[hidden] {
            if *byte != b'\n' {
                *byte = b' ';
            }
        }
        offset = next;
    }
    // Whole characters outside the hidden ranges are untouched, so this loses nothing.
    String::from_utf8_lossy(&blanked).into_owned()
}

/// What to hide of the token at `offset`, and where the next one begins.
fn token(text: &str, offset: usize) -> (Range<usize>, usize) {
    let rest = &text[offset..];
    let first = rest.chars().next().map_or(1, char::len_utf8);
    let shown = (offset..offset, offset + first);
    if rest.starts_with("//") {
        let end = offset + rest.find('\n').unwrap_or(rest.len());
        return (offset..end, end);
    }
    if rest.starts_with("/*") {
        let end = offset + block_comment_length(rest);
        return (offset..end, end);
    }
    if rest.starts_with('"') {
        let end = offset + string_length(rest);
        return (offset + 1..end, end);
    }
    if rest.starts_with('\'') {
        return match character_length(rest) {
            Some(length) => (offset + 1..offset + length - 1, offset + length),
            None => shown,
        };
    }
    let in_word = text[..offset].ends_with(|c: char| c.is_alphanumeric() || c == '_');
    if !in_word && let Some((opening, length)) = raw_string(rest) {
        return (offset + opening..offset + length, offset + length);
    }
    shown
}

/// Block comments nest.
fn block_comment_length(rest: &str) -> usize {
    let mut depth = 0_usize;
    let mut offset = 0;
    while offset < rest.len() {
        if rest[offset..].starts_with("/*") {
            depth += 1;
            offset += 2;
        } else if rest[offset..].starts_with("*/") {
            depth -= 1;
            offset += 2;
            if depth == 0 {
                return offset;
            }
        } else {
            offset += rest[offset..].chars().next().map_or(1, char::len_utf8);
        }
    }
    rest.len()
}

fn string_length(rest: &str) -> usize {
    let mut escaped = false;
    for (offset, character) in rest.char_indices().skip(1) {
        match character {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return offset + 1,
            _ => {}
        }
    }
    rest.len()
}

/// Length of a character literal; `None` for a lifetime.
fn character_length(rest: &str) -> Option<usize> {
    let inside = &rest[1..];
    if inside.starts_with('\\') {
        return inside[2..].find('\'').map(|end| end + 4);
    }
    let length = inside.chars().next()?.len_utf8();
    inside[length..].starts_with('\'').then_some(length + 2)
}

/// Lengths of the opening and of the whole of `r"..."`, `br#"..."#` and the like.
fn raw_string(rest: &str) -> Option<(usize, usize)> {
    let after_r = rest.strip_prefix(['b', 'c']).unwrap_or(rest).strip_prefix('r')?;
    let hashes = after_r.len() - after_r.trim_start_matches('#').len();
    let inside = after_r[hashes..].strip_prefix('"')?;
    let opening = rest.len() - inside.len();
    let close = format!("\"{}", "#".repeat(hashes));
    let length = inside.find(&close).map_or(rest.len(), |end| opening + end + close.len());
    Some((opening, length))
}

#[test]
fn comments_and_strings_are_blanked_and_nothing_else() {
    let cases = [
        ("a // b \" c\nd", "a         \nd"),
        ("a /* b /* c */ d */ e", "a                   e"),
        (r#"f("x\"y")+g"#, r#"f("     )+g"#),
        ("r#\"a\"b\"#+c", "r#\"     +c"),
        ("br\"\\\"+c", "br\"  +c"),
        ("'a'+'\\''+'\\u{1}'+'{'", "' '+'  '+'     '+' '"),
        ("&'a str 'b: loop", "&'a str 'b: loop"),
        ("r#fn + bar\"x\"", "r#fn + bar\"  "),
        ("\"ü\" é", "\"    é"),
        ("\"open", "\"    "),
    ];
    for (text, expected) in cases {
        assert_eq!(blank(text).trim_end(), expected.trim_end(), "{text}");
        assert_eq!(blank(text).len(), text.len(), "{text}");
    }
}

#[test]
fn functions_are_found_with_their_whole_body() {
    let code = Code::new(
        "trait T { fn no_body(a: [u8; 4]); }\nfn one(f: fn(u8) -> u8) -> bool {\n  let s = \"}\"; { 1 }\n}\nconst F: fn() = x;\nfn two() {}\n",
    );
    let found: Vec<(String, usize, usize)> = code
        .functions()
        .into_iter()
        .map(|function| (function.name, code.line_of(function.span.start), code.line_of(function.span.end - 1)))
        .collect();
    assert_eq!(found, [("one".to_owned(), 2, 4), ("two".to_owned(), 6, 6)]);
}

#[test]
fn test_code_is_told_from_the_rest() {
    let code =
        Code::new("fn a() {}\n#[cfg(test)]\n#[rustfmt::skip]\nmod tests { fn b() {} }\n#[cfg(not(test))]\nfn c() {}\n");
    let spans: Vec<&str> = code.test_spans().into_iter().map(|span| &code.text[span]).collect();
    assert_eq!(spans, ["#[cfg(test)]\n#[rustfmt::skip]\nmod tests { fn b() {} }"]);
}
