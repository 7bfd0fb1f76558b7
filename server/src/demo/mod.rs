//! `firesteel demo`: the main job on embedded defaults and real data.
//!
//! Generates TPC-H, declares its tables and asks a question, all as a client would: over the
//! wire. Afterwards the server stays up for psql.

pub mod tpch;

use std::fmt::Write;
use std::net::SocketAddr;
use std::path::Path;

use tokio_postgres::{NoTls, SimpleQueryMessage};

/// TPC-H's pricing summary report (query 1), the classic first question.
const PRICING_SUMMARY: &str = "\
SELECT l_returnflag, l_linestatus, sum(l_quantity) AS sum_qty,
       sum(l_extendedprice) AS sum_base_price,
       sum(l_extendedprice * (1 - l_discount)) AS sum_disc_price,
       avg(l_discount) AS avg_disc, count(*) AS count_order
FROM lineitem
WHERE l_shipdate <= date '1998-12-01' - interval '90 days'
GROUP BY l_returnflag, l_linestatus
ORDER BY l_returnflag, l_linestatus";

/// Declares the tables below `data` and runs [`PRICING_SUMMARY`]. Returns what to show: the
/// query and its answer as an aligned table.
///
/// # Errors
/// The server's error, or the client's if it could not connect.
pub async fn ask(server: SocketAddr, data: &Path) -> Result<String, tokio_postgres::Error> {
    let (client, connection) = tokio_postgres::Config::new()
        .host(server.ip().to_string())
        .port(server.port())
        .user("firesteel")
        .dbname("firesteel")
        .application_name("firesteel demo")
        .connect(NoTls)
        .await?;
    // Ends when `client` is dropped; an error also ends the query below, which reports it.
    tokio::spawn(connection);
    for table in tpch::TABLES {
        let location = data.join(table).display().to_string().replace('\'', "''");
        client
            .batch_execute(&format!(
                "CREATE OR REPLACE EXTERNAL TABLE {table} STORED AS PARQUET LOCATION '{location}'"
            ))
            .await?;
    }
    let messages = client.simple_query(PRICING_SUMMARY).await?;
    Ok(format!("{PRICING_SUMMARY};\n\n{}", aligned(&messages)))
}

fn aligned(messages: &[SimpleQueryMessage]) -> String {
    let mut rows: Vec<Vec<String>> = Vec::new();
    for message in messages {
        match message {
            SimpleQueryMessage::RowDescription(columns) => {
                rows.push(columns.iter().map(|c| c.name().to_owned()).collect());
            }
            SimpleQueryMessage::Row(row) => rows.push(
                (0..row.len())
                    .map(|i| row.get(i).unwrap_or_default().to_owned())
                    .collect(),
            ),
            _ => {}
        }
    }
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter()
            .filter_map(|row| row.get(column))
            .map(|cell| cell.chars().count())
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in &rows {
        for (cell, width) in row.iter().zip(&widths) {
            // Writing to a string does not fail.
            let _ = write!(text, " {cell:>width$} ");
        }
        text.push('\n');
    }
    text
}
