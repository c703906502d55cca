//! Draws `benches/picture.svg` from the results of the bench `programs`: for each program
//! how long it took, and what its receiver and its sender spent.
//!
//! ```text
//! cargo bench --bench programs -- --json benches/results.json
//! cargo run --example picture -- benches/results.json benches/picture.svg
//! ```

use std::env;
use std::error::Error;
use std::fmt::Write;
use std::fs;
use std::process::ExitCode;

use serde_json::Value;

const WIDTH: f64 = 760.0;
const NAME_WIDTH: f64 = 170.0;
const NUMBER_WIDTH: f64 = 110.0;
const BAR_HEIGHT: f64 = 14.0;
const ROW_HEIGHT: f64 = 24.0;
const HEAD_HEIGHT: f64 = 34.0;
const MARGIN: f64 = 16.0;
/// Of our bars and of those of others: what they have in common, and a second part.
const OURS: [&str; 2] = ["#1b6ca8", "#7fb2d9"];
const OTHERS: [&str; 2] = ["#7b8794", "#c3cad1"];
/// A bar, or its line, more than so many times as long as the one next in length is cut.
const CUT: f64 = 3.0;

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let outcome = match arguments.as_slice() {
        [results, picture] => draw(results, picture),
        _ => Err("needs the file of results and that of the picture".into()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("picture: {error}");
            ExitCode::FAILURE
        }
    }
}

fn draw(results: &str, picture: &str) -> Result<(), Box<dyn Error>> {
    let text = fs::read_to_string(results).map_err(|error| format!("{results}: {error}"))?;
    let all: Value = serde_json::from_str(&text)?;
    let Some(tables) = all["benches"]["programs"].as_object() else {
        return Err(format!("{results}: no results of the bench `programs`").into());
    };
    let mut shapes = String::new();
    let mut y = MARGIN;
    for (title, table) in tables {
        let time = rows(table, "time: ")?;
        panel(&mut shapes, &mut y, &format!("{title}: time, in seconds"), &[time])?;
        let cpu = [rows(table, "CPU of the receiver: ")?, rows(table, "CPU of the sender: ")?];
        let title = format!("{title}: CPU time of receiver (dark) and sender, in seconds");
        panel(&mut shapes, &mut y, &title, &cpu)?;
    }
    let svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {y}\" \
         font-family=\"sans-serif\" font-size=\"13\">\n\
         <rect width=\"{WIDTH}\" height=\"{y}\" fill=\"white\"/>\n{shapes}</svg>\n"
    );
    fs::write(picture, svg).map_err(|error| format!("{picture}: {error}").into())
}

/// A program, and the median, the least and the most of its values.
type Row<'a> = (&'a str, [f64; 3]);

/// The rows of a table whose names begin like this.
fn rows<'a>(table: &'a Value, quantity: &str) -> Result<Vec<Row<'a>>, Box<dyn Error>> {
    let rows = table["rows"].as_array().ok_or("a table without rows")?.iter();
    let rows = rows.filter_map(|row| {
        let name = row["name"].as_str()?.strip_prefix(quantity)?;
        let [median, least, most] = ["median", "least", "most"].map(|key| row[key].as_f64());
        Some((name, [median?, least?, most?]))
    });
    Ok(rows.collect())
}

/// A bar for each program, as long as the medians of its parts together. A bar of one part
/// has a line through its end, from the least to the most.
fn panel(
    shapes: &mut String,
    y: &mut f64,
    title: &str,
    parts: &[Vec<Row<'_>>],
) -> Result<(), Box<dyn Error>> {
    let first = parts.first().ok_or("a panel without parts")?;
    let wholes = first.iter().enumerate().map(|(row, (_, [.., most]))| match parts {
        [_] => *most,
        _ => parts.iter().filter_map(|part| Some(part.get(row)?.1[0])).sum(),
    });
    let mut wholes: Vec<f64> = wholes.collect();
    wholes.sort_by(|a, b| b.total_cmp(a));
    let longest = match wholes[..] {
        [longest, next, ..] if longest > CUT * next => next,
        [longest, ..] => longest,
        [] => 0.0,
    };
    let room = WIDTH - NAME_WIDTH - NUMBER_WIDTH - 2.0 * MARGIN;
    let scale = room / longest.max(0.001);
    writeln!(
        shapes,
        "<text x=\"{MARGIN}\" y=\"{:.1}\" font-weight=\"bold\">{}</text>",
        *y + 14.0,
        escaped(title)
    )?;
    *y += HEAD_HEIGHT;
    let left = MARGIN + NAME_WIDTH;
    for (row, (name, [_, least, most])) in first.iter().enumerate() {
        let middle = *y + BAR_HEIGHT / 2.0;
        writeln!(
            shapes,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            left - 8.0,
            middle + 4.5,
            escaped(name)
        )?;
        let colours = if *name == "p2pfs" { OURS } else { OTHERS };
        let (mut end, mut sum, mut numbers) = (0.0, 0.0, Vec::new());
        for (part, colour) in parts.iter().zip(colours) {
            let (_, [median, ..]) = part.get(row).ok_or("a part without a row")?;
            let width = (median * scale).min(room - end);
            writeln!(
                shapes,
                "<rect x=\"{:.1}\" y=\"{:.1}\" width=\"{width:.1}\" height=\"{BAR_HEIGHT}\" fill=\"{colour}\"/>",
                left + end,
                *y,
            )?;
            end += width;
            sum += median;
            numbers.push(number(*median));
        }
        if sum > longest {
            let at = left + end - 12.0;
            writeln!(
                shapes,
                "<path d=\"M{at:.1} {:.1}l-6 {BAR_HEIGHT}m10 0l6 -{BAR_HEIGHT}\" stroke=\"white\" stroke-width=\"3\"/>",
                *y
            )?;
        } else if parts.len() == 1 {
            end = (most * scale).min(room);
            writeln!(
                shapes,
                "<path d=\"M{:.1} {middle:.1}H{:.1}\" stroke=\"black\"/>",
                left + least * scale,
                left + end
            )?;
        }
        writeln!(
            shapes,
            "<text x=\"{:.1}\" y=\"{:.1}\">{}</text>",
            left + end + 6.0,
            middle + 4.5,
            numbers.join(" + ")
        )?;
        *y += ROW_HEIGHT;
    }
    *y += MARGIN;
    Ok(())
}

fn number(value: f64) -> String {
    let decimals = if value < 10.0 { 3 } else { 1 };
    format!("{value:.decimals$}")
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}
