use std::{
    ffi::{CStr, OsStr, OsString, c_char},
    mem,
    os::unix::ffi::OsStrExt,
    path::PathBuf,
    ptr,
};

/// Room for the texts of one entry of the user database, in bytes (`getpwuid_r(3)`; glibc proposes
/// 1 KiB).
const TEXTS: usize = 64 * 1024;

/// What the system's user database says about a user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// The login name.
    pub name: OsString,
    /// The home directory.
    pub home: PathBuf,
}

impl Account {
    /// The account of a user id (`getpwuid_r(3)`); `None` where the database has none, or cannot
    /// be read.
    #[must_use]
    pub fn of(uid: u32) -> Option<Self> {
        let mut texts: Vec<c_char> = vec![0; TEXTS];
        // SAFETY: plain numbers and pointers, for which zero is a value.
        let mut entry: libc::passwd = unsafe { mem::zeroed() };
        let mut found = ptr::null_mut();
        let (space, room) = (texts.as_mut_ptr(), texts.len());
        // SAFETY: all are valid for writes, and `texts` has the room that is told.
        let status = unsafe { libc::getpwuid_r(uid, &raw mut entry, space, room, &raw mut found) };
        if status != 0 || found.is_null() || entry.pw_name.is_null() || entry.pw_dir.is_null() {
            return None;
        }
        // SAFETY: it was found, so this points to a text in `texts` that ends with a zero byte.
        let name = unsafe { CStr::from_ptr(entry.pw_name) };
        // SAFETY: as above.
        let home = unsafe { CStr::from_ptr(entry.pw_dir) };
        let owned = |text: &CStr| OsStr::from_bytes(text.to_bytes()).to_owned();
        Some(Self { name: owned(name), home: owned(home).into() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_has_an_account_and_strangers_have_none() {
        let root = Account { name: "root".into(), home: "/root".into() };
        assert_eq!(Account::of(0), Some(root));
        assert_eq!(Account::of(4_242_424), None);
    }
}
