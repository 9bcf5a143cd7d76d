//! Typed digests: parsed once, length checked, lower case; never used as text before that.

use std::{fmt, str::FromStr};

use base64::{Engine, engine::general_purpose::STANDARD};
use blake2::Blake2b512;
use md5::Md5;
use sha1::Sha1;
use sha2::{Digest as _, Sha512};

/// A digest algorithm that the mirror computes for every blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Algorithm {
    /// SHA-256, FIPS 180-4; names the blobs.
    Sha256,
    /// SHA-512, FIPS 180-4.
    Sha512,
    /// BLAKE2b with 64 bytes of output, RFC 7693; Gentoo manifests pin it.
    Blake2b,
    /// SHA-1: only to find things by, never the only check.
    Sha1,
    /// MD5: only to find things by, never the only check.
    Md5,
}

impl Algorithm {
    /// Every algorithm, strongest use first.
    pub const ALL: [Self; 5] = [Self::Sha256, Self::Sha512, Self::Blake2b, Self::Sha1, Self::Md5];

    /// The name in digests, paths and the API: `sha256`, `sha512`, `blake2b`, `sha1`, `md5`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
            Self::Blake2b => "blake2b",
            Self::Sha1 => "sha1",
            Self::Md5 => "md5",
        }
    }

    /// How many bytes a digest has.
    pub fn digest_bytes(self) -> usize {
        match self {
            Self::Sha256 => 32,
            Self::Sha512 | Self::Blake2b => 64,
            Self::Sha1 => 20,
            Self::Md5 => 16,
        }
    }

    /// Whether content of images is named by it (OCI image specification, "Registered Algorithms").
    pub fn names_content(self) -> bool {
        matches!(self, Self::Sha256 | Self::Sha512)
    }

    /// Whether a match of this digest alone proves that the bytes are the declared ones.
    pub fn is_strong(self) -> bool {
        matches!(self, Self::Sha256 | Self::Sha512 | Self::Blake2b)
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Algorithm {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|a| a.name().eq_ignore_ascii_case(text))
            .ok_or_else(|| format!("unknown digest algorithm `{}`: use sha256 or sha512", text.escape_debug()))
    }
}

/// A digest of some bytes by one algorithm. Prints as `sha256:HEX`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest {
    algorithm: Algorithm,
    bytes: [u8; 64],
}

impl Digest {
    /// A digest from its bytes.
    ///
    /// # Errors
    /// When the length is not that of the algorithm.
    pub fn new(algorithm: Algorithm, value: &[u8]) -> Result<Self, String> {
        if value.len() != algorithm.digest_bytes() {
            return Err(format!("{algorithm} has {} bytes, not {}", algorithm.digest_bytes(), value.len()));
        }
        let mut bytes = [0; 64];
        bytes[..value.len()].copy_from_slice(value);
        Ok(Self { algorithm, bytes })
    }

    /// A digest from hexadecimal digits in either case, with or without the `ALGORITHM:` before them.
    ///
    /// # Errors
    /// When the digits are too few, too many or not hexadecimal, or another algorithm is named.
    pub fn from_hex(algorithm: Algorithm, text: &str) -> Result<Self, String> {
        let digits = match text.split_once(':') {
            Some((name, digits)) if name.eq_ignore_ascii_case(algorithm.name()) => digits,
            Some((name, _)) => return Err(format!("is a `{}` where a {algorithm} belongs", name.escape_debug())),
            None => text,
        };
        let wanted = algorithm.digest_bytes() * 2;
        if digits.len() != wanted || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(format!(
                "a {algorithm} is {wanted} hexadecimal digits; this has {} characters",
                digits.chars().count()
            ));
        }
        let value: Vec<u8> = digits.as_bytes().chunks(2).map(|pair| nibble(pair[0]) << 4 | nibble(pair[1])).collect();
        Self::new(algorithm, &value)
    }

    /// The algorithm.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The value, as many bytes as the algorithm has.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.algorithm.digest_bytes()]
    }

    /// The value as lower-case hexadecimal digits.
    pub fn hex(&self) -> String {
        hex(self.as_bytes())
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.algorithm, self.hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Digest {
    type Err = String;

    /// Reads `ALGORITHM:HEX`.
    fn from_str(text: &str) -> Result<Self, String> {
        let (name, digits) = text.split_once(':').ok_or("a digest is written ALGORITHM:HEX")?;
        Self::from_hex(name.parse()?, digits)
    }
}

/// The SHA-256 of a blob, which is also its name.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sha256([u8; 32]);

impl Sha256 {
    /// From its 32 bytes.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The digest of these bytes.
    pub fn of(data: &[u8]) -> Self {
        Self(sha2::Sha256::digest(data).into())
    }

    /// The value.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The value as 64 lower-case hexadecimal digits.
    pub fn hex(&self) -> String {
        hex(&self.0)
    }
}

impl TryFrom<Digest> for Sha256 {
    type Error = String;

    fn try_from(digest: Digest) -> Result<Self, String> {
        let bytes = digest.as_bytes().try_into().ok().filter(|_| digest.algorithm == Algorithm::Sha256);
        bytes.map(Self).ok_or_else(|| format!("`{digest}` is not a sha256"))
    }
}

impl From<Sha256> for Digest {
    fn from(value: Sha256) -> Self {
        let mut bytes = [0; 64];
        bytes[..32].copy_from_slice(&value.0);
        Self { algorithm: Algorithm::Sha256, bytes }
    }
}

impl fmt::Display for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", self.hex())
    }
}

impl fmt::Debug for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Sha256 {
    type Err = String;

    /// Reads 64 hexadecimal digits, with or without `sha256:`.
    fn from_str(text: &str) -> Result<Self, String> {
        Digest::from_hex(Algorithm::Sha256, text)?.try_into()
    }
}

/// Every digest of one blob, computed in one pass by [`Hasher`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Digests {
    /// SHA-256, the blob's name.
    pub sha256: Sha256,
    /// SHA-512.
    pub sha512: [u8; 64],
    /// BLAKE2b-512.
    pub blake2b: [u8; 64],
    /// SHA-1.
    pub sha1: [u8; 20],
    /// MD5.
    pub md5: [u8; 16],
}

impl Digests {
    /// All digests of these bytes.
    pub fn of(data: &[u8]) -> Self {
        let mut hasher = Hasher::new();
        hasher.update(data);
        hasher.finish()
    }

    /// The value for one algorithm.
    pub fn value(&self, algorithm: Algorithm) -> &[u8] {
        match algorithm {
            Algorithm::Sha256 => self.sha256.as_bytes(),
            Algorithm::Sha512 => &self.sha512,
            Algorithm::Blake2b => &self.blake2b,
            Algorithm::Sha1 => &self.sha1,
            Algorithm::Md5 => &self.md5,
        }
    }

    /// The digest by one algorithm.
    pub fn get(&self, algorithm: Algorithm) -> Digest {
        Digest::new(algorithm, self.value(algorithm)).expect("the fields have the lengths of their algorithms")
    }

    /// Whether the bytes have this digest.
    pub fn matches(&self, digest: &Digest) -> bool {
        self.value(digest.algorithm) == digest.as_bytes()
    }
}

/// Computes digests of a stream of bytes in one pass.
pub trait Hashing: fmt::Debug + Clone + Send + 'static {
    /// What comes of it.
    type Digests: Copy + fmt::Debug + Send + Sync;

    /// Adds bytes.
    fn update(&mut self, data: &[u8]);

    /// The digests of all that was added.
    fn finish(self) -> Self::Digests;

    /// The name of the blob that has these digests.
    fn blob(digests: &Self::Digests) -> Sha256;

    /// The digest by one algorithm, if it was computed.
    fn get(digests: &Self::Digests, algorithm: Algorithm) -> Option<Digest>;
}

/// Computes all digests.
#[derive(Debug, Clone, Default)]
pub struct Hasher {
    sha256: sha2::Sha256,
    sha512: Sha512,
    blake2b: Blake2b512,
    sha1: Sha1,
    md5: Md5,
}

impl Hasher {
    /// A hasher that has seen nothing.
    pub fn new() -> Self {
        Self::default()
    }
}

impl Hashing for Hasher {
    type Digests = Digests;

    /// Works through the bytes in pieces that stay in the processor's cache for all algorithms.
    fn update(&mut self, data: &[u8]) {
        for piece in data.chunks(16 * 1024) {
            self.sha256.update(piece);
            self.sha512.update(piece);
            self.blake2b.update(piece);
            self.sha1.update(piece);
            self.md5.update(piece);
        }
    }

    fn finish(self) -> Digests {
        Digests {
            sha256: Sha256(self.sha256.finalize().into()),
            sha512: self.sha512.finalize().into(),
            blake2b: self.blake2b.finalize().into(),
            sha1: self.sha1.finalize().into(),
            md5: self.md5.finalize().into(),
        }
    }

    fn blob(digests: &Digests) -> Sha256 {
        digests.sha256
    }

    fn get(digests: &Digests, algorithm: Algorithm) -> Option<Digest> {
        Some(digests.get(algorithm))
    }
}

/// Computes what a part of an image needs: the name of the blob, and the digest by which the image names it. Nobody asks for
/// a layer by any other, and the others would cost several times as much.
#[derive(Debug, Clone, Default)]
pub struct PartHasher {
    sha256: sha2::Sha256,
    sha512: Option<Sha512>,
}

impl PartHasher {
    /// A hasher that has seen nothing, for content that is named by this algorithm.
    pub fn new(algorithm: Algorithm) -> Self {
        Self { sha512: (algorithm == Algorithm::Sha512).then(Sha512::default), ..Self::default() }
    }
}

/// The digests of a part of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartDigests {
    /// SHA-256, the blob's name.
    pub sha256: Sha256,
    sha512: Option<Digest>,
}

impl Hashing for PartHasher {
    type Digests = PartDigests;

    fn update(&mut self, data: &[u8]) {
        self.sha256.update(data);
        if let Some(sha512) = &mut self.sha512 {
            sha512.update(data);
        }
    }

    fn finish(self) -> PartDigests {
        let of = |hasher: Sha512| {
            Digest::new(Algorithm::Sha512, &hasher.finalize())
                .expect("a hasher gives as many bytes as its algorithm has")
        };
        PartDigests { sha256: Sha256(self.sha256.finalize().into()), sha512: self.sha512.map(of) }
    }

    fn blob(digests: &PartDigests) -> Sha256 {
        digests.sha256
    }

    fn get(digests: &PartDigests, algorithm: Algorithm) -> Option<Digest> {
        match algorithm {
            Algorithm::Sha256 => Some(digests.sha256.into()),
            Algorithm::Sha512 => digests.sha512,
            _ => None,
        }
    }
}

/// The checksums that people declared for an artifact: at most one per algorithm, never only weak ones.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Checksums(Vec<Digest>);

impl Checksums {
    /// No checksum: trust on first use.
    pub fn none() -> Self {
        Self::default()
    }

    /// From digests, in any order.
    ///
    /// # Errors
    /// When two digests of one algorithm differ, or none is strong enough to prove anything.
    pub fn new(digests: impl IntoIterator<Item = Digest>) -> Result<Self, String> {
        let mut all: Vec<Digest> = digests.into_iter().collect();
        all.sort_unstable();
        all.dedup();
        if let Some(pair) = all.windows(2).find(|pair| pair[0].algorithm == pair[1].algorithm) {
            return Err(format!(
                "two different {} checksums: `{}` and `{}`",
                pair[0].algorithm,
                pair[0].hex(),
                pair[1].hex()
            ));
        }
        if let Some(first) = all.first()
            && !all.iter().any(|d| d.algorithm.is_strong())
        {
            return Err(format!("{} alone proves nothing: give a sha256 or sha512 with it", first.algorithm));
        }
        Ok(Self(all))
    }

    /// Reads Subresource Integrity metadata: one or more `ALGORITHM-BASE64`, separated by spaces (W3C SRI section 3.5).
    ///
    /// # Errors
    /// When a part is not of that form, or has an algorithm or length that the mirror does not know.
    pub fn parse_integrity(text: &str) -> Result<Vec<Digest>, String> {
        let digests: Vec<Digest> = text.split_ascii_whitespace().map(parse_sri).collect::<Result<_, _>>()?;
        if digests.is_empty() {
            return Err("is empty: write `sha256-BASE64` or `sha512-BASE64`".to_owned());
        }
        Ok(digests)
    }

    /// Whether nothing was declared.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The digests, by algorithm.
    pub fn iter(&self) -> impl Iterator<Item = &Digest> {
        self.0.iter()
    }

    /// The first declared digest that the bytes do not have.
    pub fn contradicted_by(&self, digests: &Digests) -> Option<&Digest> {
        self.0.iter().find(|d| !digests.matches(d))
    }

    /// The digests for which `other` names another value, as (this one, the other).
    pub fn conflict_with(&self, other: &Self) -> Option<(Digest, Digest)> {
        let same = |d: &&Digest| other.0.iter().find(|o| o.algorithm == d.algorithm && o != d);
        self.0.iter().find_map(|d| same(&d).map(|o| (*d, *o)))
    }

    /// These checksums and those of `other`, which must not conflict.
    #[must_use]
    pub fn merged_with(&self, other: &Self) -> Self {
        let mut all: Vec<Digest> = self.0.iter().chain(&other.0).copied().collect();
        all.sort_unstable();
        all.dedup();
        Self(all)
    }
}

impl fmt::Display for Checksums {
    /// `sha256:HEX sha512:HEX`, empty for none; [`FromStr`] reads it back.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let each: Vec<_> = self.0.iter().map(Digest::to_string).collect();
        f.write_str(&each.join(" "))
    }
}

impl FromStr for Checksums {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::new(text.split_ascii_whitespace().map(Digest::from_str).collect::<Result<Vec<_>, _>>()?)
    }
}

fn parse_sri(part: &str) -> Result<Digest, String> {
    let shape = || format!("`{}` is not `ALGORITHM-BASE64`", part.escape_debug());
    let (name, value) = part.split_once('-').ok_or_else(shape)?;
    let algorithm: Algorithm = name.parse()?;
    let value = value.split('?').next().unwrap_or_default();
    Digest::new(algorithm, &STANDARD.decode(value).map_err(|_| shape())?)
}

/// Lower-case hexadecimal digits of some bytes.
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes.iter().flat_map(|b| [DIGITS[usize::from(b >> 4)], DIGITS[usize::from(b & 15)]]).map(char::from).collect()
}

fn nibble(digit: u8) -> u8 {
    (digit as char).to_digit(16).map_or(0, |value| value as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_pass_gives_the_published_values_of_abc() {
        let digests = Digests::of(b"abc");
        assert_eq!(digests.sha256.hex(), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert_eq!(digests.get(Algorithm::Sha1).hex(), "a9993e364706816aba3e25717850c26c9cd0d89d");
        assert_eq!(digests.get(Algorithm::Md5).hex(), "900150983cd24fb0d6963f7d28e17f72");
        assert!(digests.get(Algorithm::Sha512).hex().starts_with("ddaf35a193617abacc417349ae204131"));
        assert!(digests.get(Algorithm::Blake2b).hex().starts_with("ba80a53f981c4d0d6a2797b69f12f6e9"));
    }

    #[test]
    fn a_part_has_the_digests_that_it_is_named_by() {
        for (algorithm, other) in
            [(Algorithm::Sha256, None), (Algorithm::Sha512, Some(Digests::of(b"abc").get(Algorithm::Sha512)))]
        {
            let mut hasher = PartHasher::new(algorithm);
            hasher.update(b"a");
            hasher.update(b"bc");
            let digests = hasher.finish();
            assert_eq!(digests.sha256, Sha256::of(b"abc"));
            assert_eq!(PartHasher::get(&digests, Algorithm::Sha512), other);
        }
    }

    #[test]
    fn hexadecimal_forms() {
        let good = "BA7816BF8F01CFEA414140DE5DAE2223B00361A396177A9CB410FF61F20015AD";
        for text in [good.to_owned(), good.to_lowercase(), format!("sha256:{good}"), format!("SHA256:{good}")] {
            assert_eq!(text.parse::<Sha256>().unwrap(), Sha256::of(b"abc"), "{text}");
        }
        for text in [
            "",
            "abc",
            &good[1..],
            &format!("{good}0"),
            &format!("md5:{good}"),
            &good.replace('B', "g"),
            "sha256:../../x",
        ] {
            assert!(text.parse::<Sha256>().is_err(), "{text}");
        }
    }

    #[test]
    fn integrity_metadata() {
        let text = "sha256-ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=";
        assert_eq!(Checksums::parse_integrity(text).unwrap(), [Sha256::of(b"abc").into()]);
        for bad in ["", "sha256", "sha256-", "sha256-????", "crc32-AAAA", "sha256-AAAA"] {
            assert!(Checksums::parse_integrity(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn weak_checksums_need_a_strong_one() {
        let digests = Digests::of(b"abc");
        assert!(Checksums::new([digests.get(Algorithm::Sha1)]).is_err());
        assert!(Checksums::new([digests.get(Algorithm::Md5), digests.get(Algorithm::Sha512)]).is_ok());
        assert!(Checksums::new([digests.get(Algorithm::Sha256), Digests::of(b"x").get(Algorithm::Sha256)]).is_err());
    }

    #[test]
    fn checksums_read_back_what_they_print() {
        let digests = Digests::of(b"abc");
        let checksums = Checksums::new(Algorithm::ALL.map(|a| digests.get(a))).unwrap();
        assert_eq!(checksums.to_string().parse::<Checksums>().unwrap(), checksums);
        assert!(checksums.contradicted_by(&digests).is_none());
        assert!(checksums.contradicted_by(&Digests::of(b"abd")).is_some());
    }
}
