//! Whose clock the times in a file are of, where the containers are another machine's.

use lab::{FarHost, Program};

use crate::{
    far::Way,
    member::begun,
    tap::{FILE, assert_ended},
};

/// What the lab's hosts may seem to differ by, in seconds: they have one clock.
const ALIKE: f64 = 0.1;

#[test]
fn a_file_tells_how_far_the_other_clock_was_ahead() {
    let far = FarHost::start().unwrap();
    let out = tempfile::tempdir().unwrap();
    let way = Way::by(&["-H", &far.ssh()]);
    let program: Program = way.given_to(env!("CARGO_BIN_EXE_whaletap"), &far);
    let program = program.env("WHALETAP_AGENT", lab::agent::program().unwrap());
    let words = ["capture", "host", "--align-clock", "-w", FILE];
    let running = begun(program.args(words).current_dir(out.path()));
    assert_ended(&running.interrupt().unwrap(), 0, &["ended: stopped"]);
    let told = Program::new("capinfos").arg(out.path().join(FILE)).run().unwrap().stdout_text();
    let comment = told.lines().find(|line| line.contains("times are those of")).expect(&told);
    let (_, rest) = comment.split_once("whose clock was ").expect(comment);
    let (ahead, rest) = rest.split_once(" s ahead of this machine's").expect(comment);
    let (_, rest) = rest.split_once("give or take ").expect(comment);
    let (uncertain, _) = rest.split_once(" s").expect(comment);
    let [ahead, uncertain] = [ahead, uncertain].map(|text| text.parse::<f64>().unwrap());
    // A round trip has taken some time, and what was measured is true within that.
    assert!(uncertain > 0.0 && uncertain < ALIKE, "{comment}");
    assert!(ahead.abs() <= uncertain, "{comment}");
}
