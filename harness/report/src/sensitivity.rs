//! The proof of the drills: which drill caught which defect, and by what.

use std::fmt::Write as _;

use firedrill_verdict::Outcome;
use minijinja::context;
use minijinja::value::Serde;
use serde::{Deserialize, Serialize};

use crate::RenderError;
use crate::clean::tame;
use crate::html::environment;
use crate::markdown::cell;

/// One cell: a drill and a defect, or the honest bot.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SensitivityCell {
    pub drill: String,
    /// `None`: the honest bot.
    pub defect: Option<String>,
    /// The expectation that must fail; `None` for the honest bot.
    pub expectation: Option<String>,
    /// The honest bot is clean, or the defect was caught by that expectation.
    pub as_it_should_be: bool,
    pub reason: String,
    pub worst_margin: Option<f64>,
}

impl SensitivityCell {
    fn result(&self) -> &'static str {
        match (self.as_it_should_be, &self.defect) {
            (true, None) => "clean",
            (true, Some(_)) => "caught",
            (false, None) => "NOT CLEAN",
            (false, Some(_)) => "SLIPPED THROUGH",
        }
    }

    fn outcome(&self) -> Outcome {
        if self.as_it_should_be {
            Outcome::Pass
        } else {
            Outcome::Fail
        }
    }
}

/// A cell as the page shows it.
#[derive(Serialize)]
struct Row<'a> {
    cell: &'a SensitivityCell,
    outcome: Outcome,
    result: &'static str,
}

/// The table for a terminal or a comment: what isn't as it should be first.
pub fn sensitivity_markdown(cells: &[SensitivityCell]) -> String {
    let mut out =
        String::from("| drill | bot | must fail | result | why |\n|---|---|---|---|---|\n");
    for one in ordered(cells) {
        // Writing to a string can't fail.
        let _ = writeln!(
            out,
            "| {} | {} | {} | {} {} | {} |",
            cell(&one.drill),
            cell(one.defect.as_deref().unwrap_or("honest")),
            cell(one.expectation.as_deref().unwrap_or("—")),
            crate::words::symbol(one.outcome()),
            one.result(),
            cell(&one.reason),
        );
    }
    let _ = writeln!(out, "\n{}", total(cells));
    out
}

/// The same as one self-contained page.
///
/// # Errors
/// When a number can't be written, or the template is at odds with the fields.
pub fn sensitivity_html(cells: &[SensitivityCell]) -> Result<String, RenderError> {
    let cells: Vec<SensitivityCell> = cells.iter().map(tame).collect::<Result<_, _>>()?;
    let rows: Vec<Row<'_>> = ordered(&cells)
        .into_iter()
        .map(|cell| Row {
            cell,
            outcome: cell.outcome(),
            result: cell.result(),
        })
        .collect();
    let all = cells.iter().map(SensitivityCell::outcome);
    let page = context! {
        rows => Serde(&rows),
        band => Serde(Outcome::worst(all)),
        total => total(&cells),
    };
    let environment = environment()?;
    Ok(environment.get_template("sensitivity.html")?.render(page)?)
}

fn ordered(cells: &[SensitivityCell]) -> Vec<&SensitivityCell> {
    let mut cells: Vec<&SensitivityCell> = cells.iter().collect();
    cells.sort_by_key(|cell| cell.as_it_should_be);
    cells
}

fn total(cells: &[SensitivityCell]) -> String {
    let good = cells.iter().filter(|c| c.as_it_should_be).count();
    format!("{good} of {} cells are as they should be", cells.len())
}
