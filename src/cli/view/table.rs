//! How does a table look? Columns without lines, so that a cell can be copied
//! and a row can be taken apart.

use comfy_table::{Table, presets};

use super::escape;

/// What stands for nothing.
const ABSENT: &str = "-";

/// Many records, a row each.
pub(in crate::cli) struct Listing {
    table: Table,
}

impl Listing {
    /// Column headers are this program's own words.
    pub(in crate::cli) fn new<const N: usize>(headers: [&str; N]) -> Self {
        let mut table = plain();
        table.set_header(headers);
        Self { table }
    }

    /// Adds a row; the cells are escaped here.
    pub(in crate::cli) fn row<const N: usize>(&mut self, cells: [&str; N]) {
        self.table.add_row(cells.map(cell));
    }

    pub(in crate::cli) fn render(self) -> String {
        render(self.table)
    }
}

/// One record, a field a line.
pub(in crate::cli) struct Card {
    table: Table,
}

impl Card {
    pub(in crate::cli) fn new() -> Self {
        Self { table: plain() }
    }

    /// Adds a line; the value is escaped here.
    pub(in crate::cli) fn field(mut self, name: &str, value: &str) -> Self {
        self.table.add_row([name.to_owned(), cell(value)]);
        self
    }

    /// Adds a line where there is a value.
    pub(in crate::cli) fn maybe(self, name: &str, value: Option<impl ToString>) -> Self {
        match value {
            Some(value) => self.field(name, &value.to_string()),
            None => self,
        }
    }

    pub(in crate::cli) fn render(self) -> String {
        render(self.table)
    }
}

fn plain() -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table
}

fn cell(value: &str) -> String {
    if value.is_empty() { ABSENT.to_owned() } else { escape(value) }
}

fn render(mut table: Table) -> String {
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table.trim_fmt()
}
