//! Which manifests of an index are wanted. Pure.

use std::collections::HashSet;

use distmirror_core::{
    Failure, PlatformChoice,
    image::{
        Platform,
        manifest::{Descriptor, MEDIA_TYPES},
    },
};

/// For each of these manifests, which may come from an index of indexes, whether it is wanted.
///
/// What names no platform is for all of them. Attestations, as BuildKit puts them into indexes, go with what they attest.
///
/// # Errors
/// Platforms were asked for by name, and no manifest is for them.
pub(crate) fn choose(leaves: &[Descriptor], choice: &PlatformChoice) -> Result<Vec<bool>, Failure> {
    let lacking: Vec<_> = choice.named().filter(|wanted| !leaves.iter().any(|leaf| is_for(leaf, wanted))).collect();
    if !lacking.is_empty() {
        return Err(no_platforms(&lacking, &offered(leaves)));
    }
    let usual: Platform = PlatformChoice::USUAL.parse().map_err(Failure::new)?;
    let has_usual = leaves.iter().any(|leaf| is_for(leaf, &usual));
    let everything = choice.is_all() || (choice.is_usual() && !has_usual);
    let by_platform = |leaf: &Descriptor| {
        choice.named().any(|wanted| is_for(leaf, wanted)) || (choice.is_usual() && is_for(leaf, &usual))
    };
    let for_all = |leaf: &Descriptor| leaf.platform.is_none() && leaf.attests().is_none();
    let chosen: HashSet<String> = leaves
        .iter()
        .filter(|leaf| everything || by_platform(leaf) || for_all(leaf))
        .map(|leaf| leaf.digest.to_string())
        .collect();
    let goes_along = |leaf: &Descriptor| leaf.attests().is_some_and(|attested| chosen.contains(attested));
    let is_wanted = |leaf: &Descriptor| {
        let can_be_kept = MEDIA_TYPES.contains(&leaf.media_type.as_str());
        can_be_kept && (chosen.contains(&leaf.digest.to_string()) || goes_along(leaf))
    };
    Ok(leaves.iter().map(is_wanted).collect())
}

/// The failure that says what the image does not have.
pub(crate) fn no_platforms(lacking: &[&Platform], offered: &str) -> Failure {
    let names: Vec<_> = lacking.iter().map(|platform| format!("`{platform}`")).collect();
    let message = format!("the image has no platform {}: it has {offered}", names.join(", "));
    Failure { lacking: PlatformChoice::of(lacking.iter().copied().cloned()), ..Failure::new(message) }
}

fn is_for(leaf: &Descriptor, wanted: &Platform) -> bool {
    leaf.platform.as_ref().is_some_and(|offered| wanted.means(offered))
}

/// The platforms that are on offer, in words.
fn offered(leaves: &[Descriptor]) -> String {
    let platforms = leaves.iter().filter_map(|leaf| leaf.platform.as_ref()).filter(|platform| !platform.is_unknown());
    let names: Vec<_> = platforms.map(|platform| format!("`{platform}`")).take(MOST_NAMED).collect();
    if names.is_empty() { "none that it names".to_owned() } else { names.join(", ") }
}

const MOST_NAMED: usize = 30;

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use distmirror_core::{Digest, Sha256};
    use proptest::{collection::vec, option, prelude::*};

    use super::*;

    fn digest(name: &str) -> Digest {
        Sha256::of(name.as_bytes()).into()
    }

    fn leaf(name: &str, platform: Option<&str>, attests: Option<&str>) -> Descriptor {
        let attests = attests.map(|name| ("vnd.docker.reference.digest".to_owned(), digest(name).to_string()));
        Descriptor {
            media_type: MEDIA_TYPES[1].to_owned(),
            digest: digest(name),
            size: 1,
            platform: platform.map(|platform| platform.parse().unwrap()),
            artifact_type: None,
            annotations: BTreeMap::from_iter(attests),
        }
    }

    fn names(leaves: &[(&str, Option<&str>, Option<&str>)], choice: &str) -> Result<String, String> {
        let all: Vec<_> = leaves.iter().map(|(name, platform, attests)| leaf(name, *platform, *attests)).collect();
        let chosen = choose(&all, &choice.parse().unwrap()).map_err(|failure| failure.message)?;
        let names: Vec<_> =
            leaves.iter().zip(chosen).filter(|(_, chosen)| *chosen).map(|((name, ..), _)| *name).collect();
        Ok(names.join(" "))
    }

    #[test]
    fn what_is_wanted_of_an_index() {
        let multi = [
            ("amd", Some("linux/amd64"), None),
            ("arm", Some("linux/arm64"), None),
            ("v6", Some("linux/arm/v6"), None),
            ("v7", Some("linux/arm/v7"), None),
            ("amd-attested", Some("unknown/unknown"), Some("amd")),
            ("arm-attested", Some("unknown/unknown"), Some("arm")),
            ("chart", None, None),
        ];
        for (choice, chosen) in [
            ("all", "amd arm v6 v7 amd-attested arm-attested chart"),
            ("usual", "amd amd-attested chart"),
            ("linux/arm64", "arm arm-attested chart"),
            ("linux/arm/v7", "v7 chart"),
            ("linux/arm", "v6 v7 chart"),
            ("usual linux/arm/v7", "amd v7 amd-attested chart"),
        ] {
            assert_eq!(names(&multi, choice).unwrap(), chosen, "{choice}");
        }
        let problem = names(&multi, "linux/riscv64").unwrap_err();
        assert!(problem.contains("`linux/riscv64`") && problem.contains("`linux/arm/v7`"), "{problem}");
        assert!(!problem.contains("unknown/unknown"), "{problem}");
        assert_eq!(names(&multi[1..4], "usual").unwrap(), "arm v6 v7", "without what is usual, everything");
        assert_eq!(names(&[], "usual").unwrap(), "");
        assert!(names(&[("chart", None, None)], "linux/amd64").unwrap_err().contains("none that it names"));
    }

    #[test]
    fn what_is_no_manifest_is_left_alone() {
        let other = Descriptor { media_type: "application/x".to_owned(), ..leaf("x", None, None) };
        assert_eq!(choose(&[other], &PlatformChoice::all()).unwrap(), [false]);
    }

    const WORDS: [&str; 9] = [
        "linux/amd64",
        "linux/arm64",
        "linux/arm",
        "linux/arm/v6",
        "linux/arm/v7",
        "windows/amd64",
        "unknown/unknown",
        "all",
        "usual",
    ];

    proptest! {
        #[test]
        fn nothing_is_chosen_but_what_is_wanted_and_all_of_that(
            leaves in vec((option::of(0..7_usize), option::of(0..8_usize)), 0..8),
            words in vec(0..WORDS.len(), 0..4),
        ) {
            let choice: PlatformChoice = words.iter().map(|word| WORDS[*word]).collect::<Vec<_>>().join(" ").parse().unwrap();
            let leaves: Vec<_> = (leaves.iter().enumerate())
                .map(|(name, (platform, attests))| {
                    let attests = attests.map(|name| name.to_string());
                    leaf(&name.to_string(), platform.map(|platform| WORDS[platform]), attests.as_deref())
                })
                .collect();
            let usual: Platform = PlatformChoice::USUAL.parse().unwrap();
            let is_named = |leaf: &Descriptor| choice.named().any(|wanted| is_for(leaf, wanted));
            match choose(&leaves, &choice) {
                Err(_) => {
                    let missing = |wanted: &Platform| !leaves.iter().any(|leaf| is_for(leaf, wanted));
                    prop_assert!(choice.named().any(missing));
                }
                Ok(chosen) => for (leaf, is_chosen) in leaves.iter().zip(&chosen) {
                    let has_usual = leaves.iter().any(|leaf| is_for(leaf, &usual));
                    let is_wanted = is_named(leaf) || choice.is_all() || choice.is_usual() && (!has_usual || is_for(leaf, &usual));
                    let is_for_all = leaf.platform.is_none() && leaf.attests().is_none();
                    let attests = leaves.iter().zip(&chosen).any(|(attested, is_chosen)| {
                        *is_chosen && leaf.attests() == Some(attested.digest.to_string().as_str())
                    });
                    prop_assert!(!is_chosen || is_wanted || is_for_all || attests, "nobody wants {leaf:?}");
                    prop_assert!(*is_chosen || !(is_wanted || is_for_all), "{leaf:?} is left out");
                }
            }
        }
    }
}
