//! Renders reports to look at: `sample OUT_DIR [VERDICT_JSON]`. Without a verdict it renders samples.

#[path = "../tests/sample/mod.rs"]
mod sample;

use std::error::Error;
use std::path::Path;

use firedrill_verdict::Verdict;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments
        .next()
        .ok_or("usage: sample OUT_DIR [VERDICT_JSON]")?;
    let folder = Path::new(&folder);
    std::fs::create_dir_all(folder)?;
    match arguments.next() {
        Some(path) => write(
            folder,
            "report",
            &serde_json::from_slice(&std::fs::read(path)?)?,
        ),
        None => {
            write(folder, "pass", &sample::passing())?;
            write(folder, "fail", &sample::failing())?;
            // A soak as it is sealed: no gate has decided yet.
            let mut soak = sample::night::soak();
            soak.drills.truncate(16);
            let page = firedrill_report::html(&soak, None, &sample::extras())?;
            Ok(std::fs::write(folder.join("soak.html"), page)?)
        }
    }
}

fn write(folder: &Path, name: &str, verdict: &Verdict) -> Result<(), Box<dyn Error>> {
    let gate = sample::gate(verdict);
    let extras = sample::extras();
    let runs = std::slice::from_ref(verdict);
    let file = |extension: &str| folder.join(format!("{name}.{extension}"));
    std::fs::write(
        file("html"),
        firedrill_report::html(verdict, Some(&gate), &extras)?,
    )?;
    std::fs::write(
        file("md"),
        firedrill_report::markdown(verdict, Some(&gate), &extras),
    )?;
    std::fs::write(file("go-no-go.md"), firedrill_report::go_no_go(&gate, runs))?;
    std::fs::write(file("junit.xml"), firedrill_report::junit(runs)?)?;
    let mut text = firedrill_report::summary_table(runs);
    for drill in &verdict.drills {
        text.push('\n');
        text.push_str(&firedrill_report::text_failure(
            verdict,
            drill,
            &extras.last_log_lines,
            "reports/latest",
            &extras.rerun,
        ));
    }
    std::fs::write(file("txt"), text)?;
    Ok(())
}
