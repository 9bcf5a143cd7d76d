//! Platforms: what an image runs on, and which of those that an index offers are wanted.

use std::{collections::BTreeSet, fmt, str::FromStr};

/// What an image runs on (OCI image index specification, `platform`). Prints as `OS/ARCHITECTURE[/VARIANT]`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Platform {
    os: String,
    architecture: String,
    variant: Option<String>,
}

impl Platform {
    /// A platform, by the names that Go and so everybody uses. What is the same has one form: `aarch64` and `arm64/v8` are
    /// `arm64`, `x86_64` and `amd64/v1` are `amd64`.
    ///
    /// # Errors
    /// When a part is empty or has characters that no such name has.
    pub fn new(os: &str, architecture: &str, variant: Option<&str>) -> Result<Self, String> {
        let word = |text: &str| {
            let good = !text.is_empty()
                && text.len() <= MAX_WORD_CHARACTERS
                && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
            if good { Ok(text.to_ascii_lowercase()) } else { Err(format!("has the part `{}`", text.escape_debug())) }
        };
        let architecture = match word(architecture)?.as_str() {
            "x86_64" | "x86-64" => "amd64".to_owned(),
            "aarch64" => "arm64".to_owned(),
            other => other.to_owned(),
        };
        let variant = variant.filter(|variant| !variant.is_empty()).map(word).transpose()?;
        let goes_without_saying = |variant: &String| {
            matches!((architecture.as_str(), variant.as_str()), ("arm64", "v8" | "8") | ("amd64", "v1"))
        };
        let variant = variant.filter(|variant| !goes_without_saying(variant));
        Ok(Self { os: word(os)?, architecture, variant })
    }

    /// Whether an image for `offered` is what somebody means who asks for this platform: a variant is chosen exactly, and
    /// without one every variant is meant.
    pub fn means(&self, offered: &Self) -> bool {
        self.os == offered.os
            && self.architecture == offered.architecture
            && (self.variant.is_none() || self.variant == offered.variant)
    }

    /// What nobody runs on: where build tools put attestations.
    pub fn is_unknown(&self) -> bool {
        self.os == "unknown"
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        self.variant.iter().try_for_each(|variant| write!(f, "/{variant}"))
    }
}

impl FromStr for Platform {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = |problem: &str| {
            format!("`{}` {problem}: write OS/ARCHITECTURE[/VARIANT], as in linux/arm64", text.escape_debug())
        };
        let parts: Vec<_> = text.split('/').collect();
        let (os, architecture, variant) = match parts.as_slice() {
            [os, architecture] => (os, architecture, None),
            [os, architecture, variant] => (os, architecture, Some(*variant)),
            _ => return Err(bad("is not a platform")),
        };
        Self::new(os, architecture, variant).map_err(|problem| bad(&problem))
    }
}

/// Which platforms of an image are wanted, or here. Prints as words with spaces between them, and reads them back.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PlatformChoice {
    all: bool,
    usual: bool,
    named: BTreeSet<Platform>,
}

impl PlatformChoice {
    /// Everything that there is.
    pub fn all() -> Self {
        Self { all: true, ..Self::default() }
    }

    /// What is chosen when nobody chose: [`USUAL`](Self::USUAL) if the image has it, everything otherwise.
    pub fn usual() -> Self {
        Self { usual: true, ..Self::default() }
    }

    /// The platform that most builds run on.
    pub const USUAL: &str = "linux/amd64";

    /// From the words of a request: platforms, or `all`.
    ///
    /// # Errors
    /// The first word that is neither.
    pub fn parse(words: &[String]) -> Result<Self, String> {
        let mut choice = Self::default();
        for word in words {
            choice.add(word)?;
        }
        Ok(choice)
    }

    /// Whether everything is chosen.
    pub fn is_all(&self) -> bool {
        self.all
    }

    /// Whether what is usual is chosen.
    pub fn is_usual(&self) -> bool {
        self.usual
    }

    /// The platforms that are chosen by name.
    pub fn named(&self) -> impl Iterator<Item = &Platform> {
        self.named.iter()
    }

    /// This choice and another one.
    #[must_use]
    pub fn and(&self, other: &Self) -> Self {
        Self {
            all: self.all || other.all,
            usual: self.usual || other.usual,
            named: self.named.union(&other.named).cloned().collect(),
        }
    }

    /// This choice without the platforms that the other one names.
    #[must_use]
    pub fn without(&self, other: &Self) -> Self {
        Self { named: self.named.difference(&other.named).cloned().collect(), ..self.clone() }
    }

    /// Whether nothing is chosen.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether whoever has this choice has the other one too.
    pub fn covers(&self, other: &Self) -> bool {
        self.all || (!other.all && (self.usual || !other.usual) && self.named.is_superset(&other.named))
    }

    /// These platforms.
    pub fn of(platforms: impl IntoIterator<Item = Platform>) -> Self {
        Self { named: platforms.into_iter().collect(), ..Self::default() }
    }

    fn add(&mut self, word: &str) -> Result<(), String> {
        match word.trim() {
            "all" => self.all = true,
            "usual" => self.usual = true,
            platform => {
                self.named.insert(platform.parse()?);
            }
        }
        Ok(())
    }
}

impl fmt::Display for PlatformChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = [(self.all, "all"), (self.usual, "usual")];
        let words = words.iter().filter(|(chosen, _)| *chosen).map(|(_, word)| (*word).to_owned());
        let words: Vec<_> = words.chain(self.named.iter().map(Platform::to_string)).collect();
        f.write_str(&words.join(" "))
    }
}

impl FromStr for PlatformChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut choice = Self::default();
        text.split_ascii_whitespace().try_for_each(|word| choice.add(word))?;
        Ok(choice)
    }
}

/// The longest part of a platform's name.
const MAX_WORD_CHARACTERS: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    fn choice(text: &str) -> PlatformChoice {
        text.parse().unwrap()
    }

    #[test]
    fn platforms_have_one_form() {
        for (text, form) in [
            ("linux/amd64", "linux/amd64"),
            ("Linux/X86_64", "linux/amd64"),
            ("linux/amd64/v1", "linux/amd64"),
            ("linux/amd64/v3", "linux/amd64/v3"),
            ("linux/aarch64", "linux/arm64"),
            ("linux/arm64/v8", "linux/arm64"),
            ("linux/arm/v7", "linux/arm/v7"),
            ("unknown/unknown", "unknown/unknown"),
        ] {
            assert_eq!(text.parse::<Platform>().unwrap().to_string(), form, "{text}");
        }
        for bad in ["", "linux", "linux/", "/amd64", "linux/amd64/v1/x", "li nux/amd64", "linux/<b>"] {
            assert!(bad.parse::<Platform>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_variant_is_chosen_exactly() {
        for (wanted, offered, means) in [
            ("linux/arm/v7", "linux/arm/v7", true),
            ("linux/arm/v7", "linux/arm/v6", false),
            ("linux/arm/v7", "linux/arm", false),
            ("linux/arm", "linux/arm/v6", true),
            ("linux/arm64", "linux/arm64/v8", true),
            ("linux/amd64", "windows/amd64", false),
        ] {
            let (wanted, offered): (Platform, Platform) = (wanted.parse().unwrap(), offered.parse().unwrap());
            assert_eq!(wanted.means(&offered), means, "{wanted} {offered}");
        }
    }

    #[test]
    fn choices_grow() {
        for (first, second, both, covers) in [
            ("linux/amd64", "linux/arm64", "linux/amd64 linux/arm64", false),
            ("linux/amd64 linux/arm64", "linux/arm64", "linux/amd64 linux/arm64", true),
            ("all", "linux/arm64", "all linux/arm64", true),
            ("linux/arm64", "all", "all linux/arm64", false),
            ("usual", "linux/amd64", "usual linux/amd64", false),
            ("all", "usual", "all usual", true),
            ("usual", "all", "all usual", false),
            ("", "", "", true),
        ] {
            let (first, second) = (choice(first), choice(second));
            assert_eq!((first.and(&second).to_string().as_str(), first.covers(&second)), (both, covers));
            assert_eq!(choice(&first.and(&second).to_string()), first.and(&second));
        }
        assert!(PlatformChoice::parse(&["linux".to_owned()]).is_err());
        assert_eq!(
            choice("usual linux/arm64 linux/s390x").without(&choice("all linux/arm64")),
            choice("usual linux/s390x")
        );
        assert!(choice("linux/arm64").without(&choice("linux/arm64")).is_empty());
    }
}
