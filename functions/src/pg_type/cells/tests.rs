//! Arrow encodings that PostgreSQL does not know: all of them look like their plain type.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, Date64Array, DictionaryArray, DurationNanosecondArray, FixedSizeListArray,
    Float32Array, Int32Array, Int64Array, LargeListArray, ListArray, ListViewArray, MapBuilder,
    NullArray, RunArray, StringArray, StringBuilder, StringViewArray, StructArray,
    Time32SecondArray, TimestampMillisecondArray, TimestampNanosecondArray, TimestampSecondArray,
    UInt64Array,
};
use arrow::buffer::{NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{DataType, Field, Fields, Int32Type, Int64Type, UnionFields, UnionMode};
use job::SqlError;

use super::*;
use crate::pg_type::arrow_types::{pg_type_of, pg_type_of_data_type};

/// The column as text, NULL as "NULL".
fn text(array: &dyn Array) -> Vec<String> {
    let settings = FormatSettings::default();
    let pg_type = pg_type_of_data_type(array.data_type());
    (0..array.len())
        .map(|row| {
            text_value(array, row, pg_type, &settings)
                .unwrap()
                .unwrap_or_else(|| "NULL".to_owned())
        })
        .collect()
}

fn binary(array: &dyn Array, row: usize) -> Result<Vec<u8>> {
    let settings = FormatSettings::default();
    let field = Field::new("c", array.data_type().clone(), true);
    let mut out = Vec::new();
    cell_writer(array, pg_type_of(&field), Format::Binary, &settings)?.write(row, &mut out)?;
    Ok(out)
}

fn item() -> Arc<Field> {
    Arc::new(Field::new_list_field(DataType::Int32, true))
}

fn numbers() -> ArrayRef {
    Arc::new(Int32Array::from(vec![Some(1), None, Some(3), Some(4)]))
}

#[test]
fn dictionaries_runs_and_views() {
    let dictionary: DictionaryArray<Int32Type> = [Some("a"), None, Some("a")].into_iter().collect();
    assert_eq!(text(&dictionary), ["a", "NULL", "a"]);
    let runs = RunArray::<Int32Type>::try_new(
        &Int32Array::from(vec![2, 3]),
        &StringArray::from(vec![Some("x"), None]),
    )
    .unwrap();
    assert_eq!(text(&runs), ["x", "x", "NULL"]);
    assert_eq!(text(&runs.slice(1, 2)), ["x", "NULL"]);
    let view = StringViewArray::from(vec![Some("a string too long to be inlined"), None]);
    assert_eq!(text(&view), ["a string too long to be inlined", "NULL"]);
    assert_eq!(text(&NullArray::new(1)), ["NULL"]);
}

#[test]
fn integers_and_floats_without_a_counterpart() {
    assert_eq!(
        text(&UInt64Array::from(vec![u64::MAX])),
        ["18446744073709551615"]
    );
    let single = Float32Array::from(vec![1.5]);
    let half = arrow::compute::cast(&single, &DataType::Float16).unwrap();
    assert_eq!(text(&half), ["1.5"]);
    assert_eq!(binary(&half, 0).unwrap(), 1.5f32.to_be_bytes());
}

#[test]
fn times_in_other_units() {
    assert_eq!(
        text(&TimestampSecondArray::from(vec![-1])),
        ["1969-12-31 23:59:59"]
    );
    assert_eq!(
        text(&TimestampMillisecondArray::from(vec![1])),
        ["1970-01-01 00:00:00.001"]
    );
    // An instant belongs to its microsecond, also before 1970.
    assert_eq!(
        text(&TimestampNanosecondArray::from(vec![1_999, -1])),
        ["1970-01-01 00:00:00.000001", "1969-12-31 23:59:59.999999"]
    );
    assert_eq!(text(&Date64Array::from(vec![-1])), ["1969-12-31"]);
    assert_eq!(text(&Time32SecondArray::from(vec![3_661])), ["01:01:01"]);
    assert_eq!(
        text(&DurationNanosecondArray::from(vec![
            90_000_000_001_000,
            -1_000
        ])),
        ["1 day 01:00:00.000001", "-00:00:00.000001"]
    );
    let settings = FormatSettings::default();
    let far = TimestampSecondArray::from(vec![i64::MAX - 1]);
    let error = text_value(&far, 0, PgType::TIMESTAMP, &settings).unwrap_err();
    assert_eq!(error.sqlstate(), SqlState::DATETIME_FIELD_OVERFLOW);
}

#[test]
fn lists_of_every_kind() {
    let list = ListArray::new(
        item(),
        OffsetBuffer::from_lengths([3, 0, 1]),
        numbers(),
        None,
    );
    assert_eq!(text(&list), ["{1,NULL,3}", "{}", "{4}"]);
    assert_eq!(text(&list.slice(2, 1)), ["{4}"]);
    let large = LargeListArray::new(item(), OffsetBuffer::from_lengths([1, 3]), numbers(), None);
    assert_eq!(text(&large), ["{1}", "{NULL,3,4}"]);
    let nulls = NullBuffer::from(vec![true, false]);
    let fixed = FixedSizeListArray::new(item(), 2, numbers(), Some(nulls));
    assert_eq!(text(&fixed), ["{1,NULL}", "NULL"]);
    assert_eq!(text(&fixed.slice(0, 1)), ["{1,NULL}"]);
    let view = ListViewArray::new(
        item(),
        ScalarBuffer::from(vec![2, 0]),
        ScalarBuffer::from(vec![2, 1]),
        numbers(),
        None,
    );
    assert_eq!(text(&view), ["{3,4}", "{1}"]);
    assert_eq!(
        binary(&list, 1).unwrap(),
        [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 23]
    );
}

#[test]
fn ragged_nesting_is_text_only() {
    let inner = ListArray::new(item(), OffsetBuffer::from_lengths([3, 1]), numbers(), None);
    let field = Arc::new(Field::new_list_field(inner.data_type().clone(), true));
    let outer = ListArray::new(
        field,
        OffsetBuffer::from_lengths([2]),
        Arc::new(inner),
        None,
    );
    assert_eq!(text(&outer), ["{{1,NULL,3},{4}}"]);
    let error = binary(&outer, 0).unwrap_err();
    assert_eq!(error.sqlstate(), SqlState::ARRAY_SUBSCRIPT_ERROR);
}

#[test]
fn records_and_maps() {
    let fields = Fields::from(vec![
        Field::new("n", DataType::Int32, true),
        Field::new("w", DataType::Utf8, true),
    ]);
    let words = StringArray::from(vec![Some("a b"), Some(""), None, Some("q\"\\")]);
    let nulls = NullBuffer::from(vec![true, true, false, true]);
    let records = StructArray::new(fields, vec![numbers(), Arc::new(words)], Some(nulls));
    assert_eq!(
        text(&records),
        ["(1,\"a b\")", "(,\"\")", "NULL", "(4,\"q\"\"\\\\\")"]
    );
    let mut maps = MapBuilder::new(None, StringBuilder::new(), StringBuilder::new());
    maps.keys().append_value("k");
    maps.values().append_value("v w");
    maps.append(true).unwrap();
    maps.append(true).unwrap();
    assert_eq!(text(&maps.finish()), ["{\"(k,\\\"v w\\\")\"}", "{}"]);
}

#[test]
fn columns_become_text_arrays() {
    let settings = FormatSettings::default();
    let array = Int64Array::from(vec![Some(7), None, Some(-1)]);
    let cast = text_array(&array, PgType::INT8, &settings).unwrap();
    let expected: ArrayRef = Arc::new(StringArray::from(vec![Some("7"), None, Some("-1")]));
    assert_eq!(&cast, &expected);
}

#[test]
fn what_has_no_form_is_refused_before_any_row() {
    let settings = FormatSettings::default();
    let check = |data_type: &DataType, pg_type, format| {
        check_cell_writer(data_type, pg_type, format, &settings)
    };
    let union = DataType::Union(UnionFields::empty(), UnionMode::Dense);
    let pg_type = pg_type_of_data_type(&union);
    assert_eq!(
        check(&union, pg_type, Format::Text).unwrap_err().sqlstate(),
        SqlState::FEATURE_NOT_SUPPORTED
    );
    // A name that the catalog has looked up cannot become a number again.
    assert!(check(&DataType::Utf8, PgType::REGCLASS, Format::Text).is_ok());
    assert!(check(&DataType::Utf8, PgType::REGCLASS, Format::Binary).is_err());
    assert!(check(&DataType::Int64, PgType::UUID, Format::Text).is_err());
    let runs = RunArray::<Int64Type>::try_new(
        &arrow::array::Int64Array::from(vec![1]),
        &StringArray::from(vec!["x"]),
    )
    .unwrap();
    assert!(check(runs.data_type(), PgType::TEXT, Format::Binary).is_ok());
}
