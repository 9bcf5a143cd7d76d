//! A blob store that has no room, or may not be written to, in a namespace of its own.

use std::fs;

use tempfile::TempDir;

use crate::support::in_namespaces;

/// The blobs are on a disk of 4 MiB. What is printed is compared line by line.
const SCRIPT: &str = r#"
set -u
cd "$1"
distmirror=$2
ip link set lo up
mkdir blobs && mount -t tmpfs -o size=4m none blobs
/usr/bin/python3 -m http.server --bind 127.0.0.1 --directory files 8000 > files.log 2>&1 &
"$distmirror" serve --config distmirror.toml > log 2>&1 &
for attempt in $(seq 200); do
    curl -fs -o ready http://127.0.0.1:8080/readyz && break
    sleep 0.1
done
declare() {
    "$distmirror" declare file "http://127.0.0.1:8000/$1" --reason test --wait > out 2>&1
    printf 'declared %s: %s %s\n' "$1" "$?" "$(grep -oE 'No space left on device|Read-only file system' out | head -n 1)"
}
served() {
    printf 'served %s: %s\n' "$1" "$(curl -s -x http://127.0.0.1:3128 --noproxy '' "http://127.0.0.1:8000/$1" | cmp -s - "files/$1" && echo whole)"
}
debris() {
    printf 'debris: %s\n' "$(find blobs/tmp data/spool -type f | wc -l)"
}
declare small
head -c 2500000 /dev/zero > blobs/filler
declare large
debris
served small
rm blobs/filler
"$distmirror" retry http://127.0.0.1:8000/large > /dev/null
declare large
served large
debris
mount -o remount,ro blobs
declare other
served small
served large
mount -o remount,rw blobs
declare third
served third
"#;

#[tokio::test]
async fn a_full_or_read_only_blob_store_fails_what_is_new_and_serves_what_is_there() {
    let folder = TempDir::new().expect("a temporary folder");
    let files = folder.path().join("files");
    fs::create_dir(&files).expect("makes the files");
    for (name, size) in [("small", 1000), ("large", 3_000_000), ("other", 2000), ("third", 3000)] {
        fs::write(files.join(name), name.as_bytes().repeat(size / 5)).expect("makes the files");
    }
    let configuration = format!(
        "data_dir = \"data\"\n[blobs]\nurl = \"file://{}/blobs\"\n\
         [fetch]\nretries = 0\nallow_addresses = [\"127.0.0.1/32:8000\"]\n",
        folder.path().display()
    );
    fs::write(folder.path().join("distmirror.toml"), configuration).expect("writes the configuration");
    let printed = in_namespaces(SCRIPT, folder.path()).await;
    let expected = [
        "declared small: 0 ",
        "declared large: 1 No space left on device",
        "debris: 0",
        "served small: whole",
        "declared large: 0 ",
        "served large: whole",
        "debris: 0",
        "declared other: 1 Read-only file system",
        "served small: whole",
        "served large: whole",
        "declared third: 0 ",
        "served third: whole",
    ];
    let log = fs::read_to_string(folder.path().join("log")).unwrap_or_default();
    assert_eq!(printed.lines().collect::<Vec<_>>(), expected, "{log}");
}
