-- Before a restore: an empty database for Interlock. The one that was there stays as interlock_before_restore.
ALTER DATABASE interlock RENAME TO interlock_before_restore;
CREATE DATABASE interlock OWNER interlock;
REVOKE CONNECT, TEMPORARY ON DATABASE interlock FROM PUBLIC;
