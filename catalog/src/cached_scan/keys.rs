//! What a join's filter says of keys that are integers.
//!
//! It looks every row's key up in a hash table, or in one of each partition. But keys come more than once:
//! in a row, like the lines of an order, or all over a table, like its parts. Of a run only the first is
//! looked up; and where a scan has more rows than the filter's range has keys, what was said of a key
//! is kept, in two bits. Both give exactly what the filter gives.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, UInt32Array};
use arrow::buffer::BooleanBuffer;
use arrow::compute::{cast, take};
use arrow::datatypes::{DataType, Int64Type};
use datafusion::common::tree_node::TreeNode;
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::Operator;
use datafusion::physical_expr::expressions::{BinaryExpr, Column, InListExpr, Literal};
use datafusion::physical_plan::PhysicalExpr;
use datafusion::physical_plan::joins::HashTableLookupExpr;

use super::prune::without_cases;

/// Answers to so many keys are kept at most: in 4 MiB, which stays in a processor's cache.
const KEYS_MAX: u64 = 1 << 24;
/// A scan has so many rows for each key of which an answer is kept, or more.
const ROWS_PER_KEY: u64 = 2;
/// Of a key: whether it was asked, and then whether it passes.
const BITS: u64 = 2;
const KNOWN: u64 = 0b01;
const PASSES: u64 = 0b10;
const KEYS_PER_WORD: u64 = u64::BITS as u64 / BITS;

/// Integers that `i64` holds.
pub(super) fn is_key(data_type: &DataType) -> bool {
    data_type.is_integer() && *data_type != DataType::UInt64
}

/// Does it look keys up, rather than compare them?
pub(super) fn looks_up(filter: &Arc<dyn PhysicalExpr>) -> bool {
    let found =
        filter.exists(|expr| Ok(expr.is::<HashTableLookupExpr>() || expr.is::<InListExpr>()));
    found.unwrap_or(false)
}

/// What `filter` says of each of `keys`, of which `answers` may know some. `filter` says the same of the
/// same key, and never null.
pub(super) fn ask(
    answers: Option<&KeyAnswers>,
    keys: &ArrayRef,
    filter: impl FnOnce(&ArrayRef) -> Result<BooleanArray>,
) -> Result<BooleanArray> {
    if keys.null_count() > 0 {
        return filter(keys);
    }
    let wide = cast(keys, &DataType::Int64)?;
    let values = wide.as_primitive::<Int64Type>().values();
    match answers {
        Some(answers) => answers.ask(keys, values, filter),
        None => ask_runs(keys, values, filter),
    }
}

fn ask_runs(
    keys: &ArrayRef,
    values: &[i64],
    filter: impl FnOnce(&ArrayRef) -> Result<BooleanArray>,
) -> Result<BooleanArray> {
    let begins = |row: usize| row == 0 || values[row] != values[row - 1];
    let runs = (0..values.len()).filter(|row| begins(*row)).count();
    if runs * 2 > values.len() {
        return filter(keys);
    }
    let firsts = (0..values.len()).filter(|row| begins(*row));
    let firsts = UInt32Array::from_iter_values(firsts.map(|row| row as u32));
    let said = filter(&take(keys, &firsts, None)?)?;
    let mut run = 0;
    let passing = BooleanBuffer::collect_bool(values.len(), |row| {
        run += usize::from(row > 0 && begins(row));
        said.value(run)
    });
    Ok(BooleanArray::new(passing, None))
}

/// What a filter has said of the keys of its range so far.
#[derive(Debug)]
pub(super) struct KeyAnswers {
    first: i64,
    /// From `first` on. Others do not pass.
    keys: u64,
    words: Vec<AtomicU64>,
}

impl KeyAnswers {
    /// For a filter on one column, which a scan asks about so many rows. `None`: it is not worth it.
    pub(super) fn of(filter: &Arc<dyn PhysicalExpr>, rows: u64) -> Option<Self> {
        let (first, last) = range(&without_cases(filter, usize::MAX));
        let keys = i128::from(last) - i128::from(first) + 1;
        // Where comparisons exclude each other there is none; all there are, are more than `u64` holds.
        let keys = u64::try_from(keys.max(0)).ok()?;
        if keys > KEYS_MAX || keys.saturating_mul(ROWS_PER_KEY) > rows {
            return None;
        }
        let words = (0..keys.div_ceil(KEYS_PER_WORD)).map(|_| AtomicU64::new(0));
        Some(Self {
            first,
            keys,
            words: words.collect(),
        })
    }

    fn ask(
        &self,
        keys: &ArrayRef,
        values: &[i64],
        filter: impl FnOnce(&ArrayRef) -> Result<BooleanArray>,
    ) -> Result<BooleanArray> {
        let (passing, unknown) = self.known(values);
        if unknown.is_empty() {
            return Ok(BooleanArray::new(passing, None));
        }
        let unknown = UInt32Array::from(unknown);
        let said = filter(&take(keys, &unknown, None)?)?;
        for (row, passes) in unknown.values().iter().zip(said.values()) {
            self.note(values[*row as usize], passes);
        }
        // Others only add to what is known.
        let (passing, _) = self.known(values);
        Ok(BooleanArray::new(passing, None))
    }

    /// Which pass for all that is known, and the rows of keys that are not; of a run the first.
    fn known(&self, values: &[i64]) -> (BooleanBuffer, Vec<u32>) {
        let (mut unknown, mut last) = (Vec::new(), None);
        let passing = BooleanBuffer::collect_bool(values.len(), |row| {
            let key = values[row];
            let Some((word, shift)) = self.place(key) else {
                return false;
            };
            let bits = self.words[word].load(Ordering::Relaxed) >> shift;
            if bits & KNOWN == 0 && last != Some(key) {
                last = Some(key);
                unknown.push(row as u32);
            }
            bits & PASSES != 0
        });
        (passing, unknown)
    }

    fn note(&self, key: i64, passes: bool) {
        if let Some((word, shift)) = self.place(key) {
            let bits = KNOWN | if passes { PASSES } else { 0 };
            self.words[word].fetch_or(bits << shift, Ordering::Relaxed);
        }
    }

    /// The word of a key of the range, and how far its bits are shifted.
    fn place(&self, key: i64) -> Option<(usize, u64)> {
        // Wraps around to something larger for keys before the first.
        let at = key.wrapping_sub(self.first).cast_unsigned();
        let within = at < self.keys;
        within.then_some(((at / KEYS_PER_WORD) as usize, at % KEYS_PER_WORD * BITS))
    }
}

const ALL: (i64, i64) = (i64::MIN, i64::MAX);
const NONE: (i64, i64) = (i64::MAX, i64::MIN);

/// From the smallest to the largest key that may pass, by comparisons with constants.
fn range(filter: &Arc<dyn PhysicalExpr>) -> (i64, i64) {
    if let Some(literal) = filter.downcast_ref::<Literal>() {
        return match literal.value() {
            ScalarValue::Boolean(Some(false) | None) => NONE,
            _ => ALL,
        };
    }
    let Some(binary) = filter.downcast_ref::<BinaryExpr>() else {
        return ALL;
    };
    let sides = || (range(binary.left()), range(binary.right()));
    match binary.op() {
        Operator::And => {
            let (left, right) = sides();
            (left.0.max(right.0), left.1.min(right.1))
        }
        Operator::Or => {
            let (left, right) = sides();
            (left.0.min(right.0), left.1.max(right.1))
        }
        comparison => match (binary.left().is::<Column>(), constant(binary.right())) {
            (true, Some(value)) => match comparison {
                Operator::GtEq => (value, i64::MAX),
                Operator::LtEq => (i64::MIN, value),
                Operator::Eq => (value, value),
                _ => ALL,
            },
            _ => ALL,
        },
    }
}

fn constant(expr: &Arc<dyn PhysicalExpr>) -> Option<i64> {
    let value = expr.downcast_ref::<Literal>()?.value();
    match value.cast_to(&DataType::Int64) {
        Ok(ScalarValue::Int64(wide)) if is_key(&value.data_type()) => wide,
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use arrow::array::{Int32Array, Int64Array};
    use datafusion::physical_expr::expressions::lit;

    use super::*;

    fn compare(op: Operator, value: i64) -> Arc<dyn PhysicalExpr> {
        Arc::new(BinaryExpr::new(
            Arc::new(Column::new("k", 0)),
            op,
            lit(value),
        ))
    }

    fn both(
        left: Arc<dyn PhysicalExpr>,
        op: Operator,
        right: Arc<dyn PhysicalExpr>,
    ) -> Arc<dyn PhysicalExpr> {
        Arc::new(BinaryExpr::new(left, op, right))
    }

    fn between(first: i64, last: i64) -> Arc<dyn PhysicalExpr> {
        both(
            compare(Operator::GtEq, first),
            Operator::And,
            compare(Operator::LtEq, last),
        )
    }

    #[test]
    fn a_range_is_never_narrower_than_the_filter() {
        let unknown = || compare(Operator::NotEq, 7);
        let one = both(between(-5, 9), Operator::And, unknown());
        assert_eq!(range(&one), (-5, 9));
        let either = both(one, Operator::Or, between(20, 30));
        assert_eq!(range(&either), (-5, 30));
        assert_eq!(range(&both(either, Operator::Or, unknown())), ALL);
        let never = both(lit(false), Operator::Or, between(3, 3));
        assert_eq!(range(&never), (3, 3));
        assert_eq!(range(&compare(Operator::Lt, 3)), ALL);
        assert_eq!(range(&lit(true)), ALL);
    }

    #[test]
    fn answers_are_kept_where_keys_come_again() {
        assert!(KeyAnswers::of(&between(1, 100), 199).is_none());
        assert!(KeyAnswers::of(&between(1, 100), 200).is_some());
        assert!(KeyAnswers::of(&between(i64::MIN, i64::MAX), u64::MAX).is_none());
        assert!(KeyAnswers::of(&between(0, KEYS_MAX as i64), u64::MAX).is_none());
        let nothing = KeyAnswers::of(&lit(false), 0).unwrap();
        assert_eq!((nothing.keys, nothing.words.len()), (0, 0));
    }

    /// All answers, and how many keys were looked up.
    fn asked(answers: Option<&KeyAnswers>, keys: ArrayRef, passes: fn(i64) -> bool) -> usize {
        let looked_up = Cell::new(0);
        let said = ask(answers, &keys, |keys| {
            looked_up.set(looked_up.get() + keys.len());
            let keys = cast(keys, &DataType::Int64)?;
            let keys = keys.as_primitive::<Int64Type>().iter();
            Ok(keys.map(|key| Some(key.is_some_and(passes))).collect())
        });
        let said = said.unwrap();
        let keys = cast(&keys, &DataType::Int64).unwrap();
        for (key, said) in keys.as_primitive::<Int64Type>().iter().zip(&said) {
            assert_eq!(said, Some(key.is_some_and(passes)), "{key:?}");
        }
        looked_up.get()
    }

    #[test]
    fn a_key_is_looked_up_once() {
        for first in [i64::MIN, -50, 0, 1 << 40, i64::MAX - 99] {
            let last = first + 99;
            let answers = KeyAnswers::of(&between(first, last), 1000).unwrap();
            let keys = |step: i64| -> ArrayRef {
                let keys = (0..200).map(|row| first.wrapping_add(row * step % 100));
                Arc::new(Int64Array::from_iter_values(keys))
            };
            let odd = |key: i64| key % 3 != 0;
            // All hundred are not known yet when each comes for the second time.
            assert_eq!(asked(Some(&answers), keys(7), odd), 200);
            assert_eq!(asked(Some(&answers), keys(11), odd), 0);
        }
        // Those out of the range do not pass, and are not looked up.
        let answers = KeyAnswers::of(&between(10, 19), 1000).unwrap();
        let within = |key: i64| (10..=19).contains(&key);
        let keys = [i64::MIN, -1, 9, 10, 10, 19, 20, i64::MAX];
        let keys: ArrayRef = Arc::new(Int64Array::from(keys.to_vec()));
        assert_eq!(asked(Some(&answers), Arc::clone(&keys), within), 2);
        assert_eq!(asked(Some(&answers), keys, within), 0);
    }

    #[test]
    fn of_a_run_one_is_looked_up() {
        let odd = |key: i64| key % 2 != 0;
        let runs: ArrayRef = Arc::new(Int32Array::from(vec![-3, -3, -3, 4, 4, 4, -3, -3, 5, 5]));
        assert_eq!(asked(None, Arc::clone(&runs), odd), 4);
        let answers = KeyAnswers::of(&between(-3, 5), 1000).unwrap();
        assert_eq!(asked(Some(&answers), runs, odd), 4);
        let mixed: ArrayRef = Arc::new(Int32Array::from(vec![1, 2, 1, 2]));
        assert_eq!(asked(None, mixed, odd), 4);
        let nulls: ArrayRef = Arc::new(Int32Array::from(vec![Some(1), None, Some(1), Some(1)]));
        assert_eq!(asked(Some(&answers), nulls, odd), 4);
        let nothing: ArrayRef = Arc::new(Int32Array::from(Vec::<i32>::new()));
        assert_eq!(asked(None, nothing, odd), 0);
    }
}
