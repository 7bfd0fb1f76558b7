//! Array literals: `{1,2}`, `{{"a b",NULL},{c,"d\"e"}}`, `[1:2]={7,8}`.

use job::SqlState;

use super::number::trim;
use crate::pg_type::error::{Result, TypeError};

/// PostgreSQL's limit.
const DIMENSIONS_MAX: usize = 6;

/// Elements in order, still as text, and the length of each dimension.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArrayLiteral {
    /// Outermost first; none for an empty array.
    pub lengths: Vec<usize>,
    pub elements: Vec<Option<String>>,
}

/// Cuts a literal up. Bounds must start at 1: Arrow's lists have no others.
pub fn array(text: &str) -> Result<ArrayLiteral> {
    Parser {
        text,
        rest: trim(text),
        lengths: Vec::new(),
        leaf_depth: None,
        elements: Vec::new(),
    }
    .parse()
}

/// PostgreSQL's arrays may start anywhere; ours start at 1.
#[cold]
pub(crate) fn unsupported_lower_bound(lower: i32) -> TypeError {
    TypeError::unsupported(format!("array lower bound {lower} is not supported"))
        .with_hint("Array subscripts start at 1.")
}

struct Parser<'a> {
    text: &'a str,
    rest: &'a str,
    lengths: Vec<Option<usize>>,
    leaf_depth: Option<usize>,
    elements: Vec<Option<String>>,
}

impl Parser<'_> {
    fn parse(mut self) -> Result<ArrayLiteral> {
        let declared = self.bounds()?;
        if self.peek() != Some('{') {
            let detail = if declared.is_some() {
                "Array contents must start with \"{\"."
            } else {
                "Array value must start with \"{\" or dimension information."
            };
            return Err(self.malformed(detail));
        }
        self.level(0)?;
        if !trim(self.rest).is_empty() {
            return Err(self.malformed("Junk after closing right brace."));
        }
        let lengths = if self.elements.is_empty() {
            Vec::new()
        } else {
            self.lengths
                .iter()
                .map(|length| length.unwrap_or(0))
                .collect()
        };
        if declared.is_some_and(|declared| declared != lengths) {
            return Err(self.malformed("Specified array dimensions do not match array contents."));
        }
        Ok(ArrayLiteral {
            lengths,
            elements: self.elements,
        })
    }

    #[cold]
    fn malformed(&self, detail: &str) -> TypeError {
        TypeError::malformed_array(self.text, detail)
    }

    fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    fn advance(&mut self, character: char) {
        self.rest = &self.rest[character.len_utf8()..];
    }

    fn skip_space(&mut self) {
        self.rest = self.rest.trim_start_matches(is_space);
    }

    /// `[l:u]…=`: the lengths it declares.
    fn bounds(&mut self) -> Result<Option<Vec<usize>>> {
        if self.peek() != Some('[') {
            return Ok(None);
        }
        let Some((head, tail)) = self.rest.split_once('=') else {
            return Err(self.malformed("Missing \"=\" after array dimensions."));
        };
        let mut lengths = Vec::new();
        for part in trim(head).split_inclusive(']') {
            let bounds = trim(part)
                .strip_prefix('[')
                .and_then(|part| part.strip_suffix(']'));
            let Some(bounds) = bounds else {
                return Err(self.malformed("Missing \"]\" after array dimensions."));
            };
            let (lower, upper) = match bounds.split_once(':') {
                Some((lower, upper)) => (lower.parse::<i32>(), upper.parse::<i32>()),
                None => (Ok(1), bounds.parse::<i32>()),
            };
            let (Ok(lower), Ok(upper)) = (lower, upper) else {
                return Err(
                    self.malformed("\"[\" must introduce explicitly-specified array dimensions.")
                );
            };
            if upper < lower {
                return Err(TypeError::new(
                    SqlState::ARRAY_SUBSCRIPT_ERROR,
                    "upper bound cannot be less than lower bound",
                ));
            }
            if lower != 1 {
                return Err(unsupported_lower_bound(lower));
            }
            lengths.push(upper as usize);
        }
        self.rest = tail;
        self.skip_space();
        Ok(Some(lengths))
    }

    /// One pair of braces and what is in it; the next character is the opening one.
    fn level(&mut self, depth: usize) -> Result<()> {
        if depth == DIMENSIONS_MAX {
            return Err(TypeError::new(
                SqlState::PROGRAM_LIMIT_EXCEEDED,
                format!(
                    "number of array dimensions ({}) exceeds the maximum allowed ({DIMENSIONS_MAX})",
                    depth + 1
                ),
            ));
        }
        if self.lengths.len() == depth {
            self.lengths.push(None);
        }
        self.advance('{');
        self.skip_space();
        let mut count = 0;
        if self.peek() == Some('}') {
            self.advance('}');
        } else {
            loop {
                self.skip_space();
                if self.peek() == Some('{') {
                    if self.leaf_depth.is_some_and(|leaf| leaf <= depth) {
                        return Err(self.malformed("Unexpected \"{\" character."));
                    }
                    self.level(depth + 1)?;
                } else {
                    if *self.leaf_depth.get_or_insert(depth) != depth {
                        return Err(self.malformed("Unexpected array element."));
                    }
                    let element = self.element()?;
                    self.elements.push(element);
                }
                count += 1;
                self.skip_space();
                match self.peek() {
                    Some(',') => self.advance(','),
                    Some('}') => {
                        self.advance('}');
                        break;
                    }
                    Some(_) => return Err(self.malformed("Unexpected array element.")),
                    None => return Err(self.malformed("Unexpected end of input.")),
                }
            }
        }
        match &mut self.lengths[depth] {
            Some(length) if *length != count => Err(self.malformed(
                "Multidimensional arrays must have sub-arrays with matching dimensions.",
            )),
            length => {
                *length = Some(count);
                Ok(())
            }
        }
    }

    fn element(&mut self) -> Result<Option<String>> {
        match self.peek() {
            Some('"') => self.quoted().map(Some),
            Some(character @ (',' | '}')) => {
                Err(self.malformed(&format!("Unexpected \"{character}\" character.")))
            }
            _ => self.plain(),
        }
    }

    fn quoted(&mut self) -> Result<String> {
        let mut value = String::new();
        self.advance('"');
        while let Some(character) = self.peek() {
            self.advance(character);
            match character {
                '"' => return Ok(value),
                '\\' => match self.peek() {
                    Some(escaped) => {
                        self.advance(escaped);
                        value.push(escaped);
                    }
                    None => break,
                },
                _ => value.push(character),
            }
        }
        Err(self.malformed("Unexpected end of input."))
    }

    /// Up to a comma or brace, without the space at its end. NULL if it says so unescaped.
    fn plain(&mut self) -> Result<Option<String>> {
        let mut value = String::new();
        // Space that was escaped stays.
        let mut kept = 0;
        let mut escaped_any = false;
        while let Some(character) = self.peek() {
            match character {
                ',' | '}' => {
                    let trimmed = value.trim_end_matches(is_space).len().max(kept);
                    value.truncate(trimmed);
                    if !escaped_any && value.eq_ignore_ascii_case("null") {
                        return Ok(None);
                    }
                    return Ok(Some(value));
                }
                '{' | '"' => {
                    let detail = if character == '{' {
                        "Unexpected \"{\" character."
                    } else {
                        "Unexpected array element."
                    };
                    return Err(self.malformed(detail));
                }
                '\\' => {
                    self.advance(character);
                    let Some(escaped) = self.peek() else { break };
                    self.advance(escaped);
                    value.push(escaped);
                    kept = value.len();
                    escaped_any = true;
                }
                _ => {
                    self.advance(character);
                    value.push(character);
                }
            }
        }
        Err(self.malformed("Unexpected end of input."))
    }
}

fn is_space(character: char) -> bool {
    matches!(character, ' ' | '\t' | '\n' | '\r' | '\x0b' | '\x0c')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(text: &str) -> (Vec<usize>, Vec<Option<String>>) {
        let literal = array(text).unwrap();
        (literal.lengths, literal.elements)
    }

    fn some(text: &str) -> Option<String> {
        Some(text.to_owned())
    }

    #[test]
    fn elements_and_quotes() {
        assert_eq!(
            cut(r#" { a , "b c",NULL,"NULL", x\ y ,"a\"b\\"} "#),
            (
                vec![6],
                vec![
                    some("a"),
                    some("b c"),
                    None,
                    some("NULL"),
                    some("x y"),
                    some("a\"b\\")
                ]
            )
        );
        assert_eq!(cut("{}"), (vec![], vec![]));
        assert_eq!(cut("{{1,2},{3,4}}").0, [2, 2]);
        assert_eq!(cut("[1:2]={7,8}").0, [2]);
    }

    #[test]
    fn refusals() {
        for (text, detail) in [
            (
                "",
                "Array value must start with \"{\" or dimension information.",
            ),
            (
                "1,2",
                "Array value must start with \"{\" or dimension information.",
            ),
            ("{1,2", "Unexpected end of input."),
            ("{\"a", "Unexpected end of input."),
            ("{1}2", "Junk after closing right brace."),
            ("{1,}", "Unexpected \"}\" character."),
            ("{,1}", "Unexpected \",\" character."),
            (
                "{{1,2},{3}}",
                "Multidimensional arrays must have sub-arrays with matching dimensions.",
            ),
            ("{1,{2}}", "Unexpected \"{\" character."),
            ("{{1},2}", "Unexpected array element."),
            (
                "[1:3]={1,2}",
                "Specified array dimensions do not match array contents.",
            ),
            ("[1", "Missing \"=\" after array dimensions."),
        ] {
            use job::SqlError;
            let error = array(text).unwrap_err();
            assert_eq!(
                error.to_string(),
                format!("malformed array literal: \"{text}\"")
            );
            assert_eq!(error.detail().as_deref(), Some(detail), "{text}");
        }
        assert_eq!(
            array("[2:3]={7,8}").unwrap_err().to_string(),
            "array lower bound 2 is not supported"
        );
        assert!(array("{{{{{{{1}}}}}}}").is_err());
        assert!(array(&"{".repeat(100_000)).is_err());
    }
}
