use std::sync::Arc;

use futures::{FutureExt, TryStreamExt};

use super::*;
use crate::{
    BlobBody, BlobStore, Ledger, Payload, Sha256,
    memory::{MemoryBlobStore, MemoryCatalog},
};

/// A store with one blob in it, and what it is called.
async fn store() -> (FaultyBlobStore, Faults, Sha256) {
    let faults = Faults::default();
    let store = FaultyBlobStore::new(Arc::new(MemoryBlobStore::new()), faults.clone());
    let blob = Sha256::of(b"the bytes");
    store.put(&blob, Payload::Bytes("the bytes".into())).await.unwrap();
    (store, faults, blob)
}

#[tokio::test]
async fn exactly_the_operations_that_are_to_fail_fail() {
    for (fault, expected) in [
        (Fault { nth: 1, times: 1, how: How::Before }, "x..."),
        (Fault { nth: 3, times: 1, how: How::After }, "..x."),
        (Fault { nth: 2, times: u64::MAX, how: How::Before }, ".xxx"),
        (Fault { nth: 9, times: 1, how: How::Before }, "...."),
    ] {
        let (store, faults, blob) = store().await;
        let catalog = FaultyCatalog::new(Arc::new(MemoryCatalog::new()), faults.clone());
        faults.arm(fault);
        let outcomes = [
            catalog.miss_count().await.is_ok(),
            store.stat(&blob).await.is_ok(),
            catalog.ignored_patterns().await.is_ok(),
            store.stat(&blob).await.is_ok(),
        ];
        let outcomes: String = outcomes.iter().map(|is_ok| if *is_ok { '.' } else { 'x' }).collect();
        assert_eq!(outcomes, expected, "{fault:?}");
        assert_eq!(faults.fired(), expected.matches('x').count() as u64, "{fault:?}");
        assert_eq!((faults.calls("stat"), faults.calls("miss_count")), (2, 1));
        faults.disarm();
        assert!(catalog.miss_count().await.is_ok() && store.stat(&blob).await.is_ok());
    }
}

#[tokio::test]
async fn what_fails_after_it_was_done_is_done_and_what_fails_before_is_not() {
    for (how, is_done) in [(How::Before, false), (How::After, true), (How::Silent, false)] {
        let (store, faults, _) = store().await;
        let blob = Sha256::of(b"more");
        faults.arm(Fault { nth: 1, times: 1, how });
        let answer = store.put(&blob, Payload::Bytes("more".into())).now_or_never();
        assert_eq!(answer.map(|answer| answer.is_err()), (how != How::Silent).then_some(true), "{how:?}");
        assert_eq!(store.stat(&blob).await.unwrap().is_some(), is_done, "{how:?}");
    }
}

#[tokio::test]
async fn one_operation_can_be_made_to_fail_by_name() {
    let (store, faults, blob) = store().await;
    faults.fail_next("stat", 2);
    assert!(store.get(&blob, None).await.is_ok());
    assert_eq!([(); 3].map(|()| store.stat(&blob).now_or_never().unwrap().is_ok()), [false, false, true]);
}

#[tokio::test]
async fn a_stream_breaks_off_wherever_it_is() {
    for (nth, expected) in [(1, ""), (2, "the "), (3, "the bytes")] {
        let (store, faults, blob) = store().await;
        let read = store.get(&blob, None).await.unwrap();
        let BlobBody::Stream(mut body) = read.body else { panic!("memory hands out streams") };
        faults.arm(Fault { nth, times: 1, how: How::Before });
        let mut came = Vec::new();
        let broken = loop {
            match body.try_next().await {
                Ok(Some(piece)) => came.extend_from_slice(&piece),
                ended => break ended,
            }
        };
        assert!(broken.is_err() && came == expected.as_bytes(), "{nth}: {came:?}");
        assert!(matches!(body.try_next().await, Ok(None)), "after an error nothing follows");
    }
    let (store, faults, _) = store().await;
    faults.arm(Fault { nth: 2, times: 1, how: How::Before });
    assert!(store.list().try_collect::<Vec<_>>().await.is_err());
}
