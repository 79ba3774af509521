//! The whole state as text: backup and restore, the same for both databases, so that one also leads to the other.
//!
//! One JSON object a line: first the version, then every row, at last how many there were and the SHA-256 of all lines
//! before. Read in one transaction, so it is one moment's state. Restored in one transaction into empty tables, or not.

use super::{Database, Store, VERSION};
use futures_util::TryStreamExt as _;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use sqlx::any::AnyRow;
use sqlx::{AnyConnection, AssertSqlSafe, Column, Executor, Row, TypeInfo, ValueRef};
use std::fmt;
use std::io::{self, BufRead, Write};

/// Every table, those that others name first. Sessions, open enrolments and codes are let go: they are short-lived, and
/// a copy of them is worth more to a thief than to the owner.
const TABLES: [&str; 26] = [
    "catalog",
    "product",
    "device_group",
    "person",
    "member",
    "machine",
    "device",
    "recovery_key",
    "permit",
    "device_order",
    "used_nonce",
    "certificate",
    "release",
    "artefact",
    "update_metadata",
    "update_release",
    "update_blob",
    "update_key",
    "update_generation",
    "feed",
    "feed_entry",
    "deployment",
    "deployment_device",
    "report_batch",
    "report",
    "audit",
];
/// The longest line that is read back: a release's reference values are the largest row.
const LINE_MAX: u64 = 16 << 20;

/// Why there is no backup, or it could not be restored.
#[derive(Debug)]
pub enum DumpError {
    /// The file.
    File(io::Error),
    /// The database.
    Database(sqlx::Error),
    /// Not a whole backup of this version, at this line.
    Backup(usize),
    /// There is something in the database already.
    NotEmpty,
}

impl fmt::Display for DumpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(_) => f.write_str("the backup's file"),
            Self::Database(_) => f.write_str("the database failed"),
            Self::Backup(line) => write!(f, "line {line} is no line of a whole backup of version {VERSION}"),
            Self::NotEmpty => f.write_str("the database is not empty"),
        }
    }
}

impl std::error::Error for DumpError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::File(error) => Some(error),
            Self::Database(error) => Some(error),
            Self::Backup(_) | Self::NotEmpty => None,
        }
    }
}

impl From<sqlx::Error> for DumpError {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error)
    }
}

impl From<io::Error> for DumpError {
    fn from(error: io::Error) -> Self {
        Self::File(error)
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    table: String,
    row: Map<String, Value>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct End {
    rows: u64,
    sha256: String,
}

struct Lines<W> {
    to: W,
    digest: ring::digest::Context,
    rows: u64,
}

impl<W: Write> Lines<W> {
    fn put(&mut self, line: &Value) -> io::Result<()> {
        let line = format!("{line}\n");
        self.digest.update(line.as_bytes());
        self.to.write_all(line.as_bytes())
    }
}

impl Store {
    /// Writes everything to `to`. Comes back with how many rows that were.
    ///
    /// # Errors
    /// The database or the file.
    pub async fn dump(&self, to: impl Write) -> Result<u64, DumpError> {
        let mut connection = self.pool.acquire().await?;
        let begin = match self.database {
            Database::Sqlite => "BEGIN",
            Database::Postgres => "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
        };
        connection.execute(begin).await?;
        let mut lines = Lines { to, digest: ring::digest::Context::new(&ring::digest::SHA256), rows: 0 };
        lines.put(&json!({"gabion_service_backup": VERSION}))?;
        for table in TABLES {
            dump_table(&mut connection, table, &mut lines).await?;
        }
        connection.execute("ROLLBACK").await?;
        let sha256 = crate::secrets::hex(lines.digest.finish().as_ref());
        let end = serde_json::to_string(&End { rows: lines.rows, sha256 }).map_err(io::Error::from)?;
        writeln!(lines.to, "{end}")?;
        lines.to.flush()?;
        Ok(lines.rows)
    }

    /// Reads back what [`Store::dump`] wrote, into empty tables.
    ///
    /// # Errors
    /// The file is not whole, the tables are not empty, or the database failed; then nothing was changed.
    pub async fn restore(&self, from: impl BufRead) -> Result<u64, DumpError> {
        let mut transaction = self.pool.begin().await?;
        match self.restore_in(&mut transaction, from).await {
            Ok(rows) => {
                transaction.commit().await?;
                Ok(rows)
            }
            // Now, and not when the connection is used again: until then SQLite would be locked for the others.
            Err(error) => {
                transaction.rollback().await?;
                Err(error)
            }
        }
    }

    async fn restore_in(
        &self,
        transaction: &mut AnyConnection,
        from: impl BufRead,
    ) -> Result<u64, DumpError> {
        for table in TABLES {
            let count = format!("SELECT COUNT(*) FROM {table}");
            let count: i64 =
                sqlx::query(AssertSqlSafe(count)).fetch_one(&mut *transaction).await?.try_get(0)?;
            if count != 0 {
                return Err(DumpError::NotEmpty);
            }
        }
        let rows = restore_lines(transaction, from).await?;
        if self.database == Database::Postgres {
            for next in [
                "SELECT setval(pg_get_serial_sequence('audit', 'number'),
                    (SELECT COALESCE(MAX(number), 0) + 1 FROM audit), false)",
                "SELECT setval(pg_get_serial_sequence('deployment', 'number'),
                    (SELECT COALESCE(MAX(number), 0) + 1 FROM deployment), false)",
            ] {
                transaction.execute(next).await?;
            }
        }
        Ok(rows)
    }
}

async fn dump_table<W: Write>(
    connection: &mut AnyConnection,
    table: &'static str,
    lines: &mut Lines<W>,
) -> Result<(), DumpError> {
    let statement = format!("SELECT * FROM {table}");
    let mut rows = sqlx::query(AssertSqlSafe(statement)).fetch(connection);
    while let Some(row) = rows.try_next().await? {
        let line = Line { table: table.to_owned(), row: object(&row)? };
        lines.put(&serde_json::to_value(&line).map_err(io::Error::from)?)?;
        lines.rows += 1;
    }
    Ok(())
}

fn object(row: &AnyRow) -> Result<Map<String, Value>, sqlx::Error> {
    let mut object = Map::new();
    for (place, column) in row.columns().iter().enumerate() {
        let raw = row.try_get_raw(place)?;
        let (null, kind) = (raw.is_null(), raw.type_info().name().to_owned());
        let value = match kind.as_str() {
            _ if null => Value::Null,
            "BLOB" => json!({"bytes": crate::secrets::hex(&row.try_get::<Vec<u8>, _>(place)?)}),
            "TEXT" => json!(row.try_get::<String, _>(place)?),
            _ => json!(row.try_get::<i64, _>(place)?),
        };
        object.insert(column.name().to_owned(), value);
    }
    Ok(object)
}

async fn restore_lines(connection: &mut AnyConnection, mut from: impl BufRead) -> Result<u64, DumpError> {
    let mut digest = ring::digest::Context::new(&ring::digest::SHA256);
    let (mut number, mut rows) = (0, 0);
    loop {
        let mut line = String::new();
        io::Read::take(&mut from, LINE_MAX).read_line(&mut line)?;
        number += 1;
        let wrong = || DumpError::Backup(number);
        if number == 1 {
            let first: Value = serde_json::from_str(&line).map_err(|_| wrong())?;
            if first != json!({"gabion_service_backup": VERSION}) {
                return Err(wrong());
            }
        } else if let Ok(end) = serde_json::from_str::<End>(&line) {
            let sha256 = crate::secrets::hex(digest.finish().as_ref());
            return if end.rows == rows && end.sha256 == sha256 { Ok(rows) } else { Err(wrong()) };
        } else {
            let line: Line = serde_json::from_str(&line).map_err(|_| wrong())?;
            let table = TABLES.iter().find(|table| **table == line.table).ok_or_else(wrong)?;
            insert(connection, table, line.row).await?.ok_or_else(wrong)?;
            rows += 1;
        }
        digest.update(line.as_bytes());
    }
}

/// None: a row that this program did not write.
async fn insert(
    connection: &mut AnyConnection,
    table: &str,
    row: Map<String, Value>,
) -> Result<Option<()>, DumpError> {
    let plain =
        |name: &String| name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
    if !row.keys().all(plain) {
        return Ok(None);
    }
    // A null is left out, so that nobody has to know which type it would have.
    let row: Vec<(String, Value)> = row.into_iter().filter(|(_, value)| !value.is_null()).collect();
    let names = row.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(", ");
    let places = (1..=row.len()).map(|place| format!("${place}")).collect::<Vec<_>>().join(", ");
    let statement = format!("INSERT INTO {table} ({names}) VALUES ({places})");
    let mut query = sqlx::query(AssertSqlSafe(statement));
    for (_, value) in row {
        query = match value {
            Value::String(text) => query.bind(text),
            Value::Number(number) => match number.as_i64() {
                Some(number) => query.bind(number),
                None => return Ok(None),
            },
            Value::Object(bytes) => {
                match bytes.get("bytes").and_then(Value::as_str).and_then(crate::secrets::unhex) {
                    Some(bytes) => query.bind(bytes),
                    None => return Ok(None),
                }
            }
            _ => return Ok(None),
        };
    }
    query.execute(connection).await?;
    Ok(Some(()))
}
