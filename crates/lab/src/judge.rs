//! Other people's tools as judges of a file: each must read it without a word of complaint.

use std::{
    collections::BTreeMap,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use crate::{Error, Finished, Program};

/// What the lab runs, each with the Debian package that has it.
pub const PROGRAMS: &[(&str, &str)] = &[
    ("busybox", "busybox-static"),
    ("capinfos", "wireshark-common"),
    ("docker", "docker.io or docker-cli"),
    ("dockerd", "docker.io"),
    ("dumpcap", "wireshark-common"),
    ("editcap", "wireshark-common"),
    ("ethtool", "ethtool"),
    ("ip", "iproute2"),
    ("mergecap", "wireshark-common"),
    ("nsenter", "util-linux"),
    ("openssl", "openssl"),
    ("ssh", "openssh-client"),
    ("ssh-keygen", "openssh-client"),
    ("sshd", "openssh-server"),
    ("tar", "tar"),
    ("tc", "iproute2"),
    ("tcpdump", "tcpdump"),
    ("tshark", "tshark"),
    ("unshare", "util-linux"),
];

/// Whether everything that the lab runs is installed.
///
/// # Errors
///
/// [`Error::Missing`] with each program that is not on the PATH.
pub fn installed() -> Result<(), Error> {
    let missing: Vec<String> = PROGRAMS
        .iter()
        .filter(|(program, _)| find(program).is_none())
        .map(|(program, package)| format!("{program} (package {package})"))
        .collect();
    if missing.is_empty() { Ok(()) } else { Err(Error::Missing { missing }) }
}

/// Where a program is, by the PATH and the places for root that some PATHs leave out.
#[must_use]
pub fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin"].map(PathBuf::from))
        .map(|directory| directory.join(program))
        .find(|candidate| {
            let metadata = candidate.metadata();
            metadata.is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
        })
}

/// What `tcpdump -r` prints, a line for each frame, with these options before `-r`.
///
/// # Errors
///
/// [`Error::Failed`], and [`Error::Warned`] for anything on stderr but its greeting.
pub fn tcpdump(file: impl AsRef<Path>, options: &[&str]) -> Result<Vec<String>, Error> {
    let finished =
        Program::new("tcpdump").args(options).args(["-n", "-r"]).arg(file.as_ref()).run()?;
    let greeting = |line: &str| line.starts_with("reading from file ");
    quiet("tcpdump", file.as_ref(), &finished, greeting)?;
    Ok(lines(&finished))
}

/// What `tshark -r FILE -T fields -e …` gives: for each frame the fields' values.
///
/// # Errors
///
/// [`Error::Failed`], and [`Error::Warned`] for anything on stderr.
pub fn tshark_fields(
    file: impl AsRef<Path>,
    options: &[&str],
    fields: &[&str],
) -> Result<Vec<Vec<String>>, Error> {
    let mut program = Program::new("tshark").arg("-r").arg(file.as_ref());
    program = program.args(options).args(["-T", "fields"]);
    for field in fields {
        program = program.args(["-e", field]);
    }
    let finished = program.run()?;
    quiet("tshark", file.as_ref(), &finished, as_root)?;
    Ok(lines(&finished).iter().map(|line| line.split('\t').map(str::to_owned).collect()).collect())
}

/// What tshark prints with these options.
///
/// # Errors
///
/// [`Error::Failed`], and [`Error::Warned`] for anything on stderr.
pub fn tshark(file: impl AsRef<Path>, options: &[&str]) -> Result<Vec<String>, Error> {
    let finished = Program::new("tshark").arg("-r").arg(file.as_ref()).args(options).run()?;
    quiet("tshark", file.as_ref(), &finished, as_root)?;
    Ok(lines(&finished))
}

/// What `capinfos -T -M` tells of a file, by the names of its columns: `Number of packets`,
/// `File encapsulation`, `Strict time order` …
///
/// # Errors
///
/// [`Error::Failed`], [`Error::Warned`], and [`Error::Unexpected`] when there is no table.
pub fn capinfos(file: impl AsRef<Path>) -> Result<BTreeMap<String, String>, Error> {
    let finished = Program::new("capinfos").args(["-T", "-M"]).arg(file.as_ref()).run()?;
    quiet("capinfos", file.as_ref(), &finished, |_| false)?;
    let table = lines(&finished);
    let [names, values] = table.as_slice() else {
        return Err(Error::Unexpected {
            program: "capinfos".to_owned(),
            text: finished.stdout_text(),
        });
    };
    Ok(names.split('\t').map(str::to_owned).zip(values.split('\t').map(str::to_owned)).collect())
}

/// Whether editcap and mergecap, which read and write every block, take the file.
///
/// # Errors
///
/// [`Error::Failed`], and [`Error::Warned`] for anything on stderr.
pub fn rewritable(file: impl AsRef<Path>) -> Result<(), Error> {
    let file = file.as_ref();
    for program in ["editcap", "mergecap"] {
        let command = Program::new(program);
        let command = match program {
            "editcap" => command.arg(file).arg("/dev/null"),
            _ => command.args(["-w", "/dev/null"]).arg(file),
        };
        quiet(program, file, &command.run()?, |_| false)?;
    }
    Ok(())
}

/// Whether every tool reads the file without a word; tcpdump only where `one_link_type` says
/// that the file has a single one.
///
/// # Errors
///
/// The first tool's complaint.
pub fn all(file: impl AsRef<Path>, one_link_type: bool) -> Result<(), Error> {
    let file = file.as_ref();
    capinfos(file)?;
    tshark(file, &["-n"])?;
    rewritable(file)?;
    if one_link_type {
        tcpdump(file, &[])?;
    }
    Ok(())
}

fn lines(finished: &Finished) -> Vec<String> {
    finished.stdout_text().lines().map(str::to_owned).collect()
}

fn as_root(line: &str) -> bool {
    line.starts_with("Running as user \"root\"")
}

fn quiet(
    program: &str,
    path: &Path,
    finished: &Finished,
    expected: impl Fn(&str) -> bool,
) -> Result<(), Error> {
    let unexpected: Vec<&str> =
        finished.stderr.lines().filter(|line| !line.is_empty() && !expected(line)).collect();
    if unexpected.is_empty() {
        return Ok(());
    }
    Err(Error::Warned {
        program: program.to_owned(),
        path: path.to_owned(),
        warning: unexpected.join("; "),
    })
}
