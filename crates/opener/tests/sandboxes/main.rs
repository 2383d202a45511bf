//! Attaching to namespaces by the files that an engine makes for them.
//!
//! Run as root. This program is the opener of its own tests, so it has a main of its own, which
//! knows as much of a test program's command line as cargo and nextest use: `--list`, `--ignored`,
//! `--exact` and names.

#![expect(clippy::unwrap_used, reason = "what a test cannot do without fails it")]

mod engines;
mod files;
mod opening;

use std::{env, process::ExitCode};

type Test = (&'static str, fn());

const TESTS: [Test; 8] = [
    ("a_sandbox_is_opened_once_it_is_mounted", files::a_sandbox_is_opened_once_it_is_mounted),
    ("a_directory_that_is_made_later_is_told", files::a_directory_that_is_made_later_is_told),
    ("frames_before_are_counted", files::frames_before_are_counted),
    (
        "several_are_opened_at_once_and_each_has_its_answer",
        files::several_are_opened_at_once_and_each_has_its_answer,
    ),
    ("strange_requests_are_refused", files::strange_requests_are_refused),
    ("stamps_are_shared_with_company_only", files::stamps_are_shared_with_company_only),
    (
        "containers_are_attached_before_they_speak",
        engines::containers_are_attached_before_they_speak,
    ),
    (
        "an_engine_of_other_mounts_is_seen_as_it_sees_itself",
        engines::an_engine_of_other_mounts_is_seen_as_it_sees_itself,
    ),
];

fn main() -> ExitCode {
    if env::args_os().next().is_some_and(|name| name == whaletap_opener::ARGV0) {
        return match whaletap_opener::serve() {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::FAILURE,
        };
    }
    let arguments: Vec<String> = env::args().skip(1).collect();
    let has = |flag: &str| arguments.iter().any(|argument| argument == flag);
    let names: Vec<_> = arguments.iter().filter(|name| !name.starts_with('-')).collect();
    let is_meant = |name: &str| {
        !has("--ignored")
            && (names.is_empty()
                || names
                    .iter()
                    .any(|n| if has("--exact") { name == *n } else { name.contains(*n) }))
    };
    for (name, test) in TESTS {
        if has("--list") && !has("--ignored") {
            opening::say(&format!("{name}: test"));
        } else if !has("--list") && is_meant(name) {
            // A failure is a panic, and ends the program.
            test();
            opening::say(&format!("test {name} ... ok"));
        }
    }
    ExitCode::SUCCESS
}
