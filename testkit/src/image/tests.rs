//! What clients and registries rely on, checked against other code than made it.

use std::io::Read;

use flate2::read::GzDecoder;

use super::*;

#[test]
fn the_same_seed_gives_the_same_image() {
    let digest = |seed| Image::oci(seed).build().digest().to_owned();
    assert_eq!(digest("one"), digest("one"));
    assert_ne!(digest("one"), digest("two"));
}

#[test]
fn layers_are_archives_with_the_right_names() {
    for image in
        [Image::oci("x"), Image::docker("x"), Image::oci("x").uncompressed(), Image::docker("x").uncompressed()]
    {
        let image = image.layers(3).layer_bytes(10_001).build();
        let config = &image.blobs()[image.document()["config"]["digest"].as_str().expect("a digest is text")];
        let config: Value = serde_json::from_slice(config).expect("the configuration is JSON");
        let layers = image.document()["layers"].as_array().expect("there is a list of layers");
        assert_eq!((layers.len(), image.blobs().len()), (3, 4));
        for (number, layer) in layers.iter().enumerate() {
            let blob = &image.blobs()[layer["digest"].as_str().expect("a digest is text")];
            assert_eq!((&layer["size"], &layer["digest"]), (&blob.len().into(), &digest(blob).into()));
            let plain = unpacked(blob);
            assert_eq!(config["rootfs"]["diff_ids"][number], digest(&plain));
            let mut archive = tar::Archive::new(&plain[..]);
            let sizes = archive.entries().unwrap().map(|entry| entry.unwrap().size());
            assert_eq!(sizes.collect::<Vec<_>>(), [0, 10_001]);
        }
    }
}

fn unpacked(blob: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    match GzDecoder::new(blob).read_to_end(&mut plain) {
        Ok(_) => plain,
        Err(_) => blob.to_vec(),
    }
}

#[test]
fn an_index_lists_platforms_and_pushes_children_first() {
    let children = [Image::docker("a").build(), Image::docker("a").platform("linux/arm64/v8").build()];
    let list = Image::manifest_list(&children);
    let platforms: Vec<_> = list.document()["manifests"].as_array().unwrap().iter().map(|c| &c["platform"]).collect();
    assert_eq!(*platforms[0], json!({ "os": "linux", "architecture": "amd64" }));
    assert_eq!(*platforms[1], json!({ "os": "linux", "architecture": "arm64", "variant": "v8" }));
    let order: Vec<&str> = list.all_manifests().into_iter().map(Image::digest).collect();
    assert_eq!(order, [children[0].digest(), children[1].digest(), list.digest()]);
    assert_eq!(list.all_blobs().len(), 4, "two configurations that share both layers");
}

#[test]
fn a_referrer_is_described_with_its_type_and_annotations() {
    let subject = Image::oci("a").build();
    let signature =
        Image::artifact("application/x", "signed").with_subject(&subject).with_annotation("org.example", "yes");
    let size = subject.manifest().len();
    assert_eq!(
        signature.document()["subject"],
        json!({ "mediaType": subject.media_type(), "digest": subject.digest(), "size": size })
    );
    let descriptor = signature.descriptor();
    assert_eq!(descriptor["digest"], digest(signature.manifest()));
    assert_eq!(
        (&descriptor["artifactType"], &descriptor["annotations"]["org.example"]),
        (&"application/x".into(), &"yes".into())
    );
}
