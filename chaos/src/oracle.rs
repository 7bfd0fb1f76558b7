//! What is asked, and what the right answers are: those of a DataFusion in this process, on the
//! same files, without any of our code.

use std::collections::BTreeMap;
use std::path::Path;

use sql_tests::oracle;
pub use sql_tests::oracle::Row;

use crate::Result;

/// Joins and aggregates: several exchanges, few rows.
pub const JOIN: &str = "SELECT o_orderpriority, count(*), sum(l_extendedprice), max(l_shipdate) \
     FROM lineitem JOIN orders ON l_orderkey = o_orderkey \
     WHERE l_quantity < 40 GROUP BY o_orderpriority ORDER BY o_orderpriority";

/// Two levels of aggregates over many groups.
pub const GROUPS: &str = "SELECT count(*), sum(lines), max(quantity) FROM \
     (SELECT l_partkey, count(*) AS lines, sum(l_quantity) AS quantity FROM lineitem GROUP BY l_partkey)";

/// Four tables, and few rows of many.
pub const TOP: &str = "SELECT o_orderkey, o_orderdate, c_name, sum(l_extendedprice) AS revenue \
     FROM customer JOIN orders ON c_custkey = o_custkey JOIN lineitem ON l_orderkey = o_orderkey \
     WHERE c_mktsegment = 'BUILDING' GROUP BY o_orderkey, o_orderdate, c_name \
     ORDER BY revenue DESC, o_orderkey LIMIT 20";

/// Many rows, sorted: something to lose in the middle.
pub const SORTED: &str = "SELECT l_orderkey, l_linenumber, l_partkey, l_shipdate, l_comment \
     FROM lineitem ORDER BY l_orderkey, l_linenumber";

/// Small, on one slot.
pub const SHORT: &str = "SELECT n_name, r_name FROM nation JOIN region ON n_regionkey = r_regionkey \
     ORDER BY n_name";

/// 1.5 million wide rows, exchanged and sorted: more than a small executor has room for.
pub const WIDE: &str = "SELECT count(*), sum(l_orderkey), sum(l_extendedprice), sum(length(l_comment)), \
     min(l_comment), max(l_comment) FROM (SELECT l.*, row_number() OVER \
     (PARTITION BY l_partkey ORDER BY l_orderkey, l_linenumber, r_name) AS place \
     FROM lineitem l CROSS JOIN region) AS placed WHERE place % 3 = 1";

/// 1.5 million rows, some 200 MB.
pub const LARGE: &str = "SELECT l.* FROM lineitem l CROSS JOIN region";

/// Does not end by itself.
pub const ENDLESS: &str = "SELECT count(*) FROM lineitem a JOIN lineitem b USING (l_linenumber) \
     JOIN lineitem c USING (l_linenumber)";

/// Those with an answer to check.
pub const QUERIES: [&str; 5] = [JOIN, GROUPS, TOP, SORTED, SHORT];

/// The right answers.
#[derive(Debug)]
pub struct Oracle(BTreeMap<&'static str, Vec<Row>>);

impl Oracle {
    /// Answers [`QUERIES`] and [`WIDE`] over the tables below a folder.
    pub fn ask(data: &Path) -> Result<Self> {
        let queries = QUERIES.into_iter().chain([WIDE]);
        Self::ask_for(data, queries.map(|query| (query, query)))
    }

    /// Answers the first of each pair with what the second, the same question, gives.
    pub fn ask_for(
        data: &Path,
        questions: impl IntoIterator<Item = (&'static str, &'static str)>,
    ) -> Result<Self> {
        let runtime = tokio::runtime::Runtime::new()?;
        runtime.block_on(async {
            let context = oracle::session(data).await?;
            let mut answers = BTreeMap::new();
            for (query, same) in questions {
                let failed = |error| format!("the oracle does not answer {same}: {error}");
                let answer = async { context.sql(same).await?.collect().await };
                let batches = answer.await.map_err(failed)?;
                let mut rows = Vec::new();
                for batch in batches {
                    rows.extend(oracle::rows(&batch)?);
                }
                answers.insert(query, rows);
            }
            Ok(Self(answers))
        })
    }

    pub fn answer(&self, query: &str) -> &[Row] {
        self.0.get(query).map_or(&[], Vec::as_slice)
    }
}
