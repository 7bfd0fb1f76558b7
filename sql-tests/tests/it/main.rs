//! The suites over the wire, in one binary: linking DataFusion takes long.

mod cached_columns;
mod cached_filters;
mod cached_tables;
mod clients;
mod cluster;
mod copy;
mod data_files;
mod large_joins;
mod large_sorts;
mod lifecycle;
mod modes;
mod repeated;
mod robustness;
mod scheduling;
mod slt;
mod subqueries;
mod tpch;
mod types;
