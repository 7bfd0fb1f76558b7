//! Bounds on what we parse, so that no text can exhaust the stack or the memory.
//!
//! Recursion depth comes from three places: brackets, chains of operators (`1+1+1…` becomes a
//! tree as deep as it is long), and chains of set operations and joins. All three can be
//! estimated from the tokens, before there is a tree that would overflow the stack when it is
//! merely dropped. What passes is parsed on a stack that fits the estimate, and then measured.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    BinaryOperator, Expr, Query, Statement as SqlStatement, TableFactor, Visit, VisitMut, Visitor,
    VisitorMut,
};
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use crate::error::{PlanError, Result};

/// Longer texts are refused: tokens take about a hundred times the memory of a byte of text.
pub(crate) const SQL_BYTES_MAX: usize = 16 << 20;

/// Levels of brackets and prefix operators the parser follows.
const NESTING_MAX: usize = 200;

/// Operators that may follow one another in one expression before it is refused unparsed. Chains
/// of AND and OR up to here are rebalanced; others are bound by [`TREE_DEPTH_MAX`].
const CHAIN_MAX: usize = 20_000;

/// Set operations or joins at one level.
const SET_OPERATIONS_MAX: usize = 500;

/// Depth of the syntax tree that planning, optimising and running can follow on a thread's
/// ordinary stack.
const TREE_DEPTH_MAX: usize = 400;

/// The parser's own counter; several of its levels make one of ours.
pub(crate) const PARSER_RECURSION_MAX: usize = 3 * NESTING_MAX;

/// What the tokens say about the tree.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Shape {
    nesting: usize,
    chain: usize,
}

impl Shape {
    /// Runs `parse` on a stack that is deep enough.
    pub(crate) fn run<T>(self, parse: impl FnOnce() -> T) -> T {
        // Ordinary statements need neither.
        if self.nesting <= 24 && self.chain <= 100 {
            return parse();
        }
        // A parser level takes up to some 40 KiB (a query in an expression in a query), a dropped
        // or visited tree level below 1 KiB. The pages are touched only if they are used.
        let bytes = (4 << 20) + self.nesting * (128 << 10) + self.chain * (1 << 10);
        stacker::grow(bytes, parse)
    }
}

#[derive(Default)]
struct Level {
    chain: usize,
    set_operations: usize,
    prefix: usize,
}

/// Estimates the tree's shape, or refuses it.
pub(crate) fn check_tokens(tokens: &[TokenWithSpan]) -> Result<Shape> {
    let mut levels = vec![Level::default()];
    let mut shape = Shape::default();
    let mut chain_total = 0_usize;
    for token in tokens {
        let depth = levels.len();
        let Some(level) = levels.last_mut() else {
            break;
        };
        match &token.token {
            Token::LParen | Token::LBracket | Token::LBrace => {
                levels.push(Level::default());
            }
            Token::RParen | Token::RBracket | Token::RBrace => {
                // A bracket too many is the parser's to report.
                *level = Level::default();
                if depth > 1 {
                    levels.pop();
                }
            }
            Token::Comma | Token::SemiColon => {
                level.chain = 0;
                level.prefix = 0;
            }
            Token::Word(word) if word.quote_style.is_none() => match word.keyword {
                Keyword::UNION | Keyword::EXCEPT | Keyword::INTERSECT | Keyword::JOIN => {
                    level.set_operations += 1;
                    level.chain = 0;
                    level.prefix = 0;
                }
                Keyword::SELECT | Keyword::FROM | Keyword::WHERE | Keyword::HAVING => {
                    level.chain = 0;
                    level.prefix = 0;
                }
                // `NOT NOT …`, CASE in CASE and EXPLAIN EXPLAIN nest without brackets.
                Keyword::NOT | Keyword::CASE | Keyword::EXPLAIN | Keyword::PREPARE => {
                    level.prefix += 1;
                }
                Keyword::END => level.prefix = level.prefix.saturating_sub(1),
                Keyword::AND
                | Keyword::OR
                | Keyword::IS
                | Keyword::LIKE
                | Keyword::ILIKE
                | Keyword::SIMILAR
                | Keyword::IN
                | Keyword::BETWEEN
                | Keyword::COLLATE
                | Keyword::AT
                | Keyword::XOR
                | Keyword::NOTNULL => {
                    level.chain += 1;
                    if level.chain % 64 == 0 {
                        // Prefixes do not add up over a long chain of conditions.
                        level.prefix = level.prefix.min(1);
                    }
                }
                _ => {}
            },
            Token::Word(_)
            | Token::Number(..)
            | Token::Whitespace(_)
            | Token::Period
            | Token::SingleQuotedString(_)
            | Token::Placeholder(_)
            | Token::EOF => {}
            _ => level.chain += 1,
        }
        let (chain, prefix, set_operations) = match levels.last() {
            Some(level) => (level.chain, level.prefix, level.set_operations),
            None => break,
        };
        chain_total = chain_total.max(chain + prefix);
        shape.nesting = shape.nesting.max(levels.len() + prefix);
        if shape.nesting > NESTING_MAX || chain > CHAIN_MAX || set_operations > SET_OPERATIONS_MAX {
            return Err(PlanError::too_complex());
        }
    }
    shape.chain = chain_total * shape.nesting.min(4) + shape.nesting;
    Ok(shape)
}

/// Flattens long chains of AND and OR into balanced trees and measures what is left.
pub(crate) fn check_tree(statement: &mut SqlStatement) -> Result<()> {
    let _ = VisitMut::visit(statement, &mut Balance);
    match Visit::visit(statement, &mut Depth(0)) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(()) => Err(PlanError::too_complex()),
    }
}

/// The same for an expression that stands alone.
pub(crate) fn check_expr(expr: &mut Expr) -> Result<()> {
    let _ = VisitMut::visit(expr, &mut Balance);
    match Visit::visit(expr, &mut Depth(0)) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(()) => Err(PlanError::too_complex()),
    }
}

/// The same for a query.
pub(crate) fn check_query(query: &mut Query) -> Result<()> {
    let _ = VisitMut::visit(query, &mut Balance);
    match Visit::visit(query, &mut Depth(0)) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(()) => Err(PlanError::too_complex()),
    }
}

struct Depth(usize);

impl Depth {
    fn enter(&mut self) -> ControlFlow<()> {
        self.0 += 1;
        if self.0 > TREE_DEPTH_MAX {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    }

    fn leave(&mut self) -> ControlFlow<()> {
        self.0 = self.0.saturating_sub(1);
        ControlFlow::Continue(())
    }
}

impl Visitor for Depth {
    type Break = ();

    fn pre_visit_expr(&mut self, _expr: &Expr) -> ControlFlow<()> {
        self.enter()
    }

    fn post_visit_expr(&mut self, _expr: &Expr) -> ControlFlow<()> {
        self.leave()
    }

    fn pre_visit_query(&mut self, _query: &Query) -> ControlFlow<()> {
        self.enter()
    }

    fn post_visit_query(&mut self, _query: &Query) -> ControlFlow<()> {
        self.leave()
    }

    fn pre_visit_table_factor(&mut self, _factor: &TableFactor) -> ControlFlow<()> {
        self.enter()
    }

    fn post_visit_table_factor(&mut self, _factor: &TableFactor) -> ControlFlow<()> {
        self.leave()
    }
}

/// Chains shorter than this stay as they were written.
const BALANCE_MIN: usize = 24;

/// Turns `a AND b AND c AND …`, which parses into a tree as deep as it is long, into a balanced
/// one. AND and OR are associative in three-valued logic too, and SQL promises no order of
/// evaluation.
struct Balance;

impl VisitorMut for Balance {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        let Expr::BinaryOp { op, .. } = expr else {
            return ControlFlow::Continue(());
        };
        let op = op.clone();
        if !matches!(op, BinaryOperator::And | BinaryOperator::Or) || spine(expr, &op) < BALANCE_MIN
        {
            return ControlFlow::Continue(());
        }
        let whole = std::mem::replace(expr, placeholder());
        let mut operands = Vec::new();
        let mut rest = whole;
        loop {
            match rest {
                Expr::BinaryOp {
                    left,
                    op: this,
                    right,
                } if this == op => {
                    operands.push(*right);
                    rest = *left;
                }
                other => {
                    operands.push(other);
                    break;
                }
            }
        }
        operands.reverse();
        *expr = balanced(operands, &op);
        ControlFlow::Continue(())
    }
}

fn placeholder() -> Expr {
    Expr::Identifier(datafusion::sql::sqlparser::ast::Ident::new(""))
}

/// Length of the left spine of one operator.
fn spine(mut expr: &Expr, op: &BinaryOperator) -> usize {
    let mut length = 0;
    while let Expr::BinaryOp { left, op: this, .. } = expr
        && this == op
    {
        length += 1;
        expr = left;
    }
    length
}

fn balanced(mut operands: Vec<Expr>, op: &BinaryOperator) -> Expr {
    if operands.len() > 1 {
        let right = operands.split_off(operands.len() / 2);
        return Expr::BinaryOp {
            left: Box::new(balanced(operands, op)),
            op: op.clone(),
            right: Box::new(balanced(right, op)),
        };
    }
    operands.pop().unwrap_or_else(placeholder)
}
