//! Questions over far more than executors have memory for, each with another one that needs little
//! and has the same answer, for the oracle; those without one it has to answer as they are.
//!
//! Nearly all need the same columns of all of lineitem, whose bytes [`INPUT`] adds up.

/// Something of every column that is needed of `lineitem`, under names that end in `$name`.
macro_rules! all {
    ($of:literal, $name:literal) => {
        concat!(
            "sum(",
            $of,
            ".l_orderkey + ",
            $of,
            ".l_partkey + ",
            $of,
            ".l_suppkey) AS keys",
            $name,
            ", sum(",
            $of,
            ".l_quantity + ",
            $of,
            ".l_extendedprice + ",
            $of,
            ".l_discount + ",
            $of,
            ".l_tax) AS numbers",
            $name,
            ", sum(length(",
            $of,
            ".l_comment)) AS text",
            $name,
            ", max(",
            $of,
            ".l_shipdate) AS shipped",
            $name,
            ", min(",
            $of,
            ".l_commitdate) AS due",
            $name
        )
    };
}

macro_rules! columns {
    () => {
        "l_orderkey, l_linenumber, l_partkey, l_suppkey, l_quantity, l_extendedprice, l_discount, \
         l_tax, l_comment, l_shipdate, l_commitdate"
    };
}

/// Columns of lineitem in memory: integers, four decimals, dates, and text with its views.
pub const INPUT: &str =
    "SELECT sum(octet_length(l_comment) + 16 + 3 * 8 + 4 + 4 * 16 + 2 * 4) FROM lineitem";

const PLAIN: &str = concat!("SELECT count(*), ", all!("l", ""), " FROM lineitem l");

const SORTED: &str = concat!(
    "SELECT count(*), ",
    all!("l", ""),
    " FROM (SELECT *, row_number() OVER \
     (ORDER BY l_comment, l_orderkey, l_linenumber) AS place FROM lineitem) l WHERE place % 3 = 1"
);

const PLACED: &str = concat!(
    "SELECT count(*), ",
    all!("l", ""),
    " FROM (SELECT *, row_number() OVER \
     (PARTITION BY l_partkey ORDER BY l_orderkey, l_linenumber) AS place FROM lineitem) l \
     WHERE place % 3 = 1"
);

/// All rows wait for the last one.
const TOTALS: &str = concat!(
    "SELECT count(*), min(n), max(n), min(total), max(total), ",
    all!("l", ""),
    " FROM (SELECT *, count(*) OVER () AS n, sum(l_quantity) OVER () AS total FROM lineitem) l"
);
const TOTALS_SAME: &str = concat!(
    "SELECT count(*), count(*) AS least, count(*) AS most, sum(l_quantity) AS low, sum(l_quantity) AS high, ",
    all!("l", ""),
    " FROM lineitem l"
);

/// More rows than fit are kept until it is known which ones are skipped.
const SKIPPED: &str = "SELECT l_orderkey, l_linenumber, l_extendedprice, l_comment FROM lineitem \
     ORDER BY l_extendedprice DESC, l_orderkey, l_linenumber LIMIT 5 OFFSET 500000";

/// As many groups as rows.
const GROUPED: &str = concat!(
    "SELECT sum(n), sum(keys), sum(numbers), sum(text), max(shipped), min(due) FROM (\
     SELECT l_orderkey, l_linenumber, l_partkey, l_suppkey, count(*) AS n, ",
    all!("l", ""),
    " FROM lineitem l GROUP BY l_orderkey, l_linenumber, l_partkey, l_suppkey)"
);

/// Long values, few groups.
const LISTS: &str = "SELECT count(*), sum(length(list)), max(parts), sum(quantity) FROM (\
     SELECT l_suppkey, string_agg(l_comment, ',') AS list, count(DISTINCT l_partkey) AS parts, \
     sum(l_quantity) AS quantity FROM lineitem GROUP BY l_suppkey)";

const DISTINCT: &str = concat!(
    "SELECT count(*), ",
    all!("l", ""),
    " FROM (SELECT DISTINCT ",
    columns!(),
    " FROM lineitem) l"
);

const UNION: &str = concat!(
    "SELECT count(*), ",
    all!("l", ""),
    " FROM (SELECT ",
    columns!(),
    " FROM lineitem \
     WHERE l_quantity < 40 UNION SELECT ",
    columns!(),
    " FROM lineitem WHERE l_quantity > 10) l"
);

const JOINED: &str = concat!(
    "SELECT count(*), ",
    all!("a", "_a"),
    ", ",
    all!("b", "_b"),
    " FROM lineitem a JOIN lineitem b \
     ON a.l_orderkey = b.l_orderkey AND a.l_linenumber = b.l_linenumber"
);
const JOINED_SAME: &str = concat!(
    "SELECT count(*), ",
    all!("a", "_a"),
    ", ",
    all!("a", "_b"),
    " FROM lineitem a"
);

/// Each order is there at least once.
const OUTER: &str = concat!(
    "SELECT count(*), count(l_orderkey), min(o_totalprice), max(o_comment), ",
    all!("l", ""),
    " FROM orders LEFT JOIN lineitem l ON l_orderkey = o_orderkey AND l_quantity > 10"
);
const OUTER_SAME: &str = concat!(
    "SELECT orders - with_lines + lines, lines, price, comment, \
     keys, numbers, text, shipped, due FROM (SELECT count(*) AS orders, \
     min(o_totalprice) AS price, max(o_comment) AS comment FROM orders) CROSS JOIN (SELECT count(*) AS lines, \
     count(DISTINCT l_orderkey) AS with_lines, ",
    all!("l", ""),
    " FROM lineitem l WHERE l_quantity > 10)"
);

/// All lines but the last one of each order.
const EXISTS: &str = concat!(
    "SELECT count(*), ",
    all!("l", ""),
    " FROM lineitem l WHERE EXISTS (SELECT 1 FROM lineitem m \
     WHERE m.l_orderkey = l.l_orderkey AND m.l_linenumber = l.l_linenumber + 1)"
);
const EXISTS_SAME: &str = concat!(
    "SELECT count(*), ",
    all!("l", ""),
    " FROM (SELECT *, lead(l_linenumber) OVER (PARTITION BY l_orderkey ORDER BY l_linenumber) AS next \
     FROM lineitem) l WHERE next IS NOT NULL"
);

const NOT_IN: &str = "SELECT count(*), sum(o_totalprice), max(o_comment) FROM orders \
     WHERE o_orderkey NOT IN (SELECT l_orderkey FROM lineitem WHERE l_quantity > 10)";
const NOT_IN_SAME: &str = "SELECT count(*), sum(o_totalprice), max(o_comment) FROM orders \
     WHERE NOT EXISTS (SELECT 1 FROM lineitem WHERE l_orderkey = o_orderkey AND l_quantity > 10)";

/// All lines have the same key, and nobody knows before.
macro_rules! one_key {
    ($name:literal) => {
        concat!(
            "(SELECT *, CASE WHEN l_linenumber < 8 THEN 9 ELSE 0 END AS k FROM lineitem \
             WHERE l_comment LIKE '%e%' OR l_comment LIKE '%a%') ",
            $name
        )
    };
}

/// Of an order there is one.
const SKEWED_PROBE: &str = concat!(
    "SELECT count(*), sum(o_totalprice), max(o_comment), ",
    all!("a", ""),
    " FROM ",
    one_key!("a"),
    " LEFT JOIN orders ON o_orderkey = k - 8"
);
const SKEWED_PROBE_SAME: &str = concat!(
    "SELECT count(*), sum(o_totalprice), max(o_comment), ",
    all!("a", ""),
    " FROM (SELECT * FROM orders WHERE o_orderkey = 1) CROSS JOIN ",
    one_key!("a")
);

/// They look like the smaller side, which is the one that is kept first.
const SKEWED_BUILD: &str = concat!(
    "SELECT count(*), ",
    all!("a", "_a"),
    ", ",
    all!("b", "_b"),
    " FROM ",
    one_key!("a"),
    " JOIN lineitem b ON a.k = b.l_orderkey * 8 + b.l_linenumber"
);
const SKEWED_BUILD_SAME: &str = concat!(
    "SELECT count(*), ",
    all!("a", "_a"),
    ", ",
    all!("b", "_b"),
    " FROM (SELECT * FROM lineitem WHERE l_orderkey = 1 AND l_linenumber = 1) b CROSS JOIN ",
    one_key!("a")
);

/// Either side is too many to keep.
const SKEWED_BOTH: &str = concat!(
    "SELECT count(*), sum(length(a.l_comment) + length(b.l_comment)) FROM ",
    one_key!("a"),
    " JOIN ",
    one_key!("b"),
    " ON a.k = b.k"
);
const SKEWED_BOTH_SAME: &str = concat!(
    "SELECT count(*) * count(*), 2 * count(*) * sum(length(l_comment)) FROM ",
    one_key!("a")
);

/// A question that needs much memory.
#[derive(Debug, Clone, Copy)]
pub struct Question {
    pub name: &'static str,
    pub sql: &'static str,
    /// The oracle is asked this instead.
    pub same: &'static str,
}

const fn question(name: &'static str, sql: &'static str, same: &'static str) -> Question {
    Question { name, sql, same }
}

pub const QUESTIONS: [Question; 15] = [
    question("sort", SORTED, SORTED),
    question("window", PLACED, PLACED),
    question("totals", TOTALS, TOTALS_SAME),
    question("deep offset", SKIPPED, SKIPPED),
    question("aggregate", GROUPED, PLAIN),
    question("lists", LISTS, LISTS),
    question("distinct", DISTINCT, PLAIN),
    question("union", UNION, PLAIN),
    question("join", JOINED, JOINED_SAME),
    question("left join", OUTER, OUTER_SAME),
    question("exists", EXISTS, EXISTS_SAME),
    question("not in", NOT_IN, NOT_IN_SAME),
    question("skewed probe side", SKEWED_PROBE, SKEWED_PROBE_SAME),
    question("skewed build side", SKEWED_BUILD, SKEWED_BUILD_SAME),
    question("skewed sides", SKEWED_BOTH, SKEWED_BOTH_SAME),
];

/// Neighbours: little work over small tables.
pub const SMALL: &str = "SELECT c_mktsegment, count(*), sum(c_acctbal) FROM customer \
     WHERE c_nationkey = 7 GROUP BY c_mktsegment ORDER BY c_mktsegment";
