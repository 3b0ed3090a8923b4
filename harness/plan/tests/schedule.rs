//! The nemesis: the same seed gives the same schedule, and what a profile guarantees holds in it.

use std::fs;
use std::path::Path;
use std::time::Duration;

use firedrill_plan::{
    Drill, NoSchedule, Profile, Schedule, Target, parse_drill, parse_profile, parse_target,
};

fn read(path: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    fs::read_to_string(root.join(path)).expect("the file is readable")
}

fn target() -> Target {
    let text = read("fixtures/targets/reference.toml");
    parse_target("t.toml", &text, &|_| Ok(String::new()))
        .expect("it is valid")
        .value
}

fn drill(name: &str) -> Drill {
    let path = format!("drills/{name}.toml");
    parse_drill(&path, &read(&path), &target())
        .expect("it is valid")
        .value
}

const NAMES: [&str; 4] = ["redis-outage", "rpc-degraded", "worker-kill", "canary-caps"];

fn profile(mix: &str) -> Profile {
    let text = format!(
        r#"title = "t"
class = "nightly"
pace = "quick"
duration = "5h"
quiet = "30s"
first_quiet = "10m"
quiet_share = 0.75
mode = "LIVE"
checkpoints = ["30m", "5m", "6h"]
mix = {{ {mix} }}
[load]
signals_per_s = 10
ramp  = {{ signals_per_s = 20, share = 0.2 }}
burst = {{ signals_per_s = 40, lasts = "5s", share = 0.2 }}
"#
    );
    let names: Vec<String> = NAMES.iter().map(|n| (*n).to_owned()).collect();
    parse_profile("p.toml", &text, &names, &target())
        .expect("it is valid")
        .value
}

fn drills() -> Vec<Drill> {
    NAMES[..3].iter().map(|n| drill(n)).collect()
}

const MIX: &str = "redis-outage = 3, rpc-degraded = 2, worker-kill = 1";

fn draw(length: Option<Duration>, seed: u64) -> Result<Schedule, NoSchedule> {
    Schedule::draw(&profile(MIX), &drills(), length, seed)
}

fn text(schedule: &Schedule) -> String {
    serde_json::to_string(schedule).expect("it can be stored")
}

#[test]
fn the_same_seed_gives_the_same_schedule_byte_for_byte() {
    let one = draw(None, 7).expect("it fits");
    assert_eq!(text(&one), text(&draw(None, 7).expect("it fits")));
    assert_ne!(text(&one), text(&draw(None, 8).expect("it fits")));
    // And for ever: a later version draws what this one drew.
    let short = draw(Some(Duration::from_secs(360)), 42).expect("it fits");
    let drawn: Vec<String> = short
        .episodes
        .iter()
        .map(|e| format!("{} {} {}", e.drill, e.at_ms, e.lasts_ms))
        .collect();
    let expected = "rpc-degraded 30000 39000\nredis-outage 199652 29000";
    assert_eq!(drawn.join("\n"), expected);
}

#[test]
fn what_the_profile_guarantees_holds_for_every_seed() {
    for seed in 0..300 {
        let minutes = [4, 6, 12, 45, 300][seed as usize % 5];
        let length = Duration::from_secs(minutes * 60);
        let schedule = draw(Some(length), seed).expect("it fits");
        let busy: u64 = schedule.episodes.iter().map(|e| e.lasts_ms).sum();
        assert!(busy * 4 <= schedule.length_ms, "seed {seed}: quiet share");
        let first = &schedule.episodes[0];
        assert!(first.at_ms >= 30_000, "seed {seed}: first quiet stretch");
        assert!(
            first.at_ms >= schedule.length_ms / 30,
            "seed {seed}: scaled"
        );
        for pair in schedule.episodes.windows(2) {
            assert!(pair[1].at_ms >= pair[0].end_ms() + 30_000, "seed {seed}");
        }
        let last = schedule.episodes.last().expect("one at least");
        assert!(last.end_ms() + 30_000 <= schedule.length_ms, "seed {seed}");
        let mut rates = schedule.rates.iter().map(|r| r.from_ms);
        assert!(rates.clone().is_sorted(), "seed {seed}");
        assert!(rates.all(|at| at <= schedule.length_ms), "seed {seed}");
        let quiet = |at: u64| {
            let mut all = schedule.episodes.iter();
            all.all(|e| at < e.at_ms || at >= e.end_ms())
        };
        let changed = schedule.rates.iter().filter(|r| r.signals_per_s != 10.0);
        assert!(changed.map(|r| r.from_ms).all(quiet), "seed {seed}");
    }
}

#[test]
fn a_long_soak_holds_the_whole_mix_by_its_weights_and_all_shapes_of_load() {
    let schedule = draw(None, 3).expect("it fits");
    let count = |name: &str| schedule.episodes.iter().filter(|e| e.drill == name).count();
    let [redis, rpc, kill] = ["redis-outage", "rpc-degraded", "worker-kill"].map(count);
    assert!(
        redis > rpc && rpc > kill && kill > 10,
        "{redis} {rpc} {kill}"
    );
    let rates: Vec<f64> = schedule.rates.iter().map(|r| r.signals_per_s).collect();
    assert!(rates.contains(&20.0) && rates.contains(&40.0), "{rates:?}");
    let checkpoints: Vec<u64> = schedule.checkpoints.iter().map(|c| c.at_ms).collect();
    assert_eq!(checkpoints, [300_000, 1_800_000], "6 h lie beyond 5 h");
}

#[test]
fn what_cannot_be_scheduled_is_an_error_that_says_why() {
    let short = draw(Some(Duration::from_secs(60)), 1).expect_err("too short");
    let text = short.to_string();
    assert!(
        text.contains("60 s are too short: worker-kill takes 27 s"),
        "{text}"
    );
    // And the least time that it names is enough.
    let least = text.rsplit_once("at least ").map(|(_, after)| after);
    let seconds = least.and_then(|after| after.strip_suffix(" s")?.parse().ok());
    let seconds = seconds.unwrap_or_else(|| panic!("no least time in {text}"));
    assert!(draw(Some(Duration::from_secs(seconds)), 1).is_ok());
    assert!(draw(Some(Duration::from_secs(seconds - 1)), 1).is_err());
    let mut with_env = drills();
    with_env.push(drill("canary-caps"));
    let mix = profile("redis-outage = 1, canary-caps = 1");
    let unfit = Schedule::draw(&mix, &with_env, None, 1).expect_err("unfit");
    assert!(
        unfit
            .to_string()
            .contains("canary-caps can't be part of a soak: it sets environment")
    );
    let mut silent = drills();
    silent.push(drill("happy-path"));
    let unfit = Schedule::draw(&profile(MIX), &silent, None, 1).expect_err("unfit");
    assert!(
        unfit
            .to_string()
            .contains("happy-path can't be part of a soak: it has no load")
    );
    for (name, why) in [
        ("rollback-to-dry", "it makes containers anew"),
        ("backup-restore", "it restores the database"),
    ] {
        let mut alone = drills();
        alone.push(drill(name));
        let unfit = Schedule::draw(&profile(MIX), &alone, None, 1).expect_err("unfit");
        let wanted = format!("{name} can't be part of a soak: {why}");
        assert!(unfit.to_string().starts_with(&wanted), "{unfit}");
    }
    let mut dry = profile(MIX);
    dry.mode = Some("DRY".to_owned());
    let unfit = Schedule::draw(&dry, &drills(), None, 1).expect_err("unfit");
    assert!(
        unfit
            .to_string()
            .contains("it needs mode LIVE, and the soak is DRY")
    );
}
