//! What is done, and that nothing is done by anything else.

use relay_core::machine::review;
use relay_core::store::Blob;
use relay_core::store::operators::{Deed, DeedOutcome};

use super::*;
use crate::app::Kept;

#[tokio::test]
async fn nothing_is_done_by_get() {
    let control = Control::new(&[]);
    control.starting("c0ffee0", "0001", "x").await;
    for path in ORDERS {
        assert_eq!(control.get(path).await.status, StatusCode::METHOD_NOT_ALLOWED, "{path}");
    }
    for path in PAGES {
        control.get(&format!("{path}?done=forgotten&key=x&confirm=c0ffee")).await;
    }
    assert_eq!((control.waiting("c0ffee0").await, control.deeds().await), (0, Vec::new()));
    assert_eq!(control.store.dead_letters(10).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_letter_is_redriven_and_a_person_forgotten_once_that_is_typed() {
    let control = Control::new(&[]);
    control.starting("c0ffee0badc0de", "0001", "x").await;
    let key = control.get("/admin/letters").await.key().to_owned();
    let key = key.as_str();
    let redriven = control.post("/admin/letters/1/redrive", &[("key", key)]).await;
    assert_eq!(redriven.to(), "/admin/letters?done=redriven");
    assert!(control.get(redriven.to()).await.text.contains("put back"));
    assert_eq!(control.post("/admin/letters/1/redrive", &[("key", key)]).await.to(), "/admin/letters?done=no-letter");
    assert_eq!(control.waiting("c0ffee0badc0de").await, 1);
    for typed in ["", "c0ff", "forget"] {
        let kept =
            control.post("/admin/conversations/c0ffee0badc0de/forget", &[("key", key), ("confirm", typed)]).await;
        assert!(kept.to().ends_with("?done=unconfirmed"), "{}", kept.to());
    }
    assert_eq!(control.waiting("c0ffee0badc0de").await, 1);
    let forgotten =
        control.post("/admin/conversations/c0ffee0badc0de/forget", &[("key", key), ("confirm", " c0ffee ")]).await;
    assert_eq!(forgotten.to(), "/admin/conversations?done=forgotten");
    assert_eq!(control.get("/admin/conversations/c0ffee0badc0de").await.status, StatusCode::NOT_FOUND);
    let conversation = ConversationId::parse("c0ffee0badc0de").unwrap();
    let redrive = DeedKind::Redrive { letter: 1 };
    assert_eq!(control.deeds().await, [DeedKind::Forget { conversation }, redrive.clone(), redrive]);
    assert_eq!(control.store.stats(clock::now()).await.unwrap().conversations, 0);
}

#[tokio::test]
async fn an_order_makes_no_conversation() {
    let control = Control::new(&[]);
    let key = control.get("/admin/machines").await.key().to_owned();
    for id in ["nobody", "%3Cb%3E", "a%20b", &"a".repeat(100)] {
        for order in ["cancel", "forget", "vm"] {
            let path = format!("/admin/conversations/{id}/{order}");
            let answer = control.post(&path, &[("key", &key), ("order", "1"), ("confirm", "nobody")]).await;
            assert_eq!(answer.status, StatusCode::NOT_FOUND, "{path}");
        }
    }
    assert_eq!(control.store.stats(clock::now()).await.unwrap().conversations, 0);
    assert_eq!(control.deeds().await, []);
}

#[tokio::test]
async fn a_form_that_is_none_is_refused_and_nothing_is_done() {
    let control = Control::with_token();
    let cookie = control.sign_in(TOKEN, HERE).await.cookie().to_owned();
    control.starting("c0ffee0", "0001", "x").await;
    let key = control.get_with(PAGES[2], &cookie).await.key().to_owned();
    let request = Request::post(ORDERS[0]).header("cookie", &cookie);
    let malformed = control.ask(request, HERE, form(&[("key", &key), ("order", "<b>")])).await;
    assert_eq!(malformed.status, StatusCode::BAD_REQUEST);
    assert!(malformed.text.contains("Nothing was done") && !malformed.text.contains("<b>"), "{}", malformed.text);
    let large = Request::post(ORDERS[0]).header("cookie", &cookie);
    let large = control.ask(large, HERE, "x".repeat(FORM_BYTES_MAX + 1)).await;
    assert_eq!(large.status, StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(control.waiting("c0ffee0").await, 0);
}

#[tokio::test]
async fn the_audit_says_what_came_of_an_order() {
    let control = Control::new(&[]);
    control.starting("c0ffee0", "0001", "x").await;
    let key = control.get("/admin/letters").await.key().to_owned();
    let outcomes = async || {
        let deeds = control.store.deeds(0, 100).await.unwrap();
        deeds.into_iter().map(|deed| deed.outcome).collect::<Vec<_>>()
    };
    let badges = async || {
        let page = control.get("/admin/deeds").await.text;
        ["asked", "done", "failed"].map(|word| page.matches(&format!(">{word}</span>")).count())
    };
    control.post("/admin/letters/1/redrive", &[("key", &key)]).await;
    control.post("/admin/letters/1/redrive", &[("key", &key)]).await;
    control.post(ORDERS[0], &[("key", &key), ("order", "0a1b")]).await;
    let gone = DeedOutcome::Failed("That letter is not there any more.".into());
    assert_eq!(outcomes().await, [Some(DeedOutcome::Done), Some(gone), Some(DeedOutcome::Done)]);
    assert_eq!(badges().await, [0, 2, 1]);
    // As when the relay dies before it can tell.
    let what = DeedKind::Redrive { letter: 7 };
    let asked = Deed { at: clock::now(), who: "session 1".into(), what, outcome: None };
    control.store.remember(&asked).await.unwrap();
    assert_eq!(badges().await, [1, 2, 1]);
}

#[tokio::test]
async fn an_order_is_carried_out_also_when_nobody_waits_for_it() {
    let control = Control::new(&[]);
    control.starting("c0ffee0", "0001", "x").await;
    let key = control.get("/admin/letters").await.key().to_owned();
    {
        let fields = [("key", key.as_str())];
        let ordered = control.post(ORDERS[2], &fields);
        tokio::pin!(ordered);
        let asked = async {
            while control.deeds().await.is_empty() {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            _ = &mut ordered => {}
            () = asked => {}
        }
    }
    control.app.asides.close();
    tokio::time::timeout(Duration::from_secs(20), control.app.asides.wait()).await.expect("it is carried out");
    assert_eq!(control.store.deeds(0, 1).await.unwrap()[0].outcome, Some(DeedOutcome::Done));
}

#[tokio::test]
async fn of_a_person_who_is_forgotten_no_review_is_left() {
    let control = Control::new(&[]);
    let held = control.held("c0ffee0", "0001").await;
    let expires_at = clock::now() + Duration::from_secs(3600);
    let tree = relay_core::id::TreeHash::parse("ab".repeat(20)).unwrap();
    let kept =
        |number| review::Kept { run: held.conversation.run_id(number), tree: tree.clone(), parts: 3, expires_at };
    let reviews: Vec<review::Kept> = (1..=100).map(kept).collect();
    let parts = reviews.iter().flat_map(|review| (0..review.parts).map(move |part| (review, part)));
    let blob_ids: Vec<_> = parts
        .map(|(review, part)| control.app.blob_id(Kept::Review { run: &review.run, tree: &review.tree, part }))
        .collect();
    for id in &blob_ids {
        let blob = Blob { content_type: "text/plain".into(), bytes: b"a diff".to_vec() };
        control.store.put_blob(id, blob, expires_at).await.unwrap();
    }
    let commit = Commit {
        conversation: Conversation { reviews: reviews.into(), ..held.conversation.clone() },
        ..giving_back(&held, clock::nonce(), clock::now())
    };
    control.store.commit(commit).await.unwrap();
    let key = control.get("/admin/machines").await.key().to_owned();
    control.post(ORDERS[1], &[("key", &key), ("confirm", "c0ffee")]).await;
    for id in &blob_ids {
        assert!(control.store.blob(id, clock::now()).await.unwrap().is_none());
    }
}
