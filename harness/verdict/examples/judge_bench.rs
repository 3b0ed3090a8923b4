//! How fast a recorded run is judged, and in how much memory: `judge_bench RUN`. With `--whole` the run is judged in
//! memory as well, and the two verdicts must be the same.

use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use firedrill_journal::{open, read_run};
use firedrill_verdict::{judge, judge_run, verdict_json};

/// The one of the command line.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Lines of the verdict that differ are shown up to that many.
const SHOWN: usize = 10;

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let Some(run) = args.next() else {
        eprintln!("judge_bench RUN [--whole]");
        return ExitCode::from(64);
    };
    match measure(Path::new(&run), args.next().as_deref() == Some("--whole")) {
        Ok(exit) => exit,
        Err(why) => {
            eprintln!("{run}: {why}");
            ExitCode::from(69)
        }
    }
}

fn measure(run: &Path, whole: bool) -> Result<ExitCode, firedrill_journal::ReadError> {
    let began = Instant::now();
    let mut lines = 0_u64;
    open(run)?.each(&mut |_| lines += 1);
    println!("read:     {:6.2} s, {lines} lines", seconds(began));
    let began = Instant::now();
    let judged = judge_run(&|| open(run), &mut |_| {})?;
    println!("judged:   {:6.2} s, reading included", seconds(began));
    println!("kept:     {} lines", judged.journal.events.len());
    println!("resident: {} MB at the most", peak_mb());
    println!("verdict:  {}", judged.verdict.verdict.word());
    if !whole {
        return Ok(ExitCode::SUCCESS);
    }
    let began = Instant::now();
    let verdict = judge(&read_run(run)?);
    println!("in memory: {:5.2} s, {} MB", seconds(began), peak_mb());
    let (whole, streamed) = (verdict_json(&verdict), verdict_json(&judged.verdict));
    if whole == streamed {
        println!("the same verdict");
        return Ok(ExitCode::SUCCESS);
    }
    let pairs = whole.lines().zip(streamed.lines());
    for (whole, streamed) in pairs.filter(|(a, b)| a != b).take(SHOWN) {
        println!("in memory: {whole}\nstreamed:  {streamed}");
    }
    println!("ANOTHER VERDICT");
    Ok(ExitCode::FAILURE)
}

fn seconds(began: Instant) -> f64 {
    began.elapsed().as_secs_f64()
}

/// Largest resident memory of this process so far.
fn peak_mb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"));
    let kib = line.and_then(|l| l.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok());
    kib.unwrap_or(0) * 1024 / 1_000_000
}
