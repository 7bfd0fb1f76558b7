-- Scans that read every column once and none again: nothing is gained by keeping any. None can be
-- answered from the statistics in a file's footer.

-- l_orderkey
SELECT sum(l_orderkey % 7) FROM lineitem;
-- l_partkey
SELECT sum(l_partkey % 7) FROM lineitem;
-- l_suppkey
SELECT sum(l_suppkey % 7) FROM lineitem;
-- l_linenumber
SELECT sum(l_linenumber) FROM lineitem;
-- l_quantity
SELECT sum(l_quantity) FROM lineitem;
-- l_extendedprice
SELECT sum(l_extendedprice) FROM lineitem;
-- l_discount and l_tax
SELECT sum(l_discount * l_tax) FROM lineitem;
-- l_returnflag and l_linestatus
SELECT l_returnflag, l_linestatus, count(*) FROM lineitem GROUP BY 1, 2;
-- l_shipdate and l_commitdate
SELECT count(*) FROM lineitem WHERE l_shipdate > l_commitdate;
-- l_receiptdate
SELECT extract(year FROM l_receiptdate), count(*) FROM lineitem GROUP BY 1;
-- l_shipinstruct
SELECT count(DISTINCT l_shipinstruct) FROM lineitem;
-- l_shipmode
SELECT l_shipmode, count(*) FROM lineitem GROUP BY 1;
-- l_comment
SELECT sum(length(l_comment)) FROM lineitem;
-- o_orderkey
SELECT sum(o_orderkey % 7) FROM orders;
-- o_custkey
SELECT sum(o_custkey % 7) FROM orders;
-- o_orderstatus
SELECT o_orderstatus, count(*) FROM orders GROUP BY 1;
-- o_totalprice
SELECT sum(o_totalprice) FROM orders;
-- o_orderdate
SELECT extract(month FROM o_orderdate), count(*) FROM orders GROUP BY 1;
-- o_orderpriority
SELECT o_orderpriority, count(*) FROM orders GROUP BY 1;
-- o_clerk
SELECT count(DISTINCT o_clerk) FROM orders;
-- o_comment
SELECT sum(length(o_comment)) FROM orders;
-- ps_partkey
SELECT sum(ps_partkey % 7) FROM partsupp;
-- ps_suppkey
SELECT sum(ps_suppkey % 7) FROM partsupp;
-- ps_availqty
SELECT sum(ps_availqty) FROM partsupp;
-- ps_supplycost
SELECT sum(ps_supplycost) FROM partsupp;
-- ps_comment
SELECT sum(length(ps_comment)) FROM partsupp;
-- p_name
SELECT sum(length(p_name)) FROM part;
-- p_brand
SELECT p_brand, count(*) FROM part GROUP BY 1;
-- p_type
SELECT p_type, count(*) FROM part GROUP BY 1;
-- p_retailprice
SELECT sum(p_retailprice) FROM part;
-- p_comment
SELECT sum(length(p_comment)) FROM part;
-- c_name
SELECT sum(length(c_name)) FROM customer;
-- c_address
SELECT sum(length(c_address)) FROM customer;
-- c_phone
SELECT sum(length(c_phone)) FROM customer;
-- c_acctbal
SELECT sum(c_acctbal) FROM customer;
-- c_mktsegment
SELECT c_mktsegment, count(*) FROM customer GROUP BY 1;
-- c_comment
SELECT sum(length(c_comment)) FROM customer;
