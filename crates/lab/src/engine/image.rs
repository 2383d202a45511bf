use std::{
    fs::{self, File},
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
};

use crate::{Engine, Error, Program, judge, traffic};

/// The test image.
pub const IMAGE: &str = "whaletap-lab:latest";
/// The image with tcpdump in it, as people have one for `docker run --net=container:…`.
pub const TCPDUMP_IMAGE: &str = "whaletap-lab-tcpdump:latest";
/// Their label, whose value is the fingerprint of what is in it.
const CONTENT: &str = "whaletap.lab";
/// Serializes imports between the tests' processes.
const LOCK: &str = "/run/whaletap-lab-image.lock";
/// What tests call by these names.
const APPLETS: &[&str] = &[
    "sh", "cat", "echo", "false", "hostname", "httpd", "ifconfig", "ip", "kill", "ls", "mkdir",
    "nc", "nslookup", "ping", "ps", "sleep", "stat", "true", "wget",
];

/// An image that is made of files of this machine.
#[derive(Debug)]
pub(super) struct Image {
    name: &'static str,
    /// Files here, and where they are in it.
    files: Vec<(PathBuf, PathBuf)>,
    /// Links in `/bin` to its busybox.
    applets: &'static [&'static str],
}

impl Image {
    /// The one of all tests: busybox and the traffic program.
    pub(super) fn of_tests() -> Result<Self, Error> {
        let traffic = (traffic::program()?, "bin/whaletap-traffic".into());
        let busybox = (found("busybox", "busybox-static")?, "bin/busybox".into());
        Ok(Self { name: IMAGE, files: vec![busybox, traffic], applets: APPLETS })
    }

    /// This machine's tcpdump with the libraries that it needs.
    pub(super) fn of_tcpdump() -> Result<Self, Error> {
        let tcpdump = found("tcpdump", "tcpdump")?;
        let needed = Program::new("ldd").arg(&tcpdump).run()?.stdout_text();
        let libraries = needed.lines().filter_map(library).map(|path| (path.clone(), path));
        let mut files: Vec<_> = libraries.collect();
        files.push((tcpdump, "bin/tcpdump".into()));
        Ok(Self { name: TCPDUMP_IMAGE, files, applets: &[] })
    }

    /// Makes it, unless it is there with this content.
    pub(super) fn import(&self, engine: &Engine) -> Result<(), Error> {
        let wanted = self.fingerprint()?;
        if self.is_present(engine, &wanted) {
            return Ok(());
        }
        let lock = File::create(LOCK).map_err(Error::file(LOCK))?;
        lock.lock().map_err(Error::file(LOCK))?;
        if self.is_present(engine, &wanted) {
            return Ok(());
        }

        let directory = tempfile::tempdir().map_err(Error::file("a temporary directory"))?;
        let root = directory.path().join("root");
        for part in ["bin", "dev", "etc", "proc", "sys", "tmp", "var"] {
            let part = root.join(part);
            fs::create_dir_all(&part).map_err(Error::file(&part))?;
        }
        for (from, to) in &self.files {
            place(from, &root.join(to.strip_prefix("/").unwrap_or(to)))?;
        }
        for applet in self.applets {
            let link = root.join("bin").join(applet);
            symlink("busybox", &link).map_err(Error::file(&link))?;
        }
        for (name, text) in [("passwd", "root:x:0:0::/:/bin/sh\n"), ("group", "root:x:0:\n")] {
            let path = root.join("etc").join(name);
            fs::write(&path, text).map_err(Error::file(&path))?;
        }
        let archive = directory.path().join("root.tar");
        Program::new("tar").arg("-C").arg(&root).arg("-cf").arg(&archive).arg(".").run()?;
        engine
            .docker()
            .args(["import", "--change", &format!("LABEL {CONTENT}={wanted}")])
            .args(["--change", "ENV PATH=/bin", "--change", r#"CMD ["sleep", "600"]"#])
            .arg(&archive)
            .arg(self.name)
            .run()?;
        // Images of earlier builds have lost their name; those in use stay until the next time.
        let filter = format!("label={CONTENT}");
        let _ = engine.docker().args(["image", "prune", "--force", "--filter", &filter]).run();
        Ok(())
    }

    /// Whether it is there with this fingerprint.
    fn is_present(&self, engine: &Engine, wanted: &str) -> bool {
        let format = format!("{{{{index .Config.Labels \"{CONTENT}\"}}}}");
        let inspect = ["image", "inspect", "--format", &format, self.name];
        let said = engine.docker().args(inspect).run();
        said.is_ok_and(|finished| finished.stdout_text().trim() == wanted)
    }

    /// FNV-1a over the files and the names: nobody forges these images, they only have to change
    /// with their content.
    fn fingerprint(&self) -> Result<String, Error> {
        let mut hash = 0xcbf2_9ce4_8422_2325_u64;
        let mut add = |bytes: &[u8]| {
            for byte in bytes {
                hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
            }
        };
        for (file, _) in &self.files {
            add(&fs::read(file).map_err(Error::file(file))?);
        }
        for applet in self.applets {
            add(applet.as_bytes());
        }
        Ok(format!("{hash:016x}"))
    }
}

fn found(program: &str, package: &str) -> Result<PathBuf, Error> {
    judge::find(program)
        .ok_or_else(|| Error::Missing { missing: vec![format!("{program} (package {package})")] })
}

/// The path in a line of `ldd`: `\tlibc.so.6 => /lib/…/libc.so.6 (0x…)`, and the loader alone. What
/// the kernel itself brings has none.
fn library(line: &str) -> Option<PathBuf> {
    line.split_whitespace().find(|word| word.starts_with('/')).map(PathBuf::from)
}

fn place(from: &Path, to: &Path) -> Result<(), Error> {
    if let Some(above) = to.parent() {
        fs::create_dir_all(above).map_err(Error::file(above))?;
    }
    fs::copy(from, to).map_err(Error::file(from))?;
    fs::set_permissions(to, fs::Permissions::from_mode(0o755)).map_err(Error::file(to))
}
