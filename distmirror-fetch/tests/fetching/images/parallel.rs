//! Parts come at the same time, a few at once, and the meter counts them right.

use std::{sync::Arc, time::Duration};

use distmirror_core::{Progress, ProgressMeter};
use testkit::{Answer, image::Image};
use tokio::sync::Barrier;

use crate::support::{Hostile, ImagePlace, Registry, Step, answer, layers, part, range_start};

/// A registry that sends whoever wants a layer to another server.
async fn with_layers_at(image: &Image, elsewhere: &Hostile) -> Registry {
    let registry = Registry::with(image).await;
    for layer in layers(image) {
        let target = elsewhere.url(&format!("/{layer}"));
        registry.at(&format!("blobs/{layer}"), move |_| Answer::new(307).header("location", &target));
    }
    registry
}

fn sent(image: &Image, path: &str) -> Step {
    Step::Send(answer("200 OK", &[], &image.blobs()[&path[1..]]))
}

#[tokio::test]
async fn a_layer_does_not_wait_for_another_one() {
    let image = Image::oci("a").layers(2).build();
    let (both, served) = (Arc::new(Barrier::new(2)), image.clone());
    let elsewhere =
        Hostile::start(move |request| vec![Step::Meet(Arc::clone(&both)), sent(&served, &request.path)]).await;
    let registry = with_layers_at(&image, &elsewhere).await;
    ImagePlace::new().fetch(&registry.job(image.digest(), "all")).await.unwrap();
}

#[tokio::test]
async fn at_most_four_parts_come_at_a_time() {
    const PAUSE: Duration = Duration::from_millis(300);
    let image = Image::oci("a").layers(9).build();
    let served = image.clone();
    let elsewhere = Hostile::start(move |request| vec![Step::Wait(PAUSE), sent(&served, &request.path)]).await;
    let registry = with_layers_at(&image, &elsewhere).await;
    ImagePlace::new().fetch(&registry.job(image.digest(), "all")).await.unwrap();
    let came_at = layers(&image).into_iter().map(|layer| elsewhere.requests(&format!("/{layer}"))[0].came_at);
    let mut came_at: Vec<_> = came_at.collect();
    came_at.sort();
    for five in came_at.windows(5) {
        assert!(five[4] - five[0] >= PAUSE, "a fifth one came before any of four can have ended: {came_at:?}");
    }
}

#[tokio::test]
async fn the_meter_ends_where_it_said() {
    let image = Image::oci("a").layers(3).layer_bytes(600_000).uncompressed().build();
    let index = Image::index(&[image.clone(), Image::docker("b").platform("linux/arm64").build()]);
    let total = |images: &[&Image]| {
        let images = images.iter().flat_map(|image| image.all_manifests());
        let sizes = images.map(|image| image.manifest().len() + image.blobs().values().map(|b| b.len()).sum::<usize>());
        sizes.sum::<usize>() as u64
    };
    let registry = Registry::with(&index).await;
    let place = ImagePlace::new();
    let own = index.manifest().len() as u64;
    for (what, platforms, bytes) in [
        ("some", "usual", own + total(&[&image])),
        ("some of it is here", "all", total(&[&index])),
        ("all of it is here", "all", total(&[&index])),
    ] {
        let meter = ProgressMeter::default();
        place.fetch_measured(&registry.job(index.digest(), platforms), &meter).await.unwrap();
        assert_eq!(meter.progress(), Progress { bytes, total: Some(bytes) }, "{what}");
    }
}

#[tokio::test]
async fn the_meter_ends_right_after_a_transfer_went_on_or_started_anew() {
    const HALF: usize = 600_000;
    let image = Image::oci("a").layers(1).layer_bytes(700_000).uncompressed().build();
    let layer = layers(&image).remove(0);
    for (what, spooled, knows_ranges) in [
        ("goes on at once", 0, true),
        ("goes on later", HALF, true),
        ("starts anew", 1000, false),
        ("is complete", image.blobs()[&layer].len(), true),
    ] {
        let registry = Registry::with(&image).await;
        let bytes = image.blobs()[&layer].clone();
        registry.at(&format!("blobs/{layer}"), move |request| match range_start(request) {
            None if request.method() == "GET" => Answer::ok(bytes.clone()).break_after(HALF),
            _ if knows_ranges => part(request, bytes.clone()),
            _ => Answer::ok(bytes.clone()),
        });
        let place = ImagePlace::new();
        place.spool(&layer, &image.blobs()[&layer][..spooled]);
        let meter = ProgressMeter::default();
        place.fetch_measured(&registry.job(image.digest(), "all"), &meter).await.unwrap();
        let bytes = (image.manifest().len() + image.blobs().values().map(|blob| blob.len()).sum::<usize>()) as u64;
        assert_eq!(meter.progress(), Progress { bytes, total: Some(bytes) }, "{what}");
    }
}
