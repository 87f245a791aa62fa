//! Parquet: columns of connections or findings, for engines that query many captures at once.

use std::io::{self, Write};
use std::sync::Arc;

use parquet::basic::{Compression, LogicalType, Repetition, TimeUnit, Type as Stored};
use parquet::data_type::{BoolType, ByteArray, ByteArrayType, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::types::{Type, TypePtr};

use super::field::{Columns, Field, FindingField, Kind, Value};
use crate::flow::{Connection, FindingAt};

/// Writes connections, or findings, as a table.
///
/// A name with a dot is a column within a structure, as in the `connection` line: `client.addr`.
/// What is not known is null, moments are timestamps in nanoseconds since the epoch, UTC.
/// Rows are gathered and written by groups, so memory does not grow with their number.
pub struct Parquet<W: Write + Send> {
    writer: SerializedFileWriter<W>,
    columns: Vec<Column>,
    fields: Columns,
    rows: usize,
}

/// The values of one column that are not written yet.
struct Column {
    kind: Kind,
    truths: Vec<bool>,
    numbers: Vec<i64>,
    texts: Vec<ByteArray>,
    /// For each row 1 where it has a value, 0 where it is null.
    levels: Vec<i16>,
}

impl<W: Write + Send> Parquet<W> {
    /// A table of connections, to be filled by [`Parquet::connection`]: their fields, and how many findings each has.
    ///
    /// # Errors
    /// Those of the output, here as in the others.
    pub fn of_connections(out: W, fields: Columns) -> io::Result<Self> {
        let parquet = Self::of("connection", Field::columns(fields).map(|field| (field.name, field.kind)), out)?;
        Ok(Self { fields, ..parquet })
    }

    /// A table of findings, to be filled by [`Parquet::finding`].
    ///
    /// # Errors
    /// Those of the output.
    pub fn of_findings(out: W) -> io::Result<Self> {
        Self::of("finding", FindingField::all().map(|field| (field.name, field.kind)), out)
    }

    /// Adds a connection.
    ///
    /// # Errors
    /// Those of the output.
    pub fn connection(&mut self, connection: &Connection) -> io::Result<()> {
        self.row(Field::columns(self.fields).map(|field| field.of(connection)))
    }

    /// Adds a finding of a connection.
    ///
    /// # Errors
    /// Those of the output.
    pub fn finding(&mut self, connection: &Connection, finding: &FindingAt) -> io::Result<()> {
        self.row(FindingField::all().map(|field| field.of(connection, finding)))
    }

    /// Writes what was gathered and the table's end, and gives the output back.
    ///
    /// # Errors
    /// Those of the output.
    pub fn finish(mut self) -> io::Result<W> {
        self.write_group()?;
        let mut out = self.writer.into_inner().map_err(failed)?;
        out.flush()?;
        Ok(out)
    }

    fn of<'n>(name: &str, columns: impl IntoIterator<Item = (&'n str, Kind)>, out: W) -> io::Result<Self> {
        let columns: Vec<_> = columns.into_iter().collect();
        let schema = schema(name, &columns).map_err(failed)?;
        let properties = WriterProperties::builder()
            .set_compression(Compression::SNAPPY)
            .set_created_by(concat!("tcpflow ", env!("CARGO_PKG_VERSION")).to_owned())
            .build();
        let writer = SerializedFileWriter::new(out, schema, Arc::new(properties)).map_err(failed)?;
        Ok(Self {
            writer,
            columns: columns.iter().map(|(_, kind)| Column::of(*kind)).collect(),
            fields: Columns::Usual,
            rows: 0,
        })
    }

    fn row<'v>(&mut self, values: impl IntoIterator<Item = Value<'v>>) -> io::Result<()> {
        for (column, value) in self.columns.iter_mut().zip(values) {
            column.push(value);
        }
        self.rows += 1;
        if self.rows < GROUP { Ok(()) } else { self.write_group() }
    }

    fn write_group(&mut self) -> io::Result<()> {
        if std::mem::take(&mut self.rows) == 0 {
            return Ok(());
        }
        let mut group = self.writer.next_row_group().map_err(failed)?;
        for column in &mut self.columns {
            column.write(&mut group).map_err(failed)?;
        }
        group.close().map_err(failed)?;
        Ok(())
    }
}

impl Column {
    fn of(kind: Kind) -> Self {
        Self { kind, truths: Vec::new(), numbers: Vec::new(), texts: Vec::new(), levels: Vec::new() }
    }

    fn push(&mut self, value: Value<'_>) {
        self.levels.push(i16::from(value != Value::Null));
        match value {
            Value::Null => {}
            Value::Truth(truth) => self.truths.push(truth),
            Value::Number(number) => self.numbers.push(number),
            Value::Moment(at) => self.numbers.push(at.as_nanos()),
            Value::Text(text) => self.texts.push(text.as_bytes().to_vec().into()),
            Value::Address(address) => self.texts.push(address.to_string().into_bytes().into()),
        }
    }

    fn write<W: Write + Send>(&mut self, group: &mut SerializedRowGroupWriter<'_, W>) -> Result<(), ParquetError> {
        let Some(mut column) = group.next_column()? else { return Ok(()) };
        let levels = Some(&self.levels[..]);
        match self.kind {
            Kind::Truth => column.typed::<BoolType>().write_batch(&self.truths, levels, None)?,
            Kind::Number | Kind::Moment | Kind::Findings => {
                column.typed::<Int64Type>().write_batch(&self.numbers, levels, None)?
            }
            Kind::Text | Kind::Word(_) => column.typed::<ByteArrayType>().write_batch(&self.texts, levels, None)?,
        };
        *self = Self::of(self.kind);
        column.close()
    }
}

/// The schema of columns whose names are paths; those of one structure stand side by side.
fn schema(name: &str, columns: &[(&str, Kind)]) -> Result<TypePtr, ParquetError> {
    let mut parts = Vec::new();
    for together in
        columns.chunk_by(|(one, _), (other, _)| structure(one).is_some() && structure(one) == structure(other))
    {
        let Some(of) = structure(together[0].0) else {
            parts.push(leaf(together[0].0, together[0].1)?);
            continue;
        };
        let leaves =
            together.iter().map(|(name, kind)| leaf(&name[of.len() + 1..], *kind)).collect::<Result<_, _>>()?;
        let group = Type::group_type_builder(of).with_repetition(Repetition::REQUIRED).with_fields(leaves);
        parts.push(Arc::new(group.build()?));
    }
    Ok(Arc::new(Type::group_type_builder(name).with_fields(parts).build()?))
}

fn leaf(name: &str, kind: Kind) -> Result<TypePtr, ParquetError> {
    let (stored, logical) = match kind {
        Kind::Truth => (Stored::BOOLEAN, None),
        Kind::Number | Kind::Findings => (Stored::INT64, None),
        Kind::Moment => (Stored::INT64, Some(LogicalType::timestamp(true, TimeUnit::NANOS))),
        Kind::Text | Kind::Word(_) => (Stored::BYTE_ARRAY, Some(LogicalType::String)),
    };
    let leaf = Type::primitive_type_builder(name, stored).with_repetition(Repetition::OPTIONAL);
    Ok(Arc::new(leaf.with_logical_type(logical).build()?))
}

/// The name of the structure that a path begins with.
fn structure(name: &str) -> Option<&str> {
    name.split_once('.').map(|(structure, _)| structure)
}

fn failed(error: ParquetError) -> io::Error {
    match error {
        ParquetError::External(error) => match error.downcast::<io::Error>() {
            Ok(error) => *error,
            Err(error) => io::Error::other(error),
        },
        error => io::Error::other(error),
    }
}

/// How many rows are gathered; their columns take some 30 MB.
const GROUP: usize = 1 << 15;

#[cfg(test)]
mod tests {
    use crate::report::wording::{English, Wording};
    use parquet::file::reader::{FileReader, SerializedFileReader};
    use parquet::record::{Field as Part, Row};

    use super::*;
    use crate::flow::{Detail, Side};
    use crate::report::sample;
    use crate::tcp::Finding;

    fn rows(table: Vec<u8>) -> Vec<serde_json::Value> {
        let reader = SerializedFileReader::new(bytes::Bytes::from(table)).unwrap();
        reader.get_row_iter(None).unwrap().map(|row| json(&row.unwrap())).collect()
    }

    fn json(row: &Row) -> serde_json::Value {
        let value = |part: &Part| match part {
            Part::Null => serde_json::Value::Null,
            Part::Bool(truth) => (*truth).into(),
            Part::Long(number) => (*number).into(),
            Part::Str(text) => text.clone().into(),
            Part::Group(row) => json(row),
            other => panic!("{other:?} was never written"),
        };
        row.get_column_iter().map(|(name, part)| (name.clone(), value(part))).collect()
    }

    #[test]
    fn a_connection_reads_back_under_the_names_of_its_line() {
        let mut connection = sample::echo().connections.remove(0);
        connection.server_to_client.mss = None;
        connection.client = "[2001:db8::1]:50634".parse().unwrap();
        let mut table = Parquet::of_connections(Vec::new(), Columns::WithBreakdown).unwrap();
        // More than one group.
        for _ in 0..GROUP + 2 {
            table.connection(&connection).unwrap();
        }
        let rows = rows(table.finish().unwrap());
        assert_eq!(rows.len(), GROUP + 2);
        for row in [&rows[0], &rows[GROUP + 1]] {
            assert_eq!(row["client"]["addr"], "2001:db8::1");
            assert_eq!(row["client_to_server"]["octets"], 10);
            assert!(row["server_to_client"]["mss"].is_null());
            assert_eq!(row["midstream"], false);
            assert_eq!(row["verdict"], &*English.verdict(&connection.verdict));
            let names = row.as_object().unwrap().values().map(|part| part.as_object().map_or(1, |part| part.len()));
            assert_eq!(names.sum::<usize>(), Field::all().count());
        }
    }

    #[test]
    fn a_finding_reads_back() {
        let mut connection = sample::echo().connections.remove(0);
        let detail = Detail::Since(None);
        connection.findings =
            vec![FindingAt { finding: Finding::Retransmission, frame: None, side: Side::Client, detail }];
        let mut table = Parquet::of_findings(Vec::new()).unwrap();
        table.finding(&connection, &connection.findings[0]).unwrap();
        let rows = rows(table.finish().unwrap());
        assert_eq!(rows.len(), 1);
        assert_eq!((&rows[0]["name"], &rows[0]["side"]), (&"retransmission".into(), &"client".into()));
        assert!(rows[0]["frame"].is_null());
        assert_eq!(rows[0]["server"]["port"], 8888);
    }

    #[test]
    fn a_table_without_rows_is_one() {
        assert!(rows(Parquet::of_connections(Vec::new(), Columns::Usual).unwrap().finish().unwrap()).is_empty());
    }

    #[test]
    fn a_full_disk_is_told() {
        let full = std::fs::File::create("/dev/full").unwrap();
        let error = Parquet::of_findings(full).and_then(Parquet::finish).map(drop).unwrap_err();
        assert!(error.to_string().contains("No space left"), "{error}");
    }
}
