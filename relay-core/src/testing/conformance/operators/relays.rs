//! Relays that are there, and those that are drained.

use std::time::Duration;

use super::super::T0;
use crate::id::NodeId;
use crate::store::Store;
use crate::store::operators::{Beat, NODE_KEEP, NODES_MAX};

pub(super) async fn all<S: Store, F: Future<Output = S>>(fresh: impl Fn() -> F) {
    relays_are_known_and_told_to_drain(&fresh().await).await;
    a_relay_that_nobody_looks_at_stays_drained(&fresh().await).await;
}

fn node(number: usize) -> NodeId {
    NodeId::parse(format!("node-{number}")).unwrap()
}

fn beat(number: usize) -> Beat {
    Beat {
        node: node(number),
        instance: "d8 'quoted' ü".into(),
        version: "0.1.0".into(),
        started_at: T0,
        at: T0 + Duration::from_secs(number as u64),
        turns: 3,
        drained: false,
        is_last: false,
    }
}

async fn relays_are_known_and_told_to_drain(store: &dyn Store) {
    let operators = store.operators();
    assert!(operators.nodes().await.unwrap().is_empty());
    operators.call_roll().await.unwrap();
    assert!(!operators.drain(&node(1), true).await.unwrap(), "nobody has heard of it");
    for number in [1, 2] {
        assert!(!operators.beat(&beat(number)).await.unwrap(), "nobody wants it drained");
    }
    assert!(operators.drain(&node(1), true).await.unwrap());
    let told = |nodes: Vec<crate::store::operators::Node>| -> Vec<_> {
        nodes.into_iter().map(|node| (node.beat, node.drain)).collect()
    };
    assert_eq!(told(operators.nodes().await.unwrap()), [(beat(2), false), (beat(1), true)]);
    let again = Beat { at: T0 + Duration::from_secs(9), turns: 0, drained: true, ..beat(1) };
    assert!(operators.beat(&again).await.unwrap(), "it is still wanted");
    assert!(!operators.beat(&beat(2)).await.unwrap());
    assert_eq!(told(operators.nodes().await.unwrap()), [(again, true), (beat(2), false)]);
    assert!(operators.drain(&node(1), false).await.unwrap());
    assert!(!operators.beat(&beat(1)).await.unwrap(), "no longer");

    operators.beat(&Beat { is_last: true, ..beat(2) }).await.unwrap();
    assert_eq!(told(operators.nodes().await.unwrap()), [(beat(1), false)]);
    operators.drain(&node(1), true).await.unwrap();
    store.sweep(beat(1).at + NODE_KEEP).await.unwrap();
    assert!(operators.nodes().await.unwrap().is_empty(), "swept");
    assert!(!operators.beat(&beat(1)).await.unwrap(), "it had not begun with what was wanted of it");

    for number in 0..NODES_MAX + 5 {
        operators.beat(&beat(number)).await.unwrap();
    }
    let nodes = operators.nodes().await.unwrap();
    assert_eq!((nodes.len(), &nodes[0].beat.node), (NODES_MAX, &node(NODES_MAX + 4)));
}

async fn a_relay_that_nobody_looks_at_stays_drained(store: &dyn Store) {
    let operators = store.operators();
    let drained = Beat { drained: true, ..beat(1) };
    operators.beat(&beat(1)).await.unwrap();
    operators.drain(&node(1), true).await.unwrap();
    assert!(operators.beat(&drained).await.unwrap());
    for _ in 0..2 {
        store.sweep(drained.at + NODE_KEEP).await.unwrap();
        assert!(operators.nodes().await.unwrap().is_empty(), "nobody has looked for so long");
        assert!(operators.beat(&drained).await.unwrap(), "it is still drained");
        assert!(operators.beat(&drained).await.unwrap(), "and remembered as such");
        assert!(operators.nodes().await.unwrap()[0].drain);
    }
    assert!(operators.drain(&node(1), false).await.unwrap());
    assert!(!operators.beat(&drained).await.unwrap(), "until an operator wants it back");
    operators.drain(&node(1), true).await.unwrap();
    operators.beat(&Beat { is_last: true, ..drained }).await.unwrap();
    assert!(!operators.beat(&beat(1)).await.unwrap(), "or until its process has ended");
}
