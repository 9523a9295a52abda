//! Text files as operators make them, on every system and by every mistake.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]
use std::{
    fs,
    os::unix::{fs::PermissionsExt as _, net::UnixListener},
    path::{Path, PathBuf},
    process::Command,
};

use tidegate_program::text_file::{MAX_SMALL, read, read_line};

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn with(&self, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.path().join("file");
        fs::write(&path, bytes).unwrap();
        path
    }
}

fn why(path: &Path) -> String {
    read(path, MAX_SMALL).unwrap_err().to_string()
}

fn wide(text: &str, bytes: usize, big: bool, mark: bool) -> Vec<u8> {
    let marked = if mark { format!("\u{feff}{text}") } else { text.to_owned() };
    let unit = |n: u32| if big { n.to_be_bytes()[4 - bytes..].to_vec() } else { n.to_le_bytes()[..bytes].to_vec() };
    marked.chars().flat_map(|c| unit(u32::from(c))).collect()
}

#[test]
fn a_mark_and_windows_line_ends_do_no_harm() {
    let folder = Folder::new();
    for bytes in ["\u{feff}a: 1\r\nb: 2\r\n", "a: 1\r\nb: 2\r\n", "a: 1\nb: 2\n"] {
        let text = read(&folder.with(bytes), MAX_SMALL).unwrap();
        assert!(text.starts_with("a: 1"), "{text:?}");
    }
    for line in ["tga_x", "tga_x\n", "tga_x\r\n", "\u{feff}tga_x\r\n", "\n  tga_x  \n\n"] {
        assert_eq!(read_line(&folder.with(line)).unwrap(), "tga_x", "{line:?}");
    }
}

#[test]
fn every_other_encoding_is_named_with_the_remedy() {
    let folder = Folder::new();
    for (bytes, name) in [(2, "UTF-16"), (4, "UTF-32")] {
        for (big, order) in [(false, "little-endian"), (true, "big-endian")] {
            for mark in [false, true] {
                let problem = why(&folder.with(wide("apiVersion: tidegate.dev/v1alpha1\n", bytes, big, mark)));
                assert!(problem.contains(&format!("{name} ({order})")), "{problem}");
                assert!(problem.contains("save it as UTF-8"), "{problem}");
            }
        }
    }
    let latin = why(&folder.with(b"a: 1\nname: M\xfcller\n"));
    assert!(latin.contains("line 2, column 8") && latin.contains("0xfc") && latin.contains("UTF-8"), "{latin}");
    let zipped = why(&folder.with(b"\x1f\x8b\x08\x00\x00\x00"));
    assert!(zipped.contains("gzip"), "{zipped}");
    let nul = why(&folder.with(b"a: 1\nb: \0\n"));
    assert!(nul.contains("line 2, column 4") && nul.contains("NUL"), "{nul}");
}

#[test]
fn what_is_no_file_of_text_is_said() {
    let folder = Folder::new();
    assert_eq!(why(folder.0.path()), "this is a folder; a file is wanted");
    assert_eq!(why(&folder.0.path().join("none")), "there is no such file");
    let socket = folder.0.path().join("socket");
    let _listener = UnixListener::bind(&socket).unwrap();
    assert_eq!(why(&socket), "this is a socket; a file is wanted");
    assert_eq!(why(Path::new("/dev/zero")), "it is larger than 1 MiB");
    assert_eq!(why(&folder.with(vec![b'a'; (1 << 20) + 1])), "it is larger than 1 MiB");
    assert_eq!(read(Path::new("/dev/null"), MAX_SMALL).unwrap(), "");
    assert_eq!(read_line(Path::new("/dev/null")).unwrap_err().to_string(), "it is empty");
    assert!(read_line(&folder.with("a\nb\n")).unwrap_err().to_string().contains("more than one line"));
    assert!(read_line(Path::new("/dev/zero")).unwrap_err().to_string().contains("larger than 16 KiB"));
}

#[test]
fn a_pipe_is_read_to_its_end() {
    let folder = Folder::new();
    let pipe = folder.0.path().join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let writer = {
        let pipe = pipe.clone();
        std::thread::spawn(move || fs::write(pipe, "\u{feff}tga_x\r\n").unwrap())
    };
    assert_eq!(read_line(&pipe).unwrap(), "tga_x");
    writer.join().unwrap();
}

#[test]
fn a_missing_right_names_owner_and_mode() {
    if rustix::process::geteuid().is_root() {
        return; // root may read everything
    }
    let folder = Folder::new();
    let path = folder.with("secret");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o000)).unwrap();
    let problem = why(&path);
    assert!(problem.contains("mode 0000") && !problem.contains("secret"), "{problem}");
}

#[test]
fn no_message_holds_what_the_file_holds() {
    let folder = Folder::new();
    for bytes in [&b"tga_sec\xffret\n"[..], b"tga_secret\nmore\n", b"tga_secret\0\n"] {
        let problem = read_line(&folder.with(bytes)).unwrap_err().to_string();
        assert!(!problem.contains("tga_") && !problem.contains("ret"), "{problem}");
    }
}
