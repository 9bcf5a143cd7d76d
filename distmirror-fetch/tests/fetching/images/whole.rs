//! Whole images of every kind: exactly what their documents name comes, each thing once, byte for byte.

use bytes::Bytes;
use distmirror_core::{Algorithm, Digests, PlatformChoice, Role};
use serde_json::json;
use testkit::image::Image;

use crate::support::{ImagePlace, Registry, in_lines, layers, lines_of, sha256};

/// Fetches all of an image, and compares what came with what its documents name.
async fn check_whole(what: &str, image: &Image, more_blobs: &[Bytes]) -> Registry {
    let registry = Registry::with(image).await;
    for blob in more_blobs {
        registry.put_blob(&sha256(blob).to_string(), blob.clone());
    }
    let place = ImagePlace::new();
    let fetched = place.fetch(&registry.job(image.digest(), "all")).await;
    let fetched = fetched.unwrap_or_else(|failure| panic!("{what}: {failure}"));
    assert_eq!(in_lines(&fetched.blobs), lines_of(&[image]), "{what}");
    assert_eq!(fetched.platforms, Some(PlatformChoice::all()), "{what}");
    let content = fetched.content;
    assert_eq!((content.digests, content.size), (Digests::of(image.manifest()), image.manifest().len() as u64));
    assert_eq!(content.content_type.as_deref(), Some(image.media_type()), "{what}");
    assert_eq!(content.source.final_url, registry.upstream.url(&format!("/v2/team/app/manifests/{}", image.digest())));
    assert_eq!((content.content_disposition, content.content_encoding, content.last_modified), (None, None, None));
    assert_eq!(place.spooled_files(), 0, "{what}");
    let mut asked = registry.asked();
    asked.sort();
    let count = asked.len();
    asked.dedup();
    assert_eq!(asked.len(), count, "{what}: something was asked for twice");
    registry
}

#[tokio::test]
async fn an_image_of_any_kind_comes_whole() {
    let small = || Image::oci("a").layers(1).layer_bytes(10);
    let (amd64, arm64) = (small().build(), small().platform("linux/arm64").build());
    let docker = Image::docker("b").platform("linux/arm/v7").build();
    let twice = amd64.clone().edited(|manifest| {
        let layer = manifest["layers"][0].clone();
        manifest["layers"].as_array_mut().unwrap().push(layer);
    });
    let untold = amd64.clone().edited(|manifest| drop(manifest.as_object_mut().unwrap().remove("mediaType")));
    let custom = amd64.clone().edited(|manifest| {
        manifest["x-custom"] = json!({"a": [1, null, {"b": 1.5}]});
        manifest["layers"][0]["x-custom"] = "ä".into();
        manifest["annotations"] = json!({"org.example": "yes"});
    });
    for (what, image) in [
        ("OCI", &Image::oci("a").layers(3).build()),
        ("Docker", &docker),
        ("uncompressed, larger than a piece of the spool", &small().uncompressed().layer_bytes(1_300_000).build()),
        ("OCI index", &Image::index(&[amd64.clone(), arm64.clone()])),
        ("Docker list", &Image::manifest_list(std::slice::from_ref(&docker))),
        ("index of both kinds", &Image::index(&[amd64.clone(), docker.clone()])),
        ("nested index", &Image::index(&[Image::index(&[amd64.clone(), docker.clone()]), arm64.clone()])),
        ("an index in two places", &{
            let inner = Image::index(std::slice::from_ref(&docker));
            Image::index(&[Image::index(&[inner.clone(), arm64.clone()]), inner])
        }),
        ("index with nothing in it", &Image::index(&[])),
        ("artifact with the empty config", &Image::artifact("application/x", "content")),
        (
            "two artifacts that share their config",
            &Image::index(&[Image::artifact("application/x", "one"), Image::artifact("application/x", "two")]),
        ),
        (
            "two images that share everything",
            &Image::index(&[amd64.clone(), amd64.clone().with_annotation("org.example", "the same again")]),
        ),
        ("no layers", &Image::oci("a").layers(0).build()),
        (
            "no list of layers",
            &Image::oci("a").layers(0).build().edited(|manifest| {
                drop(manifest.as_object_mut().unwrap().remove("layers"));
            }),
        ),
        ("the same layer twice", &twice),
        ("without a media type in it", &untold),
        ("an index over one without", &Image::index(std::slice::from_ref(&untold))),
        ("fields that nobody knows", &custom),
        ("a referrer, declared by itself", &Image::artifact("application/x", "signed").with_subject(&amd64)),
    ] {
        check_whole(what, image, &[]).await;
    }
}

#[tokio::test]
async fn a_layer_without_a_byte_comes_too() {
    let layer = json!({"mediaType": "application/x", "digest": sha256(b"").to_string(), "size": 0});
    let image = Image::oci("a").build().edited(|manifest| manifest["layers"].as_array_mut().unwrap().push(layer));
    let registry = check_whole("empty layer", &image, &[Bytes::new()]).await;
    assert_eq!(registry.times(&format!("GET blobs/{}", sha256(b""))), 1, "the registry must have it");
}

#[tokio::test]
async fn a_manifest_that_does_not_say_what_it_is_is_what_it_was_sent_as() {
    let image = |seed| {
        Image::docker(seed).build().edited(|manifest| {
            drop(manifest.as_object_mut().unwrap().remove("mediaType"));
        })
    };
    for (sent_as, media_type) in [
        ("application/vnd.docker.distribution.manifest.v2+json; charset=utf-8", image("a").media_type()),
        ("application/json", Image::oci("a").build().media_type()),
    ] {
        let image = image("a");
        let registry = Registry::with(&image).await;
        registry.put_manifest(image.digest(), sent_as, image.manifest().clone());
        let fetched = ImagePlace::new().fetch(&registry.job(image.digest(), "all")).await.unwrap();
        assert_eq!(fetched.blobs[0].media_type.as_deref(), Some(media_type));
        assert_eq!(fetched.content.content_type.as_deref(), Some(media_type));
    }
}

#[tokio::test]
async fn what_is_named_by_sha512_is_kept_under_its_sha256() {
    let image = Image::oci("a").layers(2).build();
    let layer = image.blobs()[&layers(&image)[0]].clone();
    let long = Digests::of(&layer).get(Algorithm::Sha512);
    let image = image.edited(|manifest| manifest["layers"][0]["digest"] = long.to_string().into());
    let name = Digests::of(image.manifest()).get(Algorithm::Sha512);
    let registry = Registry::with(&image).await;
    registry.put_blob(&long.to_string(), layer.clone());
    registry.put_manifest(&name.to_string(), image.media_type(), image.manifest().clone());
    let fetched = ImagePlace::new().fetch(&registry.job(&name.to_string(), "all")).await.unwrap();
    let [root, _, first, second] = &fetched.blobs[..] else { panic!("{:?}", fetched.blobs) };
    assert_eq!((root.digest, root.blob.into()), (name, sha256(image.manifest())));
    assert_eq!((first.role, first.digest, first.blob.into()), (Role::Layer, long, sha256(&layer)));
    assert_eq!(second.digest, second.blob.into());
    assert_eq!(registry.times(&format!("GET manifests/{name}")), 1, "{:?}", registry.asked());
}

#[tokio::test]
async fn documents_come_first_and_layers_stay_in_order() {
    let image = Image::oci("a").layers(6).build();
    let index = Image::index(std::slice::from_ref(&image));
    let fetched = ImagePlace::new().fetch(&Registry::with(&index).await.job(index.digest(), "all")).await.unwrap();
    let digests: Vec<_> = fetched.blobs.iter().map(|blob| blob.digest.to_string()).collect();
    let config = image.document()["config"]["digest"].as_str().unwrap();
    let expected = [vec![index.digest().to_owned(), image.digest().to_owned(), config.to_owned()], layers(&image)];
    assert_eq!(digests, expected.concat());
}
