//! Relays are drained, but for the last.

use relay_core::store::operators::Beat;

use super::*;

/// What another relay has told just now.
fn another(control: &Control) -> Beat {
    let (node, at) = (NodeId::parse("another").unwrap(), clock::now());
    Beat {
        node,
        instance: control.app.config.instance.clone(),
        version: "0.1.0".into(),
        started_at: at,
        at,
        turns: 0,
        drained: false,
        is_last: false,
    }
}

#[tokio::test]
async fn a_relay_is_drained_and_takes_work_again() {
    let control = Control::new(&[]);
    control.store.beat(&another(&control)).await.unwrap();
    let ready = async || control.get("/ready").await;
    assert_eq!(ready().await.status, StatusCode::OK);
    let page = control.get("/admin/machines").await;
    assert!(page.text.contains(control.app.node.as_str()) && page.text.contains("well"), "{}", page.text);
    let (node, key) = (control.app.node.clone(), page.key().to_owned());
    let drained = control.post(&format!("/admin/nodes/{node}/drain"), &[("key", &key)]).await;
    assert_eq!(drained.to(), "/admin/machines?done=drained");
    let answer = ready().await;
    assert!(
        answer.status == StatusCode::SERVICE_UNAVAILABLE && answer.text.contains("\"draining\""),
        "{}",
        answer.text
    );
    assert_eq!(control.get("/health").await.status, StatusCode::OK);
    assert!(control.get("/admin/machines").await.text.contains("/undrain"));
    control.post(&format!("/admin/nodes/{node}/undrain"), &[("key", &key)]).await;
    assert_eq!(ready().await.status, StatusCode::OK);
    let gone = control.post("/admin/nodes/nobody/drain", &[("key", &key)]).await;
    assert_eq!(gone.to(), "/admin/machines?done=no-relay");
}

#[tokio::test]
async fn the_last_relay_that_takes_work_is_not_drained() {
    let control = Control::new(&[]);
    let key = control.get("/admin/machines").await.key().to_owned();
    let order = async |node: &NodeId, word: &str| {
        control.post(&format!("/admin/nodes/{node}/{word}"), &[("key", &key)]).await.to().to_owned()
    };
    let node = control.app.node.clone();
    let refused = order(&node, "drain").await;
    assert_eq!(refused, "/admin/machines?done=last-relay");
    assert!(control.get(&refused).await.text.contains("the last relay that takes work"));
    let long_gone = Beat { at: clock::now() - Duration::from_secs(30), ..another(&control) };
    control.store.beat(&long_gone).await.unwrap();
    assert_eq!(order(&node, "drain").await, refused, "one that does not answer is no other");
    control.store.beat(&another(&control)).await.unwrap();
    assert_eq!(order(&another(&control).node, "drain").await, "/admin/machines?done=drained");
    assert_eq!(order(&node, "drain").await, refused, "and neither is one that is drained");
    assert_eq!(control.get("/ready").await.status, StatusCode::OK);
    order(&another(&control).node, "undrain").await;
    assert_eq!(order(&node, "drain").await, "/admin/machines?done=drained");
    assert_eq!(control.get("/ready").await.status, StatusCode::SERVICE_UNAVAILABLE);
}
