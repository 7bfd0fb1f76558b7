//! Which rows of a piece may pass the scan's predicate, so that the scan's other columns are decoded for
//! these alone.
//!
//! The filters above the scan stay, so leaving rows in is never wrong: of the predicate, those conjuncts
//! are asked that cost little and can't fail, on columns as they are, and only as long as they drop
//! something. What filters of joins and TopKs say at the moment is asked, too: that only tightens.

use std::cmp::Reverse;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch};
use arrow::buffer::BooleanBuffer;
use arrow::compute::prep_null_mask_filter;
use arrow::datatypes::{Schema, SchemaRef};
use arrow::record_batch::RecordBatchOptions;
use datafusion::common::{Result, ScalarValue, internal_err};
use datafusion::logical_expr::{ColumnarValue, Operator};
use datafusion::physical_expr::expressions::{
    BinaryExpr, Column as ColumnExpr, DynamicFilterPhysicalExpr, DynamicFilterTracking, InListExpr,
    IsNotNullExpr, IsNullExpr, LikeExpr, Literal, NotExpr,
};
use datafusion::physical_expr::split_conjunction;
use datafusion::physical_expr::utils::{collect_columns, reassign_expr_columns};
use datafusion::physical_expr_common::physical_expr::{
    snapshot_generation, snapshot_physical_expr,
};
use datafusion::physical_plan::PhysicalExpr;

use super::Scan;
use super::codes::OfCodes;
use super::keys::{self, KeyAnswers};
use super::open::Column;
use super::prune::without_cases;
use crate::chunks::{PIECE_ROWS, Piece};

/// If at most one row of so many is left, the next conjunct is asked about these alone.
const ROWS_PER_LEFT: usize = 5;
/// Rows after which it shows whether a conjunct is worth its time.
const SAMPLE_ROWS: u64 = 4 * PIECE_ROWS as u64;
/// Rows after which older ones count half.
const WINDOW_ROWS: u64 = 64 * PIECE_ROWS as u64;
/// Filters of so many partitions of a join are asked one after the other; of more, each row's own.
const PARTITIONS_ASKED: usize = 4;
/// One piece of so many is asked about anyway: others may be different.
const RETRIED_PIECES: u64 = 32;

/// A part of a scan's predicate that can be asked before the scan, and what files so far told of it.
pub(super) struct Conjunct {
    expr: Arc<dyn PhysicalExpr>,
    learned: Learned,
    answers: Mutex<Option<Answers>>,
}

/// What a version of a filter said of keys; `None` where that is not kept.
struct Answers {
    generation: u64,
    of_keys: Option<Arc<KeyAnswers>>,
}

impl Conjunct {
    /// What it says now, in terms of a file; the scan has about so many rows.
    fn current(
        &self,
        in_file: &Arc<dyn PhysicalExpr>,
        schema: &SchemaRef,
        of_one_key: bool,
        rows: u64,
    ) -> Result<Current> {
        let generation = snapshot_generation(in_file);
        let now = snapshot_physical_expr(Arc::clone(in_file))?;
        let is_that = snapshot_generation(in_file) == generation;
        let looks_up = of_one_key && keys::looks_up(&now);
        let answers = (looks_up && is_that).then(|| self.answers(generation, &now, rows));
        let expr = without_cases(&now, PARTITIONS_ASKED);
        let of_codes = match schema.fields().iter().as_slice() {
            [column] if !looks_up => OfCodes::new(&expr, column.data_type()),
            _ => None,
        };
        Ok(Current {
            expr,
            looks_up,
            answers: answers.flatten(),
            of_codes,
        })
    }

    /// Those of `now`, which is its expression at that generation in terms of any file: all its files
    /// share them.
    fn answers(
        &self,
        generation: u64,
        now: &Arc<dyn PhysicalExpr>,
        rows: u64,
    ) -> Option<Arc<KeyAnswers>> {
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        match &*answers {
            Some(known) if known.generation == generation => known.of_keys.clone(),
            _ => {
                let of_keys = KeyAnswers::of(now, rows).map(Arc::new);
                *answers = Some(Answers {
                    generation,
                    of_keys: of_keys.clone(),
                });
                of_keys
            }
        }
    }
}

/// The conjuncts of a predicate that a scan may ask.
pub(super) fn conjuncts(predicate: Option<&Arc<dyn PhysicalExpr>>) -> Vec<Conjunct> {
    let parts = predicate.map(split_conjunction).unwrap_or_default();
    let conjunct = |expr: &Arc<dyn PhysicalExpr>| Conjunct {
        expr: Arc::clone(expr),
        learned: Learned::default(),
        answers: Mutex::default(),
    };
    let safe = parts.into_iter().filter(|part| is_safe(part));
    safe.map(conjunct).collect()
}

/// Costs little, can't fail, and always says the same of a row, or drops it later on.
fn is_safe(expr: &Arc<dyn PhysicalExpr>) -> bool {
    let children = || expr.children().into_iter().all(is_safe);
    if let Some(binary) = expr.downcast_ref::<BinaryExpr>() {
        let simple = matches!(
            binary.op(),
            Operator::Eq
                | Operator::NotEq
                | Operator::Lt
                | Operator::LtEq
                | Operator::Gt
                | Operator::GtEq
                | Operator::IsDistinctFrom
                | Operator::IsNotDistinctFrom
                | Operator::And
                | Operator::Or
        );
        return simple && children();
    }
    if let Some(like) = expr.downcast_ref::<LikeExpr>() {
        return like.pattern().is::<Literal>() && is_safe(like.expr());
    }
    if expr.is::<DynamicFilterPhysicalExpr>() {
        // What is asked of these columns is of DataFusion's own making.
        let mut keys = expr.children().into_iter();
        return keys.all(|key| key.is::<ColumnExpr>() || key.is::<Literal>());
    }
    expr.is::<ColumnExpr>()
        || expr.is::<Literal>()
        || ((expr.is::<InListExpr>()
            || expr.is::<IsNullExpr>()
            || expr.is::<IsNotNullExpr>()
            || expr.is::<NotExpr>())
            && children())
}

/// How many rows a conjunct was asked about, and how many it left.
#[derive(Default)]
struct Learned {
    asked: AtomicU64,
    left: AtomicU64,
    passed_over: AtomicU64,
}

impl Learned {
    /// Is it worth asking? `left_max` is how many rows of a hundred may be left.
    fn pays(&self, left_max: u64) -> bool {
        let asked = self.asked.load(Ordering::Relaxed);
        let left = self.left.load(Ordering::Relaxed);
        asked < SAMPLE_ROWS
            || left * 100 <= asked * left_max
            || self.passed_over.fetch_add(1, Ordering::Relaxed) % RETRIED_PIECES
                == RETRIED_PIECES - 1
    }

    /// How many rows of a thousand it drops; half of them, as long as nobody knows.
    fn drops(&self) -> u64 {
        let asked = self.asked.load(Ordering::Relaxed);
        let left = self.left.load(Ordering::Relaxed);
        let dropped = asked.saturating_sub(left) * 1000;
        dropped.checked_div(asked).unwrap_or(500)
    }

    fn note(&self, asked: usize, left: usize) {
        let mut asked = self.asked.load(Ordering::Relaxed) + asked as u64;
        let mut left = self.left.load(Ordering::Relaxed) + left as u64;
        if asked > WINDOW_ROWS {
            (asked, left) = (asked / 2, left / 2);
        }
        self.asked.store(asked, Ordering::Relaxed);
        self.left.store(left, Ordering::Relaxed);
    }

    fn forget(&self) {
        self.asked.store(0, Ordering::Relaxed);
        self.left.store(0, Ordering::Relaxed);
    }
}

/// A scan's conjuncts in terms of one file.
pub(super) struct RowFilter {
    scan: Arc<Scan>,
    conjuncts: Vec<FileConjunct>,
    /// The scan's, about.
    rows: u64,
    /// In which the conjuncts are asked: those that drop most for what they cost come first.
    order: Vec<usize>,
}

struct FileConjunct {
    /// Of the scan's.
    index: usize,
    expr: Arc<dyn PhysicalExpr>,
    /// The columns it is about, of [`super::open::OpenFile::columns`].
    columns: Vec<usize>,
    schema: SchemaRef,
    tracking: DynamicFilterTracking,
    /// Is it a filter on one key, in all files the same?
    of_one_key: bool,
    current: Current,
}

/// What a conjunct says at the moment.
struct Current {
    /// As it is best asked.
    expr: Arc<dyn PhysicalExpr>,
    /// Does it look keys up of which there may be several the same?
    looks_up: bool,
    answers: Option<Arc<KeyAnswers>>,
    /// How codes of its one column are asked.
    of_codes: Option<OfCodes>,
}

/// The columns of a piece.
pub(super) trait PieceColumns {
    /// The rows of one, or those that are selected.
    fn rows(&mut self, column: usize, selected: Option<&BooleanArray>) -> Result<ArrayRef>;

    /// One as it is kept.
    fn kept(&self, column: usize) -> Option<&dyn Piece>;
}

impl FileConjunct {
    /// Which of so many rows of its columns pass; `None` if nothing is known of any.
    fn ask(&self, columns: Vec<ArrayRef>, rows: usize) -> Result<Option<BooleanArray>> {
        let Current {
            expr,
            looks_up,
            answers,
            ..
        } = &self.current;
        if let ([keys], true) = (&columns[..], looks_up) {
            let said = keys::ask(answers.as_deref(), keys, |keys| {
                let verdict =
                    expr.evaluate(&batch(&self.schema, vec![Arc::clone(keys)], keys.len())?)?;
                definite(&verdict.into_array(keys.len())?)
            });
            return said.map(Some);
        }
        match expr.evaluate(&batch(&self.schema, columns, rows)?)? {
            // A join that is not that far yet.
            ColumnarValue::Scalar(ScalarValue::Boolean(Some(true))) => Ok(None),
            verdict => definite(&verdict.into_array(rows)?).map(Some),
        }
    }

    /// The same of all rows of a piece by their codes; `None` if they have none that tell.
    fn ask_codes(&mut self, columns: &impl PieceColumns) -> Result<Option<BooleanArray>> {
        let (Some(of_codes), [column]) = (&mut self.current.of_codes, &self.columns[..]) else {
            return Ok(None);
        };
        let Some(piece) = columns.kept(*column) else {
            return Ok(None);
        };
        let (expr, name) = (&self.current.expr, self.schema.field(0).name());
        of_codes.ask(piece, |values| {
            let rows = values.len();
            // A null among them, whatever the column has.
            let values = RecordBatch::try_from_iter_with_nullable([(name, values, true)])?;
            definite(&expr.evaluate(&values)?.into_array(rows)?)
        })
    }

    fn is_dynamic(&self) -> bool {
        self.tracking.contains_dynamic_filter()
    }

    /// Of asking about a row, next to comparing codes: joins look into a hash table.
    fn cost(&self) -> u64 {
        match self.current.of_codes {
            Some(_) => 1,
            None if self.is_dynamic() => 8,
            None => 2,
        }
    }

    /// Dropping a row spares its other columns; asking a join's hash table is done once more above.
    fn left_max(&self) -> u64 {
        if self.is_dynamic() { 60 } else { 75 }
    }
}

impl RowFilter {
    /// `adapt` puts a conjunct in terms of the file. `None`: there is nothing to gain. `rows` are those
    /// of all the scan's files, about.
    pub(super) fn new(
        scan: &Arc<Scan>,
        columns: &[Column],
        rows: u64,
        adapt: impl Fn(Arc<dyn PhysicalExpr>) -> Result<Arc<dyn PhysicalExpr>>,
    ) -> Result<Option<Self>> {
        let mut conjuncts = Vec::with_capacity(scan.conjuncts.len());
        for (index, conjunct) in scan.conjuncts.iter().enumerate() {
            let expr = adapt(Arc::clone(&conjunct.expr))?;
            conjuncts.extend(file_conjunct(index, conjunct, expr, columns, rows)?);
        }
        let asked = |column: usize| conjuncts.iter().any(|c| c.columns.contains(&column));
        let spares = (0..columns.len()).any(|column| !asked(column));
        let pays = spares || conjuncts.iter().any(FileConjunct::is_dynamic);
        Ok((pays && !conjuncts.is_empty()).then(|| Self {
            scan: Arc::clone(scan),
            order: (0..conjuncts.len()).collect(),
            conjuncts,
            rows,
        }))
    }

    /// Which of so many rows, all of a piece, may pass; `None`: all.
    pub(super) fn passing(
        &mut self,
        rows: usize,
        columns: &mut impl PieceColumns,
    ) -> Result<Option<BooleanArray>> {
        let mut passing: Option<BooleanArray> = None;
        self.order.sort_by_cached_key(|index| {
            let conjunct = &self.conjuncts[*index];
            let learned = &self.scan.conjuncts[conjunct.index].learned;
            Reverse(learned.drops() / conjunct.cost())
        });
        for index in &self.order {
            let conjunct = &mut self.conjuncts[*index];
            let shared = &self.scan.conjuncts[conjunct.index];
            let learned = &shared.learned;
            if conjunct.tracking.watcher().is_some_and(|w| w.changed()) {
                conjunct.current = shared.current(
                    &conjunct.expr,
                    &conjunct.schema,
                    conjunct.of_one_key,
                    self.rows,
                )?;
                learned.forget();
            }
            if !learned.pays(conjunct.left_max()) {
                continue;
            }
            let few = passing
                .as_ref()
                .filter(|passing| passing.true_count() * ROWS_PER_LEFT <= rows);
            let (few, verdict) = match conjunct.ask_codes(&*columns)? {
                Some(of_codes) => (None, Some(of_codes)),
                None => {
                    let asked = conjunct
                        .columns
                        .iter()
                        .map(|index| columns.rows(*index, few));
                    let asked = asked.collect::<Result<Vec<_>>>()?;
                    (
                        few,
                        conjunct.ask(asked, few.map_or(rows, BooleanArray::true_count))?,
                    )
                }
            };
            let Some(verdict) = verdict else {
                continue;
            };
            let asked = verdict.len();
            let left = verdict.true_count();
            learned.note(asked, left);
            if left == asked {
                continue;
            }
            let verdict = match &passing {
                None => verdict,
                Some(before) if few.is_some() => spread(before, &verdict),
                Some(before) => BooleanArray::new(before.values() & verdict.values(), None),
            };
            passing = Some(verdict);
            if left == 0 {
                break;
            }
        }
        Ok(passing)
    }
}

fn file_conjunct(
    index: usize,
    conjunct: &Conjunct,
    expr: Arc<dyn PhysicalExpr>,
    columns: &[Column],
    rows: u64,
) -> Result<Option<FileConjunct>> {
    // In terms of the file there may be casts in it, or nothing but a constant.
    if !is_safe(&expr) {
        return Ok(None);
    }
    let mut needed = Vec::new();
    for wanted in collect_columns(&expr) {
        let found = columns
            .iter()
            .position(|column| column.field.name() == wanted.name());
        match found {
            Some(column) => needed.push(column),
            None => return Ok(None),
        }
    }
    if needed.is_empty() {
        return Ok(None);
    }
    needed.sort_unstable();
    let fields = needed
        .iter()
        .map(|column| Arc::clone(&columns[*column].field));
    let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    let expr = reassign_expr_columns(expr, &schema)?;
    // Before it is looked at: what changes from now on is seen.
    let tracking = DynamicFilterTracking::classify(&expr);
    let is_key = matches!(&needed[..], [key] if keys::is_key(columns[*key].field.data_type()));
    // Of a filter on two columns a file may have one, and for the other a constant of its own.
    let of_one_key =
        tracking.contains_dynamic_filter() && is_key && collect_columns(&conjunct.expr).len() == 1;
    Ok(Some(FileConjunct {
        index,
        of_one_key,
        tracking,
        current: conjunct.current(&expr, &schema, of_one_key, rows)?,
        expr,
        columns: needed,
        schema,
    }))
}

fn batch(schema: &SchemaRef, columns: Vec<ArrayRef>, rows: usize) -> Result<RecordBatch> {
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    let schema = Arc::clone(schema);
    Ok(RecordBatch::try_new_with_options(
        schema, columns, &options,
    )?)
}

/// A verdict that is null drops a row.
fn definite(verdict: &ArrayRef) -> Result<BooleanArray> {
    let Some(verdict) = verdict.as_boolean_opt() else {
        return internal_err!("a filter is {}, not Boolean", verdict.data_type());
    };
    Ok(if verdict.null_count() > 0 {
        prep_null_mask_filter(verdict)
    } else {
        verdict.clone()
    })
}

/// A verdict on the rows that passed before, as one on all rows.
fn spread(before: &BooleanArray, verdict: &BooleanArray) -> BooleanArray {
    let mut verdicts = verdict.values().iter();
    let passed = |row| before.value(row) && verdicts.next().unwrap_or(false);
    BooleanArray::new(BooleanBuffer::collect_bool(before.len(), passed), None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_on_few_rows_is_one_on_all() {
        let before = BooleanArray::from(vec![false, true, true, false, true]);
        let verdict = BooleanArray::from(vec![true, false, true]);
        let all = spread(&before, &verdict);
        assert_eq!(
            all,
            BooleanArray::from(vec![false, true, false, false, true])
        );
        let maybe: ArrayRef = Arc::new(BooleanArray::from(vec![Some(true), None, Some(false)]));
        let sure = definite(&maybe).unwrap();
        assert_eq!(sure, BooleanArray::from(vec![true, false, false]));
    }

    #[test]
    fn what_drops_nothing_is_asked_now_and_then() {
        let learned = Learned::default();
        assert!(learned.pays(75));
        learned.note(SAMPLE_ROWS as usize, SAMPLE_ROWS as usize);
        let asked = (0..RETRIED_PIECES * 3).filter(|_| learned.pays(75)).count();
        assert_eq!(asked, 3);
        for _ in 0..100 {
            learned.note(PIECE_ROWS, PIECE_ROWS / 2);
        }
        assert!(learned.pays(75));
        learned.note(SAMPLE_ROWS as usize * 100, SAMPLE_ROWS as usize * 100);
        assert!(!learned.pays(75));
        learned.forget();
        assert!(learned.pays(75));
    }
}
