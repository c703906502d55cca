//! Results as tables for people and as JSON for programs.

use std::fmt::Display;
use std::fs;
use std::io::ErrorKind;
use std::num::NonZero;
use std::path::PathBuf;
use std::thread::available_parallelism;
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::system::uname;
use serde_json::{Value, json};

use crate::{Outcome, Settings, Spread, ratios};

/// The tables of one bench.
pub struct Report {
    bench: String,
    is_quick: bool,
    /// The file for programs, and what it holds.
    json: Option<(PathBuf, Value)>,
}

/// Values that were measured side by side. [`Report::add`] prints it.
pub struct Table {
    title: String,
    /// What else ran on the machine's cores.
    beside: String,
    rows: Vec<Row>,
    ratios: Vec<Ratio>,
    notes: Vec<String>,
}

/// What a ratio or a value must reach.
#[derive(Clone, Copy)]
pub enum Bound {
    AtLeast(f64),
    AtMost(f64),
}

struct Row {
    name: String,
    unit: String,
    values: Vec<f64>,
    bound: Option<Bound>,
}

struct Ratio {
    name: String,
    values: Vec<f64>,
    bound: Option<Bound>,
}

impl Report {
    /// Reads the file for programs, if there is to be one: what cannot be read or written is
    /// found before anything is measured.
    pub fn new(bench: &str, settings: &Settings) -> Outcome<Self> {
        let (bench, is_quick) = (bench.to_owned(), settings.is_quick);
        let Some(path) = settings.json.clone() else {
            return Ok(Self { bench, is_quick, json: None });
        };
        let about = |error: &dyn Display| format!("{}: {error}", path.display());
        let text = match fs::read_to_string(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
            text => text.map_err(|error| about(&error))?,
        };
        let all = match text.trim() {
            "" => json!({ "version": 1, "benches": {} }),
            text => serde_json::from_str(text).map_err(|error| about(&error))?,
        };
        let report = Self { bench, is_quick, json: Some((path, all)) };
        report.write()?;
        Ok(report)
    }

    /// Prints a table, and puts it into the file in the place of the one of the same bench
    /// and title; others stay, so that all benches may write to one file.
    pub fn add(&mut self, table: &Table) -> Outcome<()> {
        table.print(&self.bench);
        if let Some((_, all)) = &mut self.json {
            let quick = if self.is_quick { " (quick)" } else { "" };
            let title = format!("{}{quick}", table.title);
            all["benches"][&self.bench][title] = table.as_json(self.is_quick);
        }
        self.write()
    }

    /// Says something that belongs to no table.
    pub fn say(&self, line: &str) {
        println!("{}: {line}", self.bench);
    }

    fn write(&self) -> Outcome<()> {
        let Some((path, all)) = &self.json else { return Ok(()) };
        fs::write(path, format!("{all:#}\n"))
            .map_err(|error| format!("{}: {error}", path.display()).into())
    }
}

impl Table {
    /// A table; `beside` says what ran beside what is measured.
    pub fn new(title: &str, beside: &str) -> Self {
        let (rows, ratios, notes) = (Vec::new(), Vec::new(), Vec::new());
        Self { title: title.to_owned(), beside: beside.to_owned(), rows, ratios, notes }
    }

    /// A row: one value for each round.
    pub fn row(&mut self, name: &str, unit: &str, values: &[f64]) {
        self.bounded_row(name, unit, values, None);
    }

    /// A row whose median has to reach something by itself.
    pub fn bounded_row(
        &mut self,
        name: &str,
        unit: &str,
        values: &[f64],
        bound: impl Into<Option<Bound>>,
    ) {
        let (name, unit, values) = (name.to_owned(), unit.to_owned(), values.to_vec());
        self.rows.push(Row { name, unit, values, bound: bound.into() });
    }

    /// The median of the ratios of the pairs, and what it has to reach.
    pub fn ratio(
        &mut self,
        name: &str,
        ours: &[f64],
        theirs: &[f64],
        bound: impl Into<Option<Bound>>,
    ) {
        let values = ratios(ours, theirs);
        self.ratios.push(Ratio { name: name.to_owned(), values, bound: bound.into() });
    }

    /// A line below the table.
    pub fn note(&mut self, note: impl Into<String>) {
        self.notes.push(note.into());
    }

    fn print(&self, bench: &str) {
        println!("\n{bench}: {}", self.title);
        println!("  {:<44} {:>10} {:>10} {:>10} {:>4}  unit", "", "median", "least", "most", "n");
        for row in &self.rows {
            let Spread { median, least, most, n } = Spread::of(&row.values);
            let [median_text, least, most] = [median, least, most].map(number);
            print!(
                "  {:<44} {median_text:>10} {least:>10} {most:>10} {n:>4}  {}",
                row.name, row.unit
            );
            println!("{}", row.bound.map(|bound| bound.verdict(median)).unwrap_or_default());
        }
        for ratio in &self.ratios {
            let Spread { median, least, most, n } = Spread::of(&ratio.values);
            let [median_text, least, most] =
                [median, least, most].map(|value| format!("{value:.3}"));
            print!("  {:<44} {median_text:>10} {least:>10} {most:>10} {n:>4}  ratio", ratio.name);
            println!("{}", ratio.bound.map(|bound| bound.verdict(median)).unwrap_or_default());
        }
        println!("  beside it: {}", self.beside);
        for note in &self.notes {
            println!("  {note}");
        }
    }

    fn as_json(&self, is_quick: bool) -> Value {
        let rows = self.rows.iter().map(|row| {
            let mut value = summary(&row.values, row.bound);
            value["name"] = json!(row.name);
            value["unit"] = json!(row.unit);
            value["values"] = json!(row.values);
            value
        });
        let ratios = self.ratios.iter().map(|ratio| {
            let mut value = summary(&ratio.values, ratio.bound);
            value["name"] = json!(ratio.name);
            value["values"] = json!(ratio.values);
            value
        });
        let unix_s = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |at| at.as_secs());
        json!({
            "quick": is_quick,
            "measured_at_unix_s": unix_s,
            "cores": available_parallelism().map_or(0, NonZero::get),
            "kernel": uname().release().to_string_lossy(),
            "rows": rows.collect::<Vec<_>>(),
            "ratios": ratios.collect::<Vec<_>>(),
            "beside": self.beside,
            "notes": self.notes,
        })
    }
}

impl Bound {
    fn is_reached(self, value: f64) -> bool {
        match self {
            Self::AtLeast(least) => value >= least,
            Self::AtMost(most) => value <= most,
        }
    }

    fn verdict(self, value: f64) -> String {
        let verdict = if self.is_reached(value) { "reached" } else { "NOT REACHED" };
        match self {
            Self::AtLeast(least) => format!(", at least {least}: {verdict}"),
            Self::AtMost(most) => format!(", at most {most}: {verdict}"),
        }
    }
}

fn summary(values: &[f64], bound: Option<Bound>) -> Value {
    let Spread { median, least, most, n } = Spread::of(values);
    let mut value = json!({ "median": median, "least": least, "most": most, "n": n });
    match bound {
        Some(Bound::AtLeast(least)) => value["at_least"] = json!(least),
        Some(Bound::AtMost(most)) => value["at_most"] = json!(most),
        None => {}
    }
    if let Some(bound) = bound {
        value["reached"] = json!(bound.is_reached(median));
    }
    value
}

/// With three or four digits that mean something.
fn number(value: f64) -> String {
    let decimals = match value.abs() {
        1000.0.. => 0,
        100.0.. => 1,
        10.0.. => 2,
        1.0.. => 3,
        _ => 4,
    };
    format!("{value:.decimals$}")
}
