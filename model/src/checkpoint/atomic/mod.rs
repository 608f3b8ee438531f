//! Files and directories that appear whole or not at all.
//!
//! Both are filled beside their place under a hidden name, forced to disk, and renamed into place. What
//! a failure leaves behind is removed when the guard is dropped; what a killed process leaves behind has
//! `.partial-glmtune-` in its name, stands in nobody's way, and goes with [`remove_stale`].
//!
//! Nothing is written or removed through a link: a link is replaced itself.

mod dir;
mod file;
mod stale;
mod target;
mod temporary;

pub use dir::{AtomicDir, Existing};
pub use file::AtomicFile;
pub use stale::remove_stale;

use std::fs::File;
use std::io;
use std::path::Path;

fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Makes a rename in a directory durable, where directories can be opened.
fn sync_dir(dir: &Path) -> io::Result<()> {
    if cfg!(unix) {
        File::open(dir)?.sync_all()
    } else {
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr)]
mod tests {
    use std::fs;
    use std::io::Write;

    use super::*;

    fn names(dir: &Path) -> Vec<String> {
        let entries = fs::read_dir(dir).unwrap();
        let mut names: Vec<_> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_appears_on_commit() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.json");
        AtomicFile::write(&path, b"old").unwrap();
        let mut file = AtomicFile::create(&path).unwrap();
        let other = AtomicFile::create(&path).unwrap();
        file.write_all(b"new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"old");
        file.commit().unwrap();
        drop(other);
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(names(folder.path()), ["a.json"]);
    }

    #[test]
    fn a_directory_appears_on_commit() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("deep/model");
        let dir = AtomicDir::create(&target, Existing::Refuse).unwrap();
        fs::write(dir.path().join("config.json"), "{}").unwrap();
        assert!(!target.exists());
        dir.commit().unwrap();
        assert_eq!(names(&target), ["config.json"]);

        assert!(AtomicDir::create(&target, Existing::Refuse).is_err());
        let dir = AtomicDir::create(&target, Existing::Replace).unwrap();
        fs::write(dir.path().join("other"), "").unwrap();
        assert_eq!(names(&target), ["config.json"]);
        dir.commit().unwrap();
        assert_eq!(names(&target), ["other"]);
        assert_eq!(names(target.parent().unwrap()), ["model"]);
    }

    #[test]
    fn what_is_dropped_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let dir = AtomicDir::create(&folder.path().join("model"), Existing::Refuse).unwrap();
        fs::write(dir.path().join("config.json"), "{}").unwrap();
        drop(dir);
        drop(AtomicFile::create(&folder.path().join("file")).unwrap());
        assert!(names(folder.path()).is_empty());
    }

    #[test]
    fn an_empty_directory_may_stand_there_a_file_may_not() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("model");
        fs::create_dir(&target).unwrap();
        AtomicDir::create(&target, Existing::Refuse)
            .unwrap()
            .commit()
            .unwrap();
        fs::write(folder.path().join("file"), "").unwrap();
        assert!(AtomicDir::create(&folder.path().join("file"), Existing::Replace).is_err());
        assert!(AtomicDir::create(Path::new("/"), Existing::Replace).is_err());
    }

    #[test]
    fn what_cannot_be_replaced_by_a_file_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let refused = |name: &str| {
            let error = AtomicFile::create(&folder.path().join(name)).expect_err(name);
            assert!(error.is_request(), "{error}");
            error.to_string()
        };
        fs::create_dir(folder.path().join("dir")).unwrap();
        assert!(refused("dir").contains("a directory"));
        assert!(refused(&"x".repeat(300)).contains("longer than"));
        assert!(refused("..").contains("not the name of a file"));
        assert_eq!(names(folder.path()), ["dir"]);
        // The longest name that there is can be written.
        AtomicFile::write(&folder.path().join("x".repeat(255)), b"long").unwrap();
        let long = folder.path().join("y".repeat(255));
        AtomicDir::create(&long, Existing::Refuse)
            .unwrap()
            .commit()
            .unwrap();
        assert!(long.is_dir());
    }

    #[test]
    fn two_that_fill_one_directory_do_not_meet() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("model");
        let first = AtomicDir::create(&target, Existing::Refuse).unwrap();
        let error = AtomicDir::create(&target, Existing::Refuse).expect_err("the second");
        let pid = format!("process {} on host", std::process::id());
        assert!(error.to_string().contains(&pid), "{error}");
        AtomicDir::create(&folder.path().join("other"), Existing::Refuse).unwrap();
        first.commit().unwrap();
        assert_eq!(names(folder.path()), ["model"]);
    }

    #[cfg(unix)]
    mod unix {
        use std::ffi::OsStr;
        use std::os::unix::ffi::OsStrExt;
        use std::os::unix::fs::symlink;
        use std::process::Command;

        use super::*;
        use crate::process::ProcessName;

        #[test]
        fn links_are_replaced_and_what_they_point_to_stays() {
            let folder = tempfile::tempdir().unwrap();
            let (out, away) = (folder.path().join("out"), folder.path().join("away"));
            fs::create_dir(&out).unwrap();
            fs::create_dir(&away).unwrap();
            fs::write(away.join("thesis"), "years").unwrap();
            symlink("../away", out.join("dir")).unwrap();
            symlink("../away/thesis", out.join("file")).unwrap();
            symlink("nothing", out.join("dangling")).unwrap();
            let dir = AtomicDir::create(&out.join("dir"), Existing::Replace).unwrap();
            fs::write(dir.path().join("new"), "").unwrap();
            dir.commit().unwrap();
            for name in ["file", "dangling"] {
                AtomicFile::write(&out.join(name), b"new").unwrap();
            }
            assert_eq!(names(&out), ["dangling", "dir", "file"]);
            assert_eq!(names(&out.join("dir")), ["new"]);
            for name in ["dir", "file", "dangling"] {
                assert!(!out.join(name).is_symlink(), "{name}");
            }
            assert_eq!(names(&away), ["thesis"]);
            assert_eq!(fs::read(away.join("thesis")).unwrap(), b"years");
        }

        /// A user's own link to an empty directory is a choice of a place.
        #[test]
        fn a_link_to_an_empty_directory_is_a_place() {
            let folder = tempfile::tempdir().unwrap();
            let (link, place) = (folder.path().join("link"), folder.path().join("place"));
            symlink("place", &link).unwrap();
            let error = AtomicDir::create(&link, Existing::Refuse).expect_err("dangling");
            assert!(error.to_string().contains("does not exist"), "{error}");
            fs::create_dir(&place).unwrap();
            let dir = AtomicDir::create(&link, Existing::Refuse).unwrap();
            fs::write(dir.path().join("new"), "").unwrap();
            dir.commit().unwrap();
            assert!(link.is_symlink());
            assert_eq!(names(&place), ["new"]);
            assert!(AtomicDir::create(&link, Existing::Refuse).is_err());
        }

        #[test]
        fn devices_pipes_sockets_and_odd_names_are_refused() {
            let folder = tempfile::tempdir().unwrap();
            let (pipe, socket) = (folder.path().join("pipe"), folder.path().join("socket"));
            let made = Command::new("mkfifo").arg(&pipe).status().unwrap();
            assert!(made.success());
            let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
            let link = folder.path().join("link");
            symlink("/dev/null", &link).unwrap();
            let odd = folder.path().join(OsStr::from_bytes(b"\xff"));
            let before = names(folder.path());
            for path in [Path::new("/dev/null"), &pipe, &socket, &link, &odd] {
                let error = AtomicFile::create(path).expect_err("a file");
                assert!(error.is_request(), "{error}");
                // A link to a device is replaced inside an output directory, and no place of a user's.
                let error = AtomicDir::create(path, Existing::Refuse).expect_err("a directory");
                assert!(error.is_request(), "{error}");
            }
            assert_eq!(names(folder.path()), before);
        }

        /// What a process that has ended wrote is removed, what one at work writes is not, nor what another
        /// machine's did.
        #[test]
        fn only_what_the_dead_left_is_removed() {
            let folder = tempfile::tempdir().unwrap();
            let mut child = Command::new("true").spawn().unwrap();
            let dead = child.id();
            child.wait().unwrap();
            let ProcessName { host, boot, .. } = ProcessName::this();
            let gone = format!(".a.partial-glmtune-{host}-{boot}-{dead}-0");
            let gone_dir = format!(".b.partial-glmtune-{host}-{boot}-{dead}-1");
            let held = format!(".c.partial-glmtune-{host}-{boot}-{dead}-0");
            let foreign = format!(".d.partial-glmtune-elsewhere-00000000-{dead}-0");
            let moved = format!(".e.replaced-glmtune-{host}-{boot}-{dead}-0");
            for name in [&gone, &held, &foreign] {
                fs::write(folder.path().join(name), "").unwrap();
            }
            for name in [&gone_dir, &moved] {
                fs::create_dir(folder.path().join(name)).unwrap();
                fs::write(folder.path().join(name).join("x"), "").unwrap();
            }
            fs::write(folder.path().join(".partial-notes"), "").unwrap();
            let _lock = File::open(folder.path().join(&held)).unwrap();
            _lock.lock().unwrap();
            let at_work =
                AtomicDir::create(&folder.path().join("model"), Existing::Refuse).unwrap();
            let removed = remove_stale(folder.path());
            let expected = [&gone, &gone_dir].map(|name| folder.path().join(name));
            assert_eq!(removed, expected);
            // Killed between two renames: what stood there comes back.
            assert_eq!(names(&folder.path().join("e")), ["x"]);
            at_work.commit().unwrap();
            assert_eq!(
                names(folder.path()),
                [&held, &foreign, ".partial-notes", "e", "model"]
            );
        }

        /// The root of a file system takes no rename: it is filled from inside.
        #[test]
        fn an_empty_mount_point_is_filled() {
            let folder = tempfile::tempdir().unwrap();
            let target = folder.path().join("volume");
            fs::create_dir(&target).unwrap();
            let mount = Command::new("mount")
                .args(["-t", "tmpfs", "tmpfs"])
                .arg(&target)
                .output();
            if !mount.is_ok_and(|output| output.status.success()) {
                eprintln!("skipped: nothing can be mounted here");
                return;
            }
            let outcome = std::panic::catch_unwind(|| {
                fs::create_dir(target.join("lost+found")).unwrap();
                let dropped = AtomicDir::create(&target, Existing::Refuse).unwrap();
                assert!(dropped.path().starts_with(&target));
                drop(dropped);
                let dir = AtomicDir::create(&target, Existing::Refuse).unwrap();
                assert!(AtomicDir::create(&target, Existing::Refuse).is_err());
                fs::write(dir.path().join("config.json"), "{}").unwrap();
                fs::write(dir.path().join("weights"), "").unwrap();
                dir.commit().unwrap();
                assert_eq!(names(&target), ["config.json", "lost+found", "weights"]);
                assert_eq!(names(folder.path()), ["volume"]);
                assert!(AtomicDir::create(&target, Existing::Refuse).is_err());
            });
            Command::new("umount").arg(&target).status().unwrap();
            outcome.unwrap();
        }
    }
}
