use std::{
    fs::{self, File},
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
};

use crate::{Engine, Error, Program, judge, traffic};

/// The test image.
pub const IMAGE: &str = "whaletap-lab:latest";
/// Its label, whose value is the fingerprint of what is in it.
const CONTENT: &str = "whaletap.lab";
/// Serializes imports between the tests' processes.
const LOCK: &str = "/run/whaletap-lab-image.lock";
/// What tests call by these names.
const APPLETS: &[&str] = &[
    "sh", "cat", "echo", "false", "hostname", "httpd", "ifconfig", "ip", "kill", "ls", "mkdir",
    "nc", "nslookup", "ping", "ps", "sleep", "stat", "true", "wget",
];

/// Makes the image out of busybox and the traffic program, unless it is there with this content.
pub(super) fn import(engine: &Engine) -> Result<(), Error> {
    let traffic = traffic::program()?;
    let busybox = judge::find("busybox").ok_or_else(|| Error::Missing {
        missing: vec!["busybox (package busybox-static)".to_owned()],
    })?;
    let wanted = fingerprint([busybox.as_path(), traffic.as_path()])?;
    if present(engine).as_deref() == Some(wanted.as_str()) {
        return Ok(());
    }
    let lock = File::create(LOCK).map_err(Error::file(LOCK))?;
    lock.lock().map_err(Error::file(LOCK))?;
    if present(engine).as_deref() == Some(wanted.as_str()) {
        return Ok(());
    }

    let directory = tempfile::tempdir().map_err(Error::file("a temporary directory"))?;
    let root = directory.path().join("root");
    for part in ["bin", "dev", "etc", "proc", "sys", "tmp", "var"] {
        let part = root.join(part);
        fs::create_dir_all(&part).map_err(Error::file(&part))?;
    }
    place(&busybox, &root.join("bin/busybox"))?;
    place(&traffic, &root.join("bin/whaletap-traffic"))?;
    for applet in APPLETS {
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
        .arg(IMAGE)
        .run()?;
    // Images of earlier builds have lost their name; those in use stay until the next time.
    let filter = format!("label={CONTENT}");
    let _ = engine.docker().args(["image", "prune", "--force", "--filter", &filter]).run();
    Ok(())
}

/// The fingerprint of the image that is there.
fn present(engine: &Engine) -> Option<String> {
    let format = format!("{{{{index .Config.Labels \"{CONTENT}\"}}}}");
    let inspect = ["image", "inspect", "--format", &format, IMAGE];
    let finished = engine.docker().args(inspect).run().ok()?;
    Some(finished.stdout_text().trim().to_owned())
}

fn place(from: &Path, to: &Path) -> Result<(), Error> {
    fs::copy(from, to).map_err(Error::file(from))?;
    fs::set_permissions(to, fs::Permissions::from_mode(0o755)).map_err(Error::file(to))
}

/// FNV-1a over the files and the names: nobody forges this image, it only has to change with
/// its content.
fn fingerprint<'a>(files: impl IntoIterator<Item = &'a Path>) -> Result<String, Error> {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    let mut add = |bytes: &[u8]| {
        for byte in bytes {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    };
    for file in files {
        add(&fs::read(file).map_err(Error::file(file))?);
    }
    for applet in APPLETS {
        add(applet.as_bytes());
    }
    Ok(format!("{hash:016x}"))
}
