-- What a sales dashboard over TPC-H's tables asks, most asked first. A statement's first line is its
-- name; "$word: a, b" are the values that $word stands for, one of them at a time. A statement
-- that shows a part of its rows says which, so that every engine shows the same.

-- revenue by month
-- $year: 1993, 1994, 1995, 1996, 1997
SELECT date_trunc('month', l_shipdate) AS month, sum(l_extendedprice * (1 - l_discount)) AS revenue
FROM lineitem
WHERE l_shipdate >= DATE '$year-01-01' AND l_shipdate < DATE '$year-01-01' + INTERVAL '1 year'
GROUP BY 1 ORDER BY 1;

-- orders by status
-- $year: 1993, 1994, 1995, 1996, 1997
SELECT o_orderstatus, count(*) AS orders, sum(o_totalprice) AS value
FROM orders
WHERE o_orderdate >= DATE '$year-01-01' AND o_orderdate < DATE '$year-01-01' + INTERVAL '1 year'
GROUP BY o_orderstatus ORDER BY o_orderstatus;

-- revenue by ship mode
-- $year: 1994, 1995, 1996
SELECT l_shipmode, sum(l_extendedprice * (1 - l_discount)) AS revenue, sum(l_quantity) AS quantity
FROM lineitem
WHERE l_shipdate >= DATE '$year-01-01' AND l_shipdate < DATE '$year-01-01' + INTERVAL '1 year'
GROUP BY l_shipmode ORDER BY revenue DESC;

-- revenue by supplier's nation
-- $region: AFRICA, AMERICA, ASIA, EUROPE, MIDDLE EAST
SELECT n_name, sum(l_extendedprice * (1 - l_discount)) AS revenue
FROM lineitem
JOIN supplier ON s_suppkey = l_suppkey
JOIN nation ON n_nationkey = s_nationkey
JOIN region ON r_regionkey = n_regionkey
WHERE r_name = '$region'
GROUP BY n_name ORDER BY revenue DESC;

-- top customers of a year
-- $year: 1995, 1996, 1997
SELECT o_custkey, sum(o_totalprice) AS value, count(*) AS orders
FROM orders
WHERE o_orderdate >= DATE '$year-01-01' AND o_orderdate < DATE '$year-01-01' + INTERVAL '1 year'
GROUP BY o_custkey ORDER BY value DESC, o_custkey LIMIT 10;

-- orders by day
-- $month: 1994-02, 1995-05, 1996-10, 1997-12
SELECT o_orderdate, count(*) AS orders, sum(o_totalprice) AS value
FROM orders
WHERE o_orderdate >= DATE '$month-01' AND o_orderdate < DATE '$month-01' + INTERVAL '1 month'
GROUP BY o_orderdate ORDER BY o_orderdate;

-- open orders by priority
SELECT o_orderpriority, count(*) AS orders, avg(o_totalprice) AS mean_value
FROM orders
WHERE o_orderstatus = 'O'
GROUP BY o_orderpriority ORDER BY o_orderpriority;

-- returns by month
-- $year: 1993, 1994
SELECT date_trunc('month', l_receiptdate) AS month, count(*) AS lines, sum(l_extendedprice) AS value
FROM lineitem
WHERE l_returnflag = 'R'
  AND l_receiptdate >= DATE '$year-01-01' AND l_receiptdate < DATE '$year-01-01' + INTERVAL '1 year'
GROUP BY 1 ORDER BY 1;

-- late deliveries by ship mode
-- $year: 1993, 1995, 1997
SELECT l_shipmode,
       count(*) AS lines,
       count(*) FILTER (WHERE l_receiptdate > l_commitdate) AS late
FROM lineitem
WHERE l_receiptdate >= DATE '$year-01-01' AND l_receiptdate < DATE '$year-01-01' + INTERVAL '1 year'
GROUP BY l_shipmode ORDER BY l_shipmode;

-- revenue by return flag and status
SELECT l_returnflag, l_linestatus, sum(l_extendedprice * (1 - l_discount)) AS revenue, count(*) AS lines
FROM lineitem
GROUP BY l_returnflag, l_linestatus ORDER BY l_returnflag, l_linestatus;

-- customers by segment
SELECT c_mktsegment, count(*) AS customers, avg(c_acctbal) AS mean_balance
FROM customer
GROUP BY c_mktsegment ORDER BY c_mktsegment;

-- most sold parts of a month
-- $month: 1994-03, 1995-07, 1996-11
SELECT l_partkey, sum(l_quantity) AS quantity
FROM lineitem
WHERE l_shipdate >= DATE '$month-01' AND l_shipdate < DATE '$month-01' + INTERVAL '1 month'
GROUP BY l_partkey ORDER BY quantity DESC, l_partkey LIMIT 20;

-- largest orders
-- $status: F, O, P
SELECT o_orderkey, o_custkey, o_orderdate, o_totalprice
FROM orders
WHERE o_orderstatus = '$status'
ORDER BY o_totalprice DESC, o_orderkey LIMIT 10;

-- top suppliers of a quarter
-- $month: 1994-01, 1995-04, 1996-07
SELECT s_name, n_name, sum(l_extendedprice * (1 - l_discount)) AS revenue
FROM lineitem
JOIN supplier ON s_suppkey = l_suppkey
JOIN nation ON n_nationkey = s_nationkey
WHERE l_shipdate >= DATE '$month-01' AND l_shipdate < DATE '$month-01' + INTERVAL '3 months'
GROUP BY s_name, n_name ORDER BY revenue DESC, s_name LIMIT 10;

-- discounts by quantity
SELECT floor(l_quantity / 10) AS band, avg(l_discount) AS mean_discount, count(*) AS lines
FROM lineitem
GROUP BY 1 ORDER BY 1;

-- stock value by supplier's nation
SELECT n_name, sum(ps_supplycost * ps_availqty) AS value
FROM partsupp
JOIN supplier ON s_suppkey = ps_suppkey
JOIN nation ON n_nationkey = s_nationkey
GROUP BY n_name ORDER BY value DESC LIMIT 10;

-- customers of a region
-- $region: AFRICA, AMERICA, ASIA, EUROPE, MIDDLE EAST
SELECT n_name, count(*) AS customers, sum(c_acctbal) AS balance
FROM customer
JOIN nation ON n_nationkey = c_nationkey
JOIN region ON r_regionkey = n_regionkey
WHERE r_name = '$region'
GROUP BY n_name ORDER BY n_name;

-- tax by quarter
SELECT extract(year FROM l_shipdate) AS year, extract(quarter FROM l_shipdate) AS quarter,
       sum(l_extendedprice * (1 - l_discount) * l_tax) AS tax
FROM lineitem
GROUP BY 1, 2 ORDER BY 1, 2;

-- order values
SELECT floor(o_totalprice / 50000) AS band, count(*) AS orders
FROM orders
GROUP BY 1 ORDER BY 1;

-- busiest clerks
-- $year: 1993, 1996
SELECT o_clerk, count(*) AS orders, sum(o_totalprice) AS value
FROM orders
WHERE o_orderdate >= DATE '$year-01-01' AND o_orderdate < DATE '$year-01-01' + INTERVAL '1 year'
GROUP BY o_clerk ORDER BY orders DESC, o_clerk LIMIT 10;

-- days on the way
SELECT l_shipmode, avg(l_receiptdate - l_shipdate) AS mean_days, max(l_receiptdate - l_shipdate) AS most_days
FROM lineitem
GROUP BY l_shipmode ORDER BY l_shipmode;

-- orders by weekday
SELECT extract(dow FROM o_orderdate) AS weekday, count(*) AS orders
FROM orders
GROUP BY 1 ORDER BY 1;

-- customers who ordered, by month
-- $year: 1994, 1997
SELECT date_trunc('month', o_orderdate) AS month, count(DISTINCT o_custkey) AS customers
FROM orders
WHERE o_orderdate >= DATE '$year-01-01' AND o_orderdate < DATE '$year-01-01' + INTERVAL '1 year'
GROUP BY 1 ORDER BY 1;

-- revenue by instruction
-- $mode: AIR, RAIL, TRUCK
SELECT l_shipinstruct, sum(l_extendedprice * (1 - l_discount)) AS revenue
FROM lineitem
WHERE l_shipmode = '$mode'
GROUP BY l_shipinstruct ORDER BY l_shipinstruct;

-- prices by brand
SELECT p_brand, count(*) AS parts, avg(p_retailprice) AS mean_price
FROM part
GROUP BY p_brand ORDER BY p_brand;

-- orders by segment
-- $year: 1995, 1996
SELECT c_mktsegment, count(*) AS orders, sum(o_totalprice) AS value
FROM orders
JOIN customer ON c_custkey = o_custkey
WHERE o_orderdate >= DATE '$year-01-01' AND o_orderdate < DATE '$year-01-01' + INTERVAL '1 year'
GROUP BY c_mktsegment ORDER BY c_mktsegment;

-- stock of a brand
-- $brand: 12, 23, 34, 45
SELECT p_container, sum(ps_availqty) AS pieces, min(ps_supplycost) AS lowest_cost
FROM partsupp
JOIN part ON p_partkey = ps_partkey
WHERE p_brand = 'Brand#$brand'
GROUP BY p_container ORDER BY p_container;

-- suppliers in debt
SELECT s_name, n_name, s_acctbal
FROM supplier
JOIN nation ON n_nationkey = s_nationkey
WHERE s_acctbal < 0
ORDER BY s_acctbal, s_name LIMIT 20;

-- highly discounted large lines
-- $discount: 0.08, 0.09
SELECT extract(year FROM l_shipdate) AS year, count(*) AS lines, sum(l_extendedprice * l_discount) AS given
FROM lineitem
WHERE l_discount >= $discount AND l_quantity >= 40
GROUP BY 1 ORDER BY 1;

-- parts by size
-- $maker: 1, 2, 3, 4, 5
SELECT p_size, count(*) AS parts, max(p_retailprice) AS highest_price
FROM part
WHERE p_mfgr = 'Manufacturer#$maker'
GROUP BY p_size ORDER BY p_size;
