/**
 * Relations that the statements below are about: the tables given as two lists of names ($1, $2), and the partitioned tables
 * above them whose leaves are all given. `depth` counts the partitioned tables above a relation.
 */
const RELATIONS = `
  WITH RECURSIVE leaves AS (
    SELECT c.oid FROM unnest($1::text[], $2::text[]) AS t (schema, name)
    JOIN pg_namespace n ON n.nspname = t.schema
    JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = t.name AND c.relkind = 'r'),
  above AS (
    SELECT DISTINCT a.relid::oid AS oid FROM leaves l JOIN pg_class c ON c.oid = l.oid AND c.relispartition
    CROSS JOIN LATERAL pg_partition_ancestors(l.oid) AS a (relid) WHERE a.relid::oid <> l.oid),
  relations AS (
    SELECT oid, false AS is_partitioned FROM leaves
    UNION ALL
    SELECT a.oid, true FROM above a
    WHERE NOT EXISTS (SELECT FROM pg_partition_tree(a.oid) p JOIN pg_class c ON c.oid = p.relid
                      WHERE c.relkind <> 'p' AND p.relid::oid NOT IN (SELECT oid FROM leaves))),
  foreign_keys AS (
    SELECT f.oid FROM pg_constraint f JOIN relations r ON r.oid = f.conrelid
    WHERE f.contype = 'f' AND f.conparentid = 0),
  foreign_key_parts AS (
    SELECT oid FROM foreign_keys
    UNION ALL
    SELECT f.oid FROM pg_constraint f JOIN foreign_key_parts p ON f.conparentid = p.oid)`;

/**
 * Whether something that we do not drop along with it depends on an index ($index) or on its constraint ($constraint).
 * Parts of a partitioned index depend on it, too; they go with it.
 */
const isKept = (index: string, constraint: string): string => `
  EXISTS (SELECT FROM pg_depend d
          WHERE d.deptype = 'n'
            AND ((d.refclassid = 'pg_class'::regclass AND d.refobjid = ${index})
              OR (d.refclassid = 'pg_constraint'::regclass AND d.refobjid = ${constraint}))
            AND NOT (d.classid = 'pg_constraint'::regclass AND d.objid IN (SELECT oid FROM foreign_key_parts)))`;

/** Indexes in the order in which they are built: partitioned tables from the top down, then the largest tables. */
export const INDEXES = `${RELATIONS}
  SELECT i.oid, n.nspname AS schema, t.relname AS table, i.relname AS name, pg_get_indexdef(i.oid) AS definition,
         r.is_partitioned, x.indisunique AS is_unique, x.indisprimary AS is_primary, x.indisclustered AS is_clustered,
         x.indisreplident AND t.relreplident = 'i' AS is_identity,
         x.indisunique AND x.indimmediate AND x.indpred IS NULL AND am.amname = 'btree' AS addresses_rows,
         (SELECT coalesce(json_agg(coalesce(a.attname, '') ORDER BY u.ord), '[]')
            FROM unnest(x.indkey::int2[]) WITH ORDINALITY AS u (attnum, ord)
            LEFT JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum = u.attnum AND u.attnum > 0
           WHERE u.ord <= x.indnkeyatts) AS columns,
         (SELECT coalesce(json_agg(format('%s SET STATISTICS %s', a.attnum, a.attstattarget) ORDER BY a.attnum), '[]')
            FROM pg_attribute a WHERE a.attrelid = i.oid AND a.attstattarget >= 0 AND x.indkey[a.attnum - 1] = 0) AS statistics,
         array_to_string(i.reloptions, ', ') AS options, ts.spcname AS tablespace,
         h.inhparent AS parent, p.relname AS parent_name, pn.nspname AS parent_schema,
         c.contype AS constraint_type, pg_get_constraintdef(c.oid) AS constraint_definition,
         c.condeferrable AS is_deferrable, c.condeferred AS is_deferred,
         c.contype IN ('p', 'u') AND am.amname = 'btree' AND NOT r.is_partitioned AS takes_index,
         obj_description(i.oid, 'pg_class') AS comment, obj_description(c.oid, 'pg_constraint') AS constraint_comment,
         (NOT x.indisvalid AND NOT r.is_partitioned) OR ${isKept('i.oid', 'c.oid')} AS kept
  FROM relations r
  JOIN pg_class t ON t.oid = r.oid JOIN pg_namespace n ON n.oid = t.relnamespace
  JOIN pg_index x ON x.indrelid = t.oid JOIN pg_class i ON i.oid = x.indexrelid JOIN pg_am am ON am.oid = i.relam
  LEFT JOIN pg_tablespace ts ON ts.oid = i.reltablespace
  LEFT JOIN pg_inherits h ON h.inhrelid = i.oid
  LEFT JOIN pg_class p ON p.oid = h.inhparent LEFT JOIN pg_namespace pn ON pn.oid = p.relnamespace
  LEFT JOIN pg_constraint c ON c.conindid = i.oid AND c.contype IN ('p', 'u', 'x')
  ORDER BY r.is_partitioned DESC, CASE WHEN r.is_partitioned THEN (SELECT count(*) FROM pg_partition_ancestors(t.oid)) END,
           pg_table_size(t.oid) DESC, n.nspname COLLATE "C", t.relname COLLATE "C", i.relname COLLATE "C"`;

/** Foreign keys of the relations; those of partitions that come from the partitioned table are parts of that one's. */
export const FOREIGN_KEYS = `${RELATIONS}
  SELECT n.nspname AS schema, t.relname AS table, f.conname AS name, pg_get_constraintdef(f.oid) AS definition,
         f.convalidated AS is_validated, r.is_partitioned, obj_description(f.oid, 'pg_constraint') AS comment,
         to_n.nspname AS to_schema, to_t.relname AS to_table
  FROM foreign_keys k JOIN pg_constraint f ON f.oid = k.oid JOIN relations r ON r.oid = f.conrelid
  JOIN pg_class t ON t.oid = f.conrelid JOIN pg_namespace n ON n.oid = t.relnamespace
  JOIN pg_class to_t ON to_t.oid = f.confrelid JOIN pg_namespace to_n ON to_n.oid = to_t.relnamespace
  ORDER BY pg_table_size(t.oid) DESC, n.nspname COLLATE "C", t.relname COLLATE "C", f.conname COLLATE "C"`;
