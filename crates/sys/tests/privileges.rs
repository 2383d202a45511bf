//! Giving up rights, each time in a process of its own.

#![expect(clippy::unwrap_used, reason = "what a test cannot do without fails it")]

mod child;

use std::{
    fs::{self, File, OpenOptions, Permissions},
    io::Write,
    os::{
        fd::AsRawFd,
        unix::{
            fs::{DirBuilderExt, MetadataExt, PermissionsExt, symlink},
            net::UnixListener,
        },
    },
    path::Path,
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use child::alone;
use whaletap_sys::{
    Error,
    inotify::{Event, Watch},
    landlock::{Enforced, Mode, Rules, restrict},
    netns,
    poll::{Poller, Trigger},
    privileges::{
        Capability, CapabilitySet, User, become_user, drop_all_capabilities, effective, give_up,
        keep_capabilities, no_new_privs, raise_descriptor_limit, sudo_user, thread_rights,
        verify_unprivileged,
    },
};

/// A user that no system has.
const STRANGER: u32 = 54_321;

fn must_be_root() {
    assert!(rustix::process::geteuid().is_root(), "these tests give up root's rights: run as root");
}

#[test]
fn root_becomes_a_user_without_rights_and_cannot_return() {
    must_be_root();
    alone("root_becomes_a_user_without_rights_and_cannot_return", || {
        let user = User { uid: STRANGER, gid: STRANGER + 1, groups: vec![7, STRANGER + 1] };
        let given_up = give_up(Some(&user)).unwrap();
        assert_eq!((given_up.uid, given_up.gid), (STRANGER, STRANGER + 1));
        assert!(given_up.bounding_set_empty && given_up.securebits_locked);
        // A thread that is started later has nothing either.
        let threads =
            thread::scope(|scope| scope.spawn(|| verify_unprivileged().unwrap()).join().unwrap());
        assert_eq!(threads.len(), 2);
        for thread in threads {
            assert_eq!((thread.uids, thread.gids), ([STRANGER; 4], [STRANGER + 1; 4]));
            assert_eq!(thread.groups, [7, STRANGER + 1]);
            assert!(thread.no_new_privs && thread.bounding.is_empty());
        }
        assert!(become_user(0, 0, &[0]).is_err());
        assert!(File::open("/etc/shadow").is_err());
        assert!(netns::in_private_namespace(|| ()).unwrap_err().is_permission());
        // Undumpable: what the process has open is root's to look at, nobody else's.
        assert_eq!(fs::metadata("/proc/self/fd").unwrap().uid(), 0);
    });
}

#[test]
fn root_without_capabilities_owns_root_files_and_nothing_more() {
    must_be_root();
    let directory = tempfile::tempdir().unwrap();
    alone("root_without_capabilities_owns_root_files_and_nothing_more", || {
        let given_up = give_up(None).unwrap();
        assert_eq!(given_up.uid, 0);
        assert!(effective().unwrap().is_empty());
        fs::write(directory.path().join("mine"), "written").unwrap();
        assert!(netns::in_private_namespace(|| ()).unwrap_err().is_permission());
        // Nor does exec bring the capabilities of user id 0 back.
        let status = Command::new("cat").arg("/proc/self/status").output().unwrap().stdout;
        let status = String::from_utf8(status).unwrap();
        for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
            assert!(status.contains(&format!("{set}:\t0000000000000000")), "{set} in {status}");
        }
    });
}

#[test]
fn securebits_alone_keep_exec_from_giving_capabilities_back() {
    must_be_root();
    alone("securebits_alone_keep_exec_from_giving_capabilities_back", || {
        drop_all_capabilities().unwrap();
        let error = verify_unprivileged().unwrap_err();
        assert!(error.to_string().contains("no_new_privs is not set"), "{error}");
        let status = Command::new("cat").arg("/proc/self/status").output().unwrap().stdout;
        assert!(String::from_utf8(status).unwrap().contains("CapEff:\t0000000000000000"));
    });
}

#[test]
fn giving_up_twice_and_without_rights_is_no_error() {
    must_be_root();
    alone("giving_up_twice_and_without_rights_is_no_error", || {
        let user = User { uid: STRANGER, gid: STRANGER, groups: vec![STRANGER] };
        // A person without sudo: no CAP_SETPCAP, so bounding set and securebits stay.
        become_user(user.uid, user.gid, &user.groups).unwrap();
        for user in [None, Some(&user), None] {
            let given_up = give_up(user).unwrap();
            assert_eq!(given_up.uid, STRANGER);
            assert!(!given_up.bounding_set_empty && !given_up.securebits_locked);
        }
        let other = User { uid: STRANGER + 1, ..user };
        assert!(give_up(Some(&other)).unwrap_err().is_permission());
    });
}

#[test]
fn the_number_for_no_change_is_no_user() {
    must_be_root();
    alone("the_number_for_no_change_is_no_user", || {
        for (uid, gid, group) in [(u32::MAX, 1, 1), (1, u32::MAX, 1), (1, 1, u32::MAX)] {
            assert!(become_user(uid, gid, &[group]).is_err());
        }
        assert!(rustix::process::getuid().is_root());
    });
}

#[test]
fn an_opener_keeps_what_it_needs_and_knows_what_it_lacks() {
    must_be_root();
    alone("an_opener_keeps_what_it_needs_and_knows_what_it_lacks", || {
        let needed = [Capability::SYS_ADMIN, Capability::NET_RAW];
        let kept = keep_capabilities(&needed).unwrap();
        assert_eq!(kept, CapabilitySet::from(needed.as_slice()));
        no_new_privs().unwrap();
        let rights = thread_rights().unwrap();
        let [rights] = rights.as_slice() else { panic!("one thread: {rights:?}") };
        assert_eq!((rights.effective, rights.permitted, rights.bounding), (kept, kept, kept));
        assert!(rights.inheritable.is_empty() && rights.ambient.is_empty());
        let error = verify_unprivileged().unwrap_err().to_string();
        assert!(error.contains("effective CAP_NET_RAW, CAP_SYS_ADMIN"), "{error}");
        // Less and less, never more.
        let kept = keep_capabilities(&[Capability::NET_RAW, Capability::NET_ADMIN]).unwrap();
        assert_eq!(kept.to_string(), "CAP_NET_RAW");
        let missing = effective().unwrap().missing(&needed);
        assert_eq!(missing.to_string(), "CAP_SYS_ADMIN");
    });
}

#[test]
fn sudo_is_believed_from_root_only() {
    must_be_root();
    let directory = tempfile::tempdir().unwrap();
    fs::set_permissions(directory.path(), Permissions::from_mode(0o777)).unwrap();
    alone("sudo_is_believed_from_root_only", || {
        assert_eq!(sudo_user(), None, "the tests are not run through sudo's variables");
        for (key, value) in [("SUDO_UID", "54321"), ("SUDO_GID", "54322"), ("SUDO_USER", "ann")] {
            // SAFETY: this process has one thread.
            unsafe { std::env::set_var(key, value) };
        }
        let ann = sudo_user().unwrap();
        assert_eq!((ann.uid, ann.gid, ann.name.as_str()), (54_321, 54_322, "ann"));
        let user = ann.user().unwrap();
        assert_eq!(user.groups, [54_322], "nobody of that name: the primary group alone");
        give_up(Some(&user)).unwrap();
        let file = File::create(directory.path().join("hers")).unwrap().metadata().unwrap();
        assert_eq!((file.uid(), file.gid()), (54_321, 54_322));
        assert_eq!(sudo_user(), None, "anybody can set these variables");
    });
}

#[test]
fn the_descriptor_limit_goes_up_as_far_as_it_may() {
    must_be_root();
    alone("the_descriptor_limit_goes_up_as_far_as_it_may", || {
        use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
        let limits = Rlimit { current: Some(64), maximum: Some(512) };
        setrlimit(Resource::Nofile, limits).unwrap();
        assert_eq!(raise_descriptor_limit(32).unwrap(), 64, "never lowered");
        assert_eq!(raise_descriptor_limit(300).unwrap(), 300);
        drop_all_capabilities().unwrap();
        assert_eq!(raise_descriptor_limit(10_000).unwrap(), 512, "the hard bound");
        let limits = getrlimit(Resource::Nofile);
        assert_eq!((limits.current, limits.maximum), (Some(512), Some(512)));
        let files: Vec<_> = (0..400).map(|_| File::open("/dev/null").unwrap()).collect();
        assert!(files.iter().any(|file| file.as_raw_fd() > 300));
    });
}

/// Writing, making, renaming, removing and truncating at a place.
fn write_everything(directory: &Path) -> std::io::Result<()> {
    let (first, second) = (directory.join("first"), directory.join("second"));
    File::create_new(&first)?.write_all(b"packets")?;
    OpenOptions::new().append(true).open(&first)?.write_all(b"more")?;
    OpenOptions::new().write(true).truncate(true).open(&first)?;
    OpenOptions::new().write(true).open(&first)?.set_len(10)?;
    fs::create_dir(directory.join("beneath"))?;
    fs::rename(&first, &second)?;
    fs::rename(&second, directory.join("beneath/third"))?;
    fs::remove_file(directory.join("beneath/third"))?;
    fs::remove_dir(directory.join("beneath"))
}

#[test]
fn landlock_lets_writing_happen_beneath_the_output_directories_only() {
    let directories = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let [inside, outside] = directories.each_ref().map(|directory| directory.path().to_owned());
    alone("landlock_lets_writing_happen_beneath_the_output_directories_only", || {
        let seen = outside.join("seen");
        fs::write(&seen, "before").unwrap();
        symlink(&outside, inside.join("way-out")).unwrap();
        let mut open_before = OpenOptions::new().append(true).open(&seen).unwrap();
        let listener = UnixListener::bind(outside.join("engine.sock")).unwrap();

        let rules = Rules { write_beneath: vec![inside.clone()] };
        assert_eq!(restrict(&rules, Mode::Strict).unwrap(), Enforced::Fully);

        write_everything(&inside).unwrap();
        for place in [&outside, &inside.join("way-out"), Path::new("/var/tmp")] {
            let error = write_everything(place).unwrap_err();
            assert_eq!(error.kind(), std::io::ErrorKind::PermissionDenied, "{}", place.display());
        }
        for refused in [
            File::options().append(true).open(&seen).map(drop),
            fs::remove_file(&seen),
            fs::rename(&seen, inside.join("taken")),
            fs::write("/proc/self/comm", "name"),
        ] {
            assert!(refused.is_err());
        }
        assert_eq!(fs::read_to_string(&seen).unwrap(), "before", "reading is free");
        open_before.write_all(b" and after").unwrap();
        fs::write("/dev/null", "nothing").unwrap();
        std::os::unix::net::UnixStream::connect(outside.join("engine.sock")).unwrap();
        drop(listener);
        assert!(Command::new("true").status().unwrap().success(), "programs can be started");
        let denied = thread::spawn(move || write_everything(&outside)).join().unwrap();
        assert!(denied.is_err(), "a thread that is started later is restricted, too");
    });
}

#[test]
fn a_watch_that_was_handed_over_is_read_without_any_right() {
    must_be_root();
    let directory = tempfile::tempdir().unwrap();
    alone("a_watch_that_was_handed_over_is_read_without_any_right", || {
        let secret = directory.path().join("secret");
        fs::DirBuilder::new().mode(0o700).create(&secret).unwrap();
        let watch = Watch::open(File::open(&secret).unwrap()).unwrap();
        // Somebody who keeps their rights.
        let mut other = Command::new("sh")
            .args(["-c", "read word; : > \"$0/made\"", secret.to_str().unwrap()])
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let watch = Watch::from_fd(watch.into());

        give_up(Some(&User { uid: STRANGER, gid: STRANGER, groups: Vec::new() })).unwrap();
        assert_eq!(restrict(&Rules::default(), Mode::Strict).unwrap(), Enforced::Fully);
        fs::read_dir(&secret).unwrap_err();
        other.stdin.take().unwrap().write_all(b"go\n").unwrap();

        let mut poller = Poller::new().unwrap();
        poller.add(&watch, 7, Trigger::Level).unwrap();
        assert_eq!(poller.wait(Some(Duration::from_secs(10))).unwrap(), [7]);
        assert_eq!(watch.read().unwrap(), [Event::Appeared("made".to_owned())]);
        assert!(other.wait().unwrap().success());
    });
}

#[test]
fn landlock_says_what_it_did_not_do() {
    let directory = tempfile::tempdir().unwrap();
    let nowhere = directory.path().join("nowhere");
    let rules = Rules { write_beneath: vec![nowhere.clone()] };
    alone("landlock_says_what_it_did_not_do", || {
        for mode in [Mode::Auto, Mode::Strict] {
            match restrict(&rules, mode).unwrap_err() {
                Error::Path { path, source, .. } => {
                    assert_eq!(
                        (path, source.kind()),
                        (nowhere.clone(), std::io::ErrorKind::NotFound)
                    );
                }
                other => panic!("{other}"),
            }
        }
        assert!(matches!(restrict(&rules, Mode::Off).unwrap(), Enforced::Not { .. }));
        fs::create_dir(&nowhere).expect("nothing is restricted after an error");
        // The kernel stacks 16 rulesets at most: the seventeenth fails, which auto reports only.
        for _ in 0..16 {
            assert_eq!(restrict(&rules, Mode::Auto).unwrap(), Enforced::Fully);
        }
        let Enforced::Not { why } = restrict(&rules, Mode::Auto).unwrap() else { panic!() };
        assert!(!why.is_empty());
        match restrict(&rules, Mode::Strict).unwrap_err() {
            Error::NotEnforced { why: strict } => assert_eq!(strict, why),
            other => panic!("{other}"),
        }
    });
}
