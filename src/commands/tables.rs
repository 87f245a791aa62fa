//! The folder of tables that `--format parquet` writes.

use std::cell::Cell;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use super::Failure;
use crate::flow::{Connection, Totals};
use crate::report::Parquet;
use crate::session::Sink;

/// Two tables, which have their names only when they are whole.
pub(super) struct Tables<'a> {
    connections: Table,
    findings: Table,
    omitted: &'a Cell<u64>,
}

/// A file that is being written under another name than its own.
struct Table {
    path: PathBuf,
    written: Option<Parquet<File>>,
}

impl<'a> Tables<'a> {
    /// Makes the folder, and the tables in it.
    ///
    /// # Errors
    /// A folder or file cannot be made.
    pub(super) fn create(folder: &Path, omitted: &'a Cell<u64>) -> Result<Self, Failure> {
        fs::create_dir_all(folder).map_err(|error| Failure::file(folder, &error))?;
        let table = |name, of: fn(File) -> io::Result<Parquet<File>>| {
            let path = folder.join(name);
            let written = File::create(unfinished(&path)).and_then(of);
            let written = written.map_err(|error| Failure::file(&unfinished(&path), &error))?;
            Ok::<_, Failure>(Table { path, written: Some(written) })
        };
        Ok(Self {
            connections: table("connections.parquet", Parquet::of_connections)?,
            findings: table("findings.parquet", Parquet::of_findings)?,
            omitted,
        })
    }
}

impl Sink for Tables<'_> {
    fn connection(&mut self, connection: Connection) -> io::Result<()> {
        self.connections.write(|table| table.connection(&connection))?;
        self.omitted.set(self.omitted.get() + connection.findings_omitted);
        for finding in &connection.findings {
            self.findings.write(|table| table.finding(&connection, finding))?;
        }
        Ok(())
    }

    fn finish(&mut self, _: &Totals) -> io::Result<()> {
        self.connections.finish()?;
        self.findings.finish()
    }
}

impl Table {
    fn write(&mut self, write: impl FnOnce(&mut Parquet<File>) -> io::Result<()>) -> io::Result<()> {
        self.written.as_mut().map_or(Ok(()), write).map_err(|error| self.named(&error))
    }

    fn finish(&mut self) -> io::Result<()> {
        let Some(written) = self.written.take() else { return Ok(()) };
        written
            .finish()
            .and_then(|_| fs::rename(unfinished(&self.path), &self.path))
            .map_err(|error| self.named(&error))
    }

    fn named(&self, error: &io::Error) -> io::Error {
        io::Error::other(format!("{}: {error}", self.path.display()))
    }
}

/// The name of a file that is not whole yet.
fn unfinished(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".part");
    name.into()
}
