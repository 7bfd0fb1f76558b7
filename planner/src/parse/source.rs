//! The text a client sent, and how the parser's lines and columns become positions in it.

use datafusion::sql::sqlparser::tokenizer::{Location, Span};

/// One `Query` or `Parse` message's text. Positions in errors count characters of the whole of
/// it, also for the third statement of a batch, as PostgreSQL's do.
#[derive(Debug)]
pub(crate) struct Source {
    text: String,
    /// Byte offset at which each line starts.
    line_starts: Vec<usize>,
    /// Characters before each line; the same as `line_starts` while the text is ASCII.
    line_characters: Vec<usize>,
}

impl Source {
    pub(crate) fn new(text: &str) -> Self {
        let mut line_starts = vec![0];
        let mut line_characters = vec![0];
        let mut characters = 0;
        for (offset, character) in text.char_indices() {
            characters += 1;
            if character == '\n' {
                line_starts.push(offset + 1);
                line_characters.push(characters);
            }
        }
        Self {
            text: text.to_owned(),
            line_starts,
            line_characters,
        }
    }

    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    fn line(&self, location: Location) -> Option<usize> {
        // Line 0 marks an empty span.
        let line = usize::try_from(location.line).ok()?.checked_sub(1)?;
        (line < self.line_starts.len() && location.column > 0).then_some(line)
    }

    /// Character offset, counted from 1.
    pub(crate) fn position(&self, location: Location) -> Option<u32> {
        let line = self.line(location)?;
        let position = self.line_characters.get(line)? + usize::try_from(location.column).ok()?;
        u32::try_from(position).ok()
    }

    /// Byte offset, at most the text's length.
    pub(crate) fn offset(&self, location: Location) -> Option<usize> {
        let line = self.line(location)?;
        let start = *self.line_starts.get(line)?;
        let column = usize::try_from(location.column).ok()? - 1;
        let rest = self.text.get(start..)?;
        if self.text.is_ascii() {
            return Some((start + column).min(self.text.len()));
        }
        Some(
            rest.char_indices()
                .nth(column)
                .map_or(self.text.len(), |(offset, _)| start + offset),
        )
    }

    /// The text between two locations, as it was written.
    pub(crate) fn slice(&self, span: Span) -> Option<&str> {
        self.text
            .get(self.offset(span.start)?..self.offset(span.end)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_count_characters_over_lines() {
        let source = Source::new("sélect\n  x");
        let x = Location::new(2, 3);
        assert_eq!(source.position(x), Some(10));
        assert_eq!(source.offset(x), Some(10));
        assert_eq!(source.slice(Span::new(x, Location::new(2, 4))), Some("x"));
        assert_eq!(source.position(Location::new(0, 0)), None);
    }
}
