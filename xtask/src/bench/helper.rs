//! From exec to the first packet through a helper container, against the recipe that people type by
//! hand where nothing may be installed on the host.

use std::{
    fs::{self, Permissions},
    os::unix::fs::{PermissionsExt as _, chown},
    path::PathBuf,
    process,
};

use anyhow::Result;
use lab::{
    Container, ContainerSpec, Program,
    engine::{Borrowed, TCPDUMP_IMAGE},
};
use tempfile::TempDir;

use super::{Bench, Findings, machine, spread::Spread, start, table::Table, tool::Tool};

/// Pairs for each round of the first section.
const PAIRS: usize = 4;
/// What the project wants: our time against the recipe's.
const TARGET: f64 = 1.0;
/// The recipe, of which $1 is the name, $2 the directory and $3 the image. (Its tcpdump stays root:
/// that image has no other user.)
const RECIPE: &str = "\
exec docker run --rm --volume \"$2:/data\" --net=container:\"$1\" \"$3\" \
tcpdump -i any -Z root -w /data/o.pcap";

/// Who captures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Who {
    /// Somebody in the group that owns the engine's socket, without sudo.
    Member,
    /// The same with `--no-follow`: the helper is in the container's network, as with the recipe.
    MemberOfOne,
    /// root, who would need no helper.
    Root,
    /// The recipe.
    Recipe,
}

impl Who {
    const ALL: [Self; 4] = [Self::Member, Self::MemberOfOne, Self::Root, Self::Recipe];

    fn words(self) -> &'static str {
        match self {
            Self::Member => "member of the group",
            Self::MemberOfOne => "member, --no-follow",
            Self::Root => "root, --via helper",
            Self::Recipe => "recipe",
        }
    }

    /// What it captures into.
    fn file(self, bench: &Bench, member: &Member) -> PathBuf {
        match self {
            Self::Member | Self::MemberOfOne => member.out().join("o.pcapng"),
            Self::Root => bench.scratch.file("o.pcapng"),
            Self::Recipe => bench.scratch.file("o.pcap"),
        }
    }

    /// Milliseconds from exec to the first packet in the file.
    fn first_packet(self, bench: &Bench, member: &Member, container: &Container) -> Result<f64> {
        let file = self.file(bench, member);
        let name = file.to_string_lossy();
        let words = ["capture", container.name(), "-w", &name];
        let (tool, program) = match self {
            Self::Member => (Tool::Whaletap, member.whaletap(&words)?),
            Self::MemberOfOne => {
                (Tool::Whaletap, member.whaletap(&[&words[..], &["--no-follow"]].concat())?)
            }
            Self::Root => {
                let program = Program::new(member.command()).args(words);
                (Tool::Whaletap, program.args(["--via", "helper"]))
            }
            Self::Recipe => {
                let program = Program::new("sh").args(["-c", RECIPE, "recipe", container.name()]);
                (Tool::Tcpdump, program.arg(bench.scratch.file("")).arg(TCPDUMP_IMAGE))
            }
        };
        let program = program.env("DOCKER_HOST", container.engine().host());
        let took = start::first_packet(tool, program, &file, container);
        // The next one makes it anew, as the first one did.
        let _ = fs::remove_file(&file);
        took
    }
}

/// Somebody whose only right is the group of the engine's socket, with a home of their own and the
/// programs in it.
#[derive(Debug)]
struct Member {
    uid: u32,
    group: u32,
    home: TempDir,
}

impl Member {
    fn new(bench: &Bench, group: u32) -> Result<Self> {
        // Nobody has this number: an account is not needed.
        let uid = 2_000_000 + process::id() % 1_000_000;
        let home = tempfile::tempdir()?;
        fs::set_permissions(home.path(), Permissions::from_mode(0o755))?;
        let member = Self { uid, group, home };
        fs::copy(&bench.whaletap, member.command())?;
        fs::copy(lab::agent::program()?, member.at("whaletap-agent"))?;
        fs::create_dir(member.out())?;
        chown(member.out(), Some(uid), Some(uid))?;
        Ok(member)
    }

    fn at(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// The command, with the program of helpers beside it.
    fn command(&self) -> PathBuf {
        self.at("whaletap")
    }

    /// A directory of theirs.
    fn out(&self) -> PathBuf {
        self.at("out")
    }

    /// `whaletap WORDS…`, typed by them.
    fn whaletap(&self, words: &[&str]) -> Result<Program> {
        // The time is ours, and not that of becoming somebody: setpriv takes a millisecond of it.
        let program = Program::new("setpriv")
            .args([format!("--reuid={}", self.uid), format!("--regid={}", self.uid)])
            .args([format!("--groups={}", self.group)])
            .args(["--inh-caps=-all", "--bounding-set=-all", "--"])
            .arg(self.command())
            .args(words);
        Ok(program.env("TMPDIR", self.out()).env_remove("XDG_RUNTIME_DIR"))
    }
}

/// Measures.
pub(super) fn run(bench: &Bench) -> Result<Findings> {
    let borrowed = Borrowed::engine()?;
    let engine = borrowed.get();
    engine.tcpdump_image()?;
    let member = Member::new(bench, engine.group()?)?;
    let clock =
        ContainerSpec::new("clock").traffic("clock --dev eth0 --interval-us 500 --seconds 600");
    let container = engine.run(clock)?;
    // The image of helpers is in place then.
    Who::Member.first_packet(bench, &member, &container)?;
    let mut heads = vec!["pair"];
    heads.extend(Who::ALL.map(Who::words));
    let mut raw =
        Table::new("Every round: milliseconds from exec to the first packet in the file", &heads);
    let mut times: [Vec<f64>; Who::ALL.len()] = Default::default();
    for round in 0..bench.options.rounds * PAIRS {
        machine::wait_for_calm(start::CALM)?;
        let mut order: [usize; Who::ALL.len()] = std::array::from_fn(|which| which);
        order.rotate_left(round % times.len());
        for which in order {
            times[which].push(Who::ALL[which].first_packet(bench, &member, &container)?);
        }
        let mut row = vec![(round + 1).to_string()];
        row.extend(times.iter().filter_map(|times| Some(format!("{:.1}", times.last()?))));
        raw.row_shown(row);
    }
    let mut findings = Findings { raw: vec![raw], ..Findings::default() };
    let version = engine.docker().args(["version", "--format", "{{.Server.Version}}"]).run()?;
    findings.notes.push(format!("engine {}", version.stdout_text().trim()));
    let mut summary = Table::new(
        "Medians (least–greatest): milliseconds, and the ratio to the recipe's in the same round",
        &["who", "first packet", "ratio"],
    );
    let [.., recipe] = &times;
    for (who, own) in Who::ALL.into_iter().zip(&times) {
        let Some(spread) = Spread::of(own.iter().copied()) else { continue };
        let ratios = own.iter().zip(recipe).map(|(own, recipe)| own / recipe);
        let ratio = Spread::of(ratios).filter(|_| who != Who::Recipe);
        summary.row(vec![
            who.words().to_owned(),
            format!("{spread:.1}"),
            ratio.map(|ratio| format!("{ratio:.2}")).unwrap_or_default(),
        ]);
        if let Some(ratio) = ratio {
            findings.judge(
                ratio.median <= TARGET,
                &format!("exec to first packet at most the recipe's, {}: {ratio:.2}", who.words()),
            );
        }
    }
    findings.summary.push(summary);
    Ok(findings)
}
