//! A layer: one file of noise in a tar archive.

use std::io::Write;

use bytes::Bytes;
use flate2::{Compression, GzBuilder};
use sha2::{Digest, Sha256};
use tar::{EntryType, Header};

use super::digest;

/// 2024-05-01, like everything in these images.
const MODIFIED: u64 = 1_714_564_800;

pub(super) struct Layer {
    pub(super) bytes: Bytes,
    pub(super) digest: String,
    /// The digest of the archive before it was compressed.
    pub(super) diff_id: String,
}

impl Layer {
    pub(super) fn new(path: &str, seed: &str, length: usize, compressed: bool) -> Self {
        let archive = archive(path, &noise(seed, length));
        let diff_id = digest(&archive);
        if !compressed {
            return Self { bytes: archive.into(), digest: diff_id.clone(), diff_id };
        }
        let bytes = gzip(&archive);
        Self { digest: digest(&bytes), bytes: bytes.into(), diff_id }
    }
}

fn archive(path: &str, content: &[u8]) -> Vec<u8> {
    // Headers, padding and the end of the archive take at most five blocks of 512 bytes.
    let mut archive = tar::Builder::new(Vec::with_capacity(content.len() + 5 * 512));
    // Where a layer says nothing of its root, podman makes one that only root can remove.
    archive.append_data(&mut header(EntryType::Directory, 0), "./", &[][..]).expect("memory can be written to");
    archive
        .append_data(&mut header(EntryType::Regular, content.len()), path, content)
        .expect("memory can be written to");
    archive.into_inner().expect("memory can be written to")
}

fn header(kind: EntryType, size: usize) -> Header {
    let mut header = Header::new_ustar();
    header.set_entry_type(kind);
    header.set_size(size as u64);
    header.set_mode(0o755);
    header.set_mtime(MODIFIED);
    header.set_uid(0);
    header.set_gid(0);
    header
}

fn gzip(plain: &[u8]) -> Vec<u8> {
    let mut compressor = GzBuilder::new().mtime(0).write(Vec::with_capacity(plain.len()), Compression::fast());
    compressor.write_all(plain).expect("memory can be written to");
    compressor.finish().expect("memory can be written to")
}

/// Bytes that do not shrink, always the same ones: SplitMix64, started with a hash of the seed.
fn noise(seed: &str, length: usize) -> Vec<u8> {
    let hash = Sha256::digest(seed);
    let mut state = hash.iter().take(8).fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
    let mut bytes = vec![0; length];
    for piece in bytes.chunks_mut(8) {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        piece.copy_from_slice(&(mixed ^ (mixed >> 31)).to_le_bytes()[..piece.len()]);
    }
    bytes
}
