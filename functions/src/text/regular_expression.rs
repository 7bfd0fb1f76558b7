//! POSIX regular expressions, by way of the `regex` crates.
//!
//! The flavours agree on what is common: classes, quantifiers, groups, alternatives, anchors,
//! `\d \s \w`, `\y` (word boundary) and `\m \M` (word start and end). Back references and
//! lookaround constraints do not exist here and are refused.
//!
//! Of the matches that start first, POSIX takes the longest (`a|ab` matches all of `ab`) where Perl
//! takes that of the first alternative. An expression with a lazy quantifier (`a*?`) has no such
//! simple rule in PostgreSQL either, and is matched as Perl does.

use std::ops::Range;

use job::SqlState;
use regex_automata::meta::{self, Regex};
use regex_automata::util::captures;
use regex_automata::util::syntax;
use regex_automata::{Anchored, Input, MatchKind};

use crate::error::PgError;

/// Compiled programs larger than this are refused: patterns come from clients.
const PROGRAM_BYTES_MAX: usize = 10 << 20;

/// Flags of the functions, one letter each.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Flags {
    pub(super) global: bool,
    ignore_case: bool,
    /// `n` or `m`: the dot does not match line ends and anchors do.
    lines: bool,
    expanded: bool,
    literal: bool,
}

impl Flags {
    pub(super) fn parse(text: &str) -> Result<Self, PgError> {
        let mut flags = Self::default();
        for flag in text.chars() {
            match flag {
                'g' => flags.global = true,
                'i' => flags.ignore_case = true,
                'c' => flags.ignore_case = false,
                'n' | 'm' => flags.lines = true,
                's' => flags.lines = false,
                'x' => flags.expanded = true,
                't' => flags.expanded = false,
                'q' => flags.literal = true,
                'e' | 'b' | 'p' | 'w' => {}
                other => {
                    return Err(PgError::invalid_parameter(format!(
                        "invalid regular expression option: \"{other}\""
                    )));
                }
            }
        }
        Ok(flags)
    }
}

/// PostgreSQL's escapes in the words of the `regex` crate.
fn translated(pattern: &str) -> String {
    let mut out = String::with_capacity(pattern.len());
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match chars.next() {
            Some('y') => out.push_str("\\b"),
            Some('Y') => out.push_str("\\B"),
            Some('m') => out.push_str("\\b{start}"),
            Some('M') => out.push_str("\\b{end}"),
            Some('A') => out.push_str("\\A"),
            Some('Z') => out.push_str("\\z"),
            Some(next) => {
                out.push('\\');
                out.push(next);
            }
            None => out.push('\\'),
        }
    }
    out
}

/// Has it a quantifier that would rather match less?
fn is_lazy(pattern: &str) -> bool {
    let mut previous = ' ';
    let mut in_class = false;
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => {
                chars.next();
                previous = ' ';
                continue;
            }
            '[' => in_class = true,
            ']' => in_class = false,
            '?' if !in_class && matches!(previous, '*' | '+' | '?' | '}') => return true,
            _ => {}
        }
        // What follows `??` starts anew.
        previous = c;
    }
    false
}

/// A compiled expression.
#[derive(Debug)]
pub(super) struct RegularExpression {
    /// Finds where the first match starts.
    first: Regex,
    /// From a given start, finds the longest match. Not for lazy expressions.
    longest: Option<Regex>,
}

impl RegularExpression {
    fn new(pattern: &str, flags: Flags) -> Result<Self, PgError> {
        let source = if flags.literal {
            regex::escape(pattern)
        } else {
            translated(pattern)
        };
        let syntax = syntax::Config::new()
            .case_insensitive(flags.ignore_case)
            .dot_matches_new_line(!flags.lines)
            .multi_line(flags.lines)
            .ignore_whitespace(flags.expanded);
        let compiled = |kind| {
            let config = meta::Config::new()
                .match_kind(kind)
                .nfa_size_limit(Some(PROGRAM_BYTES_MAX));
            Regex::builder()
                .syntax(syntax)
                .configure(config)
                .build(&source)
                .map_err(|error| invalid(&error))
        };
        Ok(Self {
            first: compiled(MatchKind::LeftmostFirst)?,
            longest: if is_lazy(&source) {
                None
            } else {
                Some(compiled(MatchKind::All)?)
            },
        })
    }

    pub(super) fn is_match(&self, text: &str) -> bool {
        self.first.is_match(text)
    }

    /// Where the first match is, in bytes.
    pub(super) fn find(&self, text: &str) -> Option<Range<usize>> {
        self.find_from(text, 0)
    }

    /// What to search with, and where, for the first match from there on.
    fn search_from<'a>(&self, text: &'a str, from: usize) -> Option<(&Regex, Input<'a>)> {
        let rest = Input::new(text).range(from..);
        let Some(longest) = &self.longest else {
            return Some((&self.first, rest));
        };
        let start = self.first.search(&rest)?.start();
        let there = Input::new(text).range(start..).anchored(Anchored::Yes);
        Some((longest, there))
    }

    fn find_from(&self, text: &str, from: usize) -> Option<Range<usize>> {
        let (regex, input) = self.search_from(text, from)?;
        regex.search(&input).map(|found| found.range())
    }

    fn captures_from<'a>(&self, text: &'a str, from: usize) -> Option<Captures<'a>> {
        let (regex, input) = self.search_from(text, from)?;
        let mut groups = regex.create_captures();
        regex.search_captures(&input, &mut groups);
        Some(Captures {
            text,
            whole: groups.get_match()?.range(),
            groups,
        })
    }

    /// Matches that follow each other.
    pub(super) fn find_iter<'a>(
        &'a self,
        text: &'a str,
    ) -> impl Iterator<Item = Range<usize>> + 'a {
        following(text, move |from| self.find_from(text, from), Range::clone)
    }

    pub(super) fn captures<'a>(&self, text: &'a str) -> Option<Captures<'a>> {
        self.captures_from(text, 0)
    }

    pub(super) fn captures_iter<'a>(
        &'a self,
        text: &'a str,
    ) -> impl Iterator<Item = Captures<'a>> + 'a {
        let place = |found: &Captures<'a>| found.whole.clone();
        following(text, move |from| self.captures_from(text, from), place)
    }

    /// The text with at most `limit` matches replaced: `\1` is a group, `\&` the match, `\\` a
    /// backslash.
    pub(super) fn replaced(&self, text: &str, with: &str, limit: usize) -> String {
        let mut out = String::with_capacity(text.len());
        let mut rest = 0;
        for found in self.captures_iter(text).take(limit) {
            out.push_str(&text[rest..found.whole.start]);
            replacement(&mut out, with, &found);
            rest = found.whole.end;
        }
        out.push_str(&text[rest..]);
        out
    }
}

/// Matches that follow each other, each of them the first that `search` finds from a place on.
fn following<'a, T>(
    text: &'a str,
    search: impl Fn(usize) -> Option<T> + 'a,
    place: impl Fn(&T) -> Range<usize> + 'a,
) -> impl Iterator<Item = T> + 'a {
    let mut from = 0;
    let mut last_end = None;
    std::iter::from_fn(move || {
        loop {
            let found = search(from)?;
            let Range { start, end } = place(&found);
            from = end;
            if start < end || last_end != Some(end) {
                last_end = Some(end);
                return Some(found);
            }
            // Nothing, right behind the last match: that was part of it.
            from += text[from..].chars().next()?.len_utf8();
        }
    })
}

fn replacement(out: &mut String, with: &str, found: &Captures<'_>) {
    let group = |index: usize| found.get(index).unwrap_or_default();
    let mut chars = with.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match chars.next() {
            Some('&') => out.push_str(group(0)),
            Some(digit @ '1'..='9') => {
                out.push_str(group(digit.to_digit(10).map_or(0, |digit| digit as usize)));
            }
            Some('\\') | None => out.push('\\'),
            Some(other) => {
                out.push('\\');
                out.push(other);
            }
        }
    }
}

fn invalid(error: &meta::BuildError) -> PgError {
    let text = match error.syntax_error() {
        Some(syntax) => syntax.to_string(),
        None => error.to_string(),
    };
    let what = text.rsplit("error: ").next().unwrap_or(&text).trim();
    PgError::new(
        SqlState::INVALID_REGULAR_EXPRESSION,
        format!("invalid regular expression: {what}"),
    )
}

/// A match and its groups.
pub(super) struct Captures<'a> {
    text: &'a str,
    whole: Range<usize>,
    groups: captures::Captures,
}

impl<'a> Captures<'a> {
    /// Group 0 is the whole match.
    pub(super) fn get(&self, group: usize) -> Option<&'a str> {
        self.groups
            .get_group(group)
            .map(|span| &self.text[span.range()])
    }

    /// The groups, or the whole match when the pattern has none.
    pub(super) fn groups(&self) -> Vec<Option<String>> {
        let count = self.groups.group_len();
        let groups = if count == 1 { 0..1 } else { 1..count };
        groups
            .map(|group| self.get(group).map(ToOwned::to_owned))
            .collect()
    }
}

/// The last pattern compiled: nearly always the same in all rows.
#[derive(Default)]
pub(super) struct Compiled {
    key: Option<(String, Flags)>,
    regex: Option<RegularExpression>,
}

impl Compiled {
    pub(super) fn get(
        &mut self,
        pattern: &str,
        flags: Flags,
    ) -> Result<&RegularExpression, PgError> {
        let known = self
            .key
            .as_ref()
            .is_some_and(|(text, with)| text == pattern && *with == flags);
        if !known {
            self.regex = None;
        }
        if self.regex.is_none() {
            self.regex = Some(RegularExpression::new(pattern, flags)?);
            self.key = Some((pattern.to_owned(), flags));
        }
        self.regex
            .as_ref()
            .ok_or_else(|| PgError::new(SqlState::INTERNAL_ERROR, "a pattern was not compiled"))
    }
}
