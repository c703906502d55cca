//! Draws `benches/picture.svg` from the results of the bench `programs`: for each program
//! how long it took and what its receiver spent.
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
const NUMBER_WIDTH: f64 = 90.0;
const BAR_HEIGHT: f64 = 14.0;
const ROW_HEIGHT: f64 = 24.0;
const HEAD_HEIGHT: f64 = 34.0;
const MARGIN: f64 = 16.0;
const OURS: &str = "#1b6ca8";
const OTHERS: &str = "#9aa5b1";

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
        for (quantity, what) in
            [("time: ", "time"), ("CPU of the receiver: ", "CPU time of the receiver")]
        {
            panel(&mut shapes, &mut y, &format!("{title}: {what}, in seconds"), table, quantity)?;
        }
    }
    let svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {y}\" \
         font-family=\"sans-serif\" font-size=\"13\">\n\
         <rect width=\"{WIDTH}\" height=\"{y}\" fill=\"white\"/>\n{shapes}</svg>\n"
    );
    fs::write(picture, svg).map_err(|error| format!("{picture}: {error}").into())
}

/// A bar for each program, as long as the median; the line through its end goes from the
/// least to the most.
fn panel(
    shapes: &mut String,
    y: &mut f64,
    title: &str,
    table: &Value,
    quantity: &str,
) -> Result<(), Box<dyn Error>> {
    let rows = table["rows"].as_array().ok_or("a table without rows")?;
    let rows: Vec<(&str, [f64; 3])> = rows
        .iter()
        .filter_map(|row| {
            let name = row["name"].as_str()?.strip_prefix(quantity)?;
            let [median, least, most] = ["median", "least", "most"].map(|key| row[key].as_f64());
            Some((name, [median?, least?, most?]))
        })
        .collect();
    let longest = rows.iter().map(|(_, [.., most])| *most).fold(0.001, f64::max);
    let scale = (WIDTH - NAME_WIDTH - NUMBER_WIDTH - 2.0 * MARGIN) / longest;
    writeln!(
        shapes,
        "<text x=\"{MARGIN}\" y=\"{:.1}\" font-weight=\"bold\">{}</text>",
        *y + 14.0,
        escaped(title)
    )?;
    *y += HEAD_HEIGHT;
    for (name, [median, least, most]) in rows {
        let (left, middle) = (MARGIN + NAME_WIDTH, *y + BAR_HEIGHT / 2.0);
        let colour = if name == "p2pfs" { OURS } else { OTHERS };
        let [width, from, to] = [median, least, most].map(|value| value * scale);
        writeln!(
            shapes,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>\n\
             <rect x=\"{left:.1}\" y=\"{:.1}\" width=\"{width:.1}\" height=\"{BAR_HEIGHT}\" fill=\"{colour}\"/>\n\
             <path d=\"M{:.1} {middle:.1}H{:.1}\" stroke=\"black\"/>\n\
             <text x=\"{:.1}\" y=\"{:.1}\">{median:.3}</text>",
            left - 8.0,
            middle + 4.5,
            escaped(name),
            *y,
            left + from,
            left + to,
            left + to.max(width) + 6.0,
            middle + 4.5,
        )?;
        *y += ROW_HEIGHT;
    }
    *y += MARGIN;
    Ok(())
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}
