//! How definitions and columns are written in SQLite: definitions as JSON, columns as the Arrow
//! IPC encoding of a schema (the one encoding of every Arrow type that Arrow promises to keep
//! readable).

use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};
use arrow::ipc::convert::{IpcSchemaEncoder, fb_to_schema};
use arrow::ipc::root_as_schema;

use crate::error::{CatalogError, Result};
use crate::snapshot::Definition;

const EXTERNAL: &str = "external";
const VIEW: &str = "view";

pub(crate) fn encode_columns(columns: &Schema) -> Vec<u8> {
    IpcSchemaEncoder::new()
        .schema_to_fb(columns)
        .finished_data()
        .to_vec()
}

pub(crate) fn decode_columns(bytes: &[u8]) -> Result<SchemaRef> {
    root_as_schema(bytes)
        .map(|schema| Arc::new(fb_to_schema(schema)))
        .map_err(|error| CatalogError::Damaged(error.to_string()))
}

/// The kind and the JSON.
pub(crate) fn encode_definition(definition: &Definition) -> Result<(&'static str, String)> {
    let (kind, json) = match definition {
        Definition::External(table) => (EXTERNAL, serde_json::to_string(table)),
        Definition::View(view) => (VIEW, serde_json::to_string(view)),
    };
    json.map(|json| (kind, json))
        .map_err(|error| CatalogError::Internal(error.to_string()))
}

pub(crate) fn decode_definition(kind: &str, json: &str) -> Result<Definition> {
    let damaged = |error: serde_json::Error| CatalogError::Damaged(error.to_string());
    match kind {
        EXTERNAL => serde_json::from_str(json)
            .map(Definition::External)
            .map_err(damaged),
        VIEW => serde_json::from_str(json)
            .map(Definition::View)
            .map_err(damaged),
        other => Err(CatalogError::Damaged(format!(
            "\"{other}\" is not a kind of relation"
        ))),
    }
}
