//! Tests that change their whole process run in one of their own.

use std::{
    env,
    panic::{AssertUnwindSafe, catch_unwind},
    process::Command,
};

/// Names the test that a re-executed test binary is to run in a forked child.
const VARIABLE: &str = "WHALETAP_SYS_TEST_ALONE";

/// A child that takes longer is killed, in seconds.
const LIMIT: u32 = 30;

/// Runs `work` in a process of its own that has one thread, and fails when it fails. `name` is the
/// test's own name, as the test binary lists it.
///
/// The test binary is started again for this one test, so that no other test's thread holds a
/// lock, and forks there, since a test never runs on the main thread.
pub(crate) fn alone(name: &str, work: impl FnOnce()) {
    if env::var(VARIABLE).is_ok_and(|alone| alone == name) {
        return in_fork(work);
    }
    let output = Command::new("/proc/self/exe")
        .args(["--exact", name, "--nocapture", "--test-threads=1"])
        .env(VARIABLE, name)
        .output()
        .unwrap();
    let (stdout, stderr) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(
        output.status.success() && stdout.contains("1 passed"),
        "{name} on its own: {}\n{stdout}\n{stderr}",
        output.status
    );
}

fn in_fork(work: impl FnOnce()) {
    // SAFETY: the process has this thread and the harness's, which only waits for it: no lock
    // that the child may need is held by another thread.
    let child = unsafe { libc::fork() };
    if child == 0 {
        // SAFETY: takes a number; the signal's default ends the process.
        unsafe { libc::alarm(LIMIT) };
        let outcome = catch_unwind(AssertUnwindSafe(work));
        // SAFETY: ends the process at once: the harness's own end is not for the child.
        unsafe { libc::_exit(i32::from(outcome.is_err())) };
    }
    assert!(child > 0, "fork: {}", std::io::Error::last_os_error());
    let mut status = 0;
    // SAFETY: waits for our own child, and writes its status to a number of ours.
    let waited = unsafe { libc::waitpid(child, &raw mut status, 0) };
    assert_eq!((waited, status), (child, 0), "the child failed");
}
