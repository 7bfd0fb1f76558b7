//! COPY: how rows become its data, and a piece of data that becomes rows.

use std::sync::Arc;

use bytes::Bytes;
use datafusion::common::{Result, internal_datafusion_err, internal_err};
use functions::pg_type::PgType;
use operators::rows::copy::{
    CopyColumn, CopyColumns, CopyFormat, CopyHeader, CopyOptions, CopyPiece, CopySourceExec,
    CopyTarget,
};

use super::others::{decode_schema, encode_schema};
use crate::error::{self, WireError, required};
use crate::{proto, session};

pub(super) fn encode_options(options: &CopyOptions) -> proto::CopyOptions {
    let format = match options.format {
        CopyFormat::Text => proto::CopyFormat::Text,
        CopyFormat::Csv => proto::CopyFormat::Csv,
        CopyFormat::Binary => proto::CopyFormat::Binary,
    };
    let header = match options.header {
        CopyHeader::None => proto::CopyHeader::None,
        CopyHeader::Line => proto::CopyHeader::Line,
        CopyHeader::Match => proto::CopyHeader::Match,
    };
    proto::CopyOptions {
        format: format.into(),
        delimiter: options.delimiter.into(),
        null: options.null.clone(),
        header: header.into(),
        quote: options.quote.into(),
        escape: options.escape.into(),
        force_quote: Some(encode_columns(&options.force_quote)),
        force_not_null: Some(encode_columns(&options.force_not_null)),
        force_null: Some(encode_columns(&options.force_null)),
    }
}

pub(super) fn decode_options(options: proto::CopyOptions) -> error::Result<CopyOptions> {
    let byte = |character| {
        u8::try_from(character).map_err(|_| WireError::Malformed("a COPY character above 255"))
    };
    let format = match options.format() {
        proto::CopyFormat::Text => CopyFormat::Text,
        proto::CopyFormat::Csv => CopyFormat::Csv,
        proto::CopyFormat::Binary => CopyFormat::Binary,
    };
    let header = match options.header() {
        proto::CopyHeader::None => CopyHeader::None,
        proto::CopyHeader::Line => CopyHeader::Line,
        proto::CopyHeader::Match => CopyHeader::Match,
    };
    Ok(CopyOptions {
        format,
        delimiter: byte(options.delimiter)?,
        null: options.null,
        header,
        quote: byte(options.quote)?,
        escape: byte(options.escape)?,
        force_quote: decode_columns(options.force_quote)?,
        force_not_null: decode_columns(options.force_not_null)?,
        force_null: decode_columns(options.force_null)?,
    })
}

fn encode_columns(columns: &CopyColumns) -> proto::CopyColumns {
    match columns {
        CopyColumns::All => proto::CopyColumns {
            all: true,
            names: Vec::new(),
        },
        CopyColumns::These(names) => proto::CopyColumns {
            all: false,
            names: names.clone(),
        },
    }
}

fn decode_columns(columns: Option<proto::CopyColumns>) -> error::Result<CopyColumns> {
    let columns = required(columns, "a COPY option without its columns")?;
    Ok(if columns.all {
        CopyColumns::All
    } else {
        CopyColumns::These(columns.names)
    })
}

pub(super) fn encode_source(source: &CopySourceExec) -> Result<proto::CopySource> {
    use datafusion::physical_plan::ExecutionPlan;

    let target = source.target();
    Ok(proto::CopySource {
        relation: target.relation.clone(),
        columns: encode_schema(&source.schema())?,
        checks: target
            .columns
            .iter()
            .map(|column| proto::CopyColumn {
                oid: column.pg_type.oid(),
                typmod: column.pg_type.typmod,
                not_null: column.not_null,
            })
            .collect(),
        options: Some(encode_options(&target.options)),
        settings: session::encode_format(&target.settings),
        now_us: target.now_us,
        piece: source.piece().bytes.to_vec(),
        lines_before: source.piece().lines_before,
    })
}

pub(super) fn decode_source(source: proto::CopySource) -> Result<CopySourceExec> {
    let schema = decode_schema(&source.columns)?;
    if schema.fields().len() != source.checks.len() {
        return internal_err!("a COPY of {} columns", source.checks.len());
    }
    let columns = schema
        .fields()
        .iter()
        .zip(source.checks)
        .map(|(field, check)| {
            let pg_type = PgType::from_oid(check.oid)
                .ok_or_else(|| internal_datafusion_err!("no type has the OID {}", check.oid))?;
            Ok(CopyColumn {
                field: Arc::clone(field),
                pg_type: PgType {
                    typmod: check.typmod,
                    ..pg_type
                },
                not_null: check.not_null,
            })
        });
    let options = source
        .options
        .ok_or_else(|| internal_datafusion_err!("a COPY without its options"))?;
    let target = CopyTarget {
        relation: source.relation,
        columns: columns.collect::<Result<_>>()?,
        options: decode_options(options).map_err(external)?,
        settings: session::decode_format(&source.settings).map_err(external)?,
        now_us: source.now_us,
    };
    let piece = CopyPiece {
        bytes: Bytes::from(source.piece),
        lines_before: source.lines_before,
    };
    Ok(CopySourceExec::new(Arc::new(target), piece))
}

fn external(error: WireError) -> datafusion::error::DataFusionError {
    datafusion::error::DataFusionError::External(Box::new(error))
}
