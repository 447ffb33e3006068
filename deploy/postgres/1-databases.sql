-- Runs once, when the volume is new. The passwords are files, so that none is written here.
\set interlock_password `cat /run/secrets/postgres_interlock`
\set sample_password `cat /run/secrets/postgres_sample`

CREATE ROLE interlock LOGIN PASSWORD :'interlock_password';
CREATE DATABASE interlock OWNER interlock;
REVOKE CONNECT, TEMPORARY ON DATABASE interlock FROM PUBLIC;

CREATE ROLE sample_reader LOGIN PASSWORD :'sample_password';
ALTER ROLE sample_reader SET default_transaction_read_only = on;
ALTER ROLE sample_reader SET statement_timeout = '30s';
CREATE DATABASE sample;
REVOKE CONNECT, TEMPORARY ON DATABASE sample FROM PUBLIC;
GRANT CONNECT ON DATABASE sample TO sample_reader;
REVOKE CONNECT, TEMPORARY ON DATABASE postgres FROM PUBLIC;
