CREATE TABLE IF NOT EXISTS message (
    id          TEXT PRIMARY KEY,
    trace_id    TEXT NOT NULL,
    message_id  TEXT NOT NULL,
    blob        BLOB NOT NULL,
    size        INTEGER NOT NULL,
    sender      TEXT,               -- NULL: the null reverse-path
    ret_full    INTEGER NOT NULL,
    envid       TEXT NOT NULL,
    utf8        INTEGER NOT NULL,
    eight_bit   INTEGER NOT NULL,
    received_at INTEGER NOT NULL,   -- microseconds since 1970
    queued_at   INTEGER NOT NULL
) WITHOUT ROWID;

-- One row a recipient. `due`: when it is looked at next; while a process holds it (lease_owner), when its lease ends.
CREATE TABLE IF NOT EXISTS recipient (
    message     TEXT NOT NULL,
    n           INTEGER NOT NULL,
    address     TEXT NOT NULL,
    domain      TEXT NOT NULL,
    notify      INTEGER NOT NULL,
    orcpt       TEXT NOT NULL,
    attempts    INTEGER NOT NULL DEFAULT 0,
    due         INTEGER NOT NULL,
    lease_owner TEXT,
    fence       INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (message, n)
) WITHOUT ROWID;

CREATE INDEX IF NOT EXISTS recipient_due ON recipient (domain, due);
