//! The folder of tables that `--format parquet` writes.

use std::cell::Cell;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use super::Failure;
use crate::capture::NewFile;
use crate::flow::{Connection, Totals};
use crate::report::{Columns, Parquet};
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
    file: NewFile,
    written: Option<Parquet<File>>,
}

impl<'a> Tables<'a> {
    /// Makes the folder, and the tables in it.
    ///
    /// # Errors
    /// A folder or file cannot be made.
    pub(super) fn create(folder: &Path, columns: Columns, omitted: &'a Cell<u64>) -> Result<Self, Failure> {
        fs::create_dir_all(folder).map_err(|error| Failure::file(folder, &error))?;
        let table = |name, of: &dyn Fn(File) -> io::Result<Parquet<File>>| {
            let path = folder.join(name);
            let mut file = NewFile::create(&path)?;
            let written = file.file().try_clone().and_then(of).map_err(|error| Failure::file(&path, &error))?;
            Ok::<_, Failure>(Table { path, file, written: Some(written) })
        };
        Ok(Self {
            connections: table("connections.parquet", &|file| Parquet::of_connections(file, columns))?,
            findings: table("findings.parquet", &|file| Parquet::of_findings(file))?,
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
        written.finish().map_err(|error| self.named(&error))?;
        self.file.finish().map_err(|error| io::Error::other(error.message))
    }

    fn named(&self, error: &io::Error) -> io::Error {
        io::Error::other(format!("{}: {error}", self.path.display()))
    }
}
