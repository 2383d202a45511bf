use std::env;

use super::User;
use crate::Error;

/// The person behind `sudo`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SudoUser {
    /// `SUDO_UID`.
    pub uid: u32,
    /// `SUDO_GID`.
    pub gid: u32,
    /// `SUDO_USER`.
    pub name: String,
}

impl SudoUser {
    /// The user with all groups, as a login would give them.
    ///
    /// # Errors
    /// When the groups cannot be looked up.
    pub fn user(&self) -> Result<User, Error> {
        User::with_groups_of(&self.name, self.uid, self.gid)
    }

    /// Reads sudo's three variables (`sudo(8)`, "ENVIRONMENT"), strictly: plain decimal numbers
    /// that are ids, not root's, and a name that a password file could hold.
    fn parse(uid: &str, gid: &str, name: &str) -> Option<Self> {
        let (uid, gid) = (id(uid)?, id(gid)?);
        let is_name = !name.is_empty()
            && name.len() <= NAME_LIMIT
            && !name.chars().any(|c| c.is_control() || matches!(c, ':' | '/' | '\0'));
        (uid != 0 && is_name).then(|| Self { uid, gid, name: name.to_owned() })
    }
}

/// `LOGIN_NAME_MAX`, in bytes.
const NAME_LIMIT: usize = 256;

/// The person who started this process through `sudo`. `None` when this is not root's process,
/// when sudo's variables are absent or malformed, and when root used sudo.
///
/// Only root is asked: for anybody else the variables would be somebody's claim.
#[must_use]
pub fn sudo_user() -> Option<SudoUser> {
    if !rustix::process::geteuid().is_root() {
        return None;
    }
    let variable = |name| env::var(name).ok();
    SudoUser::parse(&variable("SUDO_UID")?, &variable("SUDO_GID")?, &variable("SUDO_USER")?)
}

/// A user or group id in decimal. The highest number means "no change" to the kernel.
fn id(text: &str) -> Option<u32> {
    let plain = !text.is_empty()
        && text.bytes().all(|byte| byte.is_ascii_digit())
        && (text == "0" || !text.starts_with('0'));
    if !plain {
        return None;
    }
    text.parse().ok().filter(|id| *id != u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sudo_variables_name_a_person() {
        let ann = SudoUser { uid: 1000, gid: 100, name: "ann".to_owned() };
        assert_eq!(SudoUser::parse("1000", "100", "ann"), Some(ann));
        let robot = SudoUser { uid: 999, gid: 0, name: "ci-bot$".to_owned() };
        assert_eq!(SudoUser::parse("999", "0", "ci-bot$"), Some(robot));
    }

    #[test]
    fn anything_else_names_nobody() {
        let malformed = ["", "0x3e8", "+1000", "-1", " 1000", "1000 ", "1e3", "01000", "١٠"];
        let bounds = ["4294967295", "4294967296", "99999999999999999999"];
        for id in malformed.into_iter().chain(bounds) {
            assert_eq!(SudoUser::parse(id, "100", "ann"), None, "uid {id:?}");
            assert_eq!(SudoUser::parse("1000", id, "ann"), None, "gid {id:?}");
        }
        assert_eq!(SudoUser::parse("0", "0", "root"), None, "root behind sudo is root");
        for name in ["", "a:b", "../ann", "ann\n", "an\0n", &"a".repeat(NAME_LIMIT + 1)] {
            assert_eq!(SudoUser::parse("1000", "100", name), None, "name {name:?}");
        }
    }
}
