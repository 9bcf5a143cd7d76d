//! What comes of an index when some platforms of it are wanted, and that nothing of the others does.

use distmirror_core::{Algorithm, Digests, PlatformChoice, Role};
use serde_json::json;
use testkit::image::Image;

use crate::support::{ImagePlace, Registry, in_lines, lines_of};

/// Images for these platforms, which have nothing in common.
fn images(platforms: &[&str]) -> Vec<Image> {
    platforms.iter().map(|platform| Image::oci(platform).platform(platform).layers(1).build()).collect()
}

/// What BuildKit adds to an index to attest one of the images in it.
fn attesting(index: Image, attested: &Image, attestation: &Image) -> Image {
    index.edited(|document| {
        let entry = document["manifests"].as_array_mut().unwrap().iter_mut();
        let entry = entry.into_iter().find(|entry| entry["digest"] == attestation.digest()).unwrap();
        entry["platform"] = json!({"os": "unknown", "architecture": "unknown"});
        entry["annotations"] = json!({
            "vnd.docker.reference.digest": attested.digest(),
            "vnd.docker.reference.type": "attestation-manifest",
        });
    })
}

#[tokio::test]
async fn what_is_wanted_comes_and_nothing_of_the_rest() {
    let all = images(&["linux/amd64", "linux/arm64", "linux/arm/v6", "linux/arm/v7"]);
    let attestation = |of: &str| Image::artifact("application/x", of.to_owned());
    let attestations = [attestation("amd64"), attestation("arm64")];
    let chart = Image::artifact("application/x.chart", "for everybody");
    let children = [&all[..], &attestations[..], std::slice::from_ref(&chart)].concat();
    let index = Image::index(&children);
    let index = attesting(attesting(index, &all[0], &attestations[0]), &all[1], &attestations[1]);
    let [amd64, arm64, v6, v7] = &all[..] else { unreachable!() };
    for (choice, wanted) in [
        ("all", children.iter().collect::<Vec<_>>()),
        ("usual", vec![amd64, &attestations[0], &chart]),
        ("linux/arm64", vec![arm64, &attestations[1], &chart]),
        ("linux/arm/v7", vec![v7, &chart]),
        ("linux/arm", vec![v6, v7, &chart]),
        ("usual linux/arm/v7", vec![amd64, v7, &attestations[0], &chart]),
    ] {
        let registry = Registry::with(&index).await;
        let fetched = ImagePlace::new().fetch(&registry.job(index.digest(), choice)).await.unwrap();
        assert_eq!(fetched.platforms, Some(choice.parse().unwrap()), "{choice}");
        let (unfetched, here): (Vec<_>, Vec<_>) =
            fetched.blobs.into_iter().partition(|blob| blob.role == Role::Unfetched);
        let others: Vec<_> =
            children.iter().filter(|child| !wanted.iter().any(|w| w.digest() == child.digest())).collect();
        let mut expected = lines_of(&wanted);
        expected.extend(lines_of(&[&index]).into_iter().filter(|line| line.starts_with("index")));
        expected.sort();
        assert_eq!(in_lines(&here), expected, "{choice}");
        let expected = lines_of(&others);
        let expected = expected.iter().filter_map(|line| line.strip_prefix("manifest"));
        assert_eq!(
            in_lines(&unfetched),
            expected.map(|line| format!("unfetched{line}")).collect::<Vec<_>>(),
            "{choice}"
        );
        let asked = registry.asked().join("\n");
        for digest in others.iter().flat_map(|other| other.blobs().keys().map(String::as_str).chain([other.digest()])) {
            let shared = wanted.iter().any(|wanted| wanted.blobs().contains_key(digest));
            assert!(shared || !asked.contains(digest), "{choice}: {digest} was asked for");
        }
    }
}

#[tokio::test]
async fn without_what_is_usual_everything_comes() {
    let index = Image::index(&images(&["linux/arm64", "windows/amd64"]));
    let registry = Registry::with(&index).await;
    let fetched = ImagePlace::new().fetch(&registry.job(index.digest(), "usual")).await.unwrap();
    assert_eq!(in_lines(&fetched.blobs), lines_of(&[&index]));
    assert_eq!(fetched.platforms, Some(PlatformChoice::usual()), "as asked");
}

#[tokio::test]
async fn a_platform_that_is_not_there_is_a_failure_that_names_those_that_are() {
    let index = Image::index(&images(&["linux/amd64", "linux/arm/v7"]));
    let nested = Image::index(std::slice::from_ref(&index));
    let alone = Image::oci("a").platform("linux/arm64/v8").build();
    for (image, wanted, offered) in [
        (&index, "linux/riscv64", "`linux/amd64`, `linux/arm/v7`"),
        (&index, "linux/amd64 linux/arm/v6", "`linux/amd64`, `linux/arm/v7`"),
        (&nested, "linux/riscv64", "`linux/amd64`, `linux/arm/v7`"),
        (&alone, "linux/amd64", "`linux/arm64`"),
    ] {
        let registry = Registry::with(image).await;
        let failure = ImagePlace::new().fetch(&registry.job(image.digest(), wanted)).await.unwrap_err();
        let missing = wanted.split(' ').next_back().unwrap();
        assert_eq!(failure.lacking.to_string(), missing, "{failure}");
        let failure = failure.message;
        assert!(failure.contains(&format!("has no platform `{missing}`")) && failure.contains(offered), "{failure}");
        let asked = registry.asked();
        assert!(std::ptr::eq(image, &alone) || asked.iter().all(|asked| !asked.contains("blobs")), "{asked:?}");
    }
}

#[tokio::test]
async fn an_image_that_no_index_lists_is_for_whatever_its_config_says() {
    let image = Image::oci("a").platform("linux/arm64/v8").build();
    let registry = Registry::with(&image).await;
    for choice in ["linux/arm64", "linux/arm64/v8", "usual", "all", "all linux/arm64"] {
        let fetched = ImagePlace::new().fetch(&registry.job(image.digest(), choice)).await.unwrap();
        assert_eq!(fetched.blobs[0].platform.as_ref().unwrap().to_string(), "linux/arm64", "{choice}");
        assert!(fetched.blobs[1..].iter().all(|blob| blob.platform.is_none()));
    }
    // Of something that is for no platform, every platform can be had.
    let chart = Image::artifact("application/x.chart", "for everybody");
    let registry = Registry::with(&chart).await;
    let fetched = ImagePlace::new().fetch(&registry.job(chart.digest(), "linux/amd64")).await.unwrap();
    assert_eq!(fetched.blobs[0].platform, None);
}

#[tokio::test]
async fn a_manifest_that_is_listed_twice_comes_if_either_entry_is_wanted() {
    let [amd64, arm64] = &images(&["linux/amd64", "linux/arm64"])[..] else { unreachable!() };
    let [first, second] = [amd64, arm64].map(|image| image.digest().to_owned());
    // As lists have it that offer one image for several variants.
    let index = Image::index(&[amd64.clone(), arm64.clone()]).edited(|document| {
        for (digest, platform) in [(first, "mips"), (second.clone(), "s390x"), (second, "s390x")] {
            let entries = document["manifests"].as_array_mut().unwrap();
            let mut entry = entries.iter().find(|entry| entry["digest"] == digest).unwrap().clone();
            entry["platform"] = json!({"os": "linux", "architecture": platform});
            entries.push(entry);
        }
    });
    let registry = Registry::with(&index).await;
    let fetched = ImagePlace::new().fetch(&registry.job(index.digest(), "linux/mips")).await.unwrap();
    let rows = |digest: &str| fetched.blobs.iter().filter(|blob| blob.digest.to_string() == digest).count();
    assert_eq!((rows(amd64.digest()), rows(arm64.digest())), (1, 1), "{:?}", fetched.blobs);
    assert_eq!(registry.times(&format!("GET manifests/{}", amd64.digest())), 1);
    assert_eq!(registry.times(&format!("GET manifests/{}", arm64.digest())), 0);
}

#[tokio::test]
async fn what_is_listed_and_is_no_manifest_is_not_asked_for() {
    let image = Image::oci("a").build();
    let other = Image::artifact("application/x", "data");
    let digest = other.digest().to_owned();
    let index = Image::index(&[image.clone(), other]).edited(|document| {
        let entries = document["manifests"].as_array_mut().unwrap();
        entries.iter_mut().find(|entry| entry["digest"] == digest).unwrap()["mediaType"] = "application/x".into();
    });
    let registry = Registry::with(&index).await;
    let fetched = ImagePlace::new().fetch(&registry.job(index.digest(), "all")).await.unwrap();
    assert!(registry.asked().iter().all(|asked| !asked.contains(&digest)));
    let other = fetched.blobs.iter().find(|blob| blob.digest.to_string() == digest).unwrap();
    assert_eq!((other.role, other.media_type.as_deref()), (Role::Unfetched, Some("application/x")));
}

#[tokio::test]
async fn what_nobody_wanted_is_on_record_only_if_it_has_a_sha256() {
    let [amd64, arm64] = &images(&["linux/amd64", "linux/arm64"])[..] else { unreachable!() };
    let long = Digests::of(arm64.manifest()).get(Algorithm::Sha512).to_string();
    let index = Image::index(&[amd64.clone(), arm64.clone()])
        .edited(|document| document["manifests"][1]["digest"] = long.clone().into());
    let registry = Registry::with(&index).await;
    let fetched = ImagePlace::new().fetch(&registry.job(index.digest(), "usual")).await.unwrap();
    assert!(fetched.blobs.iter().all(|blob| blob.role != Role::Unfetched), "{:?}", fetched.blobs);
    registry.put_manifest(&long, arm64.media_type(), arm64.manifest().clone());
    let fetched = ImagePlace::new().fetch(&registry.job(index.digest(), "all")).await.unwrap();
    assert!(fetched.blobs.iter().any(|blob| blob.digest.to_string() == long), "{:?}", fetched.blobs);
}
