//! A date/time literal cut into tokens.
//!
//! The cut decides much of the meaning, as it does in PostgreSQL: digits joined by one kind of
//! separator are a date, digits with colons are a time, a sign and digits are a zone.

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Token {
    /// Digits, perhaps with one point: `20240102`, `5`, `040506.789`.
    Number(String),
    /// Parts joined by `-`, `/` or `.`: `2024-01-02`, `2-jan-2024`, `america/new_york`.
    Date(String),
    /// `03:04:05.6`
    Time(String),
    /// `+02`, `-05:30`
    Zone(String),
    /// Letters only.
    Word(String),
    /// A word after a sign: `-infinity`.
    Signed { negative: bool, word: String },
}

/// PostgreSQL's own limit; real literals have six or seven.
const TOKENS_MAX: usize = 25;

/// `None` for characters that no literal has, or too many tokens. Words come in lower case;
/// `is_keyword` tells words that end before a digit or a plus from those that run on.
pub(super) fn tokenize(text: &str, is_keyword: impl Fn(&str) -> bool) -> Option<Vec<Token>> {
    let mut input = Input {
        bytes: text.as_bytes(),
    };
    let mut tokens = Vec::with_capacity(4);
    while let Some(byte) = input.peek() {
        let token = match byte {
            b if is_space(b) => {
                input.skip();
                continue;
            }
            b'0'..=b'9' => input.digits_and_more(),
            b'.' => {
                let mut number = String::new();
                input.take_one(&mut number);
                input.take_while(&mut number, |b| b.is_ascii_digit());
                Token::Number(number)
            }
            b'a'..=b'z' | b'A'..=b'Z' => input.word(&is_keyword),
            b'+' | b'-' => input.signed()?,
            b if b.is_ascii_punctuation() => {
                input.skip();
                continue;
            }
            _ => return None,
        };
        if tokens.len() == TOKENS_MAX {
            return None;
        }
        tokens.push(token);
    }
    Some(tokens)
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c)
}

struct Input<'a> {
    bytes: &'a [u8],
}

impl Input<'_> {
    fn peek(&self) -> Option<u8> {
        self.bytes.first().copied()
    }

    fn skip(&mut self) {
        self.bytes = self.bytes.get(1..).unwrap_or_default();
    }

    /// Only called before an ASCII byte.
    fn take_one(&mut self, into: &mut String) {
        if let Some(byte) = self.peek() {
            into.push(char::from(byte.to_ascii_lowercase()));
            self.skip();
        }
    }

    fn take_while(&mut self, into: &mut String, accept: impl Fn(u8) -> bool) {
        while self.peek().is_some_and(&accept) {
            self.take_one(into);
        }
    }

    fn digits_and_more(&mut self) -> Token {
        let mut text = String::new();
        self.take_while(&mut text, |b| b.is_ascii_digit());
        match self.peek() {
            Some(b':') => {
                self.take_while(&mut text, |b| {
                    b.is_ascii_digit() || matches!(b, b':' | b'.')
                });
                Token::Time(text)
            }
            Some(delimiter @ (b'-' | b'/' | b'.')) => {
                self.take_one(&mut text);
                if !self.peek().is_some_and(|b| b.is_ascii_digit()) {
                    // A month's name: 2-jan-2024.
                    self.take_while(&mut text, |b| b.is_ascii_alphanumeric() || b == delimiter);
                    return Token::Date(text);
                }
                self.take_while(&mut text, |b| b.is_ascii_digit());
                if self.peek() == Some(delimiter) {
                    self.take_while(&mut text, |b| b.is_ascii_digit() || b == delimiter);
                    Token::Date(text)
                } else if delimiter == b'.' {
                    Token::Number(text)
                } else {
                    Token::Date(text)
                }
            }
            _ => Token::Number(text),
        }
    }

    fn word(&mut self, is_keyword: impl Fn(&str) -> bool) -> Token {
        let mut text = String::new();
        self.take_while(&mut text, |b| b.is_ascii_alphabetic());
        let runs_on = match self.peek() {
            Some(b'-' | b'/' | b'.') => true,
            Some(b) if b == b'+' || b.is_ascii_digit() => !is_keyword(&text),
            _ => false,
        };
        if !runs_on {
            return Token::Word(text);
        }
        self.take_while(&mut text, |b| {
            b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'/' | b'_' | b'.' | b':')
        });
        Token::Date(text)
    }

    fn signed(&mut self) -> Option<Token> {
        let mut text = String::new();
        self.take_one(&mut text);
        while self.peek().is_some_and(is_space) {
            self.skip();
        }
        match self.peek() {
            Some(b'0'..=b'9') => {
                self.take_while(&mut text, |b| {
                    b.is_ascii_digit() || matches!(b, b':' | b'.' | b'-')
                });
                Some(Token::Zone(text))
            }
            Some(b) if b.is_ascii_alphabetic() => {
                let negative = text == "-";
                let mut word = String::new();
                self.take_while(&mut word, |b| b.is_ascii_alphabetic());
                Some(Token::Signed { negative, word })
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(text: &str) -> Vec<Token> {
        tokenize(text, |word| word == "t").unwrap()
    }

    #[test]
    fn iso_and_friends() {
        use Token::{Date, Number, Time, Word, Zone};
        assert_eq!(
            cut("2024-01-02T03:04:05.6+02:30"),
            [
                Date("2024-01-02".into()),
                Word("t".into()),
                Time("03:04:05.6".into()),
                Zone("+02:30".into())
            ]
        );
        assert_eq!(
            cut("Jan 2, 2024"),
            [
                Word("jan".into()),
                Number("2".into()),
                Number("2024".into())
            ]
        );
        assert_eq!(
            cut("2-Jan-2024 America/New_York"),
            [Date("2-jan-2024".into()), Date("america/new_york".into())]
        );
        assert_eq!(
            cut("-infinity"),
            [Token::Signed {
                negative: true,
                word: "infinity".into()
            }]
        );
        assert_eq!(tokenize("1é", |_| false), None);
        assert_eq!(tokenize(&"1 ".repeat(26), |_| false), None);
    }
}
