//! What is here already: it is not fetched again, and it counts only where the registry shows that it has it too.

use distmirror_core::{BlobStore, Payload};
use testkit::{Answer, image::Image};

use crate::support::{ImagePlace, Registry, in_lines, layers, lines_of};

#[tokio::test]
async fn what_is_here_is_shown_by_head_and_not_fetched_again() {
    let image = Image::oci("a").layers(3).build();
    let registry = Registry::with(&image).await;
    let place = ImagePlace::new();
    let first = place.fetch(&registry.job(image.digest(), "all")).await.unwrap();
    let before = registry.asked().len();
    assert_eq!(place.fetch(&registry.job(image.digest(), "all")).await.unwrap(), first);
    let mut expected: Vec<_> = image.blobs().keys().map(|digest| format!("HEAD blobs/{digest}")).collect();
    expected.push(format!("GET manifests/{}", image.digest()));
    let mut asked = registry.asked().split_off(before);
    asked.sort();
    expected.sort();
    assert_eq!(asked, expected);
}

#[tokio::test]
async fn what_lies_here_damaged_comes_again_and_is_mended() {
    let image = Image::oci("a").layers(1).build();
    let registry = Registry::with(&image).await;
    let place = ImagePlace::new();
    let first = place.fetch(&registry.job(image.digest(), "all")).await.unwrap();
    let layer = layers(&image).remove(0);
    let blob = first.blobs.iter().find(|blob| blob.digest.to_string() == layer).unwrap();
    let damage = vec![0; blob.size as usize];
    place.blobs.put(&blob.blob, Payload::Bytes(damage.into())).await.unwrap();
    assert_eq!(place.fetch(&registry.job(image.digest(), "all")).await.unwrap(), first);
    assert_eq!(registry.times(&format!("GET blobs/{layer}")), 2, "{:?}", registry.asked());
}

fn sized(status: u16, length: usize) -> Answer {
    Answer::new(status).header("content-length", &length.to_string())
}

#[tokio::test]
async fn what_the_registry_does_not_show_has_to_come() {
    type Head = fn(usize) -> Answer;
    let heads: [(&str, Head); 6] = [
        ("404", |length| sized(404, length)),
        ("403", |length| sized(403, length)),
        ("500", |length| sized(500, length)),
        ("206", |length| sized(206, length)),
        ("another length", |length| sized(200, length + 1)),
        ("a length of nothing", |_| sized(200, 0)),
    ];
    for (what, head) in heads {
        let image = Image::oci("a").layers(1).build();
        let registry = Registry::with(&image).await;
        let place = ImagePlace::new();
        place.fetch(&registry.job(image.digest(), "all")).await.unwrap();
        let blobs = image.blobs().clone();
        registry.before_all(move |request| {
            let digest = request.uri().path().rsplit('/').next()?;
            (request.method() == "HEAD").then(|| head(blobs[digest].len()))
        });
        let fetched = place.fetch(&registry.job(image.digest(), "all")).await.unwrap();
        assert_eq!(in_lines(&fetched.blobs), lines_of(&[&image]), "{what}");
        for digest in image.blobs().keys() {
            assert_eq!(registry.times(&format!("GET blobs/{digest}")), 2, "{what}: {:?}", registry.asked());
        }
    }
}

/// A registry whose image names a layer that only another registry has.
async fn borrowing(image: &Image) -> (Registry, String) {
    let registry = Registry::with(image).await;
    let layer = layers(image).remove(0);
    registry.at(&format!("blobs/{layer}"), |_| Answer::new(404));
    (registry, layer)
}

#[tokio::test]
async fn a_layer_of_another_repository_is_not_given_away() {
    let image = Image::oci("a").layers(1).build();
    let place = ImagePlace::new();
    let owner = Registry::with(&image).await;
    place.fetch(&owner.job(image.digest(), "all")).await.unwrap();
    let (borrower, layer) = borrowing(&image).await;
    let failure = place.failure(&borrower, image.digest()).await.message;
    assert!(failure.contains(&layer) && failure.contains("404 Not Found"), "{failure}");
}

#[tokio::test]
async fn nor_is_one_that_an_interrupted_fetch_from_there_left_complete() {
    let image = Image::oci("a").layers(1).build();
    let place = ImagePlace::new();
    let (borrower, layer) = borrowing(&image).await;
    place.spool(&layer, &image.blobs()[&layer]);
    let failure = place.failure(&borrower, image.digest()).await.message;
    assert!(failure.contains(&layer) && failure.contains("404 Not Found"), "{failure}");
    // Who shows that it has it need not send it again.
    let owner = Registry::with(&image).await;
    place.spool(&layer, &image.blobs()[&layer]);
    place.fetch(&owner.job(image.digest(), "all")).await.unwrap();
    assert_eq!(owner.times(&format!("GET blobs/{layer}")), 0);
    assert_eq!(owner.times(&format!("HEAD blobs/{layer}")), 1);
}
