//! Functions of `pg_catalog` without arguments that give a set of rows, as tables.

use std::sync::{Arc, LazyLock};

use arrow::array::{ArrayRef, BooleanArray, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use datafusion::catalog::{MemTable, TableProvider};
use datafusion::common::Result;

static PG_GET_KEYWORDS: &str = include_str!("data/pg_get_keywords.tsv");

/// The rows of a function; `None` where there is none of this name.
pub fn system_function(name: &str) -> Option<Result<Arc<dyn TableProvider>>> {
    static KEYWORDS: LazyLock<Result<Arc<MemTable>>> =
        LazyLock::new(|| read(PG_GET_KEYWORDS).map(Arc::new));
    let table = match name {
        "pg_get_keywords" => &KEYWORDS,
        _ => return None,
    };
    Some(match table.as_ref() {
        Ok(table) => Ok(Arc::clone(table) as Arc<dyn TableProvider>),
        Err(error) => Err(datafusion::error::DataFusionError::Internal(
            error.to_string(),
        )),
    })
}

/// Columns of text, except for those of `t` and `f` only.
fn read(tsv: &'static str) -> Result<MemTable> {
    let mut lines = tsv.lines();
    let header: Vec<_> = lines.next().unwrap_or_default().split('\t').collect();
    let rows: Vec<Vec<_>> = lines.map(|line| line.split('\t').collect()).collect();
    let mut fields = Vec::with_capacity(header.len());
    let mut columns: Vec<ArrayRef> = Vec::with_capacity(header.len());
    for (index, name) in header.into_iter().enumerate() {
        let cells = || {
            rows.iter()
                .map(move |row| row.get(index).copied().filter(|cell| *cell != "\\N"))
        };
        let is_bool = cells().all(|cell| matches!(cell, Some("t" | "f")));
        let column: ArrayRef = if is_bool {
            Arc::new(
                cells()
                    .map(|cell| Some(cell == Some("t")))
                    .collect::<BooleanArray>(),
            )
        } else {
            Arc::new(cells().collect::<StringArray>())
        };
        let data_type = if is_bool {
            DataType::Boolean
        } else {
            DataType::Utf8
        };
        fields.push(Field::new(name, data_type, true));
        columns.push(column);
    }
    let schema = Arc::new(Schema::new(fields));
    let batch = RecordBatch::try_new(Arc::clone(&schema), columns)?;
    MemTable::try_new(schema, vec![vec![batch]])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keywords_have_their_columns() {
        let table = system_function("pg_get_keywords").unwrap().unwrap();
        let schema = table.schema();
        let names: Vec<_> = schema
            .fields()
            .iter()
            .map(|field| field.name().as_str())
            .collect();
        assert_eq!(
            names,
            ["word", "catcode", "barelabel", "catdesc", "baredesc"]
        );
        assert_eq!(schema.field(2).data_type(), &DataType::Boolean);
        assert!(system_function("nothing").is_none());
    }
}
