//! `string_agg`: what it holds is what it says it holds, and its delimiter may be any expression.
//!
//! A list begins with its first delimiter until the result is asked for, because only then is it known which
//! text is the first of all: a part of the list may come behind another one.
//!
//! With ORDER BY or DISTINCT it is DataFusion's.

use std::mem::size_of;
use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Int64Array, Int64Builder, LargeStringArray,
    LargeStringBuilder,
};
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Int64Type};
use datafusion::common::internal_err;
use datafusion::error::Result;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::{AggregateOrderSensitivity, format_state_name};
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, EmitTo, GroupsAccumulator, ReversedUDAF, Signature,
};
use datafusion::scalar::ScalarValue;

use super::exact::selected;
use crate::kit::TextArray;

/// A list that has to grow gets this part of its length on top, so that few bytes are held for nothing.
const GROWTH: usize = 4;

/// DataFusion's aggregate, for lists in order or of distinct texts, and ours for others.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct StringAgg(pub(super) AggregateUDF);

impl AggregateUDFImpl for StringAgg {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn signature(&self) -> &Signature {
        self.0.signature()
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        self.0.return_type(types)
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        if args.is_distinct || !args.order_bys.is_empty() {
            return self.0.accumulator(args);
        }
        Ok(Box::new(OneList::default()))
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        if args.is_distinct || !args.ordering_fields.is_empty() {
            return self.0.state_fields(args);
        }
        let field = |name, data_type| {
            let name = format_state_name(args.name, name);
            Arc::new(Field::new(name, data_type, true))
        };
        Ok(vec![
            field("list", DataType::LargeUtf8),
            field("first_delimiter", DataType::Int64),
        ])
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs) -> bool {
        self.0.groups_accumulator_supported(args)
    }

    fn create_groups_accumulator(&self, _: AccumulatorArgs) -> Result<Box<dyn GroupsAccumulator>> {
        Ok(Box::new(Lists::default()))
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        self.0.order_sensitivity()
    }

    fn reverse_expr(&self) -> ReversedUDAF {
        ReversedUDAF::Reversed(Arc::new(AggregateUDF::new_from_impl(self.clone())))
    }
}

/// Texts, each behind its delimiter.
#[derive(Debug)]
struct List {
    texts: String,
    /// Bytes of the first delimiter, which the result is without.
    first_delimiter: usize,
}

impl List {
    fn push(&mut self, parts: [&str; 2]) {
        let added = parts.iter().map(|part| part.len()).sum();
        let (held, room) = (self.texts.len(), self.texts.capacity() - self.texts.len());
        if room < added {
            self.texts.reserve_exact(added.max(held / GROWTH));
        }
        self.texts.extend(parts);
    }

    fn result(&self) -> &str {
        &self.texts[self.first_delimiter..]
    }
}

/// The lists of groups; `None` where there was no text.
#[derive(Debug, Default)]
struct Lists {
    lists: Vec<Option<List>>,
    /// Of all lists' texts, with room to grow.
    bytes: usize,
}

impl Lists {
    /// Adds to a group's list. `first_delimiter`: bytes of `parts` that a result does not begin with.
    fn push(&mut self, group: usize, parts: [&str; 2], first_delimiter: usize) {
        let list = self.lists[group].get_or_insert_with(|| List {
            texts: String::new(),
            first_delimiter,
        });
        let held = list.texts.capacity();
        list.push(parts);
        self.bytes += list.texts.capacity() - held;
    }

    fn take(&mut self, emit_to: EmitTo) -> Vec<Option<List>> {
        let lists = emit_to.take_needed(&mut self.lists);
        let held = lists.iter().flatten().map(|list| list.texts.capacity());
        self.bytes -= held.sum::<usize>();
        lists
    }
}

/// Room for what `part` gives of lists. What is put into it is let go of at once: twice all texts may be
/// more than there is memory for.
fn room_for(lists: &[Option<List>], part: impl Fn(&List) -> &str) -> LargeStringBuilder {
    let bytes = lists.iter().flatten().map(|list| part(list).len()).sum();
    LargeStringBuilder::with_capacity(lists.len(), bytes)
}

/// Lists as a state: their texts, and bytes of their first delimiters.
fn state_of(lists: Vec<Option<List>>) -> Vec<ArrayRef> {
    let mut texts = room_for(&lists, |list| &list.texts);
    let mut first_delimiters = Int64Builder::with_capacity(lists.len());
    for list in lists {
        first_delimiters.append_option(list.as_ref().map(|list| list.first_delimiter as i64));
        texts.append_option(list.map(|list| list.texts));
    }
    vec![
        Arc::new(texts.finish()),
        Arc::new(first_delimiters.finish()),
    ]
}

fn states(values: &[ArrayRef]) -> Result<(&LargeStringArray, &Int64Array)> {
    if let [texts, first_delimiters] = values
        && let Some(texts) = texts.as_string_opt()
        && let Some(first_delimiters) = first_delimiters.as_primitive_opt::<Int64Type>()
    {
        return Ok((texts, first_delimiters));
    }
    internal_err!("string_agg of states of another shape")
}

/// Texts and delimiters, which may all be NULL.
fn arguments(values: &[ArrayRef]) -> Result<(TextArray<'_>, Option<TextArray<'_>>)> {
    if let [texts, delimiters] = values
        && let Some(texts) = TextArray::of(texts)
    {
        return Ok((texts, TextArray::of(delimiters)));
    }
    internal_err!("string_agg of something else than texts")
}

impl GroupsAccumulator for Lists {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        opt_filter: Option<&BooleanArray>,
        total_num_groups: usize,
    ) -> Result<()> {
        self.lists.resize_with(total_num_groups, || None);
        let (texts, delimiters) = arguments(values)?;
        let counted = selected(None, opt_filter);
        for (row, group) in group_indices.iter().enumerate() {
            if counted.as_ref().is_some_and(|rows| rows.is_null(row)) {
                continue;
            }
            let Some(text) = texts.get(row) else {
                continue;
            };
            let delimiter = delimiters
                .as_ref()
                .and_then(|delimiters| delimiters.get(row));
            let delimiter = delimiter.unwrap_or_default();
            self.push(*group, [delimiter, text], delimiter.len());
        }
        Ok(())
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        let lists = self.take(emit_to);
        let mut results = room_for(&lists, List::result);
        for list in lists {
            results.append_option(list.as_ref().map(List::result));
        }
        Ok(Arc::new(results.finish()))
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        Ok(state_of(self.take(emit_to)))
    }

    fn merge_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        total_num_groups: usize,
    ) -> Result<()> {
        self.lists.resize_with(total_num_groups, || None);
        let (texts, first_delimiters) = states(values)?;
        for (row, group) in group_indices.iter().enumerate() {
            if texts.is_valid(row) {
                let first_delimiter = first_delimiters.value(row) as usize;
                self.push(*group, [texts.value(row), ""], first_delimiter);
            }
        }
        Ok(())
    }

    fn convert_to_state(
        &self,
        values: &[ArrayRef],
        opt_filter: Option<&BooleanArray>,
    ) -> Result<Vec<ArrayRef>> {
        let rows = values.first().map_or(0, |texts| texts.len());
        let mut each = Self::default();
        let groups: Vec<usize> = (0..rows).collect();
        each.update_batch(values, &groups, opt_filter, rows)?;
        each.state(EmitTo::All)
    }

    fn size(&self) -> usize {
        size_of::<Self>() + self.lists.capacity() * size_of::<Option<List>>() + self.bytes
    }
}

/// The list of all rows.
#[derive(Debug, Default)]
struct OneList(Lists);

impl OneList {
    fn groups(values: &[ArrayRef]) -> Vec<usize> {
        vec![0; values.first().map_or(0, |texts| texts.len())]
    }
}

impl Accumulator for OneList {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.0.update_batch(values, &Self::groups(values), None, 1)
    }

    /// Once per row of a window.
    fn evaluate(&mut self) -> Result<ScalarValue> {
        let list = self.0.lists.first().and_then(Option::as_ref);
        let result = list.map(|list| list.result().to_owned());
        Ok(ScalarValue::LargeUtf8(result))
    }

    fn size(&self) -> usize {
        self.0.size()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        self.0.lists.resize_with(1, || None);
        let state = state_of(self.0.take(EmitTo::All));
        let scalars = state
            .iter()
            .map(|array| ScalarValue::try_from_array(array, 0));
        scalars.collect()
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.0.merge_batch(states, &Self::groups(states), 1)
    }
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::StringArray;

    use super::*;

    fn held(lists: &Lists) -> usize {
        let lists = lists.lists.iter().flatten();
        lists.map(|list| list.texts.capacity()).sum()
    }

    #[test]
    fn what_lists_hold_is_counted_and_little_more_than_their_texts() -> Result<()> {
        const ROWS: usize = 4096;
        const GROUPS: usize = 7;
        let texts = (0..ROWS).map(|row| (row % 5 != 0).then(|| "x".repeat(row % 90)));
        let texts: ArrayRef = Arc::new(StringArray::from_iter(texts));
        let delimiters: ArrayRef = Arc::new(StringArray::from_iter_values(vec![", "; ROWS]));
        let groups: Vec<usize> = (0..ROWS).map(|row| row * row % GROUPS).collect();
        let (mut lists, mut others) = (Lists::default(), Lists::default());
        for _ in 0..3 {
            let values = [Arc::clone(&texts), Arc::clone(&delimiters)];
            lists.update_batch(&values, &groups, None, GROUPS)?;
            others.update_batch(&values, &groups, None, GROUPS)?;
            assert_eq!(lists.bytes, held(&lists));
        }
        let length: usize = lists.lists.iter().flatten().map(|l| l.texts.len()).sum();
        assert!(length > 100_000 && lists.bytes <= length + length / GROWTH);

        let state = others.state(EmitTo::All)?;
        assert_eq!(others.bytes, 0);
        let groups: Vec<usize> = (0..GROUPS).collect();
        lists.merge_batch(&state, &groups, GROUPS)?;
        assert_eq!(lists.bytes, held(&lists));
        let first = lists.evaluate(EmitTo::First(2))?;
        assert_eq!((first.len(), lists.lists.len()), (2, GROUPS - 2));
        assert_eq!(lists.bytes, held(&lists));
        let rest = lists.evaluate(EmitTo::All)?;
        let results = [first.as_string::<i64>(), rest.as_string()];
        let results: usize = results.iter().map(|results| results.values().len()).sum();
        let present = state[0].len() - state[0].null_count();
        assert_eq!(results, 2 * length - present * ", ".len());
        assert_eq!(lists.bytes, 0);
        Ok(())
    }
}
