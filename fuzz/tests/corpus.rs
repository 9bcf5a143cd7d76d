//! The committed corpus: what is promised holds for each of its inputs.

use std::{fs, path::Path};

use distmirror_fuzz::{authority, conditions, connection, leaf, range};

/// Checks every input of a target.
fn replay(target: &str, check: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
    let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut count = 0;
    for entry in entries {
        let path = entry.expect("the folder can be listed").path();
        let input = fs::read(&path).expect("an input can be read");
        let held = std::panic::catch_unwind(|| check(&input));
        assert!(held.is_ok(), "{} broke it", path.display());
        count += 1;
    }
    assert!(count > 5, "{} has {count} inputs", folder.display());
}

#[test]
fn authorities() {
    replay("authority", authority::check);
}

#[test]
fn ranges() {
    replay("range", range::check);
}

#[test]
fn conditional_requests() {
    replay("conditions", conditions::check);
}

#[test]
fn leaves() {
    replay("leaf", leaf::check);
}

#[test]
fn connections() {
    replay("connection", connection::check);
}
