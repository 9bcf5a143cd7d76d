//! What a program does to the files of a folder, and when it answers a client: recorded by strace.
//!
//! Whether nothing was overlooked is seen in the end: the model must then hold what the folder holds.

use std::{
    collections::HashMap,
    ffi::OsString,
    fs,
    os::unix::ffi::OsStringExt,
    path::{Path, PathBuf},
    process::Command,
};

use testkit::strace;

/// What was done, in the order in which it was completed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Act {
    Create(PathBuf),
    MakeFolder(PathBuf),
    /// Bytes at this place, or at the end: what writes without naming a place only ever adds here.
    Write(PathBuf, Option<usize>, Vec<u8>),
    Resize(PathBuf, usize),
    Sync(PathBuf),
    Rename(PathBuf, PathBuf),
    Remove(PathBuf),
    /// To a client.
    Send(Vec<u8>),
}

/// An act, and how strace finds it again: it is the `nth` call of this name by its thread.
#[derive(Debug, Clone)]
pub(super) struct Step {
    pub(super) act: Act,
    pub(super) call: String,
    pub(super) nth: usize,
    /// Whether it came to an end: of what is under way when a process ends, strace does not know.
    pub(super) is_complete: bool,
}

/// The calls that change files, or make changes durable.
pub(super) const CALLS: &str = "openat,write,pwrite64,ftruncate,fsync,fdatasync,rename,unlink,mkdir";

/// The same command, which will leave a trace in this file.
pub(super) fn traced(command: &Command, trace: &Path) -> Command {
    let calls = format!("--trace={CALLS},sendto,writev");
    let output = format!("--output={}", trace.display());
    // Whole strings in hexadecimal form, and the path behind each descriptor.
    strace(&[&output, &calls, "-xx", "--string-limit=16000000", "--decode-fds=path"], command)
}

/// Reads what was done below this folder.
pub(super) fn read(trace: &Path, folder: &Path) -> Vec<Step> {
    let text = fs::read_to_string(trace).expect("strace wrote a trace");
    let (mut halves, mut counts) = (HashMap::new(), HashMap::<(&str, String), usize>::new());
    let mut steps = Vec::new();
    for line in text.lines() {
        let (thread, said) = line.split_once(' ').expect("a line begins with a thread");
        let said = said.trim_start();
        let call = if let Some(begun) = said.strip_suffix(" <unfinished ...>") {
            halves.insert(thread, begun);
            continue;
        } else if let Some((_, rest)) = said.split_once(" resumed>") {
            format!("{}{rest}", halves.remove(thread).expect("it was begun"))
        } else {
            said.to_owned()
        };
        let Some((name, arguments)) = call.split_once('(') else { continue };
        let nth = counts.entry((thread, name.to_owned())).or_default();
        *nth += 1;
        // What failed changed nothing.
        let Some((arguments, result)) = arguments.rsplit_once(" = ").filter(|(_, result)| !result.starts_with('-'))
        else {
            continue;
        };
        assert!(!arguments.contains("\"..."), "strace cut a string: {name}");
        let done = acts(name, arguments.trim_end().trim_end_matches(')'), result);
        let here = done.into_iter().filter(|act| act.path().is_none_or(|path| path.starts_with(folder)));
        let is_complete = result != "?";
        steps.extend(here.map(|act| Step { act, call: name.to_owned(), nth: *nth, is_complete }));
    }
    steps
}

impl Act {
    /// What was changed or synced.
    pub(super) fn path(&self) -> Option<&Path> {
        match self {
            Self::Create(path)
            | Self::MakeFolder(path)
            | Self::Write(path, ..)
            | Self::Resize(path, _)
            | Self::Sync(path)
            | Self::Rename(path, _)
            | Self::Remove(path) => Some(path),
            Self::Send(_) => None,
        }
    }
}

fn acts(name: &str, arguments: &str, result: &str) -> Vec<Act> {
    let mut strings = strings(arguments);
    let mut path = || PathBuf::from(OsString::from_vec(strings.remove(0)));
    match name {
        "openat" if arguments.contains("O_TRUNC") => {
            let path = path();
            vec![Act::Create(path.clone()), Act::Resize(path, 0)]
        }
        "openat" if arguments.contains("O_CREAT") => vec![Act::Create(path())],
        "mkdir" => vec![Act::MakeFolder(path())],
        "unlink" => vec![Act::Remove(path())],
        "rename" => vec![Act::Rename(path(), path())],
        "sendto" | "writev" => vec![Act::Send(strings.concat())],
        "write" | "pwrite64" | "ftruncate" | "fsync" | "fdatasync" => {
            let Some(path) = described(arguments) else { return Vec::new() };
            let last = || arguments.rsplit(' ').next().and_then(|number| number.parse().ok()).expect("a number");
            let written = |place| {
                let mut bytes = strings.first().cloned().unwrap_or_default();
                // Of a write that was cut short, the rest follows in another one.
                if let Ok(written) = result.parse() {
                    assert!(written <= bytes.len(), "{name} of {} bytes gave {written}", bytes.len());
                    bytes.truncate(written);
                }
                Act::Write(path.clone(), place, bytes)
            };
            vec![match name {
                "write" => written(None),
                "pwrite64" => written(Some(last())),
                "ftruncate" => Act::Resize(path, last()),
                _ => Act::Sync(path),
            }]
        }
        _ => Vec::new(),
    }
}

/// The path behind the descriptor that comes first, unless nothing has that name any more.
fn described(arguments: &str) -> Option<PathBuf> {
    let (path, rest) = arguments.split_once('<')?.1.split_once('>')?;
    (!rest.starts_with("(deleted)")).then(|| OsString::from_vec(bytes(path)).into())
}

fn strings(arguments: &str) -> Vec<Vec<u8>> {
    arguments.split('"').skip(1).step_by(2).map(bytes).collect()
}

/// From `\x61\x62`.
fn bytes(text: &str) -> Vec<u8> {
    let digits = text.split("\\x").skip(1);
    digits.map(|digits| u8::from_str_radix(digits, 16).expect("two hexadecimal digits")).collect()
}
