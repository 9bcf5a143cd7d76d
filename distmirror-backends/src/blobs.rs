//! Where blobs live: a directory, or an object store that speaks S3 or is Google's or Azure's, opened from a URL.
//!
//! A directory is used through the operating system, so that a spooled file is moved into place and a blob is handed out
//! as an open file; the others through the `object_store` crate, perhaps with copies on local disk before them. No row anywhere
//! says where a blob is: see [`blob_path`]. Start reading at [`open`].
//!
//! [`blob_path`]: distmirror_core::blob::blob_path

mod cached;
mod local;
mod remote;

use std::{
    collections::BTreeMap,
    fmt,
    fs::File,
    ops::Range,
    path::{Path, PathBuf},
    sync::Arc,
};

use distmirror_core::{BlobStore, Error, Problem, Result, Sha256};
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat2};
use url::Url;

pub use self::{
    cached::{CacheOptions, CachedBlobStore, describe_cache_metrics},
    local::LocalBlobStore,
    remote::RemoteBlobStore,
};

/// Which blob store to use. `Debug` does not show secrets.
#[derive(Clone, Default)]
pub struct BlobOptions {
    /// `file:///ABSOLUTE/PATH`, `s3://BUCKET/PREFIX`, `gs://BUCKET/PREFIX` or `az://CONTAINER/PREFIX`.
    pub url: String,
    /// What an object store needs beside the URL, by the names of the `object_store` crate: `aws_endpoint`, ...
    pub options: BTreeMap<String, String>,
}

impl BlobOptions {
    /// Everything that is wrong with the options, without opening anything.
    pub fn problems(&self) -> Vec<Problem> {
        let place = match Place::parse(&self.url) {
            Ok(place) => place,
            Err(problem) => return vec![Problem::new("blobs.url", problem)],
        };
        let unknown = |key: &&String| match &place {
            Place::Folder(_) => true,
            Place::Bucket(url) => !remote::knows_option(url, key),
        };
        let problem = |key: &String| {
            let message = format!("`{}` is not an option of `{}:` blob stores", key.escape_debug(), place.scheme());
            Problem::new("blobs.options", message)
        };
        self.options.keys().filter(unknown).map(problem).collect()
    }
}

impl fmt::Debug for BlobOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let options: BTreeMap<_, _> = self.options.iter().map(|(key, value)| (key, shown(key, value))).collect();
        f.debug_struct("BlobOptions").field("url", &shown("url", &self.url)).field("options", &options).finish()
    }
}

/// Checks the URL of a blob store without opening it.
///
/// # Errors
/// A sentence that says what is wrong and how to mend it.
pub fn check_url(url: &str) -> Result<(), String> {
    Place::parse(url).map(drop)
}

/// Opens a blob store.
///
/// A directory is created if it is not there. An object store is not asked for anything yet, so that a process can start
/// while its store is away.
///
/// # Errors
/// [`Error::Invalid`] with every bad option, [`Error::StorageUnavailable`] when a directory cannot be used.
pub async fn open(options: &BlobOptions) -> Result<Arc<dyn BlobStore>> {
    let problems = options.problems();
    if !problems.is_empty() {
        return Err(Error::Invalid(problems));
    }
    match Place::parse(&options.url).map_err(|problem| Error::invalid("blobs.url", problem))? {
        Place::Folder(root) => Ok(Arc::new(LocalBlobStore::open(root).await?)),
        Place::Bucket(url) => Ok(Arc::new(RemoteBlobStore::open(&url, &options.options)?)),
    }
}

/// What the URL of a blob store names.
#[derive(Debug)]
enum Place {
    Folder(PathBuf),
    /// With a scheme that [`remote`] knows, and a bucket.
    Bucket(Url),
}

impl Place {
    fn parse(text: &str) -> Result<Self, String> {
        let url =
            Url::parse(text).map_err(|_| "is not a URL: write `file:///ABSOLUTE/PATH` for a folder".to_owned())?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err("holds credentials: write them as `blobs.options`".to_owned());
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err("has a `?` or `#`: write options as `blobs.options`".to_owned());
        }
        match url.scheme() {
            "file" => folder_of(&url, text).map(Self::Folder),
            "s3" | "gs" | "az" => remote::check_url(&url).map(|()| Self::Bucket(url)),
            other => Err(format!("has the scheme `{other}`: use file, s3, gs or az")),
        }
    }

    fn scheme(&self) -> &str {
        match self {
            Self::Folder(_) => "file",
            Self::Bucket(url) => url.scheme(),
        }
    }
}

/// The text counts, not only the URL: by the rules for URLs `file:blobs` is another way to write `file:///blobs`, which is
/// hardly what was meant.
fn folder_of(url: &Url, text: &str) -> Result<PathBuf, String> {
    let begins_right = text.get(.."file:///".len()).is_some_and(|start| start.eq_ignore_ascii_case("file:///"));
    let folder = if begins_right { url.to_file_path().ok() } else { None };
    folder.filter(|folder| folder.parent().is_some()).ok_or_else(|| {
        "does not name a folder: write `file:///ABSOLUTE/PATH`, with three slashes and an absolute path".to_owned()
    })
}

/// An option as it may be printed. Which options are secret is guessed from their names, on the safe side.
fn shown<'a>(key: &str, value: &'a str) -> &'a str {
    let key = key.to_ascii_lowercase();
    let secret =
        ["key", "secret", "token", "password", "sas", "credential", "account"].iter().any(|word| key.contains(word));
    if secret || value.contains('@') { "****" } else { value }
}

/// The part of a blob of this size that was asked for.
fn part_of(blob: &Sha256, range: Option<Range<u64>>, size: u64) -> Result<Range<u64>> {
    let range = range.unwrap_or(0..size);
    if range.start <= range.end && range.end <= size {
        return Ok(range);
    }
    // The caller took the range from the catalog's row: the blob is not as long as it was.
    let problem = format!("bytes {}..{} were asked for and it has {size}", range.start, range.end);
    Err(Error::BlobCorrupt { blob: *blob, problem })
}

/// Opens a file whose directory entries the kernel has in memory (`RESOLVE_CACHED` of openat2(2)): that waits for no disk, and
/// costs less than a turn on the pool for work that blocks. `None` when somebody else must find out.
fn open_from_memory(path: &Path) -> Option<File> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    openat2(CWD, path, flags, Mode::empty(), ResolveFlags::CACHED).ok().map(File::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(url: &str, options: &[(&str, &str)]) -> BlobOptions {
        let options = options.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        BlobOptions { url: url.to_owned(), options }
    }

    #[test]
    fn urls_are_checked() {
        for good in ["file:///srv/blobs", "s3://bucket", "s3://bucket/", "gs://bucket/some/prefix", "az://container/p"]
        {
            assert_eq!(check_url(good), Ok(()), "{good}");
        }
        for (bad, why) in [
            ("/srv/blobs", "file:///ABSOLUTE/PATH"),
            ("s3:///prefix", "bucket"),
            ("https://bucket.example/", "scheme"),
            ("s3://user:secret@bucket/", "credentials"),
            ("s3://bucket/?region=x", "blobs.options"),
        ] {
            let problem = check_url(bad).unwrap_err();
            assert!(problem.contains(why), "{bad}: {problem}");
            assert!(!problem.contains("secret"), "{problem}");
        }
    }

    #[test]
    fn a_folder_is_named_by_its_absolute_path() {
        for (url, folder) in [
            ("file:///srv/blobs", "/srv/blobs"),
            ("FILE:///srv/blobs/", "/srv/blobs"),
            ("file:///srv/a%20b%25/blobs", "/srv/a b%/blobs"),
        ] {
            assert!(matches!(Place::parse(url), Ok(Place::Folder(path)) if path == Path::new(folder)), "{url}");
        }
        for url in [
            "file:blobs",
            "file:./blobs",
            "file:/srv/blobs",
            "file://",
            "file:///",
            "file://relative",
            "file://relative/blobs",
            "file://./blobs",
            "file://localhost/srv/blobs",
            r"file:\\\srv\blobs",
            " file:///srv/blobs",
        ] {
            let problem = check_url(url).expect_err(url);
            assert!(problem.contains("`file:///ABSOLUTE/PATH`"), "{url}: {problem}");
        }
    }

    #[test]
    fn unknown_options_are_named_all_at_once() {
        let wrong = options(
            "s3://b",
            &[("aws_region", "x"), ("aws_regoin", "x"), ("AWS_ENDPOINT", "x"), ("google_bucket", "x")],
        );
        let problems: Vec<String> = wrong.problems().into_iter().map(|problem| problem.message).collect();
        assert_eq!(problems.len(), 2, "{problems:?}");
        assert!(problems[0].contains("`aws_regoin`") && problems[1].contains("`google_bucket`"), "{problems:?}");
        assert_eq!(options("file:///srv", &[("fsync", "true")]).problems().len(), 1);
        assert_eq!(options("gs://b", &[("google_base_url", "x"), ("allow_http", "true")]).problems(), []);
        assert_eq!(options("az://b", &[("azure_storage_account_name", "x"), ("timeout", "1s")]).problems(), []);
    }

    #[test]
    fn secrets_are_not_printed() {
        let secret = options(
            "s3://user:hidden@b",
            &[("aws_secret_access_key", "hidden"), ("proxy_url", "http://u:hidden@p"), ("aws_region", "seen")],
        );
        let printed = format!("{secret:?}");
        assert!(!printed.contains("hidden") && printed.contains("seen"), "{printed}");
    }
}
