//! Where things are: the workspace, the directory of installed tools, programs on the search path.

use std::path::{Path, PathBuf};

/// The root of the workspace.
pub(crate) fn workspace() -> PathBuf {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.parent().unwrap_or(own).to_owned()
}

/// Where Cargo puts what it builds.
pub(crate) fn target_directory() -> PathBuf {
    workspace().join(std::env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into()))
}

/// Where tools that Debian does not have are installed; `testkit::tools_dir` looks at the same place.
pub(crate) fn tools_directory() -> PathBuf {
    target_directory().join("tools")
}

/// Whether a program is on the search path, or where Debian keeps servers.
pub(crate) fn has_program(name: &str) -> bool {
    let searched = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&searched)
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .chain(postgresql_directories())
        .any(|directory| directory.join(name).is_file())
}

/// Debian keeps the programs of each PostgreSQL version in a directory of their own.
fn postgresql_directories() -> Vec<PathBuf> {
    let Ok(versions) = std::fs::read_dir("/usr/lib/postgresql") else {
        return Vec::new();
    };
    versions.flatten().map(|version| version.path().join("bin")).collect()
}
