//! The control UI in a real browser, and over real relays: guesses are slowed, relays are drained.

mod guesses;
mod relays;

use relay_core::machine::{Effect, Say};
use serde_json::Value;
use system_tests::browser::{Browser, Screen};
use system_tests::stack::{BOUND, Plan, Stack};
use system_tests::wait::wait_until;

use super::page::{find, press, reads, script};

pub(super) const TOKEN: &str = "open-sesame-open-sesame-open-sesame";
const SCREENS: [Screen; 4] =
    [Screen::PHONE, Screen { dark: true, ..Screen::PHONE }, Screen::DESK, Screen { dark: true, ..Screen::DESK }];

async fn open(browser: &Browser, stack: &Stack, path: &str) {
    browser.client().goto(&format!("{}{path}", stack.relay_url())).await.expect("the page opens");
    find(browser, "h1").await;
}

/// The page fits the screen, and hinders nobody.
async fn look(browser: &Browser, name: &str) {
    browser.screenshot(&format!("admin-{name}")).await;
    // What is wider, where it begins to be.
    let wider = "const width = document.documentElement.clientWidth; \
        return document.documentElement.scrollWidth <= width ? [] : [...document.querySelectorAll('main *, header *')] \
            .filter(e => e.getBoundingClientRect().right > width + 1).map(e => e.outerHTML.slice(0, 200)).slice(0, 3)";
    assert_eq!(script(browser, wider).await, Value::Array(Vec::new()), "{name}: something is wider than the screen");
    assert_eq!(browser.hindrances().await, Vec::<String>::new(), "{name}");
}

/// The name of the only one, and where it is stored.
fn the_conversation(stack: &Stack) -> (rusqlite::Connection, String) {
    let database = rusqlite::Connection::open(stack.database()).expect("the database opens");
    let conversation = database.query_row("SELECT id FROM conversations", [], |row| row.get(0)).expect("there is one");
    (database, conversation)
}

/// A person with a diff that waits, something behind it, and a message that never reached them; and the name of their
/// conversation.
async fn with_something_to_see(stack: &Stack) -> String {
    let console = stack.console();
    console.send("add a line to hello.txt", BOUND).await;
    console.wait_for("*approve* opens", BOUND).await;
    console.send("then make <b>the button</b> \u{202e}eulb & round", BOUND).await;
    console.wait_for("Queued at position 1", BOUND).await;
    let (database, conversation) = the_conversation(stack);
    let effect = Effect::Say(Say { text: "<script>alert(1)</script> is done".into(), ..Say::default() });
    let effect = serde_json::to_string(&effect).expect("plain data");
    let letter = "INSERT INTO dead_letters (conversation, effect, reason, at) VALUES (?1, ?2, ?3, 1790000000000)";
    database
        .execute(letter, [conversation.as_str(), &effect, "Twilio error 63016: outside of the window"])
        .expect("kept");
    conversation
}

#[tokio::test]
async fn every_page_can_be_read_on_a_phone_and_on_a_desk_by_day_and_by_night() {
    let stack = Stack::start(Plan::default()).await;
    let conversation = with_something_to_see(&stack).await;
    let one = format!("/admin/conversations/{conversation}");
    let pages = [
        ("overview", "/admin", "await approval"),
        ("conversations", "/admin/conversations", "awaiting approval"),
        ("conversation", one.as_str(), "Diff that waits for an answer"),
        ("approvals", "/admin/approvals", "in 29 min"),
        ("letters", "/admin/letters", "Twilio error 63016"),
        ("machines", "/admin/machines", "well"),
        ("deeds", "/admin/deeds", "ask the VM of"),
    ];
    let asking = Browser::with(Screen::DESK).await;
    open(&asking, &stack, &one).await;
    press(&asking, "#vm button").await;
    reads(&asking, "Free on its volume").await;
    look(&asking, "conversation-vm-1280-light").await;
    for screen in SCREENS {
        let browser = Browser::with(screen).await;
        for (name, path, text) in pages {
            open(&browser, &stack, path).await;
            reads(&browser, text).await;
            look(&browser, &format!("{name}-{}", screen.name())).await;
            assert_eq!(script(&browser, "return document.querySelectorAll('script').length").await, 1, "ours");
            if name == "conversation" {
                script(&browser, "document.querySelector('#history').scrollIntoView()").await;
                look(&browser, &format!("{name}-history-{}", screen.name())).await;
                press(&browser, "summary").await;
                script(&browser, "scrollTo(0, document.body.scrollHeight)").await;
                look(&browser, &format!("{name}-end-{}", screen.name())).await;
            }
        }
    }
}

#[tokio::test]
async fn an_operator_signs_in_cancels_a_run_and_finds_it_in_the_audit() {
    let stack = Stack::start(Plan::default().relay("ADMIN_TOKEN", TOKEN)).await;
    let console = stack.console();
    console.send("something slow", BOUND).await;
    console.wait_for("Working slowly", BOUND).await;
    for screen in SCREENS {
        let browser = Browser::with(screen).await;
        open(&browser, &stack, "/admin").await;
        look(&browser, &format!("sign-in-{}", screen.name())).await;
    }
    let browser = Browser::with(Screen::PHONE).await;
    open(&browser, &stack, "/admin/conversations").await;
    find(&browser, "input[name=token]").await.send_keys("a wrong one").await.expect("one can type");
    press(&browser, "button.primary").await;
    reads(&browser, "not the token").await;
    look(&browser, "sign-in-wrong-360-light").await;
    find(&browser, "input[name=token]").await.send_keys(TOKEN).await.expect("one can type");
    press(&browser, "button.primary").await;
    reads(&browser, "at work").await;
    let stored = "return document.cookie + localStorage.length + sessionStorage.length";
    assert_eq!(script(&browser, stored).await, "00", "no script can read the session");

    open(&browser, &stack, "/admin/conversations?state=working").await;
    press(&browser, "main table a").await;
    reads(&browser, "Cancel the run").await;
    press(&browser, "main button.danger").await;
    reads(&browser, "The run is being cancelled.").await;
    console.wait_for("Whoever runs this service is stopping run 1", BOUND).await;
    console.wait_for("Run 1 is stopped", BOUND).await;
    open(&browser, &stack, "/admin/deeds").await;
    reads(&browser, "cancel the run of").await;
    reads(&browser, "sign in").await;
    press(&browser, ".bar form button").await;
    reads(&browser, "ADMIN_TOKEN").await;
    assert!(stack.logs().contains("\"what\":\"cancel\""), "{}", stack.logs());
    assert!(!stack.logs().contains("a wrong one") && !stack.logs().contains(TOKEN), "{}", stack.logs());
}

/// Nobody loads the page again.
#[tokio::test]
async fn a_page_that_is_looked_at_follows_what_goes_on() {
    let stack = Stack::start(Plan::default()).await;
    let browser = Browser::with(Screen::DESK).await;
    open(&browser, &stack, "/admin/approvals").await;
    reads(&browser, "No diff waits for an answer.").await;
    let console = stack.console();
    console.send("add a line to hello.txt", BOUND).await;
    console.wait_for("*approve* opens", BOUND).await;
    wait_until("the list to have it", BOUND, async || {
        script(&browser, "return document.querySelectorAll('#approvals tbody tr').length").await == 1
    })
    .await;
    reads(&browser, "in 29 min").await;
}

/// What can be done is what goes on now, and what somebody is at work in stays under their hands.
#[tokio::test]
async fn a_run_that_begins_while_its_page_is_looked_at_can_be_cancelled_there() {
    let stack = Stack::start(Plan::default()).await;
    let console = stack.console();
    console.send("help", BOUND).await;
    console.wait_for("approve", BOUND).await;
    let browser = Browser::with(Screen::PHONE).await;
    open(&browser, &stack, &format!("/admin/conversations/{}", the_conversation(&stack).1)).await;
    reads(&browser, "Nothing goes on that could be cancelled.").await;
    press(&browser, "summary.danger").await;
    find(&browser, "input[name=confirm]").await.send_keys("half a na").await.expect("one can type");
    console.send("something slow", BOUND).await;
    console.wait_for("Working slowly", BOUND).await;
    reads(&browser, "Cancel the run").await;
    let typed = "return document.activeElement.name + ' ' + document.activeElement.value";
    assert_eq!(script(&browser, typed).await, "confirm half a na");

    script(&browser, "window.button = document.querySelector('#cancel button'); button.focus()").await;
    console.send("cancel", BOUND).await;
    console.wait_for("Run 1 is stopped", BOUND).await;
    wait_until("the page to know", BOUND, async || {
        script(&browser, "return document.querySelector('#state').textContent").await == "idle"
    })
    .await;
    assert_eq!(script(&browser, "return document.activeElement === window.button").await, true, "about to be pressed");
    script(&browser, "window.button.blur()").await;
    reads(&browser, "Nothing goes on that could be cancelled.").await;
}

#[tokio::test]
async fn a_page_whose_session_has_ended_asks_for_the_token() {
    let stack = Stack::start(Plan::default().relay("ADMIN_TOKEN", TOKEN)).await;
    let browser = Browser::with(Screen::PHONE).await;
    open(&browser, &stack, "/admin").await;
    find(&browser, "input[name=token]").await.send_keys(TOKEN).await.expect("one can type");
    press(&browser, "button.primary").await;
    reads(&browser, "await approval").await;
    open(&browser, &stack, "/admin/approvals").await;
    browser.client().delete_all_cookies().await.expect("they can be deleted");
    reads(&browser, "ADMIN_TOKEN").await;
}
