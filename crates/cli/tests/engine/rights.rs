//! The rights of a helper are those that SECURITY.md tells of: by what the engine says, and by what the
//! kernel says.

use std::{fs, path::PathBuf};

use lab::{Container, Engine, FarHost, Program};

use crate::{
    far::Way,
    member::{Member, begun, helper_of, helpers},
    processes::{child_called, children, of_threads, words},
    tap::{FILE, assert_ended, idle},
};

/// No capability.
const NONE: u64 = 0;
/// CAP_NET_RAW, CAP_SYS_PTRACE and CAP_SYS_ADMIN: capabilities(7) has the numbers.
const NET_RAW: u64 = 1 << 13;
const ENTERING: u64 = NET_RAW | 1 << 19 | 1 << 21;
/// What engines mount over files of each container's own.
const ENGINES: [&str; 3] = ["/etc/hostname", "/etc/hosts", "/etc/resolv.conf"];

/// A helper that runs.
struct Helper<'a> {
    engine: &'a Engine,
    name: String,
}

impl Helper<'_> {
    fn inspect(&self, format: &str) -> String {
        let words = ["inspect", "--format", format, &self.name];
        self.engine.docker().args(words).run().unwrap().stdout_text().trim().to_owned()
    }

    /// Its first process.
    fn pid(&self) -> u32 {
        self.inspect("{{.State.Pid}}").parse().unwrap()
    }

    /// What all shapes have in common.
    #[track_caller]
    fn assert_confined(&self) {
        for (what, expected) in [
            ("{{.Config.User}} {{.Config.Tty}}", "0:0 false"),
            ("{{.HostConfig.CapDrop}} {{.HostConfig.Privileged}}", "[ALL] false"),
            ("{{.HostConfig.ReadonlyRootfs}} {{.HostConfig.AutoRemove}}", "true true"),
            ("{{.HostConfig.LogConfig.Type}} {{.HostConfig.IpcMode}}", "none none"),
            ("{{.HostConfig.Binds}} {{.HostConfig.Devices}}", "[] []"),
            ("{{.HostConfig.VolumesFrom}} {{.HostConfig.PortBindings}}", "[] map[]"),
        ] {
            assert_eq!(self.inspect(what), expected, "{what}");
        }
        // Without `apparmor=…` that is the engine's own.
        let security = self.inspect("{{range .HostConfig.SecurityOpt}}{{println .}}{{end}}");
        let [first, second, third] = security.lines().collect::<Vec<_>>()[..] else {
            panic!("{security}")
        };
        assert_eq!([first, second], ["no-new-privileges", "label=disable"]);
        let calls = third.strip_prefix("seccomp=").unwrap();
        assert!(calls.contains(r#""defaultAction":"SCMP_ACT_ERRNO""#), "{calls}");
        assert!(calls.contains(r#""setns""#), "{calls}");
        for call in ["mount", "ptrace", "bpf", "unshare", "kill", "reboot", "init_module"] {
            assert!(!calls.contains(&format!("{call:?}")), "{call}: {calls}");
        }
        let pid = self.pid();
        assert!(is_read_only(pid, "/"), "its file system can be written to");
        assert_eq!(namespace(pid, "user"), namespace(std::process::id(), "user"));
        for kind in ["mnt", "ipc", "uts"] {
            assert_ne!(namespace(pid, kind), namespace(std::process::id(), kind), "{kind}");
        }
    }
}

/// Every thread of it has these in its status; where a namespace is being entered there are several.
#[track_caller]
fn assert_status(pid: u32, capabilities: u64, bounding: u64) {
    let (own, bounding, none) = (hex(capabilities), hex(bounding), hex(NONE));
    for (field, expected) in [
        ("CapEff", &*own),
        ("CapPrm", &own),
        ("CapBnd", &bounding),
        ("CapInh", &none),
        ("CapAmb", &none),
        ("NoNewPrivs", "1"),
        ("Seccomp", "2"),
        ("Uid", "0\t0\t0\t0"),
        ("Gid", "0\t0\t0\t0"),
    ] {
        let values = of_threads(pid, field);
        let all = !values.is_empty() && values.iter().all(|value| value == expected);
        assert!(all, "{:?}: {field} {values:?}, not {expected}", words(pid));
    }
}

fn hex(capabilities: u64) -> String {
    format!("{capabilities:016x}")
}

fn namespace(pid: u32, kind: &str) -> PathBuf {
    fs::read_link(format!("/proc/{pid}/ns/{kind}")).unwrap()
}

/// Where something is mounted in a process's world, and the mount's options: the fields 5 and 6 of
/// proc_pid_mountinfo(5).
fn mounts(pid: u32) -> Vec<(String, String)> {
    let text = fs::read_to_string(format!("/proc/{pid}/mountinfo")).unwrap();
    let fields = text.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    fields.map(|fields| (fields[4].to_owned(), fields[5].to_owned())).collect()
}

fn is_read_only(pid: u32, place: &str) -> bool {
    let mounts = mounts(pid);
    let (_, options) = mounts.iter().find(|(at, _)| at == place).unwrap();
    options.split(',').any(|option| option == "ro")
}

/// Beside its root, what the kernel has and what engines add, it has these mounts.
#[track_caller]
fn assert_mounted(pid: u32, expected: &[&str]) {
    let kernels = |at: &str| {
        let below = |top: &str| at == top || at.starts_with(&format!("{top}/"));
        ["/proc", "/sys", "/dev"].into_iter().any(below)
    };
    let mounts = mounts(pid);
    let places = mounts.iter().map(|(at, _)| &**at).filter(|at| !kernels(at));
    let own: Vec<&str> = places.filter(|at| *at != "/" && !ENGINES.contains(at)).collect();
    assert_eq!(own, expected, "{mounts:?}");
}

#[test]
fn for_many_it_may_enter_namespaces_and_nothing_else() {
    let engine = Engine::shared().unwrap();
    let member = Member::new();
    let web = engine.run(idle("web")).unwrap();
    let out = member.directory("out");
    let running = begun(member.whaletap(&out, &["capture", web.name(), "-w", FILE]));
    let helper = Helper { engine: &engine, name: helper_of(running.pid()) };
    helper.assert_confined();
    for (what, expected) in [
        ("{{.HostConfig.CapAdd}}", "[SYS_ADMIN SYS_PTRACE NET_RAW]"),
        ("{{.HostConfig.PidMode}} {{.HostConfig.NetworkMode}}", "host host"),
        ("{{range .Mounts}}{{.Destination}} {{.RW}};{{end}}", "/run/whaletap false;"),
    ] {
        assert_eq!(helper.inspect(what), expected, "{what}");
    }
    let pid = helper.pid();
    assert_status(pid, ENTERING, ENTERING);
    for kind in ["pid", "net"] {
        assert_eq!(namespace(pid, kind), namespace(std::process::id(), kind), "{kind}");
    }
    assert_mounted(pid, &["/run/whaletap"]);
    assert!(is_read_only(pid, "/run/whaletap"));
    assert_eq!(words(pid), ["/whaletap-agent", "opener", "/run/whaletap/socket"]);
    assert_eq!(children(pid), [0; 0]);
    let reaper = child_called(running.pid(), "whaletap-reaper");
    let uid = member.uid;
    for (field, expected) in [
        ("CapEff", hex(NONE)),
        ("CapPrm", hex(NONE)),
        ("NoNewPrivs", "1".to_owned()),
        ("Uid", format!("{uid}\t{uid}\t{uid}\t{uid}")),
    ] {
        assert_eq!(of_threads(reaper, field), [expected], "{field}");
    }
    assert_ended(&running.interrupt().unwrap(), 0, &["ended: stopped"]);
}

#[test]
fn for_one_that_is_not_followed_it_has_one_right() {
    let engine = Engine::shared().unwrap();
    let member = Member::new();
    let web: Container = engine.run(idle("web")).unwrap();
    let out = member.directory("out");
    let words_of = ["capture", "--no-follow", web.name(), "-w", FILE];
    let running = begun(member.whaletap(&out, &words_of));
    let helper = Helper { engine: &engine, name: helper_of(running.pid()) };
    helper.assert_confined();
    for (what, expected) in [
        ("{{.HostConfig.CapAdd}} {{.HostConfig.PidMode}}", "[NET_RAW]"),
        ("{{.HostConfig.NetworkMode}}", &*format!("container:{}", web.id())),
        ("{{range .Mounts}}{{.Destination}} {{.RW}};{{end}}", "/run/whaletap false;"),
    ] {
        assert_eq!(helper.inspect(what), expected, "{what}");
    }
    let pid = helper.pid();
    assert_status(pid, NET_RAW, NET_RAW);
    assert_eq!(namespace(pid, "net"), namespace(web.pid().unwrap(), "net"));
    for whose in [web.pid().unwrap(), std::process::id()] {
        assert_ne!(namespace(pid, "pid"), namespace(whose, "pid"));
    }
    assert_mounted(pid, &["/run/whaletap"]);
    assert!(is_read_only(pid, "/run/whaletap"));
    assert_ended(&running.interrupt().unwrap(), 0, &["ended: stopped"]);
}

/// Who reads its client's words has no rights; who has rights reads none of them.
#[test]
fn elsewhere_it_has_no_mount_and_its_opener_has_the_rights() {
    let far = FarHost::start().unwrap();
    let out = tempfile::tempdir().unwrap();
    let way = Way::by(&["-H", &far.ssh()]);
    let program: Program = way.given_to(env!("CARGO_BIN_EXE_whaletap"), &far);
    let program = program.args(["capture", "host", "-w", FILE]).current_dir(out.path());
    let agent = lab::agent::program().unwrap();
    let running = begun(program.env("WHALETAP_AGENT", agent));
    let [name] = <[String; 1]>::try_from(helpers(far.engine())).unwrap();
    let helper = Helper { engine: far.engine(), name };
    helper.assert_confined();
    for (what, expected) in [
        ("{{.HostConfig.CapAdd}}", "[SYS_ADMIN SYS_PTRACE NET_RAW]"),
        ("{{.HostConfig.PidMode}} {{.HostConfig.NetworkMode}}", "host host"),
        ("{{.Mounts}}", "[]"),
    ] {
        assert_eq!(helper.inspect(what), expected, "{what}");
    }
    let pid = helper.pid();
    assert_eq!(words(pid), ["/whaletap-agent", "stdio"]);
    assert_status(pid, NONE, ENTERING);
    let [opener] = children(pid)[..] else { panic!("{:?}", children(pid)) };
    assert_eq!(words(opener), ["whaletap-opener"]);
    assert_status(opener, ENTERING, ENTERING);
    assert_mounted(pid, &[]);
    assert_ended(&running.interrupt().unwrap(), 0, &["ended: stopped"]);
}
