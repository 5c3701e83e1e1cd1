//! What is shown, in pages, and as text.

use relay_core::signs::is_deceptive;

use super::*;

#[tokio::test]
async fn what_happened_is_shown_in_pages_and_one_run_alone() {
    let control = Control::new(&[]);
    let held = control.held("c0ffee0", "0001").await;
    let run = |number| Some(held.conversation.run_id(number));
    let said = |number: usize| LogWhat::Progress { text: format!("step {number:03} {MARKUP}") };
    let log = (0..HISTORY_ROWS + 10).map(|number| LogEntry::new(run(1 + number as u64 % 2), said(number))).collect();
    let commit = Commit { log, ..giving_back(&held, clock::nonce(), clock::now()) };
    control.store.commit(commit).await.unwrap();
    let rows = async |query: &str| {
        let page = control.get(&format!("/admin/conversations/c0ffee0{query}")).await.text;
        assert_eq!(page.matches("<script").count(), 1, "our own");
        let steps = page.split("step ").skip(1).map(|rest| rest[..3].parse::<usize>().unwrap());
        steps.collect::<Vec<_>>()
    };
    assert_eq!(rows("").await, (10..60).collect::<Vec<_>>(), "the last first, in order");
    assert_eq!(rows("?page=2").await, (0..10).collect::<Vec<_>>());
    assert_eq!(rows("?run=2").await, (1..60).step_by(2).collect::<Vec<_>>());
    assert!(rows("?run=7").await.is_empty());
    assert!(rows("?page=9").await.is_empty());
}

#[tokio::test]
async fn what_people_wrote_is_shown_as_text_and_where_they_are_reached_not_at_all() {
    let control = Control::new(&[("FLY_MACHINE_ID", "<b>machine</b>")]);
    control.starting("c0ffee0", "0001234", MARKUP).await;
    for path in PAGES {
        let page = control.get(&format!("{path}?state=%3Cscript%3E&page=%3Cscript%3E&done=%3Cscript%3E")).await;
        assert_eq!(page.status, StatusCode::OK, "{path}");
        assert_eq!(page.text.matches("<script").count(), 1, "our own: {path}");
        assert!(!page.text.contains("<img") && !page.text.contains("<b>machine"), "{path}");
        assert!(!page.text.chars().any(|sign| sign != '\n' && is_deceptive(sign)), "{path}");
        assert!(!page.text.contains("+1555") && !page.text.contains("0001234"), "{path}");
    }
    let texts = [("/admin/letters", 2), ("/admin/conversations/c0ffee0", 2 + told("").len() + endings("").len())];
    for (path, count) in texts {
        let page = control.get(path).await.text;
        for shown in ["<b class=\"sign\">U+202E</b>txt<b class=\"sign\">U+200B</b>", "&lt;script&gt;"] {
            assert_eq!(page.matches(shown).count(), count, "{path} {shown}: {page}");
        }
        assert!(page.contains("[2J\nnext"), "a line is one: {path}");
    }
    assert!(control.get("/admin/machines").await.text.contains("&lt;b&gt;machine"));
}

#[tokio::test]
async fn lists_come_in_pages_and_one_state_at_a_time() {
    let control = Control::new(&[]);
    for number in 0..ROWS + 3 {
        control.starting(&format!("c{number:03}"), &format!("{number:04}"), "x").await;
    }
    control.conversation("idle", "9999", Phase::Idle, "x").await;
    let rows = |page: &Answer| page.text.matches("href=\"/admin/conversations/").count();
    let first = control.get("/admin/conversations?state=starting").await;
    assert_eq!(rows(&first), ROWS);
    assert!(first.text.contains("?state=starting&amp;page=2"), "{}", first.text);
    let second = control.get("/admin/conversations?state=starting&page=2").await;
    assert_eq!(rows(&second), 3);
    assert!(!second.text.contains("page=3") && !second.text.contains("/idle\""));
    assert_eq!(rows(&control.get("/admin/conversations?page=2").await), 4, "whatever goes on");
    assert_eq!(rows(&control.get("/admin/conversations?state=working").await), 0);
    let letters = control.get("/admin/letters").await;
    assert_eq!(letters.text.matches("/redrive\"").count(), ROWS);
    assert!(letters.text.contains(&format!("?after={ROWS}\"")));
    assert_eq!(control.get("/admin/letters?after=25").await.text.matches("/redrive\"").count(), 4);
}
