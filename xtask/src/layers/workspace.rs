use std::{collections::BTreeMap, env, path::Path, path::PathBuf, process::Command};

use anyhow::{Context, Result, bail};
use serde::Deserialize;

/// The workspace's crates and what they depend on, as cargo tells it.
#[derive(Debug)]
pub(crate) struct Workspace {
    /// Sorted by name.
    pub(crate) crates: Vec<Member>,
}

/// One crate of the workspace.
#[derive(Debug)]
pub(crate) struct Member {
    /// The name of its folder, which is what the code and the table call it: `model` and not
    /// `whaletap-model`.
    pub(crate) name: String,
    /// Its `Cargo.toml`.
    pub(crate) manifest: PathBuf,
    /// What it asks for itself; not what that brings along.
    pub(crate) dependencies: Vec<Dependency>,
}

/// One line of a crate's dependency tables.
#[derive(Debug)]
pub(crate) struct Dependency {
    /// Name of the package, or the folder's name for a crate of this workspace.
    pub(crate) name: String,
    /// Whether it is a crate of this workspace.
    pub(crate) ours: bool,
    /// In which table it stands.
    pub(crate) kind: Kind,
}

/// The table of `Cargo.toml` that a dependency stands in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `[dependencies]`.
    Normal,
    /// `[dev-dependencies]`: tests, examples and benches only.
    Dev,
    /// `[build-dependencies]`.
    Build,
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    manifest_path: PathBuf,
    dependencies: Vec<PackageDependency>,
}

#[derive(Deserialize)]
struct PackageDependency {
    name: String,
    kind: Option<String>,
    path: Option<PathBuf>,
}

impl Workspace {
    /// Asks cargo.
    ///
    /// `--no-deps` lists the workspace's own packages with what each asks for, which is all that
    /// is needed, and resolves nothing: no network, no lock file.
    ///
    /// # Errors
    ///
    /// When cargo cannot be run, or says something else than expected.
    pub(crate) fn load(root: &Path) -> Result<Self> {
        let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let output = Command::new(cargo)
            .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
            .current_dir(root)
            .output()
            .context("cannot run cargo metadata")?;
        if !output.status.success() {
            bail!("cargo metadata failed: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        Self::parse(&output.stdout)
    }

    /// Reads what `cargo metadata` printed.
    ///
    /// # Errors
    ///
    /// When it is not the JSON that cargo documents.
    pub(crate) fn parse(json: &[u8]) -> Result<Self> {
        let metadata: Metadata =
            serde_json::from_slice(json).context("cargo metadata is not what cargo documents")?;
        let mut folders = BTreeMap::new();
        for package in &metadata.packages {
            folders.insert(package.name.clone(), folder(&package.manifest_path)?);
        }
        let mut crates = Vec::new();
        for package in metadata.packages {
            let mut dependencies = Vec::new();
            for dependency in package.dependencies {
                // A path as well as a name, so that a registry package that happens to have a
                // member's name is not taken for the member.
                let member = folders.get(&dependency.name).filter(|_| dependency.path.is_some());
                dependencies.push(Dependency {
                    ours: member.is_some(),
                    kind: match dependency.kind.as_deref() {
                        None => Kind::Normal,
                        Some("dev") => Kind::Dev,
                        Some("build") => Kind::Build,
                        Some(other) => bail!("{}: unknown kind `{other}`", package.name),
                    },
                    name: member.cloned().unwrap_or(dependency.name),
                });
            }
            crates.push(Member {
                name: folder(&package.manifest_path)?,
                manifest: package.manifest_path,
                dependencies,
            });
        }
        crates.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(Self { crates })
    }
}

fn folder(manifest: &Path) -> Result<String> {
    manifest
        .parent()
        .and_then(Path::file_name)
        .and_then(|name| name.to_str())
        .map(str::to_owned)
        .with_context(|| format!("{} has no folder", manifest.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const METADATA: &str = r#"{"packages":[
        {"name":"whaletap-sys","manifest_path":"/w/crates/sys/Cargo.toml","dependencies":[
            {"name":"whaletap-model","kind":null,"path":"/w/crates/model","source":null},
            {"name":"libc","kind":null,"source":"registry"},
            {"name":"whaletap-lab","kind":"dev","path":"/w/crates/lab"},
            {"name":"cc","kind":"build","source":"registry"}]},
        {"name":"whaletap-model","manifest_path":"/w/crates/model/Cargo.toml","dependencies":[
            {"name":"whaletap-sys","kind":null,"source":"registry"}]},
        {"name":"whaletap-lab","manifest_path":"/w/crates/lab/Cargo.toml","dependencies":[]}],
        "version":1}"#;

    #[test]
    fn crates_are_called_by_their_folder() {
        let workspace = Workspace::parse(METADATA.as_bytes()).unwrap();
        let names: Vec<&str> = workspace.crates.iter().map(|member| member.name.as_str()).collect();
        assert_eq!(names, ["lab", "model", "sys"]);
    }

    #[test]
    fn kinds_and_owners_are_told_apart() {
        let workspace = Workspace::parse(METADATA.as_bytes()).unwrap();
        let sys: Vec<(&str, bool, Kind)> = workspace.crates[2]
            .dependencies
            .iter()
            .map(|d| (d.name.as_str(), d.ours, d.kind))
            .collect();
        assert_eq!(
            sys,
            [
                ("model", true, Kind::Normal),
                ("libc", false, Kind::Normal),
                ("lab", true, Kind::Dev),
                ("cc", false, Kind::Build),
            ]
        );
    }

    #[test]
    fn a_registry_package_is_not_a_member() {
        let workspace = Workspace::parse(METADATA.as_bytes()).unwrap();
        let stranger = &workspace.crates[1].dependencies[0];
        assert_eq!((stranger.name.as_str(), stranger.ours), ("whaletap-sys", false));
    }

    #[test]
    fn other_json_is_refused() {
        assert!(Workspace::parse(b"{}").is_err());
        assert!(Workspace::parse(b"no json").is_err());
    }
}
