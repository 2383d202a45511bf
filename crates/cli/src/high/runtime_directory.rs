use std::path::PathBuf;

use super::Surroundings;

/// Where files of this user's that last as long as the login are, as far as the environment says.
///
/// Source: XDG Base Directory Specification, `XDG_RUNTIME_DIR`; a relative path is to be ignored.
pub(crate) fn runtime_directory(surroundings: &Surroundings) -> Option<PathBuf> {
    let directory = (surroundings.variable)("XDG_RUNTIME_DIR").map(PathBuf::from);
    directory.filter(|directory| directory.is_absolute())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_absolute_directory_counts() {
        let with = |variable| Surroundings { variable, ..Surroundings::for_tests() };
        assert_eq!(runtime_directory(&with(|_| None)), None);
        assert_eq!(runtime_directory(&with(|_| Some("x".into()))), None);
        assert_eq!(runtime_directory(&with(|_| Some("/x".into()))), Some("/x".into()));
    }
}
