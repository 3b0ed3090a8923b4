//! How drills and gates lied in the field, staged through the real executable: none of it comes out
//! green. What is staged how stands in `false_green/cases.rs`, from which `drills/FALSE-GREEN.md` is
//! written.

#[path = "false_green/cases.rs"]
mod cases;
#[path = "false_green/files.rs"]
mod files;
#[path = "false_green/kinds.rs"]
mod kinds;
#[path = "false_green/stage.rs"]
mod stage;
mod support;
#[path = "false_green/table.rs"]
mod table;
#[path = "false_green/world.rs"]
mod world;

use std::process::ExitCode;

use firedrill_stack::slots;
use libtest_mimic::{Arguments, Trial};

macro_rules! tests {
    ($($module:ident :: $name:ident),+ $(,)?) => {
        &[$((stringify!($name), $module::$name as fn())),+]
    };
}

/// The longest first, so that the whole is over soon.
const TESTS: &[(&str, fn())] = tests![
    kinds::each_kind_is_missed_when_another_hand_undoes_it,
    kinds::each_kind_is_there_when_it_is_called_proven,
    world::a_bot_that_is_dry_already_proves_nothing,
    world::a_drill_that_would_miss_the_bug_is_told,
    world::nobody_looked,
    world::nothing_reached_the_target,
    world::what_was_given_up_may_still_happen,
    world::copies_that_never_met_prove_no_race,
    world::a_proxy_that_hangs_is_restarted,
    world::a_proxy_that_died_is_restarted,
    world::an_injection_that_failed_is_told,
    world::a_proxy_that_can_not_be_reached_is_told,
    world::a_toxic_that_is_not_ours_is_told,
    world::a_route_that_is_gone_is_told,
    world::a_route_that_is_full_is_told,
    world::a_toxic_in_the_other_direction_is_told,
    world::a_toxic_that_was_switched_off_is_told,
    world::a_target_that_was_restarted_is_told,
    world::a_fault_that_was_interrupted_is_told,
    world::a_harness_that_was_killed_leaves_nothing,
    world::drills_that_were_not_run_are_no_pass,
    files::misspelt_keys_and_checks_that_can_not_fail_are_refused,
    files::the_gate_says_what_it_exits_with,
    files::reports_of_one_run_agree,
    files::a_journal_with_holes_is_no_pass,
    files::nothing_overrides_a_verdict,
];

fn main() -> ExitCode {
    let mut args = Arguments::from_args();
    args.test_threads = args.test_threads.or(Some(slots::stacks_max()));
    let names: Vec<&str> = TESTS.iter().map(|(name, _)| *name).collect();
    let mut trials: Vec<Trial> = TESTS
        .iter()
        .map(|(name, test)| {
            let test = *test;
            Trial::test(*name, move || {
                test();
                Ok(())
            })
        })
        .collect();
    trials.push(Trial::test(
        "the_page_is_written_from_the_table",
        move || {
            table::the_page_is_written_from_the_table(&names);
            Ok(())
        },
    ));
    let conclusion = libtest_mimic::run(&args, trials);
    ExitCode::from(u8::from(conclusion.has_failed()))
}
