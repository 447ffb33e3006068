"""The parts of PostgreSQL's parse tree that `sqlpostgres` allows: data, kept apart from the code that reads it."""

from __future__ import annotations

from collections.abc import Mapping


def _parse_fields(text: str) -> Mapping[str, str]:
    return {name: kind for name, _, kind in (part.partition(":") for part in text.split())}


NODES: Mapping[str, Mapping[str, str]] = {
    kind: _parse_fields(text)
    for kind, text in {
        "A_ArrayExpr": "elements location list_start list_end",
        "A_Const": "ival:Integer fval:Float boolval:Boolean sval:String bsval:BitString isnull location",
        "A_Expr": "kind name lexpr rexpr location rexpr_list_start rexpr_list_end",
        "A_Indices": "is_slice lidx uidx",
        "A_Indirection": "arg indirection",
        "A_Star": "",
        "Alias": "aliasname colnames",
        "BitString": "bsval",
        "BoolExpr": "boolop args location",
        "Boolean": "boolval",
        "BooleanTest": "arg booltesttype location",
        "CaseExpr": "arg args defresult location",
        "CaseWhen": "expr result location",
        "CoalesceExpr": "args location",
        "CollateClause": "arg collname location",
        "ColumnDef": "colname typeName:TypeName is_local location",
        "ColumnRef": "fields location",
        "CommonTableExpr": "ctename aliascolnames ctematerialized ctequery location",
        "Float": "fval",
        "FuncCall": "funcname args agg_order agg_filter agg_within_group agg_star agg_distinct func_variadic "
        "funcformat over:WindowDef location",
        "GroupingFunc": "args location",
        "GroupingSet": "kind content location",
        "Integer": "ival",
        "JoinExpr": "jointype isNatural larg rarg usingClause quals alias:Alias",
        "JsonArrayConstructor": "exprs absent_on_null location",
        "JsonFormat": "format_type encoding location",
        "JsonIsPredicate": "expr format:JsonFormat item_type unique_keys location",
        "JsonKeyValue": "key value:JsonValueExpr",
        "JsonObjectConstructor": "exprs absent_on_null unique location",
        "JsonValueExpr": "raw_expr format:JsonFormat",
        "List": "items",
        "MinMaxExpr": "op args location",
        "NamedArgExpr": "arg name argnumber location",
        "NullTest": "arg nulltesttype argisrow location",
        "RangeFunction": "lateral ordinality is_rowsfrom functions alias:Alias coldeflist",
        "RangeSubselect": "lateral subquery alias:Alias",
        "RangeTableSample": "relation method args repeatable location",
        "RangeVar": "catalogname schemaname relname inh relpersistence alias:Alias location",
        "ResTarget": "name val location",
        "RowExpr": "args row_format location",
        "SQLValueFunction": "op typmod location",
        "SelectStmt": "distinctClause targetList fromClause whereClause groupClause groupDistinct havingClause "
        "windowClause valuesLists sortClause limitOffset limitCount limitOption withClause:WithClause op all "
        "larg:SelectStmt rarg:SelectStmt",
        "SortBy": "node sortby_dir sortby_nulls useOp location",
        "String": "sval",
        "SubLink": "subLinkType testexpr operName subselect location",
        "TypeCast": "arg typeName:TypeName location",
        "TypeName": "names typmods typemod arrayBounds location",
        "WindowDef": "name refname partitionClause orderClause frameOptions startOffset endOffset location",
        "WithClause": "ctes recursive location",
    }.items()
}
"""The kinds of node that a statement that reads may have, each with its fields. A field whose node is written without
its kind names the kind. Left out on purpose: INTO and locks of a SELECT, parameters, XMLTABLE and JSON_TABLE (whose
columns can have any type), SETOF and %TYPE."""

_BUILT_IN_OPERATORS = """
    !! !~ !~* !~~ !~~* # ## #- #> #>> % & && &< &<| &> * *< *<= *<> *= *> *>= + - -> ->> -|- / < <-> << <<= <<| <= <>
    <@ <^ = > >= >> >>= >^ ? ?# ?& ?- ?-| ?| ?|| @ @-@ @> @? @@ @@@ ^ ^@ | |&> |/ |>> || ||/ ~ ~* ~<=~ ~<~ ~= ~>=~ ~>~
    ~~ ~~*
"""
_WORDS_AS_OPERATORS = ("BETWEEN", "NOT BETWEEN", "BETWEEN SYMMETRIC", "NOT BETWEEN SYMMETRIC")
_OPERATORS_OF_EXTENSIONS = "<=> <#> <+> <~> <%> <% %> <<% %>> <<-> <->> <<<-> <->>>"  # pgvector, pg_trgm

OPERATORS: frozenset[str] = frozenset(
    {*_BUILT_IN_OPERATORS.split(), *_WORDS_AS_OPERATORS, *_OPERATORS_OF_EXTENSIONS.split()}
)
"""Operators of PostgreSQL itself, and of the extensions for vectors and trigrams."""

TYPES: frozenset[str] = frozenset(
    {
        "bit", "bool", "box", "bpchar", "bytea", "char", "cidr", "circle", "date", "datemultirange", "daterange",
        "float4", "float8", "inet", "int2", "int4", "int4multirange", "int4range", "int8", "int8multirange",
        "int8range", "interval", "json", "jsonb", "jsonpath", "line", "lseg", "macaddr", "macaddr8", "money", "name",
        "numeric", "nummultirange", "numrange", "oid", "path", "pg_lsn", "point", "polygon", "regclass",
        "regcollation", "regconfig", "regdictionary", "regnamespace", "regoper", "regoperator", "regproc",
        "regprocedure", "regrole", "regtype", "text", "tid", "time", "timestamp", "timestamptz", "timetz",
        "tsmultirange", "tsquery", "tsrange", "tstzmultirange", "tstzrange", "tsvector", "uuid", "varbit", "varchar",
        "xid", "xid8",
    }
)  # fmt: skip
"""Types of PostgreSQL itself to which a cast runs nobody's code: a cast to another runs what its owner defined."""

TYPES_OF_EXTENSIONS: frozenset[str] = frozenset(
    {"citext", "geography", "geometry", "halfvec", "hstore", "ltree", "sparsevec", "vector"}
)
"""Types of well-known extensions of which the same is true."""

FUNCTIONS: frozenset[str] = frozenset(
    {
        "abs", "acos", "acosd", "acosh", "age", "any_value", "area", "array_agg", "array_append", "array_cat",
        "array_dims", "array_fill", "array_length", "array_lower", "array_ndims", "array_position",
        "array_positions", "array_prepend", "array_remove", "array_replace", "array_to_json", "array_to_string",
        "array_upper", "ascii", "asin", "asind", "asinh", "atan", "atan2", "atan2d", "atand", "atanh", "avg",
        "bit_and", "bit_count", "bit_length", "bit_or", "bit_xor", "bool_and", "bool_or", "btrim", "cardinality",
        "cbrt", "ceil", "ceiling", "center", "char_length", "character_length", "chr", "clock_timestamp",
        "col_description", "concat", "concat_ws", "convert", "convert_from", "convert_to", "corr", "cos", "cosd",
        "cosh", "cot", "cotd", "count", "covar_pop", "covar_samp", "cume_dist", "current_database",
        "current_schema", "current_schemas", "date", "date_add", "date_bin", "date_part", "date_subtract",
        "date_trunc", "daterange", "decode", "degrees", "dense_rank", "diameter", "div", "encode", "erf", "erfc",
        "every", "exp", "extract", "factorial", "family", "first_value", "floor", "format", "format_type", "gcd",
        "generate_series", "generate_subscripts", "get_bit", "get_byte", "has_any_column_privilege",
        "has_column_privilege", "has_database_privilege", "has_function_privilege", "has_schema_privilege",
        "has_sequence_privilege", "has_table_privilege", "has_type_privilege", "height", "host", "hostmask",
        "inet_merge", "inet_same_family", "initcap", "int4range", "int8range", "is_normalized", "isempty",
        "isfinite", "json_agg", "json_array_elements", "json_array_elements_text", "json_array_length",
        "json_build_array", "json_build_object", "json_each", "json_each_text", "json_extract_path",
        "json_extract_path_text", "json_object", "json_object_agg", "json_object_keys", "json_strip_nulls",
        "json_to_record", "json_to_recordset", "json_typeof", "jsonb_agg", "jsonb_array_elements",
        "jsonb_array_elements_text", "jsonb_array_length", "jsonb_build_array", "jsonb_build_object", "jsonb_each",
        "jsonb_each_text", "jsonb_extract_path", "jsonb_extract_path_text", "jsonb_insert", "jsonb_object",
        "jsonb_object_agg", "jsonb_object_keys", "jsonb_path_exists", "jsonb_path_match", "jsonb_path_query",
        "jsonb_path_query_array", "jsonb_path_query_first", "jsonb_pretty", "jsonb_set", "jsonb_set_lax",
        "jsonb_strip_nulls", "jsonb_to_record", "jsonb_to_recordset", "jsonb_typeof", "justify_days",
        "justify_hours", "justify_interval", "lag", "last_value", "lcm", "lead", "left", "length", "like_escape",
        "ln", "log", "log10", "lower", "lower_inc", "lower_inf", "lpad", "ltrim", "make_date", "make_interval",
        "make_time", "make_timestamp", "make_timestamptz", "masklen", "max", "md5", "min", "min_scale", "mod",
        "mode", "multirange", "netmask", "network", "normalize", "now", "npoints", "nth_value", "ntile",
        "num_nonnulls", "num_nulls", "numnode", "numrange", "obj_description", "octet_length", "overlaps",
        "overlay", "parse_ident", "percent_rank", "percentile_cont", "percentile_disc", "pg_backend_pid",
        "pg_client_encoding", "pg_collation_for", "pg_column_size", "pg_database_size", "pg_encoding_to_char",
        "pg_function_is_visible", "pg_get_constraintdef", "pg_get_expr", "pg_get_function_arguments",
        "pg_get_function_identity_arguments", "pg_get_function_result", "pg_get_functiondef", "pg_get_indexdef",
        "pg_get_keywords", "pg_get_partkeydef", "pg_get_ruledef", "pg_get_serial_sequence",
        "pg_get_statisticsobjdef", "pg_get_triggerdef", "pg_get_userbyid", "pg_get_viewdef", "pg_has_role",
        "pg_indexes_size", "pg_partition_root", "pg_postmaster_start_time", "pg_relation_size", "pg_size_bytes",
        "pg_size_pretty", "pg_table_is_visible", "pg_table_size", "pg_total_relation_size", "pg_type_is_visible",
        "pg_typeof", "phraseto_tsquery", "pi", "plainto_tsquery", "position", "pow", "power", "quote_ident",
        "quote_literal", "quote_nullable", "radians", "radius", "range_agg", "range_intersect_agg", "range_merge",
        "rank", "regexp_count", "regexp_instr", "regexp_like", "regexp_match", "regexp_matches", "regexp_replace",
        "regexp_split_to_array", "regexp_split_to_table", "regexp_substr", "regr_avgx", "regr_avgy", "regr_count",
        "regr_intercept", "regr_r2", "regr_slope", "regr_sxx", "regr_sxy", "regr_syy", "repeat", "replace",
        "reverse", "right", "round", "row_number", "row_security_active", "row_to_json", "rpad", "rtrim", "scale",
        "set_bit", "set_byte", "setweight", "sha224", "sha256", "sha384", "sha512", "shobj_description", "sign",
        "similar_to_escape", "sin", "sind", "sinh", "slope", "split_part", "sqrt", "starts_with",
        "statement_timestamp", "stddev", "stddev_pop", "stddev_samp", "string_agg", "string_to_array",
        "string_to_table", "strip", "strpos", "substr", "substring", "sum", "tan", "tand", "tanh", "text",
        "timeofday", "timezone", "to_ascii", "to_char", "to_date", "to_hex", "to_json", "to_jsonb", "to_number",
        "to_regclass", "to_regnamespace", "to_regproc", "to_regprocedure", "to_regrole", "to_regtype",
        "to_timestamp", "to_tsquery", "to_tsvector", "transaction_timestamp", "translate", "trim_array",
        "trim_scale", "trunc", "ts_delete", "ts_filter", "ts_headline", "ts_rank", "ts_rank_cd", "tsrange",
        "tstzrange", "tsvector_to_array", "unistr", "unnest", "upper", "upper_inc", "upper_inf", "var_pop",
        "var_samp", "variance", "version", "websearch_to_tsquery", "width", "width_bucket",
    }
)  # fmt: skip
"""Functions of PostgreSQL itself that neither write, lock, wait, run SQL that they are given, nor reach outside the
database. `tests/engine/expressions/test_sql_postgres.py` compares them with what PostgreSQL says of each."""

FUNCTIONS_OF_EXTENSIONS: frozenset[str] = frozenset({"similarity", "unaccent", "word_similarity"})
"""Functions of well-known extensions of which the same is true."""

FUNCTION_COLUMNS: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(("json_array_elements", "json_array_elements_text"), ("value",)),
    **dict.fromkeys(("jsonb_array_elements", "jsonb_array_elements_text"), ("value",)),
    **dict.fromkeys(("json_each", "json_each_text", "jsonb_each", "jsonb_each_text"), ("key", "value")),
    "pg_get_keywords": ("word", "catcode", "barelabel", "catdesc", "baredesc"),
}
"""The columns of those functions whose results have columns with names of their own."""

RECORD_FUNCTIONS: frozenset[str] = frozenset(
    {"json_to_record", "json_to_recordset", "jsonb_to_record", "jsonb_to_recordset"}
)
"""Functions whose columns are listed where they are called."""

ACTING_PREFIXES = ("pg_", "lo_", "dblink", "query_to_", "txid_")
"""How names of functions that act begin; no column of a table needs to be called like that."""

ACTING_NAMES: frozenset[str] = frozenset(
    {"nextval", "setval", "set_config", "setseed", "ts_stat", "ts_rewrite", "loread", "lowrite"}
)
"""Other functions that act."""

SAMPLING: frozenset[str] = frozenset({"bernoulli", "system"})
"""Methods of TABLESAMPLE: others are somebody's own functions."""
