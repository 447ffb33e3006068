"""The words that `sqlcheck` goes by: data, kept apart from the code that reads it."""

from __future__ import annotations

WRITING_WORDS: frozenset[str] = frozenset(
    {
        "alter", "analyze", "attach", "begin", "call", "commit", "copy", "create", "deallocate", "declare",
        "delete", "detach", "do", "drop", "dumpfile", "exec", "execute", "grant", "insert", "install", "into",
        "kill", "listen", "load", "lock", "merge", "nextval", "notify", "outfile", "pragma", "prepare", "reindex",
        "rename", "revoke", "rollback", "savepoint", "shutdown", "truncate", "update", "upsert", "vacuum",
    }
)  # fmt: skip
"""Words that no reading statement needs outside quotes."""

PURE_FUNCTION_KEYS: frozenset[str] = frozenset(
    {
        "abs", "acos", "acosh", "and", "anyvalue", "approxdistinct", "argmax", "argmin", "array", "arrayagg",
        "arrayall", "arrayany", "arrayappend", "arrayconcat", "arraycontainedby", "arraycontains", "arraycontainsall",
        "arraydistinct", "arrayexcept", "arrayfirst", "arraylast", "arraymax", "arraymin", "arrayoverlaps",
        "arrayposition", "arrayprepend", "arrayremove", "arrayreverse", "arraysize", "arrayslice", "arraysort",
        "arraysum", "arraytostring", "ascii", "asin", "asinh", "atan", "atan2", "atanh", "avg", "base64encode",
        "bitlength", "bitwiseandagg", "bitwiseoragg", "bitwisexoragg", "bytelength", "case", "cast", "cbrt", "ceil",
        "chr", "coalesce", "collate", "concat", "concatws", "contains", "convert", "converttimezone", "corr", "cos",
        "cosh", "cot", "count", "countif", "covarpop", "covarsamp", "cumedist", "currentcatalog", "currentdatabase",
        "currentdate", "currentdatetime", "currentrole", "currentschema", "currentschemas", "currenttime",
        "currenttimestamp", "currenttimestampltz", "currentuser", "currentversion", "date", "dateadd", "datebin",
        "datediff", "datefromparts", "datestrtodate", "datesub", "datetime", "datetimeadd", "datetimediff",
        "datetimesub", "datetimetrunc", "datetrunc", "day", "dayname", "dayofmonth", "dayofweek", "dayofweekiso",
        "dayofyear", "decode", "decodecase", "degrees", "denserank", "encode", "endswith", "equalnull", "exists",
        "exp", "explode", "explodinggenerateseries", "extract", "factorial", "first", "firstvalue", "flatten", "floor",
        "format", "generatedatearray", "generateseries", "generatetimestamparray", "getbit", "greatest", "groupconcat",
        "grouping", "hex", "host", "hour", "if", "initcap", "isinf", "isnan", "isnullvalue", "jsonarray",
        "jsonarrayagg", "jsonarraycontains", "jsonbcontains", "jsonbcontainsalltopkeys", "jsonbcontainsanytopkeys",
        "jsonbcontainstopkey", "jsonbdeleteatpath", "jsonbexists", "jsonbextract", "jsonbextractscalar",
        "jsonbobjectagg", "jsonbpathexists", "jsoncast", "jsonexists", "jsonextract", "jsonextractarray",
        "jsonextractscalar", "jsonformat", "jsonkeys", "jsonobject", "jsonobjectagg", "jsonset", "jsonstripnulls",
        "jsontype", "jsonvaluearray", "justifydays", "justifyhours", "justifyinterval", "lag", "last", "lastday",
        "lastvalue", "lead", "least", "left", "length", "levenshtein", "ln", "localtime", "localtimestamp", "log",
        "logicaland", "logicalor", "lower", "lowerhex", "makeinterval", "matchagainst", "max", "md5", "md5digest",
        "median", "min", "minute", "mode", "month", "monthname", "monthsbetween", "normalize", "nthvalue", "ntile",
        "nullif", "numbertostr", "nvl2", "objectagg", "or", "overlay", "pad", "parsejson", "parseurl",
        "percentilecont", "percentiledisc", "percentrank", "pi", "posexplode", "pow", "quantile", "quarter", "radians",
        "rank", "regexpcount", "regexpextract", "regexpextractall", "regexpfullmatch", "regexpilike", "regexpinstr",
        "regexplike", "regexpreplace", "regexpsplit", "regexpsubstr", "regravgx", "regravgy", "regrcount",
        "regrintercept", "regrr2", "regrslope", "regrsxx", "regrsxy", "regrsyy", "repeat", "replace", "reverse",
        "right", "round", "rownumber", "safedivide", "second", "sessionuser", "sha", "sha2", "sha2digest", "sign",
        "sin", "sinh", "soundex", "space", "split", "splitpart", "sqrt", "startswith", "stddev", "stddevpop",
        "stddevsamp", "stringtoarray", "stripnullvalue", "strposition", "strtodate", "strtotime", "strtounix",
        "struct", "substring", "substringindex", "sum", "systimestamp", "tan", "tanh", "time", "timeadd", "timediff",
        "timefromparts", "timestamp", "timestampadd", "timestampdiff", "timestampfromparts", "timestampsub",
        "timestamptrunc", "timestrtodate", "timestrtotime", "timesub", "timetostr", "timetounix", "timetrunc",
        "tochar", "todays", "tonumber", "translate", "trim", "trunc", "try", "trycast", "tsordsadd", "tsordsdiff",
        "tsordstodate", "tsordstodatestr", "tsordstotime", "tsordstotimestamp", "typeof", "unhex", "unicode",
        "unixdate", "unixseconds", "unixtostr", "unixtotime", "unnest", "upper", "utctimestamp", "variance",
        "variancepop", "week", "weekofyear", "widthbucket", "xor", "year",
    }
)  # fmt: skip
"""Functions that the parser knows, by its names for them, that neither write, wait, nor reach outside the database."""

PURE_FUNCTION_NAMES: frozenset[str] = frozenset(
    {
        "acos", "age", "array_agg", "array_length", "array_lower", "array_ndims", "array_position", "array_to_json",
        "array_upper", "asin", "bit_length", "btrim", "cardinality", "char_length", "character_length",
        "clock_timestamp", "col_description", "cos", "cosd", "cot", "current_schemas", "date", "date_bin",
        "date_format", "date_part", "datetime", "dayname", "degrees", "div", "factorial", "format", "format_type",
        "gcd", "hex", "ifnull", "isfinite", "json_agg", "json_array_elements", "json_array_elements_text",
        "json_array_length", "json_build_array", "json_build_object", "json_each", "json_each_text", "json_extract",
        "json_group_array", "json_group_object", "json_object", "json_object_keys", "json_quote", "json_tree",
        "json_type", "json_typeof", "json_valid", "jsonb_agg", "jsonb_array_elements", "jsonb_array_elements_text",
        "jsonb_array_length", "jsonb_build_array", "jsonb_build_object", "jsonb_each", "jsonb_each_text",
        "jsonb_object_agg", "jsonb_object_keys", "jsonb_path_exists", "jsonb_path_query", "jsonb_path_query_array",
        "jsonb_pretty", "jsonb_set", "jsonb_strip_nulls", "jsonb_typeof", "julianday", "lcm", "likelihood", "likely",
        "lower_inc", "make_date", "make_time", "make_timestamp", "make_timestamptz", "monthname", "obj_description",
        "octet_length", "parse_ident", "pg_column_size", "pg_database_size", "pg_get_constraintdef", "pg_get_expr",
        "pg_get_function_arguments", "pg_get_functiondef", "pg_get_indexdef", "pg_get_viewdef", "pg_indexes_size",
        "pg_relation_size", "pg_size_pretty", "pg_table_is_visible", "pg_table_size", "pg_total_relation_size",
        "pg_typeof", "phraseto_tsquery", "plainto_tsquery", "printf", "quote", "quote_ident", "quote_literal",
        "quote_nullable", "radians", "regexp_match", "regexp_matches", "regexp_split_to_array",
        "regexp_split_to_table", "row", "row_to_json", "scale", "similarity", "sin", "sind", "statement_timestamp",
        "strftime", "string_to_array", "string_to_table", "substr", "tan", "time", "timediff", "timeofday",
        "to_ascii", "to_char", "to_date", "to_hex", "to_json", "to_jsonb", "to_number", "to_timestamp", "to_tsquery",
        "to_tsvector", "total", "transaction_timestamp", "ts_headline", "ts_rank", "tsvector_to_array", "unaccent",
        "unicode", "unixepoch", "unlikely", "websearch_to_tsquery", "width_bucket", "word_similarity", "zeroblob",
    }
)  # fmt: skip
"""Functions of the databases themselves, unknown to the parser, of which the same is true."""

READING_PARTS: frozenset[str] = frozenset(
    {
        "alias", "all", "any", "attimezone", "between", "bitstring", "boolean", "bracket", "bytestring",
        "column", "columndef", "connect", "cte", "cube", "datatype", "datatypeparam", "distinct", "fetch", "filter",
        "final", "forclause", "from", "group", "groupingsets", "having", "havingmax", "heredoc", "hexstring",
        "historicaldata", "identifier", "ignorenulls", "in", "indextablehint", "interval", "intervalspan", "join",
        "json", "jsonkeyvalue", "jsonpath", "jsonpathfilter", "jsonpathkey", "jsonpathrecursive", "jsonpathroot",
        "jsonpathscript", "jsonpathslice", "jsonpathsubscript", "jsonpathunion", "jsonpathwildcard", "lambda",
        "lateral", "limit", "limitoptions", "literal", "national", "null", "objectidentifier", "offset", "order",
        "ordered", "pivot", "pivotalias", "prewhere", "prior", "qualify", "rawstring", "respectnulls", "rollup",
        "select", "slice", "star", "subquery", "table", "tablealias", "tablesample", "tuple", "unicodestring",
        "values", "var", "version", "where", "window", "windowspec", "with", "withingroup",
    }
)  # fmt: skip
"""Parts of a query, by the parser's names for them, that are no functions and no operators of one or two sides."""

TSQL_STATEMENTS: frozenset[str] = frozenset(
    {
        "add", "authorization", "backup", "break", "browse", "bulk", "checkpoint", "close", "containstable",
        "continue", "cursor", "dbcc", "deny", "disable", "disk", "dump", "enable", "errlvl", "exit", "external",
        "file", "fillfactor", "freetexttable", "go", "goto", "identity_insert", "if", "lineno", "opendatasource",
        "openquery", "openrowset", "openxml", "option", "print", "proc", "procedure", "raiserror", "readtext",
        "receive", "reconfigure", "replication", "restore", "restrict", "return", "revert", "rule", "save", "schema",
        "securityaudit", "send", "set", "setuser", "statistics", "textsize", "throw", "tran", "transaction",
        "trigger", "updatetext", "use", "user", "waitfor", "while", "writetext",
    }
)  # fmt: skip
"""Words of SQL Server that begin a statement, or reach another server: there, one statement follows another without a
semicolon (`SELECT 1 RECONFIGURE`), and a parser takes such a word for an alias. All but a few are reserved, so no
column can be called like them without quotes."""
