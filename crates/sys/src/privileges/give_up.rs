use std::{ffi::CString, io};

use rustix::{
    io::Errno,
    process::{DumpableBehavior, Gid, Uid, getgid, getgroups, getuid, set_dumpable_behavior},
    thread::{
        CapabilitiesSecureBits, CapabilitySets, capabilities, capabilities_secure_bits,
        capability_is_in_bounding_set, clear_ambient_capability_set,
        remove_capability_from_bounding_set, set_capabilities, set_capabilities_secure_bits,
        set_no_new_privs, set_thread_groups, set_thread_res_gid, set_thread_res_uid,
    },
};

use super::{Capability, CapabilitySet, verify_unprivileged};
use crate::Error;

/// The most groups that a user can be in (`NGROUPS_MAX`).
const GROUPS_LIMIT: usize = 65_536;

/// A user with groups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// The user's id.
    pub uid: u32,
    /// The primary group.
    pub gid: u32,
    /// The supplementary groups.
    pub groups: Vec<u32>,
}

impl User {
    /// A user in all groups that the system's databases (`getgrouplist(3)`) put `name` in.
    ///
    /// # Errors
    /// When the databases cannot be read, and for a name with a zero byte.
    pub fn with_groups_of(name: &str, uid: u32, gid: u32) -> Result<Self, Error> {
        let call = "getgrouplist";
        let name = CString::new(name)
            .map_err(|error| Error::Call { call, source: io::Error::other(error) })?;
        let mut groups: Vec<libc::gid_t> = vec![0; 64];
        loop {
            let mut count = libc::c_int::try_from(groups.len()).unwrap_or(libc::c_int::MAX);
            // SAFETY: the name ends with a zero byte, and `groups` has room for `count` ids.
            let outcome = unsafe {
                libc::getgrouplist(name.as_ptr(), gid, groups.as_mut_ptr(), &raw mut count)
            };
            let count = usize::try_from(count).unwrap_or_default();
            if outcome >= 0 {
                groups.truncate(count);
                return Ok(Self { uid, gid, groups });
            }
            // -1: too many for the room; `count` may say how many there are.
            if groups.len() >= GROUPS_LIMIT {
                let source = io::Error::from_raw_os_error(libc::E2BIG);
                return Err(Error::Call { call, source });
            }
            groups.resize(count.max(groups.len() * 2).min(GROUPS_LIMIT), 0);
        }
    }
}

/// What was given up, as it was read back afterwards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GivenUp {
    /// The user that the process now is, in every way.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
    /// Whether no exec can give a capability back, even where `no_new_privs` did not hold. Takes
    /// `CAP_SETPCAP`, so a process that never had it says `false`.
    pub bounding_set_empty: bool,
    /// Whether user id 0 has lost its meaning for capabilities, for good. As above.
    pub securebits_locked: bool,
}

/// Gives up everything: becomes `user`, drops all capabilities, and sets `no_new_privs`, in the
/// order that the [module](super) tells. Without `user` the process stays whose it is: user id 0
/// without capabilities is an ordinary owner of root's files.
///
/// # Errors
/// [`Error::StillPrivileged`] when several threads run, or when a right is left at the end; when
/// the user cannot be changed. An error may leave the process half-way: do not go on.
///
/// # Privileges
/// `CAP_SETUID` and `CAP_SETGID` to become another user; `CAP_SETPCAP` for the bounding set and the
/// securebits, which stay as they are without it.
pub fn give_up(user: Option<&User>) -> Result<GivenUp, Error> {
    super::require_single_thread()?;
    limit(CapabilitySet::EMPTY)?;
    if let Some(user) = user {
        become_user(user.uid, user.gid, &user.groups)?;
    }
    drop_all_capabilities()?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .map_err(Error::call("prctl(PR_SET_DUMPABLE)"))?;
    no_new_privs()?;
    let locked = capabilities_secure_bits().map_err(Error::call("prctl(PR_GET_SECUREBITS)"))?;
    let mut given_up = GivenUp {
        uid: getuid().as_raw(),
        gid: getgid().as_raw(),
        bounding_set_empty: true,
        securebits_locked: locked.contains(secure_bits()),
    };
    for thread in verify_unprivileged()? {
        given_up.bounding_set_empty &= thread.bounding.is_empty();
        if user.is_some_and(|user| thread.uids != [user.uid; 4] || thread.gids != [user.gid; 4]) {
            let what = format!(
                "thread {} has users {:?} and groups {:?}",
                thread.tid, thread.uids, thread.gids
            );
            return Err(Error::StillPrivileged { what });
        }
    }
    Ok(given_up)
}

/// Becomes another user, in every way: supplementary groups, group, user; real, effective, saved.
/// A process that is already that user with those groups needs no right.
///
/// From user id 0 to another one this also takes all capabilities (`capabilities(7)`, "Effect of
/// user ID changes"). It clears the parent-death signal.
///
/// # Errors
/// [`Error::StillPrivileged`] when several threads run; when the kernel refuses.
///
/// # Privileges
/// `CAP_SETGID` and `CAP_SETUID`.
pub fn become_user(uid: u32, gid: u32, groups: &[u32]) -> Result<(), Error> {
    super::require_single_thread()?;
    if uid == u32::MAX || gid == u32::MAX || groups.contains(&u32::MAX) {
        // The number that means "no change" must not pass for a user.
        return Err(Error::call("setresuid")(Errno::INVAL));
    }
    let mut wanted: Vec<Gid> = groups.iter().copied().map(Gid::from_raw).collect();
    let mut present = getgroups().map_err(Error::call("getgroups"))?;
    wanted.sort_by_key(|group| group.as_raw());
    wanted.dedup();
    present.sort_by_key(|group| group.as_raw());
    if wanted != present {
        set_thread_groups(&wanted).map_err(Error::call("setgroups"))?;
    }
    let gid = Gid::from_raw(gid);
    set_thread_res_gid(gid, gid, gid).map_err(Error::call("setresgid"))?;
    let uid = Uid::from_raw(uid);
    set_thread_res_uid(uid, uid, uid).map_err(Error::call("setresuid"))
}

/// Drops every capability from every set of the calling thread. Where `CAP_SETPCAP` is there the
/// bounding set goes too, and user id 0 loses its meaning for good.
///
/// # Errors
/// When the kernel refuses.
pub fn drop_all_capabilities() -> Result<(), Error> {
    keep_capabilities(&[]).map(drop)
}

/// Drops all capabilities of the calling thread but those of `keep` that it has. What is kept is
/// permitted and effective, and not passed on through exec. Answers what was kept: where that is
/// less than was asked for, [`CapabilitySet::missing`] names the rest.
///
/// # Errors
/// When the kernel refuses.
pub fn keep_capabilities(keep: &[Capability]) -> Result<CapabilitySet, Error> {
    let present = capabilities(None).map_err(Error::call("capget"))?;
    let keep = CapabilitySet::from(keep).and(CapabilitySet::from_bits(present.permitted));
    limit(keep)?;
    clear_ambient_capability_set()
        .or_else(|errno| if errno == Errno::INVAL { Ok(()) } else { Err(errno) })
        .map_err(Error::call("prctl(PR_CAP_AMBIENT)"))?;
    let sets = CapabilitySets {
        effective: keep.bits(),
        permitted: keep.bits(),
        inheritable: CapabilitySet::EMPTY.bits(),
    };
    set_capabilities(None, sets).map_err(Error::call("capset"))?;
    Ok(keep)
}

/// Makes exec unable to give new rights, for good (`PR_SET_NO_NEW_PRIVS`).
///
/// # Errors
/// When the kernel refuses.
pub fn no_new_privs() -> Result<(), Error> {
    set_no_new_privs(true).map_err(Error::call("prctl(PR_SET_NO_NEW_PRIVS)"))
}

/// The capabilities in force for the calling thread.
///
/// # Errors
/// When the kernel refuses.
pub fn effective() -> Result<CapabilitySet, Error> {
    let sets = capabilities(None).map_err(Error::call("capget"))?;
    Ok(CapabilitySet::from_bits(sets.effective))
}

/// User id 0 gives no capability at exec, and nothing becomes ambient; both for good.
fn secure_bits() -> CapabilitiesSecureBits {
    CapabilitiesSecureBits::NO_ROOT
        | CapabilitiesSecureBits::NO_ROOT_LOCKED
        | CapabilitiesSecureBits::NO_CAP_AMBIENT_RAISE
        | CapabilitiesSecureBits::NO_CAP_AMBIENT_RAISE_LOCKED
}

/// Bounds what can come back to `keep`, where `CAP_SETPCAP` allows it. Where it does not, nothing
/// is lost: `no_new_privs` alone already keeps exec from giving anything.
fn limit(keep: CapabilitySet) -> Result<(), Error> {
    if !effective()?.contains(Capability::SETPCAP) {
        return Ok(());
    }
    for capability in keep.complement().singles() {
        // A capability that this kernel does not have answers EINVAL.
        if capability_is_in_bounding_set(capability).unwrap_or(false) {
            remove_capability_from_bounding_set(capability)
                .map_err(Error::call("prctl(PR_CAPBSET_DROP)"))?;
        }
    }
    let present = capabilities_secure_bits().map_err(Error::call("prctl(PR_GET_SECUREBITS)"))?;
    set_capabilities_secure_bits(present | secure_bits())
        .map_err(Error::call("prctl(PR_SET_SECUREBITS)"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::privileges::{ThreadRights, thread_rights};

    #[test]
    fn the_groups_of_a_user_come_with_the_primary_one() {
        let user = User::with_groups_of("root", 0, 0).unwrap();
        assert!(user.groups.contains(&0), "{user:?}");
        let stranger = User::with_groups_of("no-such-user-here", 4242, 4343).unwrap();
        assert_eq!(stranger, User { uid: 4242, gid: 4343, groups: vec![4343] });
        assert!(User::with_groups_of("a\0b", 1, 1).is_err());
    }

    #[test]
    fn nothing_is_given_up_while_other_threads_run() {
        // The test harness itself has at least one.
        let before = thread_rights().unwrap();
        assert!(before.len() > 1, "a test runs on a thread of its own");
        assert!(matches!(give_up(None), Err(Error::StillPrivileged { .. })));
        assert!(matches!(become_user(1, 1, &[]), Err(Error::StillPrivileged { .. })));
        let here = u32::try_from(rustix::thread::gettid().as_raw_pid()).unwrap();
        let find =
            |all: &[ThreadRights]| all.iter().find(|rights| rights.tid == here).cloned().unwrap();
        assert_eq!(find(&before), find(&thread_rights().unwrap()));
    }
}
