//! A model of a disk under a file system that promises no more than POSIX: what is not synced may or may not be there after the
//! power was cut, and a name is durable only when its folder was synced.

use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    fs,
    hash::{DefaultHasher, Hash, Hasher},
    path::{Path, PathBuf},
};

use super::trace::Act;

/// How a process ends, from the mildest to the worst.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// Killed: whatever it did is there.
    Killed,
    /// No power, and nothing that was not synced is there.
    AllLost,
    /// No power, all names are there, and files have the bytes that were synced.
    BytesLost,
    /// No power, all names are there, and in place of bytes that were not synced there are zeros.
    BytesZeroed,
    /// No power, all names are there, and of each file its first page, too, whatever was synced: so small files are whole, and
    /// what belongs to them is not.
    FirstPageKept,
}

pub(super) const ENDS: [End; 5] = [End::Killed, End::AllLost, End::BytesLost, End::BytesZeroed, End::FirstPageKept];

const PAGE_BYTES: usize = 4096;

/// A folder with all that is in it.
#[derive(Debug, Clone)]
pub(super) struct Disk {
    root: PathBuf,
    nodes: Vec<Node>,
}

#[derive(Debug, Clone)]
enum Node {
    File(Twice<Vec<u8>>),
    Folder(Twice<BTreeMap<OsString, usize>>),
}

/// Something as programs see it, and as the disk is sure to have it.
#[derive(Debug, Clone, Default)]
struct Twice<T> {
    now: T,
    synced: T,
}

impl Disk {
    /// What this folder holds; all of it durable.
    pub(super) fn load(root: &Path) -> Self {
        let mut disk = Self { root: root.to_owned(), nodes: vec![Node::Folder(Twice::default())] };
        for (path, content) in Content::of(root).0 {
            let node = match content {
                Some(bytes) => Node::File(Twice { now: bytes.clone(), synced: bytes }),
                None => Node::Folder(Twice::default()),
            };
            disk.name(&root.join(path), node);
        }
        for node in &mut disk.nodes {
            if let Node::Folder(entries) = node {
                entries.synced = entries.now.clone();
            }
        }
        disk
    }

    /// Does what a program did.
    pub(super) fn apply(&mut self, act: &Act) {
        match act {
            Act::Create(path) if self.find(path).is_none() => self.name(path, Node::File(Twice::default())),
            Act::MakeFolder(path) => self.name(path, Node::Folder(Twice::default())),
            Act::Write(path, at, bytes) => {
                let file = self.file(path);
                let at = at.unwrap_or(file.len());
                file.resize(file.len().max(at + bytes.len()), 0);
                file[at..at + bytes.len()].copy_from_slice(bytes);
            }
            Act::Resize(path, length) => self.file(path).resize(*length, 0),
            Act::Sync(path) => match self.find(path).map(|at| &mut self.nodes[at]) {
                Some(Node::File(file)) => file.synced.clone_from(&file.now),
                Some(Node::Folder(entries)) => entries.synced.clone_from(&entries.now),
                None => panic!("synced, and not there: {}", path.display()),
            },
            Act::Rename(from, to) => {
                let node = self.entries(from).remove(name_of(from)).expect("what is renamed is there");
                self.entries(to).insert(name_of(to).to_owned(), node);
            }
            Act::Remove(path) => {
                self.entries(path).remove(name_of(path)).expect("what is removed is there");
            }
            Act::Create(_) | Act::Send(_) => {}
        }
    }

    /// What is there after this end.
    pub(super) fn after(&self, end: End) -> Content {
        let mut content = Content::default();
        self.collect(0, Path::new(""), end, &mut content);
        content
    }

    fn collect(&self, folder: usize, path: &Path, end: End, content: &mut Content) {
        let Node::Folder(entries) = &self.nodes[folder] else { panic!("{} is no folder", path.display()) };
        let entries = if end == End::AllLost { &entries.synced } else { &entries.now };
        for (name, node) in entries.iter().filter(|(name, _)| !is_made_anew(name)) {
            let path = path.join(name);
            match &self.nodes[*node] {
                Node::Folder(_) => {
                    content.0.insert(path.clone(), None);
                    self.collect(*node, &path, end, content);
                }
                Node::File(file) => drop(content.0.insert(path, Some(file.after(end)))),
            }
        }
    }

    fn find(&self, path: &Path) -> Option<usize> {
        let inside = path.strip_prefix(&self.root).expect("only what is in the folder is asked for");
        inside.iter().try_fold(0, |at, name| match &self.nodes[at] {
            Node::Folder(entries) => entries.now.get(name).copied(),
            Node::File(_) => None,
        })
    }

    fn name(&mut self, path: &Path, node: Node) {
        self.nodes.push(node);
        let at = self.nodes.len() - 1;
        self.entries(path).insert(name_of(path).to_owned(), at);
    }

    fn file(&mut self, path: &Path) -> &mut Vec<u8> {
        match self.find(path).map(|at| &mut self.nodes[at]) {
            Some(Node::File(file)) => &mut file.now,
            _ => panic!("no file: {}", path.display()),
        }
    }

    /// The names beside this path.
    fn entries(&mut self, path: &Path) -> &mut BTreeMap<OsString, usize> {
        let folder = path.parent().expect("everything is in the folder");
        match self.find(folder).map(|at| &mut self.nodes[at]) {
            Some(Node::Folder(entries)) => &mut entries.now,
            _ => panic!("no folder: {}", folder.display()),
        }
    }
}

impl Twice<Vec<u8>> {
    fn after(&self, end: End) -> Vec<u8> {
        match end {
            End::Killed => self.now.clone(),
            End::AllLost | End::BytesLost => self.synced.clone(),
            End::BytesZeroed => {
                let mut bytes = self.synced.clone();
                bytes.resize(self.now.len(), 0);
                bytes
            }
            End::FirstPageKept => {
                let (mut bytes, kept) = (self.after(End::BytesZeroed), self.now.len().min(PAGE_BYTES));
                bytes[..kept].copy_from_slice(&self.now[..kept]);
                bytes
            }
        }
    }
}

/// Paths with the bytes of files; nothing for folders.
#[derive(Debug, Default, Clone, PartialEq, Eq, Hash)]
pub(super) struct Content(BTreeMap<PathBuf, Option<Vec<u8>>>);

impl Content {
    /// What is in a folder.
    pub(super) fn of(root: &Path) -> Self {
        let mut content = Self::default();
        let mut folders = vec![root.to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder).expect("a folder can be read") {
                let path = entry.expect("a folder can be read").path();
                if is_made_anew(name_of(&path)) {
                    continue;
                }
                let is_folder = path.is_dir();
                let bytes = (!is_folder).then(|| fs::read(&path).expect("a file can be read"));
                content.0.insert(path.strip_prefix(root).expect("it is in there").to_owned(), bytes);
                if is_folder {
                    folders.push(path);
                }
            }
        }
        content
    }

    /// Puts it into an empty folder.
    pub(super) fn write_to(&self, root: &Path) {
        for (path, bytes) in &self.0 {
            let path = root.join(path);
            let written = match bytes {
                Some(bytes) => fs::write(&path, bytes),
                None => fs::create_dir(&path),
            };
            written.expect("an empty folder can be filled");
        }
    }

    /// What differs, for people.
    pub(super) fn differences(&self, other: &Self) -> Vec<PathBuf> {
        let paths = self.0.keys().chain(other.0.keys());
        paths.filter(|path| self.0.get(*path) != other.0.get(*path)).cloned().collect()
    }

    /// Tells it from others.
    pub(super) fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.hash(&mut hasher);
        hasher.finish()
    }
}

/// SQLite shares this file between processes through memory, and makes it anew when it recovers.
fn is_made_anew(name: &OsStr) -> bool {
    name.to_string_lossy().ends_with("-shm")
}

fn name_of(path: &Path) -> &OsStr {
    path.file_name().expect("a path with a name")
}
