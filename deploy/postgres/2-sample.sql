-- Something to ask about: a harbour with its berths and the ships that called. Replace it with a database of your own.
\connect sample

CREATE TABLE berths (name text PRIMARY KEY, length_metres int NOT NULL);
INSERT INTO berths VALUES ('North', 240), ('South', 180), ('Fish market', 60);

CREATE TABLE calls (
    id int PRIMARY KEY,
    ship text NOT NULL,
    berth text NOT NULL REFERENCES berths,
    arrived date NOT NULL,
    cargo_tonnes int NOT NULL
);
INSERT INTO calls
SELECT n,
       'Ship ' || n % 37,
       (ARRAY['North', 'South', 'Fish market'])[1 + n % 3],
       date '2026-01-01' + n % 300,
       n * 7919 % 4093
FROM generate_series(1, 500) AS n;

GRANT SELECT ON ALL TABLES IN SCHEMA public TO sample_reader;
