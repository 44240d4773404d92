//! Incidents on disk: what a watcher knows after a restart.

use std::collections::BTreeMap;
use std::path::Path;

use rusqlite::{Connection, params};

use crate::database;
use crate::incident::Incident;

/// Incidents that are kept; the oldest go first. The generations stay.
const KEEP: u32 = 1_000;

/// The database.
pub(super) struct Store {
    connection: Connection,
}

impl Store {
    pub(super) fn open(path: &Path) -> rusqlite::Result<Self> {
        let connection = database::open(
            path,
            "CREATE TABLE IF NOT EXISTS incidents (
                incident TEXT PRIMARY KEY, opened_at INTEGER NOT NULL, document TEXT NOT NULL
             );
             CREATE INDEX IF NOT EXISTS incidents_by_age ON incidents (opened_at, incident);
             CREATE TABLE IF NOT EXISTS generations (base TEXT PRIMARY KEY, generation INTEGER NOT NULL);",
        )?;
        Ok(Self { connection })
    }

    /// All incidents, oldest first, and the generation of each base. A document of another version is left out: its
    /// service will be judged anew.
    pub(super) fn load(&self) -> rusqlite::Result<(Vec<Incident>, BTreeMap<String, u32>)> {
        let mut statement = self.connection.prepare("SELECT document FROM incidents ORDER BY opened_at")?;
        let documents = statement.query_map([], |row| row.get::<_, String>(0))?;
        let mut incidents = Vec::new();
        for document in documents {
            match serde_json::from_str(&document?) {
                Ok(incident) => incidents.push(incident),
                Err(error) => tracing::warn!(%error, "a kept incident cannot be read and is left out"),
            }
        }
        let mut statement = self.connection.prepare("SELECT base, generation FROM generations")?;
        let generations = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok((incidents, generations.collect::<rusqlite::Result<_>>()?))
    }

    /// Keeps an incident as it is now, and the generation of its base.
    pub(super) fn keep(&mut self, incident: &Incident) -> rusqlite::Result<()> {
        let document =
            serde_json::to_string(incident).map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))?;
        let transaction = self.connection.transaction()?;
        transaction.execute(
            "INSERT OR REPLACE INTO incidents (incident, opened_at, document) VALUES (?1, ?2, ?3)",
            params![incident.key(), incident.opened_at.0, document],
        )?;
        transaction.execute(
            "INSERT INTO generations (base, generation) VALUES (?1, ?2)
             ON CONFLICT (base) DO UPDATE SET generation = max(generation, excluded.generation)",
            params![incident.base, incident.generation],
        )?;
        transaction.execute(
            "DELETE FROM incidents WHERE incident IN
             (SELECT incident FROM incidents ORDER BY opened_at DESC LIMIT -1 OFFSET ?1)",
            [KEEP],
        )?;
        transaction.commit()
    }
}
