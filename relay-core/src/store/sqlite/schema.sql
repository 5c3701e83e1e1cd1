-- One row per conversation. due_at is the lease's end while it is held, the next deadline while it is not.
CREATE TABLE IF NOT EXISTS conversations (
    id          TEXT PRIMARY KEY,
    state       TEXT,
    fence       INTEGER NOT NULL DEFAULT 0,
    nonce       TEXT NOT NULL DEFAULT '',
    holder      TEXT,
    due_at      INTEGER
) STRICT;
CREATE INDEX IF NOT EXISTS conversations_due ON conversations (due_at) WHERE due_at IS NOT NULL;

-- Conversations in which something is going on: what, and since when, in one number.
CREATE TABLE IF NOT EXISTS activities (
    conversation TEXT PRIMARY KEY,
    mark         INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS inbox (
    place        INTEGER PRIMARY KEY AUTOINCREMENT,
    conversation TEXT NOT NULL,
    event        TEXT NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS inbox_conversation ON inbox (conversation, place);

CREATE TABLE IF NOT EXISTS outbox (
    conversation TEXT NOT NULL,
    seq          INTEGER NOT NULL,
    effect       TEXT NOT NULL,
    PRIMARY KEY (conversation, seq)
) STRICT, WITHOUT ROWID;

-- Event ids that were ingested, for as long as a repeat could come.
CREATE TABLE IF NOT EXISTS seen (
    event_id TEXT PRIMARY KEY,
    at       INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS seen_at ON seen (at);

CREATE TABLE IF NOT EXISTS dead_letters (
    letter       INTEGER PRIMARY KEY AUTOINCREMENT,
    conversation TEXT NOT NULL,
    effect       TEXT NOT NULL,
    reason       TEXT NOT NULL,
    at           INTEGER NOT NULL
) STRICT;

CREATE TABLE IF NOT EXISTS blobs (
    id           TEXT PRIMARY KEY,
    content_type TEXT NOT NULL,
    bytes        BLOB NOT NULL,
    expires_at   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS blobs_expiry ON blobs (expires_at);

CREATE TABLE IF NOT EXISTS feed (
    cursor       INTEGER PRIMARY KEY AUTOINCREMENT,
    conversation TEXT NOT NULL,
    key          TEXT NOT NULL,
    entry        TEXT NOT NULL,
    UNIQUE (conversation, key)
) STRICT;

-- What happened in a conversation, for whoever looks on.
CREATE TABLE IF NOT EXISTS log (
    cursor       INTEGER PRIMARY KEY AUTOINCREMENT,
    conversation TEXT NOT NULL,
    at           INTEGER NOT NULL,
    entry        TEXT NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS log_conversation ON log (conversation, cursor);
CREATE INDEX IF NOT EXISTS log_at ON log (at);

-- When the next turn of a line is free, in microseconds since the epoch.
CREATE TABLE IF NOT EXISTS lines (
    line    TEXT PRIMARY KEY,
    free_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS notes (
    name TEXT PRIMARY KEY,
    text TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- Relays that have told that they are there, and whether an operator wants them drained.
CREATE TABLE IF NOT EXISTS nodes (
    node  TEXT PRIMARY KEY,
    beat  TEXT NOT NULL,
    at    INTEGER NOT NULL,
    drain INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;

-- What operators have done.
CREATE TABLE IF NOT EXISTS deeds (
    place INTEGER PRIMARY KEY AUTOINCREMENT,
    deed  TEXT NOT NULL
) STRICT;
